"""A run folder that somebody has changed is refused in one sentence."""

import json
import os
import re
import shutil

import pytest

from squeezekit import SqueezekitError
from squeezekit.inference.model import load_model


@pytest.fixture
def folder(tiny_run, tmp_path):
    return shutil.copytree(tiny_run.folder, tmp_path / "run", symlinks=True)


def settings(folder, **fields):
    """Change fields of its network."""
    path = folder / "config.toml"
    text = path.read_text(encoding="utf-8")
    for name, value in fields.items():
        text, count = re.subn(rf"^{name} = .*$", f"{name} = {value}", text, flags=re.MULTILINE)
        assert count == 1
    path.write_text(text, encoding="utf-8")


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"start": 10**12, "freq": 1}, "start"),
        ({"base_e": 4096, "incr_e": 4096, "start": 20, "depth": 64}, "parameters|MACs"),
        ({"stem_width": 4096, "image_size": 1024}, "values between two layers"),
        ({"classes": 10**9}, "classes"),
        ({"classes": 3}, "names 10 different classes, but the network has 3"),
    ],
)
def test_what_its_network_takes_is_bounded(fields, said, folder):
    settings(folder, **fields)
    with pytest.raises(SqueezekitError, match=said) as found:
        load_model(folder)
    assert str(found.value).startswith(str(folder)) and str(found.value).isprintable()


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("data.json", {"classes": None}),
        ("data.json", {"classes": 5}),
        ("data.json", {"classes": [["a"], {"b": 1}, None]}),
        ("data.json", {"classes": ["a"] * 10}),
        ("data.json", {"classes": ["\ud800", *"bcdefghij"]}),
        ("data.json", {"fingerprint": 5}),
        ("summary.json", {"validation": {}}),
        ("summary.json", {"validation": {"accuracy": "<img src=x>"}}),
        ("summary.json", {"validation": {"accuracy": 1e300}}),
    ],
)
def test_what_is_known_of_it_is_checked(name, change, folder):
    content = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps({**content, **change}), encoding="utf-8")
    with pytest.raises(SqueezekitError) as found:
        load_model(folder)
    assert str(found.value).startswith(str(folder)) and str(found.value).isprintable()


@pytest.mark.parametrize("suffix", ["sqz", "onnx"])
def test_a_pipe_is_not_waited_for(suffix, tmp_path):
    os.mkfifo(tmp_path / f"pipe.{suffix}")
    with pytest.raises(SqueezekitError, match="is not a file"):
        load_model(tmp_path / f"pipe.{suffix}")
