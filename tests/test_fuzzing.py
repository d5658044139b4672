"""Before a release: a minute of the fuzzer."""

import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.long
def test_a_minute_of_fuzzing_finds_nothing(tmp_path):
    pytest.importorskip("atheris", reason="not installed; pip install atheris")
    limits = ["-max_total_time=60", "-timeout=20", "-rss_limit_mb=2048", "-max_len=8192"]
    command = [sys.executable, str(Path(__file__).parent / "fuzz" / "fuzz_sqz.py"), *limits, str(tmp_path / "corpus")]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
