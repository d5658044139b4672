"""`evaluate`: numbers first, pictures that replace only its own."""

import json
import os
import subprocess
import sys

import pytest
from PIL import Image

from squeezekit.cli import main


def test_numbers_are_printed_whatever_becomes_of_the_pictures(tiny_run, tmp_path, capsys):
    (tmp_path / "file").touch()
    accuracy = tiny_run.summary["test"]["accuracy"]
    for more, numbers in (([], f"accuracy {accuracy:.2%}"), (["--json"], f'"accuracy": {accuracy}')):
        assert main(["evaluate", str(tiny_run.folder), "--pictures", str(tmp_path / "file"), *more]) == 1
        printed = capsys.readouterr()
        assert numbers in printed.out
        assert str(tmp_path / "file") in printed.err and "partial" not in printed.err and len(printed.err.splitlines()) == 1


@pytest.mark.slow
def test_a_file_that_evaluate_has_not_made_stays(tiny_run, tmp_path, capsys):
    drawn = tmp_path / "pictures"
    for _ in range(2):
        assert main(["evaluate", str(tiny_run.folder), "--pictures", str(drawn)]) == 0
    assert Image.open(drawn / "confusion.png").size[0] > 100
    for content in (b"mine", b""):
        (drawn / "confusion.png").write_bytes(content)
        capsys.readouterr()
        assert main(["evaluate", str(tiny_run.folder), "--pictures", str(drawn), "--json"]) == 1
        printed = capsys.readouterr()
        assert json.loads(printed.out)["images"] > 0 and "that evaluate has not made" in printed.err
        assert (drawn / "confusion.png").read_bytes() == content


@pytest.mark.long
def test_without_a_home_no_library_has_a_say(tiny_run, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("XDG_", "MPL"))}
    environment |= {"HOME": str(tmp_path / "file" / "home"), "PYTHONWARNINGS": "default"}
    (tmp_path / "file").touch()
    command = [sys.executable, "-m", "squeezekit", "evaluate", str(tiny_run.folder), "--pictures", str(tmp_path / "drawn")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0 and not any(word in done.stderr.lower() for word in ("matplotlib", "warning")), done.stderr
