"""Names from outside in figures."""

import pytest

from squeezekit.system.figures import drawn_names, folded_name


def test_names_that_the_font_cannot_draw_are_numbers_of_classes():
    names = ["cat", "猫", "$\\frac{$", "собака", "🦄", "a\x1b[31m\nb"]
    assert drawn_names(names) == ["cat", "class 2", "$\\frac{$", "собака", "class 5", "a\\x1b[31m\\x0ab"]


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("short", ["short"]),
        ("Tomato___Yellow_Leaf_Curl_Virus", ["Tomato___Yellow_", "Leaf_Curl_Virus"]),
        ("a" * 45, ["a" * 20, "a" * 20, "a" * 5]),
        ("", [""]),
    ],
)
def test_long_names_are_folded_behind_a_sign_between_words(name, lines):
    assert folded_name(name, 20).split("\n") == lines
