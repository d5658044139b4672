"""A repository with two versions of a small network, and a device that has the first."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from squeezekit.modelfile.sqz import from_bytes
from squeezekit.pretrained.files import model_path
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.publish import publish
from squeezekit.updates.repository import Repository
from squeezekit.updates.update import update
from tests.modelfile.test_delta import changed

PASSPHRASE = "a passphrase of the tests"


def unfit(data):
    """The same network with its last bias turned around, and the self-check that it had."""
    sqz = from_bytes(data)
    name = list(sqz.weights)[-1]
    return replace(sqz, weights={**sqz.weights, name: -np.asarray(sqz.weights[name])}).to_bytes()


@pytest.fixture(scope="session")
def versions(tmp_path_factory):
    """Three files of one network: a shipped one, one that differs in 3 % of its weights, one that fails its self-check."""
    folder = tmp_path_factory.mktemp("versions")
    first = model_path("digits-nano").read_bytes()
    for name, data in {"first": first, "second": changed(first, 0.03), "unfit": unfit(first)}.items():
        (folder / f"{name}.sqz").write_bytes(data)
    return SimpleNamespace(**{path.stem: path for path in folder.iterdir()})


def published(model, folder, **options):
    return publish(model, folder / "public", keys=[folder / "keys"], passphrases=[PASSPHRASE], **options)


def newest(folder):
    """The repository, to change it by its own keys."""
    return Repository(folder / "public", KeyRing([folder / "keys"], [PASSPHRASE]))


@pytest.fixture(scope="session")
def _templates(tmp_path_factory, versions):
    """`public` and `keys` after one version and after two, and a device after the first."""
    folder = tmp_path_factory.mktemp("templates")
    Repository.create(folder / "one" / "public", KeyRing([folder / "one" / "keys"], [PASSPHRASE]))
    published(versions.first, folder / "one")
    update(str(folder / "one" / "public"), folder / "device", trust=folder / "one" / "public" / "metadata" / "1.root.json")
    shutil.copytree(folder / "one", folder / "two")
    published(versions.second, folder / "two")
    return folder


@pytest.fixture
def two(_templates, tmp_path):
    """A folder with `public` (two versions), `keys`, and `device`, which has the first version."""
    shutil.copytree(_templates / "two", tmp_path, dirs_exist_ok=True)
    shutil.copytree(_templates / "device", tmp_path / "device")
    return tmp_path


@pytest.fixture
def one(_templates, tmp_path):
    """A folder with `public` (one version), `keys`, and `device`, which has it."""
    shutil.copytree(_templates / "one", tmp_path, dirs_exist_ok=True)
    shutil.copytree(_templates / "device", tmp_path / "device")
    return tmp_path


def root_of(folder) -> Path:
    return folder / "public" / "metadata" / "1.root.json"
