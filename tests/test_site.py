"""The site of `docs`: built strictly, it fetches nothing from elsewhere, and its classifiers answer in a browser."""

import functools
import http.server
import importlib.util
import re
import threading

import pytest
import site_check
import site_pages
import site_reference

from squeezekit.cli import COMMANDS
from tests.fixtures.browser import CHROMIUM, Browser

NEEDED = pytest.mark.skipif(importlib.util.find_spec("zensical") is None, reason="not installed; pip install 'squeezekit[docs]'")
LABEL = "document.querySelector('#live iframe').contentDocument.querySelector('#verdict')?.textContent"


@pytest.fixture(scope="module")
def site(shared):
    """Built once: strictly, so that a broken link, anchor or menu fails."""
    return shared("site", site_pages.build)


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def address(site):
    """Of a server on this machine that has the site."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@NEEDED
@pytest.mark.slow
def test_every_page_is_there_and_small(site):
    missing = [place for place in site_pages.PLACES.values() if not (site / re.sub(r"\.md$", ".html", place)).exists()]
    assert missing == []
    for name in COMMANDS:
        assert f"squeezekit {name}" in (site / "reference" / "commands" / f"{name}.html").read_text(encoding="utf-8")
    assert sum(path.stat().st_size for path in site.rglob("*") if path.is_file()) < 20e6


@NEEDED
@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; apt-get install chromium")
def test_the_live_page_answers_and_nothing_is_fetched_from_elsewhere(site, address, tmp_path):
    # No name is resolved, so that whatever is fetched from elsewhere is complained of.
    browser = Browser(tmp_path, "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1")
    try:
        browser.open(f"{address}/try-it.html")
        for model, picture in (("digits-nano", "digit-7"), ("cifar10-nano", "airplane"), ("photo-s", "stop_sign")):
            browser.value(f"document.querySelector('input[value={model}]').click()")
            browser.wait_for(f"document.querySelector('#live iframe').contentDocument?.title.startsWith('{model}')")
            browser.value(f"document.querySelector('img[src$=\"{picture}.png\"]').parentElement.click()")
            browser.wait_for(f"({LABEL} || '').startsWith('{picture.removeprefix('digit-')}, ')")
        fetched = browser.value("performance.getEntriesByType('resource').map(one => one.name)")
        assert len(fetched) > 5 and all(one.startswith((address, "data:", "blob:")) for one in fetched)
        browser.open(f"{address}/index.html")
        assert browser.console == []
    finally:
        browser.close()


def test_what_is_wrong_with_a_site_is_found(tmp_path):
    (tmp_path / "a.html").write_text(
        '<link rel="stylesheet" href="//elsewhere.org/a.css"><script src="https://elsewhere.org/a.js"></script>'
        '<a href="b.html">x</a> <a href="#there">x</a> <a href="#here" id="here">x</a> <a href="https://elsewhere.org">x</a>'
    )
    (tmp_path / "a.css").write_text('@import "https://elsewhere.org/b.css"; p { background: url(a.png) }')
    found = site_check.problems(tmp_path)
    assert [line.partition(": ")[2].split()[:2] for line in found] == [
        ["fetches", "//elsewhere.org/a.css"],
        ["fetches", "https://elsewhere.org/a.js"],
        ["b.html", "leads"],
        ["#there", "leads"],
        ["fetches", "@import"],
    ]


def test_a_page_in_no_menu_is_said(tmp_path):
    (tmp_path / "guides").mkdir()
    for name in ("a.md", "guides/b.md", "guides/c.md"):
        (tmp_path / name).touch()
    assert site_pages.menu([{"A": "a.md"}, {"Guides": ["guides/c.md", "guides/"]}], tmp_path) == [
        {"A": "a.md"},
        {"Guides": ["guides/c.md", "guides/b.md"]},
    ]
    with pytest.raises(site_pages.SiteError, match=r"in no menu.*: guides/b\.md, guides/c\.md"):
        site_pages.menu([{"A": "a.md"}], tmp_path)


def test_links_to_sources_become_paths_and_code_is_left_alone():
    page = site_pages.DOCS / "guides" / "train.md"
    source = "../../src/squeezekit/cli/train.py"
    text = f"[a]({source}) [train.py]({source}) [b](../log.md#x) `[c](d)` [e](../runs/gpu)"
    assert site_pages.with_links(text, page) == (
        "a (`src/squeezekit/cli/train.py`) `src/squeezekit/cli/train.py` [b](../log.md#x) `[c](d)` [e](../runs/files.md#gpu)"
    )


def test_a_command_page_has_every_setting():
    page = site_reference.command_page("keys")
    for setting in ("`--repo`", "`--threshold`", "`--passphrase-file`", "## `squeezekit keys rotate`"):
        assert setting in page


def test_a_docstring_becomes_a_list_of_its_parameters():
    text = "Do a thing.\n\ndata: uint8 [n, h]. out, name: where,\nwith `b`."
    assert list(site_reference.paragraphs(text, {"data", "out", "name"})) == [
        "Do a thing.",
        "",
        "- **`data`**: uint8 \\[n, h\\].",
        "- **`out`**, **`name`**: where, with `b`.",
        "",
    ]
