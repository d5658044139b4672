"""The decoded store: written whole or not at all, and never trusted blindly."""

import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from squeezekit.data import decoded_store as store
from squeezekit.data import load_images
from squeezekit.data.decoded_store import (
    StoreContents,
    building,
    key_of,
    open_store,
    opened_or_made,
    recall,
    remember,
    writing_store,
)
from squeezekit.system.errors import SqueezekitError

ABOUT = StoreContents(("a", "b"), False, 3, ("1" * 64, "2" * 64), {"ab" * 32: "cut short"})


def write(key="key", seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (5, 4, 4, 1), dtype=np.uint8)
    with writing_store(key, (4, 4, 1)) as writer:
        writer.append(pixels[:2])
        writer.append(pixels[2:])
        writer.finish(np.array([0, 1, 0, 1, 0]), ABOUT)
    return pixels


def test_what_was_written_is_mapped_read_only():
    pixels = write()
    stored, about = open_store("key")
    assert about == ABOUT
    assert isinstance(stored.training.images, np.memmap)
    assert (stored.training.images == pixels[:3]).all()
    assert (stored.test.images == pixels[3:]).all()
    assert stored.test.labels.tolist() == [1, 0]
    assert (stored.training.fingerprint, stored.test.fingerprint) == ABOUT.fingerprints
    assert not stored.training.mirrorable
    with pytest.raises(ValueError, match="read-only"):
        stored.training.images[0] = 0


def test_many_blocks_fit_under_one_header():
    with writing_store("many", (1, 1, 1)) as writer:
        for _ in range(12345):
            writer.append(np.ones((1, 1, 1, 1), np.uint8))
        writer.finish(np.zeros(12345, np.int64), StoreContents(("a",), True, 12000, ("", ""), {}))
    stored, _ = open_store("many")
    assert (len(stored.training), len(stored.test)) == (12000, 345)
    assert stored.training.images.min() == 1


def flipped(content):
    return content[:-1] + bytes([content[-1] ^ 1])


DAMAGE = {
    "cut": lambda content: content[:-1],
    "empty": lambda content: b"",
    "garbage": lambda content: b"\0" * len(content),
    "one bit": flipped,
    "longer": lambda content: content + b"\0",
    "nested": lambda content: b"[" * 200_000,
}


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "about.json"])
@pytest.mark.parametrize("damage", [*DAMAGE, "missing", "a pipe", "a folder"])
def test_a_damaged_store_is_not_opened_and_can_be_written_again(file, damage, fresh_cache, capsys):
    pixels = write()
    path = fresh_cache / "decoded" / "key" / file
    content = path.read_bytes()
    if damage in DAMAGE:
        path.write_bytes(DAMAGE[damage](content))
    else:
        path.unlink()
    if damage == "a pipe":
        os.mkfifo(path)
    if damage == "a folder":
        path.mkdir()
    assert open_store("key") is None
    assert open_store("key") is None
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and f"{path.parent} are damaged" in said and "made again" in said
    write()
    assert (open_store("key")[0].training.images == pixels[:3]).all()


@pytest.mark.parametrize("kind", ["a file", "a link to a folder", "a link to nothing"])
def test_whatever_stands_in_the_place_of_a_store_is_replaced(kind, fresh_cache, tmp_path):
    (fresh_cache / "decoded").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").touch()
    place = fresh_cache / "decoded" / "key"
    if kind == "a file":
        place.touch()
    else:
        place.symlink_to(tmp_path / ("kept" if kind == "a link to a folder" else "missing"))
    assert open_store("key") is None
    write()
    assert open_store("key") and place.is_dir() and not place.is_symlink()
    assert (tmp_path / "kept" / "file").exists()


def test_two_sources_of_the_same_content_make_its_store_once(fresh_cache):
    made = []

    def make():
        made.append(write())
        time.sleep(0.1)

    with ThreadPoolExecutor(3) as pool:
        found = [each.result() for each in [pool.submit(opened_or_made, "key", make) for _ in range(3)]]
    assert len(made) == 1
    assert all((stored.training.images == made[0][:3]).all() for stored, _ in found)


def test_a_store_that_is_not_there_is_not_said_to_be_damaged(capsys):
    assert open_store("key") is None
    assert capsys.readouterr().err == ""


ALTERED = {
    "classes": ["b", "a"],
    "training": 4,
    "mirrorable": True,
    "fingerprints": ["3" * 64, "2" * 64],
    "unreadable": {},
    "digests": {},
    "more": 1,
}


@pytest.mark.parametrize("field", ALTERED)
def test_an_altered_meaning_is_not_believed(field, fresh_cache):
    write()
    path = fresh_cache / "decoded" / "key" / "about.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), field: ALTERED[field]}))
    assert open_store("key") is None


