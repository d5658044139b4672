"""The decoded store: written whole or not at all, and never trusted blindly."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from squeezekit.data import decoded_store as store
from squeezekit.data.decoded_store import StoreContents, building, key_of, open_store, recall, remember, writing_store
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


@pytest.mark.parametrize("file", ["images.npy", "labels.npy", "about.json"])
@pytest.mark.parametrize("damage", ["cut", "empty", "missing", "garbage"])
def test_a_damaged_store_is_not_opened_and_can_be_written_again(file, damage, fresh_cache):
    pixels = write()
    path = fresh_cache / "decoded" / "key" / file
    content = path.read_bytes()
    damaged = {"cut": content[:-1], "empty": b"", "garbage": b"\x00" * len(content)}
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(damaged[damage])
    assert open_store("key") is None
    write()
    assert (open_store("key")[0].training.images == pixels[:3]).all()


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
    "content", ["", "{", "[]", "null", "{}", '{"store": "key"}', json.dumps({"store": "gone", "unreadable": []})]
)
def test_a_listing_that_makes_no_sense_is_unknown(content, fresh_cache):
    write()
    remember("listing", "key", [])
    (fresh_cache / "listings" / "listing.json").write_text(content)
    assert recall("listing") is None


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
