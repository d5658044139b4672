"""Names of presets and fields in files.

A `.sqz` or `.onnx` file keeps the names that version 0.1 gave the presets, so that every reader of the format finds the network;
`config.toml` of a run of 0.1 is read with the names of today.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Name of today: name in files.
STORED_NETWORKS = {
    "squeezenet-cifar": "report",
    "squeezenet-late": "late",
    "squeezenet-fast": "fast",
    "squeezenet1_0": "v1.0",
    "squeezenet1_1": "v1.1",
    "mobilenetv2_050": "mobilenetv2-0.5",
    "xvel-tiniest": "tiniest",
}
# Names of 0.1: names of today.
NETWORKS_OF_0_1 = {stored: name for name, stored in STORED_NETWORKS.items() if stored != "fast"}
RECIPES_OF_0_1 = {"report": "classic"}
RECIPE_FIELDS_OF_0_1 = {"normalisation": "normalization"}


def as_stored(network: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a network as a `.sqz` or `.onnx` file holds them."""
    return {**network, "name": STORED_NETWORKS.get(network["name"], network["name"])}


def network_as_read(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a network that a file holds, its preset by the name of today; raises KeyError where it has no name."""
    name = stored["name"]
    if name == "fast" and "base_e" in stored:
        # Another network has that name today.
        name = "squeezenet-fast"
    return {**stored, "name": NETWORKS_OF_0_1.get(name, name) if isinstance(name, str) else name}


def recipe_as_read(stored: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a recipe that a run folder holds, by their names of today."""
    fields = {RECIPE_FIELDS_OF_0_1.get(name, name): value for name, value in stored.items()}
    if "name" in fields:
        fields["name"] = RECIPES_OF_0_1.get(fields["name"], fields["name"])
    return fields
