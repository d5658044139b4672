"""What is noted about a channel, damaged; models that are no files."""

import json
import os

import pytest

from squeezekit.system.errors import SqueezekitError
from squeezekit.updates.publish import publish
from tests.fixtures.repositories import PASSPHRASE, published

LINE = {"version": 1, "sha256": "a" * 64, "published": "2026-11-29T08:00:00+00:00"}


WRONG = [
    ("version", 1e300),
    ("version", "1"),
    ("version", True),
    ("sha256", "../../x"),
    ("sha256", 3),
    ("published", "yesterday"),
]
WRONG += [("published", None), ("published", "0001-01-01T00:00:00+23:00")]


def test_a_damaged_list_of_versions(one, versions):
    path = one / "public" / "channels" / "stable.json"
    damaged = [b"dust", b"\xff", b"[" * 50_000, b"{}", b"[1]", b"NaN"]
    for content in (*damaged, *(json.dumps([{**LINE, name: value}]).encode() for name, value in WRONG)):
        path.write_bytes(content)
        with pytest.raises(SqueezekitError, match=r"stable.json: .*; delete it, and the next version has no deltas"):
            published(versions.second, one, check=False)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(SqueezekitError, match=r"stable.json: is not a file"):
        published(versions.second, one, check=False)
    path.unlink()
    assert published(versions.second, one, check=False).deltas == {}


def test_versions_that_are_not_there_have_no_deltas(one, versions):
    path = one / "public" / "channels" / "stable.json"
    path.write_text(json.dumps([{**LINE, "version": number} for number in (-5, 10**30, 1)]))
    assert published(versions.second, one, check=False).deltas == {}


def test_metadata_that_are_damaged(one, versions):
    metadata = one / "public" / "metadata"
    for name in ("timestamp.json", "1.root.json", "2.targets.json"):
        kept = (metadata / name).read_bytes()
        for damage in (b"", b"[" * 50_000, b'{"signed": 1}', kept[:-9]):
            (metadata / name).write_bytes(damage)
            with pytest.raises(SqueezekitError, match=f"{name}: .*restore it") as raised:
                published(versions.second, one, check=False)
            assert "\n" not in str(raised.value)
        (metadata / name).write_bytes(kept)


def test_a_model_that_is_no_file(one, tmp_path):
    os.mkfifo(tmp_path / "pipe.sqz")
    with pytest.raises(SqueezekitError, match=r"pipe.sqz: is not a file"):
        publish(tmp_path / "pipe.sqz", one / "public", keys=[one / "keys"], passphrases=[PASSPHRASE])
