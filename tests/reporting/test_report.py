"""A report tells the whole story, in two languages, in a real browser."""

import base64
import csv
import hashlib
import json
import os
import re
import shutil
import string
import xml.etree.ElementTree as Tree
from html.parser import HTMLParser

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.reporting.localization import LANGUAGES, Language, words
from squeezekit.reporting.report import write_report
from squeezekit.search.crossval import cross_validate
from squeezekit.search.search import search
from tests.fixtures.browser import CHROMIUM, Browser
from tests.fixtures.commands import search_here
from tests.fixtures.tiny import SMALL

SHORT = {**SMALL, "limit": 300, "epochs": 2, "precision": "fp32"}
SPACE = "[network]\nsqueeze_ratio = [0.25, 0.5]\nshare_3x3 = [0.3, 0.7]\n[recipe]\nlearning_rate = [0.01, 0.1, 1e30]\n"


@pytest.fixture(scope="session")
def study(shared):
    """A finished search of twelve points, four of which fail."""

    def searched(folder):
        # What varies is not given.
        fields = {name: value for name, value in SHORT.items() if name != "squeeze_ratio"}
        space = folder.with_suffix(".toml")
        space.write_text(SPACE)
        with pytest.MonkeyPatch.context() as patch:
            search_here(patch)
            search("digits", folder, space=str(space), sampler="grid", pruner="none", **fields)

    return shared("reported-study", searched)


@pytest.fixture(scope="session")
def report(shared, study):
    """`en.html` and `fr.html` about it, and folders `en` and `fr` with their tables and plots."""

    def written(folder):
        folder.mkdir()
        for code in LANGUAGES:
            write_report([study], folder / f"{code}.html", code, folder / code)

    return shared("report-of-a-study", written)


def test_both_languages_have_every_sentence_with_the_same_values():
    first, second = (words(code) for code in LANGUAGES)
    assert first.keys() == second.keys()
    for key in first:
        values = [{name for _, name, _, _ in string.Formatter().parse(one[key]) if name} for one in (first, second)]
        assert values[0] == values[1], key


def test_numbers_in_both_languages():
    english, french = Language("en"), Language("fr")
    assert (english.integer(1234567), french.integer(1234567)) == ("1,234,567", "1\u202f234\u202f567")
    assert (english.percent(0.695), french.percent(0.695)) == ("69.5%", "69,5\u202f%")
    assert (english.number(2.302585, 4), french.number(2.302585, 4)) == ("2.3026", "2,3026")
    assert french.number(float("inf")) == "∞" and french.shown(None) == "–" and french.shown(True) == "oui"
    with pytest.raises(SqueezekitError, match="choose en or fr"):
        Language("de")


