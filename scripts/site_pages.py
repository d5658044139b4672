"""Build the site of docs/: python scripts/site_pages.py [OUT]

The pages stay where they are and as GitHub shows them. Copies of them, with links that hold on the site, pages that are read off
the program (scripts/site_reference.py) and the classifiers of "Try it" (scripts/site_live.py) go to a folder of the moment, of
which Zensical makes the site. What scripts/site_check.py finds in it fails the build, and so does a page that is in no menu of
zensical.toml. OUT, `site` unless given, is replaced when all is well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import site_check
import site_live
import site_reference
import tomli_w

from squeezekit.cli import COMMANDS

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
RUNS = DOCS / "runs"
# Its commands have pages of their own.
COMMANDS_PAGE = DOCS / "reference" / "commands.md"
# Pages that lie elsewhere on the site, and those outside of docs that are on it.
MOVED = {
    "README.md": "index.md",
    "docs/README.md": "overview.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
}
# The list of the files of the runs; links to their folders lead there.
RUNS_PAGE = "runs/files.md"
# Larger files stay in the repository.
MOST_BYTES = 500_000
FENCED = re.compile(r"^(?P<fence>```|~~~).*?^(?P=fence)[^\n]*$", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"(`+)(?:(?!\n\n).)+?\1", re.DOTALL)
# A link whose address stands elsewhere; the pages have none.
REFERENCE = re.compile(r"\[[^\[\]\n]+\]\[[^\[\]\n]*\]")
# Code first: what looks like a link in it is none.
CODE_OR_LINK = re.compile(
    r"(?P<code>(?P<ticks>`+)(?:(?!\n\n).)+?(?P=ticks))|(?P<text>!?\[(?:[^\[\]]|\[[^\]]*\])*\])\((?P<target>[^)\s]+)\)", re.DOTALL
)


class SiteError(Exception):
    """What a page has that no site can be made of; one line for each."""


def build(out: Path) -> None:
    """Build the site into a folder that is replaced; raises SiteError."""
    out = out.resolve()
    if out.exists() and not (out / "sitemap.xml").exists():
        raise SiteError(f"{out} is there and no site; give another folder")
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".site-", dir=out.parent) as name:
        folder = Path(name)
        stage(folder)
        command = [sys.executable, "-m", "zensical", "build", "--strict", "--config-file", str(folder / "zensical.toml")]
        done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode:
            raise SiteError(done.stdout)
        problems = site_check.problems(folder / "site")
        if problems:
            raise SiteError("\n".join(problems))
        shutil.rmtree(out, ignore_errors=True)
        (folder / "site").rename(out)


def stage(folder: Path) -> None:
    """Write what Zensical reads: `pages` and `zensical.toml`."""
    pages = folder / "pages"
    for source, place in sorted(sources().items()):
        (pages / place).parent.mkdir(parents=True, exist_ok=True)
        if place.endswith(".md"):
            (pages / place).write_text(page(source), encoding="utf-8")
        else:
            shutil.copyfile(source, pages / place)
    (pages / "reference" / "commands").mkdir()
    for name in COMMANDS:
        _write(pages / "reference" / "commands" / f"{name}.md", site_reference.command_page(name))
    _write(pages / "reference" / "library.md", site_reference.library_page())
    _write(pages / RUNS_PAGE, runs_page())
    site_live.write(pages)
    config = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))
    config["project"] |= {"docs_dir": "pages", "site_dir": "site", "nav": menu(config["project"]["nav"], pages)}
    _write(folder / "zensical.toml", tomli_w.dumps(config))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def sources() -> dict[Path, str]:
    """Every file that comes onto the site, and its place there."""
    found = {ROOT / name: place for name, place in MOVED.items()}
    for path in DOCS.rglob("*"):
        place = path.relative_to(DOCS).as_posix()
        if not path.is_file() or path in found or path.name.startswith("."):
            continue
        if path.suffix == ".ipynb":
            found[path] = place.removesuffix("ipynb") + "md"
        elif RUNS in path.parents:
            if path.suffix != ".md" and path.stat().st_size <= MOST_BYTES:
                found[path] = place
        else:
            found[path] = re.sub(r"README\.md$", "index.md", place)
    return found


def page(source: Path) -> str:
    """A page with links that hold on the site; raises SiteError for what only GitHub can show."""
    text = source.read_text(encoding="utf-8") if source.suffix == ".md" else notebook(source)
    found = re.search(r"^```(mermaid|math)|^\$\$", text, re.MULTILINE)
    if found:
        raise SiteError(
            f"{source.relative_to(ROOT)}: {found[0]} needs a script from elsewhere; draw a picture, or write it as text"
        )
    if source == COMMANDS_PAGE:
        text = re.sub(r"(?m)^(\|[^|\n]*\| )(`([a-z-]+)`) \|", r"\1[\2](commands/\3.md) |", text)
    unresolved = REFERENCE.search(CODE.sub("", FENCED.sub("", text)))
    if unresolved:
        raise SiteError(f"{source.relative_to(ROOT)}: {unresolved[0]} is resolved by nothing; give the address in parentheses")
    parts, begin = [], 0
    for fenced in FENCED.finditer(text):
        parts += [with_links(text[begin : fenced.start()], source), fenced[0]]
        begin = fenced.end()
    return "".join([*parts, with_links(text[begin:], source)])


def notebook(source: Path) -> str:
    """The cells of a notebook as Markdown."""
    cells = json.loads(source.read_text(encoding="utf-8"))["cells"]
    texts = (("".join(cell["source"]), cell["cell_type"]) for cell in cells)
    return "\n\n".join(text if kind == "markdown" else f"```python\n{text}\n```" for text, kind in texts) + "\n"


def with_links(text: str, source: Path) -> str:
    """Text of a page whose links lead to the site's pages and files, or to the repository where the project names one."""

    def link(found: re.Match[str]) -> str:
        text, target = found["text"], found["target"]
        made = source == COMMANDS_PAGE and (target or "").startswith("commands/")
        if found["code"] or made or re.match(r"[a-z]+:|#", target):
            return found[0]
        path, _, anchor = target.partition("#")
        place = (source.parent / path).resolve()
        here = Path(PLACES[source]).parent.as_posix()
        there = PLACES.get(place) or (f"{RUNS_PAGE}#{_anchor(place)}" if RUNS in [place, *place.parents] else "")
        if there:
            address = os.path.relpath(there, here).replace(os.sep, "/")
            return f"{text}({address}{f'#{anchor}' if anchor and '#' not in address else ''})"
        return elsewhere(text[1:-1], place)

    return CODE_OR_LINK.sub(link, text)


