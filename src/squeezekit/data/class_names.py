"""Names of classes: the same text in every locale, and what they say about mirror images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Sequence

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shown

# Words that a mirror exchanges.
SIDES = (
    "left right, leftward rightward, west east, clockwise counterclockwise, clockwise anticlockwise, cw ccw, links rechts, "
    "gauche droite, izquierda derecha, sinistra destra, esquerda direita, lewo prawo, влево вправо, 左 右, ← →, < >"
)
PAIRS = tuple(tuple(pair.split()) for pair in SIDES.split(", "))
OTHER_SIDES = {
    word: {other for pair in PAIRS if word in pair for other in pair if other != word} for pair in PAIRS for word in pair
}


def class_name(folder: str) -> str:
    """What a folder's name, as the system gives it, is called as a class: UTF-8 in every locale, é as one character (NFC).

    Raises SqueezekitError for a name that is not UTF-8.
    """
    content = os.fsencode(folder)
    try:
        name = content.decode("utf-8")
    except UnicodeDecodeError:
        written = shown(content.decode("utf-8", "surrogateescape"))
        raise SqueezekitError(f"class folder '{written}': its name is not UTF-8; rename it") from None
    return unicodedata.normalize("NFC", name)


def mirrored_pair(classes: Sequence[str]) -> tuple[str, str] | None:
    """Two classes whose names say that they are each other's mirror image, as "arrow left" and "arrow right"; or None."""
    known = {name.casefold(): name for name in classes}
    for name in classes:
        words = re.split(r"([\W_]+|[←→<>])", name.casefold())
        for place, word in enumerate(words):
            for other in OTHER_SIDES.get(word, ()):
                if partner := known.get("".join([*words[:place], other, *words[place + 1 :]])):
                    return name, partner
    return None


def characters(classes: Sequence[str]) -> bool:
    """Whether the classes are digits or letters, whose mirror images are other characters or none."""
    return all(len(name) == 1 and name.isalnum() for name in classes)
