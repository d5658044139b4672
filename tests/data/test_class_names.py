"""Class names are the same in every locale, and some of them speak of mirror images."""

import os
import subprocess
import sys
import unicodedata

import pytest

from squeezekit.data.class_names import class_name, mirrored_pair
from squeezekit.system.errors import SqueezekitError


def test_both_unicode_forms_are_one_name():
    assert class_name(unicodedata.normalize("NFD", "café")) == class_name("café") == "café"


def test_a_name_that_is_not_utf_8_is_one_sentence_that_can_be_printed():
    with pytest.raises(SqueezekitError, match=r"class folder 'caf\\xe9': its name is not UTF-8; rename it") as caught:
        class_name(os.fsdecode(b"caf\xe9"))
    str(caught.value).encode()


@pytest.mark.slow
def test_names_do_not_depend_on_the_locale(tmp_path):
    (tmp_path / "猫").mkdir()
    program = """
import os, sys
sys.getfilesystemencoding() == "iso8859-1" or sys.exit("this Python reads names as UTF-8")
from squeezekit.data.class_names import class_name
sys.stdout.buffer.write(class_name(os.listdir(sys.argv[1])[0]).encode())
"""
    subprocess.run(
        ["localedef", "-i", "en_US", "-f", "ISO-8859-1", tmp_path / "en_US.ISO-8859-1"], capture_output=True, check=False
    )
    if not (tmp_path / "en_US.ISO-8859-1").exists():
        pytest.skip("localedef can make no locale of another encoding here")
    (tmp_path / "classes").mkdir()
    (tmp_path / "猫").rename(tmp_path / "classes" / "猫")
    environment = {**os.environ, "LOCPATH": str(tmp_path), "LC_ALL": "en_US.ISO-8859-1", "PYTHONUTF8": "0"}
    out = subprocess.run([sys.executable, "-c", program, tmp_path / "classes"], env=environment, capture_output=True, check=True)
    assert out.stdout.decode() == "猫"


@pytest.mark.parametrize(
    ("classes", "pair"),
    [
        (("left", "right"), ("left", "right")),
        (("Arrow_Left", "arrow_right", "up"), ("Arrow_Left", "arrow_right")),
        (("Pfeil links", "Pfeil rechts"), ("Pfeil links", "Pfeil rechts")),
        (("turn-clockwise", "turn-anticlockwise"), ("turn-clockwise", "turn-anticlockwise")),
        (("→", "←"), ("→", "←")),
        (("left", "cat"), None),
        (("bright", "left-over"), None),
        (("cat", "dog"), None),
    ],
)
def test_classes_that_are_each_others_mirror_image_by_their_names(classes, pair):
    assert mirrored_pair(classes) == pair
