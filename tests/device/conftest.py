"""An environment with nothing but squeezekit-device and what it asks for, made once for all processes."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.repositories import _templates, few_rounds, two, versions

__all__ = ["_templates", "two", "versions"]
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def device_environment(shared):
    """Its folder; `bin/squeezekit-device` is the command."""

    def make(folder):
        wheels = folder.with_name("device-wheels")
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
        subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", wheels, ROOT / "device"], check=True, capture_output=True)
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
        (wheel,) = wheels.glob("squeezekit_device-*-py3-none-any.whl")
        into = ["--python", folder / "bin" / "python", "install", "-c", ROOT / "constraints.txt", f"{wheel}[updates]"]
        subprocess.run([*pip, *into], check=True, capture_output=True)

    return shared("device-environment", make)


@pytest.fixture(autouse=True)
def _keys_at_once(monkeypatch):
    few_rounds(monkeypatch)
