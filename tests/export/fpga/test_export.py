"""Runs and files become folders of Verilog."""

import json
import re

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.export.fpga.export import export_fpga


def test_a_pretrained_network_becomes_a_folder(tmp_path, capsys):
    out = tmp_path / "digits"
    flags = ["export", "digits-nano", "--format", "fpga", "-o", str(out)]
    assert main([*flags, "--target", "ecp5-85k", "--parallel", "120", "--clock", "80", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["multipliers"] <= 120 and said["dsps"] <= 156 and said["pictures_a_second"] == round(80e6 / said["cycles"], 1)
    readme = (out / "README.md").read_text()
    assert f"| cycles from one picture to the next | {said['cycles']:,} |" in readme and "at 80 MHz" in readme
    svg = (out / "wiring.svg").read_text()
    assert len(re.findall("<rect", svg)) > 40 and "prefers-color-scheme: dark" in svg
    (out / "pictures.hex").write_text("00 ff")
    # Anew over the old one, but not over a file of somebody's own.
    assert main(flags) == 0
    assert f"{out}: " in capsys.readouterr().out
    assert (out / "pictures.hex").read_text() == "00 ff"
    (out / "mine.v").write_text("module mine; endmodule")
    assert main(flags) == 2
    assert "other things than an export" in capsys.readouterr().err and (out / "mine.v").exists()


@pytest.mark.parametrize(
    "options, told",
    [
        ({"target": "ecp5-12k"}, "--target ecp5-12k: is unknown; choose ecp5-85k, ecp5-45k, ecp5-25k, ice40-up5k, generic"),
        ({"clock": 0.0}, "--clock 0: give the clock in MHz"),
        ({"clock": float("nan")}, "--clock nan: give the clock in MHz"),
        ({"parallel": -1}, "--parallel -1: each of"),
    ],
    ids=str,
)
def test_settings_that_cannot_be(options, told, tmp_path):
    with pytest.raises(SqueezekitError, match=told):
        export_fpga("digits-nano", tmp_path / "x", **options)
    assert not (tmp_path / "x").exists()


def test_flags_of_other_formats_are_refused(tmp_path, capsys):
    for flags in (
        ["--format", "c", "--target", "generic"],
        ["--format", "fpga", "--int8"],
        ["--format", "onnx", "--parallel", "9"],
    ):
        assert main(["export", "digits-nano", "-o", str(tmp_path / "x"), *flags]) == 2
        assert "leave it out" in capsys.readouterr().err
