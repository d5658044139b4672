"""Projects for boards, with a model's C and a picture beside them, compile and answer as Python does."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from squeezekit.cli import main
from squeezekit.data.image_file import read_image
from squeezekit.inference.classifier import Classifier
from tests.fixtures.exported import STRICT

EXAMPLES = Path(__file__).parents[1] / "examples" / "embedded"
PICTURE = Path(__file__).parents[1] / "examples" / "three.png"
ARDUINO = Path("/usr/share/arduino/hardware/arduino/avr")
pytestmark = pytest.mark.slow


@pytest.fixture
def project(tmp_path):
    """A copy of one example's folder, with the three files that it lacks."""
    assert not main(["export", "digits-nano", "--format", "c", "--store-weights", "sparse", "-o", str(tmp_path / "c")])
    header = tmp_path / "picture.h"
    subprocess.run([sys.executable, EXAMPLES / "picture_as_c.py", PICTURE, tmp_path / "c", "-o", header], check=True)

    def copied(folder, sources):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
        for file in (tmp_path / "c" / "classifier.h", tmp_path / "c" / "classifier.c", header):
            shutil.copy(file, tmp_path / folder / sources)
        return tmp_path / folder / sources

    return copied


def test_a_picture_that_cannot_be_written_is_a_sentence(tmp_path):
    assert not main(["export", "digits-nano", "--format", "c", "--name", "digits", "-o", str(tmp_path / "c")])
    (tmp_path / "empty").mkdir()
    out = tmp_path / "picture.h"
    for picture, folder, to, told in (
        (PICTURE, tmp_path / "empty", out, "holds not one header that squeezekit export --format c wrote"),
        (tmp_path / "none.png", tmp_path / "c", out, "none.png"),
        (PICTURE, tmp_path / "c", tmp_path / "nowhere" / "picture.h", "No such file or directory"),
        (PICTURE, tmp_path / "c", out, ""),
    ):
        command = [sys.executable, EXAMPLES / "picture_as_c.py", picture, folder, "-o", to]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == (2 if told else 0) and told in done.stderr and "Traceback" not in done.stderr
        assert out.exists() == (not told)


@pytest.mark.skipif(not shutil.which("gcc"), reason="gcc is not installed")
@pytest.mark.parametrize(("folder", "sources", "entry"), [("esp-idf", "main", "app_main"), ("zephyr", "src", "main")])
def test_programs_in_c_answer_as_python_does(folder, sources, entry, project):
    place = project(folder, sources)
    numbers = re.findall(r"\d+", (place / "picture.h").read_text().partition("= {")[2])
    assert bytes(map(int, numbers)) == read_image(PICTURE, 32, 1).tobytes()
    begins = [] if entry == "main" else ["start.c"]
    (place / "start.c").write_text(f"void {entry}(void);\nint main(void) {{ {entry}(); return 0; }}\n")
    subprocess.run(["gcc", *STRICT, "-O2", "-o", "program", "main.c", "classifier.c", *begins], cwd=place, check=True)
    printed = subprocess.run([place / "program"], capture_output=True, text=True, check=True).stdout
    label = Classifier.load("digits-nano")(PICTURE).label
    assert re.fullmatch(rf"{label}(, \d+ ms)?\n", printed)


@pytest.mark.skipif(not (shutil.which("avr-g++") and ARDUINO.exists()), reason="Arduino's AVR core is not installed")
def test_sketch_compiles_against_arduinos_headers(project):
    place = project(Path("arduino/classify"), ".")
    core = [f"-I{ARDUINO / 'cores' / 'arduino'}", f"-I{ARDUINO / 'variants' / 'mega'}"]
    board = ["-Os", "-mmcu=atmega2560", "-DF_CPU=16000000L", "-DARDUINO=10819", "-DARDUINO_ARCH_AVR"]
    # As Arduino does with a sketch.
    sketch = ["-x", "c++", "-include", "Arduino.h", "-std=gnu++11", "-Wall", "-Wextra", "-Werror", "classify.ino"]
    subprocess.run(["avr-g++", *board, *core, "-c", *sketch, "-o", "sketch.o"], cwd=place, check=True)
    subprocess.run(["avr-gcc", *board, "-std=gnu11", "-c", "classifier.c", "-o", "classifier.o"], cwd=place, check=True)
    names = subprocess.run(["avr-nm", "-u", place / "sketch.o"], capture_output=True, text=True, check=True).stdout
    defined = subprocess.run(
        ["avr-nm", "--defined-only", place / "classifier.o"], capture_output=True, text=True, check=True
    ).stdout
    # A sketch is C++, the classifier is C: what one lacks has the name that the other gives.
    wanted = re.findall(r"U (classifier_\w+)", names)
    assert len(wanted) == 4
    assert all(re.search(rf" {name}$", defined, re.MULTILINE) for name in wanted)
