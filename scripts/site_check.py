"""What is wrong with a site that was built: python scripts/site_check.py [SITE]

Links to pages, headings and files that are not there, and whatever a browser would fetch from elsewhere by itself.
"""

from __future__ import annotations

import re
import sys
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

# What a browser fetches without being asked.
FETCHED = {"src", "srcset", "poster", "data", "action", "background"}
RELATIONS = {"stylesheet", "preload", "prefetch", "modulepreload", "preconnect", "dns-prefetch", "icon", "manifest"}
OUTSIDE = re.compile(r"(?:https?:)?//[\w.-]")
IN_STYLES = re.compile(r"(?:@import|url\()\s*[\"'(]?\s*(?:https?:)?//[^)\"']*")


class Page(HTMLParser):
    """The anchors of a page, its links, and what it fetches."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Sort its attributes."""
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        self.fetched += [given[name] for name in FETCHED & set(given)]
        if tag == "link" and RELATIONS & set(given.get("rel", "").split()):
            self.fetched.append(given.get("href", ""))
        self.fetched += IN_STYLES.findall(given.get("style", ""))
        self.links += [given["href"]] if "href" in given and tag == "a" else []


@cache
def _page(path: Path) -> Page:
    return Page(path)


def problems(site: Path) -> list[str]:
    """One line for each, empty where there are none."""
    found: list[str] = []
    for path in sorted(site.rglob("*.html")):
        name, read = path.relative_to(site).as_posix(), _page(path)
        found += [f"{name}: fetches {address}" for address in read.fetched if OUTSIDE.match(address)]
        # The page that a server shows for any address has addresses from its root.
        if name != "404.html":
            inside = [address for address in [*read.links, *read.fetched] if not re.match(r"[a-z]+:|//", address)]
            found += [f"{name}: {address} leads nowhere" for address in inside if not _leads(address, path)]
    for path in sorted(site.rglob("*.css")):
        found += [
            f"{path.relative_to(site)}: fetches {address}" for address in IN_STYLES.findall(path.read_text(encoding="utf-8"))
        ]
    return found


def _leads(address: str, page: Path) -> bool:
    parts = urlsplit(address)
    place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    place = place / "index.html" if place.is_dir() else place
    if not place.is_file():
        return False
    return not parts.fragment or place.suffix != ".html" or unquote(parts.fragment) in _page(place).anchors | {"__top"}


if __name__ == "__main__":
    wrong = problems(Path(sys.argv[1] if len(sys.argv) > 1 else "site"))
    print("\n".join(wrong))
    sys.exit(bool(wrong))
