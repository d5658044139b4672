"""Puts the source files that squeezekit and its device share into the wheel and the sdist of squeezekit-device."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PLACES = {"wheel": "squeezekit_device", "sdist": "src/squeezekit_device"}


class SharedFiles(BuildHookInterface):  # type: ignore[type-arg]
    """Those that `shared` in pyproject.toml names, from src/squeezekit of the clone; an sdist holds them already."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Before either is built."""
        if (Path(self.root) / PLACES["sdist"] / self.config["shared"][0]).exists():
            return
        source = Path(self.root).parent / "src" / "squeezekit"
        for name in self.config["shared"]:
            build_data["force_include"][str(source / name)] = f"{PLACES[self.target_name]}/{name}"