class Page(HTMLParser):
    """What a page's tags say."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.ids, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.ids += [value for name, value in attributes if name == "id"]


@pytest.mark.slow
def test_a_study_tells_its_story_in_one_file(study, report):
    for code in LANGUAGES:
        text = (report / f"{code}.html").read_text()
        page = Page(text)
        assert len(page.ids) == len(set(page.ids)) and len(text) < 2_000_000
        assert not re.search(r'(src|href)="(?!data:|#)', text.replace("http://www.w3.org", ""))
        titles = [
            Language(code).text(key)
            for key in ("aim", "rates", "all trials", "heat", "influence", "front", "recommended", "data")
        ]
        assert all(f">{title}</h2>" in text for title in titles)
        assert text.count("<svg") == text.count("<figcaption>") == text.count("<details><summary>")
        # The search has measured the test images, not the run that it recommends.
        assert Language(code).text("confusion") in text and Language(code).text("not tested") not in text
    summary = json.loads((study / "summary.json").read_text())
    rows = list(csv.DictReader((report / "en" / "trials.csv").open()))
    assert len(rows) == 12 and [row["state"] for row in rows].count("failed") == 4
    done = [row for row in summary["rows"] if row["state"] == "done"]
    assert float(rows[done[0]["point"]]["validation loss"]) == done[0]["loss"]
    for code, word in (("en", "diverging"), ("fr", "divergente")):
        assert word in (report / code / "trials.csv").read_text()
    drawn = (report / "en" / "front.svg").read_text()
    assert drawn.startswith("<svg") and "currentColor" not in drawn


@pytest.mark.slow
def test_shares_of_variance_are_those_of_the_means(report):
    shares = {row["field"]: float(row["share"]) for row in csv.DictReader((report / "en" / "influence.csv").open())}
    assert set(shares) == {"squeeze_ratio", "share_3x3", "learning_rate"} and 0 < sum(shares.values()) <= 1 + 1e-9


@pytest.mark.slow
def test_the_page_of_two_hundred_trials_is_under_two_megabytes(study, tmp_path):
    shutil.copytree(study, tmp_path / "study")
    summary = json.loads((study / "summary.json").read_text())
    count = len(summary["rows"])
    # Sixty epochs each, and no two alike.
    rows = [{**summary["rows"][i % count], "point": i} for i in range(200)]
    for row in rows:
        row["curve"] = [2.3 / (1 + epoch + row["point"] / 7) for epoch in range(60)]
    summary |= {"rows": rows, "curves": [summary["curves"][i % count] for i in range(200)]}
    (tmp_path / "study" / "summary.json").write_text(json.dumps(summary))
    text = write_report([tmp_path / "study"], tmp_path / "page.html").read_text()
    assert text.count("<tr") > 200 and len(text.encode()) < 2_000_000


@pytest.mark.slow
def test_a_run_and_a_cross_validation_share_a_page(tiny_run, tmp_path, monkeypatch):
    search_here(monkeypatch)
    shutil.copytree(tiny_run.folder, tmp_path / "run")
    plain = cross_validate("digits", tmp_path / "plain", folds=2, **SHORT)
    cross_validate("digits", tmp_path / "other", folds=2, against=plain.study, learning_rate=0.01, **SHORT)
    out = tmp_path / "rapport.html"
    assert main(["report", str(tmp_path / "run"), str(tmp_path / "other"), "-o", str(out), "--lang", "fr"]) == 0
    text, french = out.read_text(), Language("fr")
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    for key in ("confusion", "per class", "loss curve", "diagram", "samples", "fold plot"):
        assert french.text(key).replace("'", "&#39;") in text, key
    assert "Comparaison avec plain" in text and "p = " in text
    assert str(tmp_path) not in text.replace(str(tmp_path / "plain"), "")


def test_unfinished_or_foreign_folders_are_refused(tmp_path):
    with pytest.raises(SqueezekitError, match="holds no run, search or cross-validation"):
        write_report([tmp_path], tmp_path / "x.html")
    (tmp_path / "study.db").write_text("")
    with pytest.raises(SqueezekitError, match="search is not finished"):
        write_report([tmp_path], tmp_path / "x.html")


EVIL = '"><img src=x onerror=alert(1)><script>document.title="RUN"</script><i x="'


def study_in(folder, name="squeeze_ratio", **changes):
    """A finished search of four trials over the field `name` and another one, as if `search` had made it."""
    folder.mkdir()
    (folder / "trials.csv").touch()
    sizes = {"parameters": 10, "macs": 5, "bytes": 5, "ram": 5}
    found = {"state": "done", "loss_error": 0.1, "accuracy": 0.5, "sizes": sizes, "seconds": 1.0, "reason": name}
    rows = []
    for point in range(4):
        fields = {name: point // 2, "learning_rate": 0.1 + point % 2, "activation": ["relu", name][point % 2]}
        rows.append({**found, "point": point, "fields": fields, "loss": 1.0 + point, "curve": [2.0, 1 + point]})
    plan = {"network": name, "recipe": "classic", "fields": {"data": f"/x/{name}", "classes": 10, "epochs": 2}, "size": "bytes"}
    summary = {"plan": plan, "rows": rows, "curves": ["slow"] * 4, "front": [0], "recommended": 0, "run": None, "test": {}}
    (folder / "summary.json").write_text(json.dumps(summary | changes))
    return folder


def page_of(text):
    return Page(text.split("<main>")[1].split("</main>")[0])


@pytest.mark.slow
def test_no_name_of_a_study_becomes_an_element(tmp_path):
    pages, files = [], []
    for place, name in (("plain", "a"), ("evil", EVIL)):
        assets = tmp_path / f"{place}-files"
        pages.append(write_report([study_in(tmp_path / place, name)], tmp_path / f"{place}.html", assets=assets).read_text())
        files.append({path.name for path in assets.iterdir()})
    plain, evil = map(page_of, pages)
    assert [tag for tag, _ in evil.tags] == [tag for tag, _ in plain.tags]
    assert [set(attributes) for _, attributes in evil.tags] == [set(attributes) for _, attributes in plain.tags]
    assert len(evil.ids) == len(set(evil.ids)) and files[0] == files[1]


@pytest.mark.slow
def test_a_page_allows_its_own_style_and_script_and_nothing_else(tmp_path):
    text = write_report([study_in(tmp_path / "study")], tmp_path / "page.html").read_text()
    (policy,) = (attributes["content"] for tag, attributes in Page(text).tags if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none'; img-src data:; ") and "unsafe" not in policy
    for kind, element in (("style", r"<style>(.*?)</style>"), ("script", r"<script>(.*?)</script>")):
        (content,) = re.findall(element, text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}';" in policy
    assert not any("style" in attributes or tag.startswith("on") for tag, attributes in Page(text).tags)


@pytest.mark.slow
def test_what_no_page_can_hold_is_an_escape(tmp_path):
    name = "\x1b[31m\x00\ud800\u202e"
    write_report([study_in(tmp_path / "study", name)], tmp_path / "page.html", assets=tmp_path / "files")
    text = (tmp_path / "page.html").read_text()
    assert "\\x1b[31m\\x00\\ud800\\u202e" in text and not re.search("[\x00\x1b\u202e]", text)
    for drawing in (tmp_path / "files").glob("*.svg"):
        Tree.parse(drawing)
    assert "\\ud800" in (tmp_path / "files" / "trials.csv").read_text()


@pytest.mark.parametrize(
    "content",
    [
        "",
        "[]",
        "{}",
        "5",
        "null",
        "[" * 100_000,
        '{"plan": {"x": ' + "[" * 500 + "]" * 500 + "}}",
        '{"plan": 1' + "0" * 5000 + "}",
        {"plan": []},
        {"plan": {"fields": {"data": 5}}},
        {"rows": []},
        {"rows": [{}]},
        {"rows": 5},
        {"curves": []},
        {"curves": ["<b>"] * 4},
        {"recommended": 99},
        {"front": [99]},
        {"front": [[]]},
        {"run": 5},
        {"test": {"accuracy": "<b>"}},
        {"test": 1},
        b"\xff\xfe",
    ],
    ids=lambda content: str(content)[:30],
)
def test_a_damaged_study_is_one_sentence(tmp_path, content):
    folder = study_in(tmp_path / "study", **(content if isinstance(content, dict) else {}))
    if not isinstance(content, dict):
        (folder / "summary.json").write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SqueezekitError) as refused:
        write_report([folder], tmp_path / "x.html")
    assert str(folder) in str(refused.value) and "\n" not in str(refused.value)
    assert not (tmp_path / "x.html").exists()


def test_losses_that_are_no_numbers_are_reported(tmp_path):
    folder = study_in(tmp_path / "study")
    text = (folder / "summary.json").read_text().replace('"curve": [2.0, 2]', '"curve": [NaN, null]')
    (folder / "summary.json").write_text(text.replace('"curve": [2.0, 3]', '"curve": [2.0, Infinity]'))
    assert "∞" not in write_report([folder], tmp_path / "x.html").read_text()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_pipes_and_deep_folders_are_one_sentence(tmp_path):
    folder = study_in(tmp_path / "study")
    (folder / "crossval.json").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    (folder / "summary.json").unlink()
    os.mkfifo(folder / "summary.json")
    for place in (folder, tmp_path / "pipe", tmp_path / ("x" * 300), tmp_path / ("d/" * 5000), "a\0b"):
        with pytest.raises(SqueezekitError):
            write_report([place], tmp_path / "x.html")


def test_what_cannot_be_reported_is_left_out_aloud(tmp_path, capsys):
    good, damaged = study_in(tmp_path / "good"), study_in(tmp_path / "damaged", rows=5)
    out = tmp_path / "page.html"
    assert main(["report", str(damaged), str(good), str(tmp_path / "nowhere"), "-o", str(out)]) == 1
    printed = capsys.readouterr()
    assert f"left out: {damaged}: " in printed.err and f"left out: {tmp_path / 'nowhere'}: holds no run" in printed.err
    assert out.read_text().count("<h1>") == 1 and str(out) in printed.out
    assert main(["report", str(damaged), "-o", str(out)]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("hurt", ["data.json", "summary.json", "split.npz", "metrics.csv", "best.safetensors", "config.toml"])
def test_a_damaged_run_is_one_sentence(tiny_run, tmp_path, hurt):
    for number, content in enumerate((b"", b"{}", b"[]", b"epoch,x\n1,nan,3\n", b"\xff" * 9)):
        folder = shutil.copytree(tiny_run.folder, tmp_path / f"run{number}")
        (folder / hurt).write_bytes(content)
        with pytest.raises(SqueezekitError) as refused:
            write_report([folder], tmp_path / "x.html")
        assert len(str(refused.value).splitlines()) == 1


@pytest.fixture
def browser(tmp_path):
    opened = Browser(tmp_path / "browser")
    yield opened
    opened.close()


with_a_browser = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed; apt-get install chromium")


@pytest.mark.slow
@with_a_browser
def test_no_script_of_a_study_runs_in_a_browser(browser, tmp_path):
    page = write_report([study_in(tmp_path / "study", EVIL)], tmp_path / "page.html")
    browser.open(page.as_uri())
    assert EVIL.rpartition("/")[2] in browser.value("document.title")
    assert browser.value("document.scripts.length") == 1 and browser.value("document.querySelectorAll('img').length") == 0
    # Neither of its own parts is held back.
    assert browser.value("getComputedStyle(document.querySelector('td.number')).textAlign") == "right"
    assert browser.console == []
    # Even if a script got into the page, it would not run.
    injected = '<script>document.title="RUN"</script><img src=x onerror="alert(1)"></main>'
    page.write_text(page.read_text().replace("</main>", injected))
    browser.tell("Page.navigate", url=page.as_uri())
    browser.wait_for("document.querySelectorAll('img').length === 1")
    assert browser.value("document.title") != "RUN"
    assert any("Content Security Policy" in json.dumps(entry) for entry in browser.console)


# Sorts by validation loss, rising and falling, and filters; then says what it found.
SORTS = """(() => {
const found = {};
const table = document.querySelector("table.explored");
const headings = [...table.querySelectorAll("thead th")];
const place = headings.findIndex(heading => heading.textContent.trim() === "validation loss");
const column = () => [...table.tBodies[0].rows].map(row => row.cells[place].textContent);
headings[place].firstElementChild.click();
found.rising = column();
headings[place].firstElementChild.click();
found.falling = column();
found.sort = headings[place].getAttribute("aria-sort");
const input = document.querySelector("input[data-for]");
input.value = "failed";
input.dispatchEvent(new Event("input"));
found.shown = [...table.tBodies[0].rows].filter(row => !row.hidden).length;
found.count = document.querySelector("[data-count] span").textContent;
found.wide = document.documentElement.scrollWidth - window.innerWidth;
return found; })()"""


@pytest.mark.slow
@with_a_browser
def test_sorting_and_filtering_in_a_browser(browser, report):
    browser.tell("Emulation.setDeviceMetricsOverride", width=400, height=800, deviceScaleFactor=1, mobile=False)
    browser.open((report / "en.html").as_uri())
    found = browser.value(SORTS)
    assert browser.console == []
    numbers = [float(text) for text in found["rising"] if text != "–"]
    assert len(numbers) == 8 and numbers == sorted(numbers) and found["rising"][8:] == ["–"] * 4
    assert found["falling"][:8] == found["rising"][:8][::-1] and found["falling"][8:] == ["–"] * 4
    assert found["sort"] == "descending" and found["shown"] == 4 and found["count"] == "4"
    # Tables scroll, the page does not, on a phone either.
    assert found["wide"] <= 0