def _anchor(place: Path) -> str:
    """Of a folder in docs/runs, the heading of its files; of docs/runs itself the page's."""
    parts = place.relative_to(RUNS).parts
    return parts[0].lower() if parts else "files-of-the-runs"


def elsewhere(text: str, place: Path) -> str:
    """A link to what is not on the site: into the repository, or else the words with the path."""
    path = place.relative_to(ROOT).as_posix()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    address = project.get("urls", {}).get("Repository")
    if address:
        return f"[{text}]({address.rstrip('/')}/{'tree' if place.is_dir() else 'blob'}/main/{path})"
    words = text.strip("`")
    return f"`{path}`" if path.endswith(words) else f"{text} (`{path}`)"


def runs_page() -> str:
    """The list of files in docs/runs, one heading a folder."""
    lines = [
        "# Files of the runs",
        "",
        "What the figures in the results were copied from: JSON lines, settings, curves. Larger files are in the repository.",
    ]
    for folder in sorted(path for path in RUNS.iterdir() if path.is_dir()):
        lines += ["", f"## {folder.name}", ""]
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"):
            name, size = path.relative_to(RUNS).as_posix(), f"{path.stat().st_size:,} bytes"
            lines.append(f"- [`{name}`]({name}), {size}" if path in PLACES else f"- `{name}`, {size}, in the repository")
    return "\n".join([*lines, ""])


def menu(entries: list[Any], pages: Path) -> list[Any]:
    """The menu with a folder's pages in the place of its name; raises SiteError for a page that is in none."""
    named = set(_named(entries))
    filled = _filled(entries, named, pages)
    missing = sorted({path.relative_to(pages).as_posix() for path in pages.rglob("*.md")} - set(_named(filled)))
    if missing:
        raise SiteError(f"in no menu, add to nav in zensical.toml: {', '.join(missing)}")
    return filled


def _named(entries: Any) -> Iterator[str]:
    if isinstance(entries, str):
        yield entries
    for entry in entries.values() if isinstance(entries, dict) else entries if isinstance(entries, list) else ():
        yield from _named(entry)


def _filled(entries: Any, named: set[str], pages: Path) -> Any:
    if isinstance(entries, dict):
        return {title: _filled(entry, named, pages) for title, entry in entries.items()}
    if not isinstance(entries, list):
        return entries
    filled: list[Any] = []
    for entry in entries:
        if isinstance(entry, str) and entry.endswith("/"):
            found = sorted(path.relative_to(pages).as_posix() for path in (pages / entry).rglob("*.md"))
            filled += [place for place in found if place not in named]
        else:
            filled.append(_filled(entry, named, pages))
    return filled


PLACES = sources()

if __name__ == "__main__":
    try:
        build(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "site")
    except SiteError as error:
        sys.exit(f"the site was not built:\n{error}")
