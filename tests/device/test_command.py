"""`squeezekit-device`: results on standard output, messages on standard error, and the exit codes of squeezekit."""

import json
import re
import shlex
from pathlib import Path

import pytest

from squeezekit.device.command import main
from squeezekit.device.library import library_path
from squeezekit.pretrained.files import model_path
from squeezekit.system.version import version

PICTURE = str(Path(__file__).parents[2] / "examples" / "three.png")
MODEL = str(model_path("digits-nano"))
pytestmark = pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64")


def test_pictures_are_classified_and_those_that_cannot_be_are_said(capsys):
    assert main(["predict", MODEL, PICTURE]) == 0
    assert re.fullmatch(r".*three\.png: 3 \d+\.\d%\n", capsys.readouterr().out)
    assert main(["predict", MODEL, "nowhere.png", PICTURE, "--json"]) == 1
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert answer["path"] == PICTURE and answer["top"] == [{"label": "3", "probability": answer["probability"]}]
    assert err.startswith("squeezekit-device: ") and "nowhere.png cannot be read" in err


def test_it_says_its_version(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == f"squeezekit-device {version()}\n"


def test_wrong_usage_and_wrong_files_are_a_sentence(tmp_path, capsys):
    (tmp_path / "x.sqz").write_bytes(b"dust")
    for arguments in (
        ["predict", str(tmp_path / "x.sqz"), PICTURE],
        ["check", str(tmp_path)],
        ["predict", MODEL, PICTURE, "--top=0"],
    ):
        assert main(arguments) == 2
        assert re.fullmatch(r"squeezekit-device: [^\n]+\n", capsys.readouterr().err)
    for arguments in ([], ["predict"], ["other"]):
        with pytest.raises(SystemExit, match="2"):
            main(arguments)


def test_a_model_is_checked(capsys):
    assert main(["check", MODEL, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"model": MODEL, "passed": True, "problem": None}


@pytest.mark.parametrize("command", ["predict", "serve", "check", "update"])
def test_help_has_two_examples_that_can_be_parsed(command, capsys):
    from squeezekit.device.command import _parser

    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    examples = re.findall(r"^  squeezekit-device (.*)$", capsys.readouterr().out, flags=re.MULTILINE)
    assert len(examples) == 2
    for example in examples:
        assert _parser().parse_args(shlex.split(example))
