"""What `--data` may be."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from squeezekit.data import cifar10, load_images
from squeezekit.data.sources import loaded_once
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.cifar10_files import binary_members, python_members, random_batches, tar


def test_digits():
    assert load_images("digits").training.images.shape == (1528, 32, 32, 1)
    assert load_images("digits", image_size=8, channels=3).training.images.shape == (1528, 8, 8, 3)


def test_cifar10_by_name_is_the_official_archive(monkeypatch, tmp_path):
    (tmp_path / "a.tar.gz").write_bytes(tar(python_members(random_batches())))
    monkeypatch.setattr(cifar10, "fetch_cifar10", lambda: tmp_path / "a.tar.gz")
    source = load_images("cifar10")
    assert source.name == "cifar10"
    assert source.training.images.shape == (100, 32, 32, 3)


@pytest.mark.parametrize("name", ["cifar-10-python.tar.gz", "cifar-10-binary.tar.gz", "cifar-10-batches-py", "keras"])
def test_cifar10_by_path(name, tmp_path):
    members = (binary_members if "binary" in name else python_members)(random_batches())
    if name.endswith(".gz"):
        (tmp_path / name).write_bytes(tar(members))
    for member, content in () if name.endswith(".gz") else members.items():
        path = tmp_path / ("keras/cifar-10-batches-py-target" if name == "keras" else "") / member
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    for data in (tmp_path / name, str(tmp_path / name)):
        assert load_images(data).training.images.shape == (100, 32, 32, 3)
    assert load_images(tmp_path / name, image_size=8, channels=1).training.images.shape == (100, 8, 8, 1)
    if not name.endswith(".gz"):
        assert len(load_images(tmp_path).test if name != "keras" else load_images(tmp_path / "keras").test) == 20


def test_a_folder_and_a_tilde(pets, monkeypatch):
    monkeypatch.setenv("HOME", str(pets.parent))
    for data in (pets, str(pets), "~/pets"):
        source = load_images(data)
        assert source.training.images.shape == (68, 32, 32, 3)
    assert load_images(pets, image_size=9, channels=1).test.images.shape == (12, 9, 9, 1)


def test_strict_reaches_the_folder(pets):
    (pets / "cats" / "0003.png").write_bytes(b"not a picture")
    assert len(load_images(pets).unreadable) == 1
    with pytest.raises(SqueezekitError, match="0003"):
        load_images(pets, strict=True)


def test_a_folder_called_digits_is_reached_by_its_path(pets, monkeypatch):
    shutil.move(pets, pets.with_name("digits"))
    monkeypatch.chdir(pets.parent)
    assert load_images("./digits").training.classes == ("cats", "dogs")
    assert np.unique(load_images("digits").training.labels).size == 10


@pytest.mark.parametrize("data", ["cifar", "/no/such/folder", "Digits", ""])
def test_anything_else_ends_in_a_sentence_that_names_the_choices(data):
    with pytest.raises(SqueezekitError, match="'digits', 'cifar10', the path of a CIFAR-10 archive, or a folder"):
        load_images(data)


def test_a_file_that_is_no_archive(tmp_path):
    (tmp_path / "cat.jpg").write_bytes(b"\xff\xd8\xff" + bytes(2000))
    with pytest.raises(SqueezekitError, match=r"cat\.jpg cannot be read as CIFAR-10"):
        load_images(tmp_path / "cat.jpg")


@pytest.mark.parametrize("given", [{"image_size": 0}, {"channels": 0}, {"channels": 4}])
@pytest.mark.parametrize("data", ["digits", "cifar10"])
def test_impossible_shapes(data, given):
    with pytest.raises(SqueezekitError, match="not possible"):
        load_images(data, **given)


def test_loaded_once_looks_at_no_source_twice(pets, tmp_path):
    with loaded_once():
        first = load_images(pets)
        with loaded_once():
            assert load_images(pets) is first
        assert load_images(pets) is first
        assert load_images(pets, image_size=8).training.images.shape[1:3] == (8, 8)
        with pytest.raises(SqueezekitError):
            load_images(tmp_path / "missing")
    assert load_images(pets) is not first


def test_loaded_once_knows_a_folder_from_a_data_set_of_its_name(pets, monkeypatch):
    shutil.move(pets, pets.with_name("digits"))
    monkeypatch.chdir(pets.parent)
    with loaded_once():
        assert len(load_images("digits").training.classes) == 10
        assert len(load_images(Path("digits")).training.classes) == 2