def test_a_store_in_the_place_of_another_is_not_opened(fresh_cache):
    write("one", seed=1)
    write("other", seed=2)
    (fresh_cache / "decoded" / "one").rename(fresh_cache / "decoded" / "aside")
    (fresh_cache / "decoded" / "other").rename(fresh_cache / "decoded" / "one")
    assert open_store("one") is None


def test_pixels_are_read_again_only_where_their_file_was_touched(fresh_cache, monkeypatch):
    write()
    folder = fresh_cache / "decoded" / "key"
    with monkeypatch.context() as patch:
        patch.setattr(store, "_digest", lambda _: pytest.fail("it was read"))
        assert open_store("key")
    # As a copy of a cache is, or one that came out of an archive.
    for path in folder.iterdir():
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content)
    assert open_store("key")
    monkeypatch.setattr(store, "_digest", lambda _: pytest.fail("it was read again"))
    assert open_store("key")


@pytest.mark.parametrize("content", ["", "[]", pytest.param("[" * 100_000, id="nested"), "null"])
def test_a_damaged_note_about_the_last_check_only_costs_another(content, fresh_cache):
    write()
    (fresh_cache / "decoded" / "key" / "checked.json").write_text(content)
    assert open_store("key")


@pytest.mark.slow
def test_a_user_without_a_home_works_with_what_needs_no_cache(pets):
    """Once with the libraries as they are installed: in a container whose user has no entry in /etc/passwd."""
    program = (
        "from squeezekit.acceleration.kernel_cache import compile_in_background, kernels_ready\n"
        "from squeezekit.data import load_images\n"
        "compile_in_background()\nassert not kernels_ready()\nload_images('digits')\n"
        f"try: load_images({str(pets)!r})\nexcept Exception as error: print(error)"
    )
    environment = {name: value for name, value in os.environ.items() if name not in NO_CACHE}
    command = [*as_another_user(), sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert "no home folder" in done.stdout and done.returncode == 0, done.stderr


def test_others_may_read_a_store_as_the_mask_for_new_files_says(fresh_cache):
    before = os.umask(0o002)
    try:
        write()
        remember("listing", "key", [])
    finally:
        os.umask(before)
    for path in (fresh_cache / "decoded", fresh_cache / "decoded" / "key", fresh_cache / "listings"):
        assert path.stat().st_mode & 0o777 == 0o775
    for path in (fresh_cache / "decoded" / "key").iterdir():
        assert path.stat().st_mode & 0o777 == 0o664


NO_CACHE = ("HOME", "SQUEEZEKIT_CACHE", "XDG_CACHE_HOME", "NUMBA_CACHE_DIR", "SQUEEZEKIT_KERNELS")


def as_another_user():
    """What to put in front of a command: a user who has no entry in /etc/passwd and none of root's rights."""
    user = ["unshare", "--user", "--map-user=12345", "--map-group=12345"]
    if not shutil.which("unshare") or subprocess.run([*user, "true"], check=False, capture_output=True).returncode:
        pytest.skip("needs user namespaces")
    return user


READING = """
import sys
from squeezekit.data import load_images
from squeezekit.system.errors import SqueezekitError
for path in sys.argv[1:]:
    try:
        print(len(load_images(path).training))
    except SqueezekitError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_cache_that_may_only_be_read_serves_whoever_needs_nothing_else(pets, tmp_path):
    user = as_another_user()
    folders = [pets, tmp_path / "copy", tmp_path / "other"]
    for copy in folders[1:]:
        shutil.copytree(pets, copy)
    (folders[2] / "cats" / "0000.png").unlink()
    load_images(pets)
    everything = [tmp_path, *tmp_path.rglob("*")]
    for path in everything:
        path.chmod(0o555 if path.is_dir() else 0o444)
    command = [*user, sys.executable, "-c", READING, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    for path in everything:
        path.chmod(0o755 if path.is_dir() else 0o644)
    # The pictures themselves, a copy of them of which nothing is noted, and other ones, which would have to be decoded.
    first, second, third = done.stdout.splitlines()
    assert first == second and first.isdigit()
    assert "cannot be written (Permission denied)" in third and "Traceback" not in done.stderr


def test_labels_beyond_the_classes_are_not_opened(fresh_cache):
    write()
    np.save(fresh_cache / "decoded" / "key" / "labels.npy", np.array([0, 1, 2, 1, 0]))
    assert open_store("key") is None


def test_an_error_while_writing_leaves_nothing(fresh_cache):
    with pytest.raises(RuntimeError), writing_store("key", (4, 4, 1)) as writer:
        writer.append(np.zeros((1, 4, 4, 1), np.uint8))
        raise RuntimeError
    assert list((fresh_cache / "decoded").iterdir()) == []


def test_what_a_killed_process_left_is_swept_away_after_an_hour(fresh_cache):
    program = """
import os, signal, numpy as np
from squeezekit.data.decoded_store import writing_store
with writing_store("key", (4, 4, 1)) as writer:
    writer.append(np.zeros((1, 4, 4, 1), np.uint8))
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False)
    (left,) = (fresh_cache / "decoded").glob(".*.partial")
    write("another")
    assert left.exists()
    then = time.time() - store.ABANDONED_SECONDS - 1
    os.utime(left / "images.npy", (then, then))
    write()
    assert not left.exists()
    assert open_store("key")
    assert open_store("another")


