"""CIFAR-10 as a source: fetched, read and kept."""

import hashlib
import os
import subprocess
import sys

import numpy as np
import pytest

from squeezekit.data import cifar10
from squeezekit.data.cifar10 import load_cifar10
from squeezekit.data.image_file import read_image
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.cifar10_files import NAMES, as_images, binary_members, python_members, random_batches, tar
from tests.fixtures.server import refusing, serving, whole

OFFICIAL = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")


@pytest.fixture
def official(monkeypatch):
    """Make the bytes of an archive the official ones, to be had from these addresses."""

    def pretend(content, *addresses):
        monkeypatch.setattr(cifar10, "ADDRESSES", addresses)
        monkeypatch.setattr(cifar10, "SIZE", len(content))
        monkeypatch.setattr(cifar10, "MD5", hashlib.md5(content).hexdigest())

    return pretend


def test_the_official_numbers():
    assert (cifar10.SIZE, cifar10.MD5) == (170_498_071, "c58f30108f718f92721af3b95e74349a")
    assert all(address.startswith("https://") for address in cifar10.ADDRESSES)
    assert len(cifar10.ADDRESSES) >= 2
    assert cifar10.ADDRESSES[-1] == "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"


def test_it_is_downloaded_once_and_keeps_order_classes_and_test_part(official, fresh_cache):
    batches = random_batches()
    content = tar(python_members(batches))
    with serving({"/a": refusing(404), "/b": whole(content)}) as (address, requests):
        official(content, address + "/a", address + "/b")
        source = load_cifar10()
        load_cifar10(image_size=16)
        assert requests == [("/a", None), ("/b", None)]
    assert source.name == "cifar10"
    assert source.training.classes == OFFICIAL
    assert source.training.mirrorable
    assert (source.training.images == np.concatenate([as_images(batches[name][0]) for name in NAMES[:-1]])).all()
    assert source.training.labels.tolist() == [at % 10 for at in range(20)] * 5
    assert (source.test.images == as_images(batches["test_batch"][0])).all()
    assert isinstance(source.training.images, np.memmap)
    (fresh_cache / "downloads" / cifar10.ARCHIVE).unlink()
    again = load_cifar10()
    assert (again.training.images == source.training.images).all()


def test_an_archive_of_other_content_is_never_opened(official, monkeypatch):
    content = tar(python_members(random_batches()))
    monkeypatch.setattr(cifar10, "read_cifar10", lambda _: pytest.fail("it was opened"))
    with serving({"/a": whole(bytes(len(content)))}) as (address, _):
        official(content, address + "/a")
        with pytest.raises(SqueezekitError, match=r"cifar-10-python\.tar\.gz could not be downloaded"):
            load_cifar10()


def test_an_archive_or_folder_of_ones_own_needs_no_digest_and_all_forms_are_equal(tmp_path):
    batches = random_batches()
    (tmp_path / "py.tar.gz").write_bytes(tar(python_members(batches)))
    (tmp_path / "bin.tar.gz").write_bytes(tar(binary_members(batches)))
    for name, content in python_members(batches).items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    sources = [load_cifar10(tmp_path / name) for name in ("py.tar.gz", "bin.tar.gz", "cifar-10-batches-py")]
    assert len({(source.training.fingerprint, source.test.fingerprint) for source in sources}) == 1
    assert (sources[0].training.images == sources[2].training.images).all()
    assert sources[0].name == str(tmp_path / "py.tar.gz")


def test_a_second_start_does_not_open_the_archive_and_a_changed_one_is_noticed(tmp_path, monkeypatch):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar(python_members(random_batches())))
    before = load_cifar10(path)
    with monkeypatch.context() as patch:
        patch.setattr(cifar10, "read_cifar10", lambda _: pytest.fail("it was opened"))
        assert load_cifar10(path).training.fingerprint == before.training.fingerprint
    path.write_bytes(tar(python_members(random_batches(count=30, seed=1))))
    assert len(load_cifar10(path).training) == 150


def test_archives_that_swap_places_are_noticed(tmp_path):
    one, other, aside = (tmp_path / name for name in ("one.tar", "other.tar", "aside"))
    for seed, path in enumerate((one, other)):
        path.write_bytes(tar(python_members(random_batches(seed=seed)), "w"))
        os.utime(path, (1, 1))
    before = [load_cifar10(path).training.fingerprint for path in (one, other)]
    for path, place in ((one, aside), (other, one), (aside, other)):
        path.rename(place)
    assert [load_cifar10(path).training.fingerprint for path in (one, other)] == before[::-1]


def test_an_archive_that_is_written_in_place_is_noticed_though_its_date_is_kept(tmp_path):
    path, fingerprints = tmp_path / "a.tar", set()
    for seed in range(2):
        path.write_bytes(tar(python_members(random_batches(seed=seed)), "w"))
        os.utime(path, (1, 1))
        fingerprints.add(load_cifar10(path).training.fingerprint)
    assert len(fingerprints) == 2


def test_a_damaged_store_is_rebuilt(tmp_path, fresh_cache):
    path = tmp_path / "a.tar.gz"
    path.write_bytes(tar(python_members(random_batches())))
    before = np.array(load_cifar10(path).training.images)
    (images,) = (fresh_cache / "decoded").glob("*/images.npy")
    images.write_bytes(images.read_bytes()[:-1])
    assert (load_cifar10(path).training.images == before).all()


@pytest.mark.parametrize(("size", "channels"), [(16, 3), (32, 1), (48, 1)])
def test_other_sizes_follow_the_one_rule(size, channels, tmp_path):
    batches = random_batches()
    (tmp_path / "a.tar.gz").write_bytes(tar(python_members(batches)))
    source = load_cifar10(tmp_path / "a.tar.gz", image_size=size, channels=channels)
    expected = [read_image(image, size, channels) for image in as_images(batches["test_batch"][0])]
    assert (source.test.images == np.stack(expected)).all()


def test_impossible_shapes_are_refused_before_anything_is_fetched(official):
    official(b"", "http://nowhere.invalid/a")
    with pytest.raises(SqueezekitError, match="2 channels"):
        load_cifar10(channels=2)


def test_this_room_needs_no_torch(tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar(python_members(random_batches())))
    program = f"""
import sys
import squeezekit.data
source = squeezekit.data.load_images({str(tmp_path / "a.tar.gz")!r})
assert len(source.training) == 100
assert "torch" not in sys.modules and "sklearn" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
