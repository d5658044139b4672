"""Draws what commands of the front page print, as they print it today.

python scripts/terminal_pictures.py [--out docs/terminal]
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
import sys
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
# Picture, commands, and how many lines of each command's answer are shown.
PICTURES = {"models": (("squeezekit predict digits-nano examples/three.png --top 3", 1), ("squeezekit models", 12))}
COLUMNS, CHARACTER, LINE, EDGE = 100, 7.8, 17, 16
STYLE = (
    "text{font:13px ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace;fill:#1c2733;white-space:pre}"
    ".typed{font-weight:bold}.back{fill:#f4f6f8;stroke:#d5dde5}"
    "@media(prefers-color-scheme:dark){text{fill:#e3e9ef}.back{fill:#1b222a;stroke:#3a4652}}"
)


def main() -> None:
    """Draw all."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "terminal")
    folder = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    for name, commands in PICTURES.items():
        lines = [line for command, most in commands for line in (f"$ {command}", *answer(command)[:most])]
        (folder / f"{name}.svg").write_text(drawn(lines), encoding="utf-8")


def answer(command: str) -> list[str]:
    """The lines that a command prints."""
    words = [sys.executable, "-m", *shlex.split(command)]
    told = {**os.environ, "COLUMNS": str(COLUMNS)}
    return subprocess.run(words, cwd=ROOT, env=told, capture_output=True, text=True, check=True).stdout.splitlines()


def drawn(lines: list[str]) -> str:
    """A terminal with these lines, each as wide as its characters whatever the font."""
    width, height = max(map(len, lines)) * CHARACTER + 2 * EDGE, len(lines) * LINE + 2 * EDGE
    kinds = [' class="typed"' if line.startswith("$ ") else "" for line in lines]
    content = "\n".join(
        f'<text x="{EDGE}" y="{EDGE + LINE * number + 12}" textLength="{len(line) * CHARACTER:.1f}"{kind}>{escape(line)}</text>'
        for number, (line, kind) in enumerate(zip(lines, kinds, strict=True))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}"><style>{STYLE}</style>\n'
        f'<rect class="back" x="0.5" y="0.5" width="{width - 1:.0f}" height="{height - 1}" rx="8"/>\n{content}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
