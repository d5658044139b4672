"""Text of unknown origin, made fit for a terminal and a page."""

from __future__ import annotations

import unicodedata


def shown(text: str) -> str:
    r"""`text` with what is no letter, sign or space as an escape, `\x1b` or `\ud800`.

    Names of files, classes and servers may hold characters that move the cursor, change colours, turn the direction of writing,
    or that no encoding can write.
    """
    if text.isprintable():
        return text
    return "".join(character if _is_plain(character) else _escaped(character) for character in text)


def shown_lines(text: str) -> str:
    """As `shown`, but line ends stay."""
    return "\n".join(map(shown, text.split("\n")))


def shortened(text: object, most: int = 60) -> str:
    """A text of unknown origin in one line of at most so many characters."""
    line = shown(str(text))
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _is_plain(character: str) -> bool:
    # Wide spaces, and what joins letters and emoji, are no control characters.
    return character.isprintable() or character in "\u200c\u200d" or unicodedata.category(character) == "Zs"


def _escaped(character: str) -> str:
    # Bytes of a file name that are not UTF-8 are these characters in Python: shown as the byte that they are.
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return character.encode("ascii", "backslashreplace").decode() if code > 0x7F else f"\\x{code:02x}"
