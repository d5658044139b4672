"""Every command of docs/deploy.md, as it stands, in the order of the page."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_the_page_does_what_it_says(tmp_path):
    pytest.importorskip("onnxscript", reason="ONNX is not installed; pip install 'squeezekit[onnx]'")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    blocks = re.findall(r"^```(sh|python)\n(.*?)^```", (ROOT / "docs" / "deploy.md").read_text(), re.MULTILINE | re.DOTALL)
    outputs = []
    for language, text in blocks:
        commands = text.strip().splitlines() if language == "sh" else [text]
        for command in commands:
            start = ["bash", "-c", command] if language == "sh" else [sys.executable, "-c", command]
            done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            outputs.append(done.stdout)
    assert len(outputs) >= 7 and (tmp_path / "digits-int8.onnx").exists()
    # The last program recognises a digit that it was not trained on.
    assert outputs[-1].strip() == "3"
