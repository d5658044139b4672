"""Optimizers start without what they do not need."""

import subprocess
import sys

import pytest

from tests.fixtures.tiny import SMALL

TRAINED = f"""
import sys
from squeezekit import train
for optimizer in ("muon", "sgd", "adam", "adamw"):
    out = sys.argv[1] + optimizer
    train("digits", out=out, optimizer=optimizer, epochs=1, limit=200, precision="fp32", test=False, **{SMALL})
print(*(name for name in sys.argv[2:] if name in sys.modules))
"""
NEEDLESS = ["torch._dynamo", "torch._inductor", "sklearn", "scipy", "matplotlib", "numba", "optuna", "onnx"]


@pytest.mark.slow
def test_a_training_imports_neither_compiler_nor_libraries_that_it_does_not_use(tmp_path):
    command = [sys.executable, "-c", TRAINED, tmp_path / "run", *NEEDLESS]
    found = subprocess.run(command, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []
