"""`squeezekit import`: a file of one's own, and the published one, kept under its name."""

import dataclasses
import hashlib
import json

import pytest

import squeezekit as sk
from squeezekit.cli import main
from squeezekit.modelfile.deep_compression_file import published_network
from squeezekit.pretrained.files import model_path
from squeezekit.pretrained.published import PUBLISHED
from tests.fixtures import deep_compression as written

NAME = "squeezenet1_0-imagenet"


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("import") / "compressed_SqueezeNet.net"
    path.write_bytes(written.file_of(written.random_layers(published_network(), density=0.002)))
    return path


@pytest.mark.slow
def test_a_file_is_written(file, tmp_path, capsys):
    out = tmp_path / "model.sqz"
    assert main(["import", str(file), "-o", str(out), "--json"]) == 0
    made = json.loads(capsys.readouterr().out)
    size = out.stat().st_size
    assert made == {
        "file": str(out), "bytes": size, "name": None, "network": "squeezenet1_0", "classes": 1000, "image_size": 227,
    }  # fmt: skip
    assert main(["import", str(file), "-o", str(out)]) == 0
    assert f"{size:,} bytes, squeezenet1_0, 1,000 classes" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["model.sqz"]


@pytest.mark.slow
def test_the_published_file_is_kept_under_its_name(file, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SQUEEZEKIT_CACHE", str(tmp_path))
    assert main(["import", str(file)]) == 2
    assert f"not a file that is known by name ({NAME}); give -o FILE" in capsys.readouterr().err
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    # Nothing could be downloaded from there.
    monkeypatch.setitem(PUBLISHED, NAME, dataclasses.replace(PUBLISHED[NAME], sha256=digest, addresses=()))
    made = sk.import_model(file)
    assert made.name == NAME and str(model_path(NAME)) == made.file
    assert sk.Classifier.load(NAME).config.image_size == 227


def test_what_is_wrong_is_one_sentence(tmp_path, capsys):
    (tmp_path / "x.net").write_bytes(b"\xff" * 2000)
    for name in ("x.net", "nowhere.net"):
        for out in ([], ["-o", str(tmp_path / "out.sqz")]):
            assert main(["import", str(tmp_path / name), *out]) == 2
            said = capsys.readouterr().err
            assert str(tmp_path / name) in said and len(said.splitlines()) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["x.net"]
