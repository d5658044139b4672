"""Before a release: thousands of damaged deltas, metadata and local files; each is one sentence, in bounded time and memory."""

import contextlib
import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from tuf.api.exceptions import RepositoryError
from tuf.api.metadata import Targets

from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.repository import Repository
from squeezekit.updates.update import update
from tests.fixtures.mutation import findings
from tests.fixtures.repositories import PASSPHRASE, newest

pytestmark = pytest.mark.long
TOKENS = (
    b'"version":',
    b'"signed":',
    b'"custom":',
    b"1e999",
    b"-1",
    b"9" * 400,
    b"null",
    b"[" * 3000,
    b"{}",
    b'"\\ud800"',
    b"../",
)


def test_deltas(versions):
    old = versions.first.read_bytes()
    delta = delta_between(old, versions.second.read_bytes())
    assert findings(partial(apply_delta, old), [delta, old], count=600, seconds=30) == []


@contextlib.contextmanager
def _with(path, content):
    """The content of a file is another, as long as this lasts."""
    kept = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(kept)


def _updated(folder, name, content):
    """A device that meets these metadata, and afterwards the right ones."""
    with _with(folder / "public" / "metadata" / name, content):
        update(str(folder / "public"), folder / "device")


def _opened(folder, name, content):
    with _with(folder / "public" / "metadata" / name, content):
        Repository(folder / "public", KeyRing([folder / "keys"], [PASSPHRASE]))


@pytest.mark.parametrize("name", ["timestamp.json", "2.snapshot.json", "2.targets.json", "1.root.json"])
def test_metadata_that_nobody_signed(one, name):
    content = (one / "public" / "metadata" / name).read_bytes()
    for read in (_updated, _opened):
        assert findings(partial(read, one, name), [content], count=150, tokens=TOKENS) == []
    assert update(str(one / "public"), one / "device").version == 1


def _signed(folder, content):
    """A device that meets targets of this content, signed by a thief of all the keys."""
    try:
        signed = Targets.from_dict(json.loads(content))
    except (ValueError, RecursionError, KeyError, TypeError, AttributeError, RepositoryError):
        return
    public = folder / "public" / "metadata"
    kept = {path: path.read_bytes() for path in public.iterdir()}
    shutil.rmtree(folder / "again", ignore_errors=True)
    shutil.copytree(folder / "device", folder / "again")
    repository = newest(folder)
    repository.targets.signed = signed
    try:
        with contextlib.suppress(OSError):
            # A number too long for the name of a file.
            repository._commit("targets", bump=False)
            repository._commit("snapshot")
        update(str(folder / "public"), folder / "again")
    finally:
        for path in set(public.iterdir()) - set(kept):
            path.unlink()
        for path, before in kept.items():
            path.write_bytes(before)


def test_targets_that_a_thief_signed(one):
    content = json.dumps(newest(one).targets.signed.to_dict()).encode()
    assert findings(partial(_signed, one), [content], count=600, tokens=TOKENS, seconds=30) == []


def _local(folder, name, content):
    shutil.rmtree(folder / "again", ignore_errors=True)
    shutil.copytree(folder / "device", folder / "again")
    (folder / "again" / name).write_bytes(content)
    update(str(folder / "public"), folder / "again")


@pytest.mark.parametrize("name", ["state.json", "trusted.json", "metadata/timestamp.json", "metadata/targets.json"])
def test_local_files(one, name):
    content = Path(one / "device" / name).read_bytes()
    assert findings(partial(_local, one, name), [content], count=150, tokens=TOKENS) == []
