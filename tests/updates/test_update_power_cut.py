"""A power cut at any write leaves the old model or the new one, whole, and the next update goes on.

Two simulations. First, real processes end at once before every single step in the file system. Second, every step of a whole
update is recorded, and from each moment the disk is made anew as a file system could have left it that loses whatever was not
synced: data that were not, or names as well.
"""

import ast
import os
import shutil
import sys
from functools import cache
from pathlib import Path

import pytest

import squeezekit.updates.update as client
from squeezekit.updates.update import update
from tests.fixtures.copies import in_a_copy
from tests.fixtures.repositories import verdict_of

STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate")


@pytest.fixture(autouse=True)
def _known_before(two, versions, monkeypatch):
    """The self-check of the new version, and what the delta to it gives: copies of this process need not find them again."""
    assert not verdict_of(versions.second.read_bytes()).reason
    monkeypatch.setattr(client, "apply_delta", cache(client.apply_delta))
    shutil.copytree(two / "device", two / "first")
    assert update(str(two / "public"), two / "first").by_delta


def works(device, versions):
    """Which version is in use, having looked at every byte of it."""
    found = (device / "model.sqz").read_bytes()
    previous = device / "previous.sqz"
    assert not previous.exists() or previous.read_bytes() in (versions.first.read_bytes(), versions.second.read_bytes())
    return {versions.first.read_bytes(): 1, versions.second.read_bytes(): 2}[found]


def steps_of(device, do):
    """Call `do(event, path)` before every step below `device` that changes something; for good, in this process."""
    flags = os.O_WRONLY | os.O_RDWR | os.O_CREAT

    def hook(event, arguments):
        if event in STEPS and (event != "open" or (arguments[2] or 0) & flags) and str(device) in str(arguments[0]):
            do(event, Path(os.fsdecode(arguments[0])))

    sys.addaudithook(hook)
    real = os.fsync

    def fsync(descriptor):
        do("fsync", Path(f"/proc/self/fd/{descriptor}").readlink())
        real(descriptor)

    os.fsync = fsync


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc to see what is synced")
def test_killed_before_every_step(two, versions, tmp_path):
    seen, number, done = [], 0, False
    while not done:
        number += 1
        device = tmp_path / "killed" / str(number)
        shutil.copytree(two / "device", device)
        done = in_a_copy(_updated_until, number, two / "public", device) == 0
        seen.append(works(device, versions))
        if number % 4 == 0 or done:
            result = update(str(two / "public"), device)
            assert result.version == 2 == works(device, versions)
            assert not [path for path in device.rglob("*") if path.name.startswith(".metadata-") or path.suffix == ".partial"]
        shutil.rmtree(device)
    # First the old model, from one step on the new one.
    assert seen == sorted(seen) and set(seen) == {1, 2} and number > 40


def _updated_until(number, repository, device):
    """Update, and end before the step of this number."""
    left = number

    def do(event, path):
        nonlocal left
        left -= 1
        if not left:
            os._exit(9)

    steps_of(device, do)
    update(str(repository), device)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc to see what is synced")
def test_a_disk_that_loses_what_was_not_synced(two, versions, tmp_path):
    device, log = two / "device", tmp_path / "log"
    before = {path.relative_to(device): path.read_bytes() for path in device.rglob("*") if path.is_file()}
    assert in_a_copy(_recorded, two / "public", device, log) == 0 and works(device, versions) == 2
    steps = [ast.literal_eval(line) for line in log.read_text().splitlines()]
    seen = set()
    for lost in ("data", "names"):
        for count in range(len(steps) + 1):
            state = _left_by(before, steps[:count], lost)
            if (key := frozenset(state.items())) in seen:
                continue
            seen.add(key)
            again = tmp_path / "again"
            shutil.rmtree(again, ignore_errors=True)
            for name, content in state.items():
                (again / name).parent.mkdir(parents=True, exist_ok=True)
                (again / name).write_bytes(content)
            works(again, versions)
            assert update(str(two / "public"), again).version == 2 == works(again, versions)
    assert len(seen) > 20


def _recorded(repository, device, log):
    """Update, and write a line for each step: what, where, and of a rename from where; of a sync, the content."""
    lines = log.open("w")

    def do(event, path):
        content = path.read_bytes() if event == "fsync" and path.is_file() else None
        lines.write(repr((event, str(path.relative_to(device)), content)) + "\n")
        lines.flush()

    steps_of(device, do)
    real = os.replace

    def replace(source, target):
        if str(device) in str(source):
            name = [str(Path(path).relative_to(device)) for path in (source, target)]
            lines.write(repr(("replace", *name)) + "\n")
            lines.flush()
        real(source, target)

    os.replace = replace
    update(str(repository), device)


def _left_by(before, steps, lost):
    """The files that a disk has after these steps, by name, where it loses unsynced data, or unsynced names as well."""
    live = {name: (name, 0) for name in before}  # What the running system sees: which file each name stands for.
    disk, synced = dict(live), {live[name]: content for name, content in before.items()}
    lazy = []  # Names whose change is not on disk yet.
    for number, (event, name, *rest) in enumerate(steps, 1):
        path = Path(name)
        if event == "open" and path not in live:
            live[path] = (path, number)
            synced[live[path]] = b""
            lazy.append(path)
        elif event == "fsync" and rest[0] is not None:
            synced[live[path]] = rest[0]
        elif event == "replace":
            live[Path(rest[0])] = live.pop(path)
            lazy += [path, Path(rest[0])]
        elif event == "os.remove":
            live.pop(path, None)
            lazy.append(path)
        # A folder that is synced keeps the names in it; where only data get lost, all names are kept at once.
        kept = [one for one in lazy if lost == "data" or (event == "fsync" and rest[0] is None and one.parent == path)]
        for one in kept:
            disk.pop(one, None)
            if one in live:
                disk[one] = live[one]
        lazy = [one for one in lazy if one not in kept]
    return {name: synced[file] for name, file in disk.items() if not str(name).startswith(".metadata-")}
