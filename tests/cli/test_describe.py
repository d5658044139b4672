"""What `describe` says about flash and RAM is what the exported C takes."""

import json
import shutil
import subprocess
from typing import get_args

import pytest
from torch import nn

from squeezekit.cli import main
from squeezekit.export.c.tables import StoreWeights
from squeezekit.networks import NetworkConfig
from squeezekit.networks.registry import NETWORKS

SMALL = ["--base-e", "64", "--incr-e", "32", "--depth", "3", "--pool-before", "2"]


class Stretched(NetworkConfig):
    def build(self):
        layers = nn.Conv2d(self.channels, 4, 3, padding=1), nn.Upsample(scale_factor=2), nn.AdaptiveAvgPool2d(1)
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(4, self.classes))


def described(capsys, *arguments):
    """The lines for a reader, and the same as JSON."""
    assert main(["describe", *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert main(["describe", *arguments, "--json"]) == 0
    return lines, json.loads(capsys.readouterr().out)


def test_ram_and_flash_of_a_preset_stand_below_its_layers(capsys):
    lines, table = described(capsys, "squeezenet-cifar", *SMALL)
    ram, (stored,) = table["c"]["feature_maps"], table["c"]["stored"].items()
    assert stored[0] == "dense" and stored[1]["ram"] == ram["least"] < ram["by_layer"]
    assert stored[1]["flash"] > table["parameters"] and 0 < stored[1]["macs"] <= table["macs"] and table["c_unknown"] is None
    assert any(all(f"{number:,}" in line for number in stored[1].values()) for line in lines)
    numbers = f"{ram['least']:,} bytes; layer by layer {ram['by_layer']:,}, all row by row {ram['by_row']:,}"
    assert lines[-1] == f"RAM for feature maps: {numbers}"


@pytest.mark.skipif(not (shutil.which("gcc") and shutil.which("size")), reason="gcc or size is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["digits-nano", "cifar10-pico", "cifar10-nano", "cifar10-small"])
def test_the_exported_program_has_as_many_bytes_of_variables(name, capsys, tmp_path):
    _lines, table = described(capsys, name)
    assert list(table["c"]["stored"]) == list(get_args(StoreWeights))
    for way, said in table["c"]["stored"].items():
        folder = tmp_path / way
        assert main(["export", name, "--format", "c", "--store-weights", way, "-o", str(folder), "--json"]) == 0
        exported = json.loads(capsys.readouterr().out)
        assert said == {"flash": exported["constants"], "ram": exported["variables"], "macs": exported["macs"]}
        subprocess.run(["gcc", "-std=c99", "-O0", "-c", "classifier.c", "-o", "classifier.o"], cwd=folder, check=True)
        shown = subprocess.run(["size", "-A", "classifier.o"], cwd=folder, check=True, capture_output=True, text=True).stdout
        sections = {name: int(size) for name, size, *_address in map(str.split, shown.splitlines()[2:-2])}
        # The compiler aligns what it places.
        allocated = sections.get(".bss", 0) + sections.get(".data", 0)
        assert said["ram"] <= allocated < said["ram"] + 64


@pytest.mark.parametrize("name", ["stretched", "xvel-tiniest", "resnet20"])
def test_a_network_without_integer_form_says_so(name, monkeypatch, capsys):
    monkeypatch.setitem(NETWORKS, "stretched", (Stretched, {}))
    lines, table = described(capsys, name)
    assert table["c"] is None and table["c_unknown"].endswith("has no integer form")
    assert lines[-1] == f"flash and RAM as C: not known, because {table['c_unknown']}"
