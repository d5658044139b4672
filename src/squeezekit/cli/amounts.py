"""Numbers as people write them: of bytes and multiply-adds 60k, 1.5M; several ones with commas."""

from __future__ import annotations

import math
import re

from squeezekit.system.errors import SqueezekitError

FACTORS = {"": 1, "k": 1_000, "m": 1_000_000, "g": 1_000_000_000}


def amount(text: str) -> int:
    """`60000`, `60k`, `1.5M`: factors of a thousand. Raises SqueezekitError for anything else, and what is no whole number."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)([kmg]?)b?", text.strip().lower())
    number = float(found[1]) * FACTORS[found[2]] if found else 0.0
    if number < 1 or number != int(number):
        raise SqueezekitError(f"'{text}' is no amount: give a number such as 60000, 60k or 1.5M")
    return int(number)


def numbers(text: str) -> tuple[float, ...]:
    """`0.5`, `0.485,0.456,0.406`. Raises SqueezekitError for anything else."""
    try:
        found = tuple(map(float, text.split(",")))
    except ValueError:
        found = ()
    if not found or not all(map(math.isfinite, found)):
        raise SqueezekitError(f"'{text}' is no list of numbers: give one such as 0.5 or 0.485,0.456,0.406")
    return found
