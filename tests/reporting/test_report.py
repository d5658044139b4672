"""A report tells the whole story, in two languages, in a real browser."""

import csv
import json
import re
import shutil
import string
import subprocess
from html.parser import HTMLParser

import pytest

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.reporting.localization import LANGUAGES, Language, words
from squeezekit.reporting.report import write_report
from squeezekit.search.crossval import cross_validate
from squeezekit.search.search import search
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


BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Sorts by validation loss, falling and rising, and filters; then says what it found.
SCRIPT = """<script>
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
document.body.textContent = JSON.stringify(found);
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed; apt-get install chromium")
def test_sorting_and_filtering_in_a_browser(report, tmp_path):
    page = tmp_path / "page.html"
    page.write_text((report / "en.html").read_text().replace("</body>", SCRIPT))
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--window-size=400,800", "--dump-dom"]
    done = subprocess.run([BROWSER, *flags, page.as_uri()], capture_output=True, text=True, check=True, timeout=120)
    assert "CONSOLE" not in done.stderr, done.stderr
    found = json.loads(re.search(r"<body>(.*?)</body>", done.stdout, re.DOTALL).group(1))
    numbers = [float(text) for text in found["rising"] if text != "–"]
    assert len(numbers) == 8 and numbers == sorted(numbers) and found["rising"][8:] == ["–"] * 4
    assert found["falling"][:8] == found["rising"][:8][::-1] and found["falling"][8:] == ["–"] * 4
    assert found["sort"] == "descending" and found["shown"] == 4 and found["count"] == "4"
    # Tables scroll, the page does not, on a phone either.
    assert found["wide"] <= 0
