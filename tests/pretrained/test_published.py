"""A network that others publish, from a server on localhost."""

import dataclasses
import hashlib
import json
import socket

import numpy as np
import pytest
from PIL import Image

import squeezekit as sk
from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.modelfile.deep_compression_file import published_network
from squeezekit.pretrained.files import known_names, model_path
from squeezekit.pretrained.published import PUBLISHED, published_path
from tests.fixtures import deep_compression as written
from tests.fixtures.server import cut_off, refusing, serving, whole

NAME = "squeezenet1_0-imagenet"


@pytest.fixture(scope="module")
def content():
    return written.file_of(written.random_layers(published_network(), density=0.005))


@pytest.fixture
def official(content, monkeypatch, tmp_path):
    """Make these bytes the official ones, to be had from some addresses; the cache is empty."""
    monkeypatch.setenv("SQUEEZEKIT_CACHE", str(tmp_path / "cache"))

    def pretend(*addresses):
        changed = {"addresses": addresses, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        monkeypatch.setitem(PUBLISHED, NAME, dataclasses.replace(PUBLISHED[NAME], **changed))

    return pretend


def test_the_official_numbers():
    published = PUBLISHED[NAME]
    assert (published.size, published.sha256) == (
        675_763,
        "e4ab6960ae8cd81505e1c2136921201507e930966c53deaf15862a395b3a3261",
    )
    (address,) = published.addresses
    assert address.startswith("https://raw.githubusercontent.com/songhan/SqueezeNet-Deep-Compression/")
    assert known_names()[-1] == NAME


@pytest.mark.slow
def test_it_is_downloaded_once_and_goes_on_where_it_broke_off(official, content, tmp_path, capfd):
    with serving({"/a": cut_off(content, 30_000), "/b": whole(content)}) as (address, requests):
        official(f"{address}/a", f"{address}/b")
        path = model_path(NAME)
        assert model_path(NAME) == published_path(NAME) == path
        begun = [begin for where, begin in requests if where == "/b"]
    assert len(begun) == 1 and begun[0].startswith("bytes=") and begun[0] != "bytes=0-"
    Image.fromarray(np.full((64, 48, 3), 90, np.uint8)).save(tmp_path / "picture.png")
    # Nobody serves any more.
    assert main(["predict", NAME, str(tmp_path / "picture.png"), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["label"] in sk.Classifier.load(NAME).classes
    assert main(["describe", NAME, "--json"]) == 0
    # What is damaged is made again of what was downloaded.
    whole_file = path.read_bytes()
    path.write_bytes(whole_file[:1000])
    assert model_path(NAME).read_bytes() == whole_file


def test_other_content_and_no_network_are_one_sentence(official, content, capsys):
    with serving({"/a": whole(bytes(len(content)))}) as (address, _):
        official(f"{address}/a")
        with pytest.raises(SqueezekitError, match="other content"):
            model_path(NAME)
    with serving({"/a": refusing(404)}) as (address, _):
        official(f"{address}/a")
        with pytest.raises(SqueezekitError, match="answered 404"):
            model_path(NAME)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        official(f"http://127.0.0.1:{listening.getsockname()[1]}/a")
        capsys.readouterr()
        assert main(["predict", NAME, "photo.jpg"]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith("squeezekit: compressed_SqueezeNet.net could not be downloaded")
    assert said.endswith("or fetch the file another way and run squeezekit import compressed_SqueezeNet.net")


def test_the_list_says_that_it_is_downloaded(official, capsys):
    official("http://127.0.0.1:1/a")
    listed = sk.list_models()[-1]
    assert (listed.name, listed.downloaded, listed.accuracy, listed.licence) == (NAME, True, None, "BSD")
    assert len(listed.classes) == 1000 and listed.image_size == 227 and listed.parameters == 1_248_424
    assert main(["models"]) == 0
    assert f"{NAME}: trained on ImageNet; licence BSD; downloaded at first use" in capsys.readouterr().out