def test_a_listing_leads_to_its_store():
    assert recall("listing") is None
    pixels = write()
    remember("listing", "key", [("a/\udcff.png", "cut short")])
    recalled = recall("listing")
    assert (recalled.training.images == pixels[:3]).all()
    assert recalled.unreadable == (("a/\udcff.png", "cut short"),)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"store": "key"}',
        json.dumps({"store": "key", "unreadable": []}),
        pytest.param("[" * 200_000, id="nested"),
    ],
)
def test_a_listing_that_makes_no_sense_is_unknown(content, fresh_cache):
    write()
    remember("listing", "key", [])
    (fresh_cache / "listings" / "listing.json").write_text(content)
    assert recall("listing") is None


def test_a_listing_in_the_place_of_another_is_unknown(fresh_cache):
    write()
    write("other", seed=1)
    remember("listing", "key", [])
    remember("another", "other", [])
    assert recall("listing") and recall("another")
    (fresh_cache / "listings" / "another.json").rename(fresh_cache / "listings" / "listing.json")
    assert recall("listing") is None


def test_a_listing_that_cannot_be_noted_is_no_error(fresh_cache):
    fresh_cache.mkdir()
    (fresh_cache / "listings").write_text("a file")
    remember("listing", "key", [])
    assert recall("listing") is None


def no_home(name):
    raise RuntimeError(f"could not determine the home directory for '~/.cache/{name}'")


@pytest.mark.parametrize("cache_of", [no_home, lambda name: f"~/.cache/{name}"], ids=["newer platformdirs", "older"])
def test_a_user_without_a_home_is_told_which_variable_to_set(cache_of, monkeypatch):
    monkeypatch.delenv("SQUEEZEKIT_CACHE")
    monkeypatch.setattr("platformdirs.user_cache_dir", cache_of)
    monkeypatch.setattr("os.path.expanduser", lambda path: path)
    with pytest.raises(SqueezekitError, match="no home folder.*SQUEEZEKIT_CACHE"):
        store.cache_folder()
    assert recall("listing") is None
    with pytest.raises(SqueezekitError, match="no home folder.*SQUEEZEKIT_CACHE"):
        write()
    monkeypatch.setenv("SQUEEZEKIT_CACHE", "~nobody-of-this-name/c")
    assert str(store.cache_folder()) == "~nobody-of-this-name/c"


def test_keys_keep_their_parts_apart():
    keys = [key_of("ab", "c"), key_of("a", "bc"), key_of("abc"), key_of("ab", "c", ""), key_of("\udcff")]
    assert len(set(keys)) == 5
    assert key_of(1, "x") == key_of("1", "x")


def test_a_cache_that_cannot_be_written_ends_in_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SQUEEZEKIT_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(SqueezekitError, match="cache folder .*file/cache.* cannot be written .*SQUEEZEKIT_CACHE"):
        write()


def test_a_full_disk_ends_in_one_sentence(monkeypatch, fresh_cache):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.StoreWriter, "append", full)
    with pytest.raises(SqueezekitError, match=r"No space left on device\): free space"):
        write()
    assert list((fresh_cache / "decoded").iterdir()) == []


def test_the_cache_may_begin_with_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SQUEEZEKIT_CACHE", "~/here")
    assert store.cache_folder() == tmp_path / "here"


@pytest.mark.slow
def test_one_process_waits_for_another_and_not_for_a_dead_one(tmp_path):
    program = f"""
import sys, time
from squeezekit.data.decoded_store import building
with building("key"):
    print("in", flush=True)
    time.sleep(float(sys.argv[1]))
    open({str(tmp_path / "done")!r}, "a").write("done")
"""
    first = subprocess.Popen([sys.executable, "-c", program, "0.5"], stdout=subprocess.PIPE)
    first.stdout.readline()
    with building("key"):
        assert (tmp_path / "done").read_text() == "done"
    first.wait()
    second = subprocess.Popen([sys.executable, "-c", program, "60"], stdout=subprocess.PIPE)
    second.stdout.readline()
    second.kill()
    begin = time.monotonic()
    with building("key"):
        assert time.monotonic() - begin < 10
    second.wait()
