"""The page of `make`: its numbers are those of `evaluate`."""

import re
from dataclasses import replace

import pytest

import squeezekit as sk
from squeezekit.data.curation import Curation
from squeezekit.inference.reliability import class_thresholds
from squeezekit.reporting.localization import Language
from squeezekit.reporting.made_report import MadeFacts, MadeFile, write_made_report
from tests.fixtures.shapes import made_of_shapes

HOSTILE = "<script>alert(1)</script>\u202e"
percent = Language("en").percent


@pytest.fixture
def facts(shared):
    made = made_of_shapes(shared)
    out = made / "out"
    files = [MadeFile("classifier.html", 1234, "A page."), MadeFile("run", None, "The training.", "squeezekit report run")]
    return MadeFacts(
        data=made / "photos",
        curation=Curation(),
        run=out / "run",
        model=out / "model.sqz",
        files=files,
        findings=("60 pictures.",),
        check="check.html",
        missed="",
        seconds={"check": 1.0, "train": 20.5},
    )


@pytest.mark.slow
def test_numbers_are_those_of_evaluate(facts, tmp_path):
    accuracy = write_made_report(facts, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    test = sk.evaluate(facts.model, facts.data)
    assert accuracy.share == pytest.approx(test.accuracy) and accuracy.images == len(test.images)
    assert f"<strong>{percent(test.accuracy)}</strong>95% interval {percent(accuracy.low)} to {percent(accuracy.high)}" in text
    assert f"differ by {percent(test.calibration_error)} on average" in text
    assert f"<strong>{facts.model.stat().st_size:,}</strong>model.sqz" in text
    thresholds = class_thresholds(sk.evaluate(facts.model, facts.data, "validation"), 0.95)
    for (name, scores), threshold in zip(test.per_class.items(), thresholds, strict=True):
        cells = re.search(rf"<tr><td>{name}</td>(.*)</tr>", text)[1]
        shown = re.findall(r">([^<>]+)</td>", cells)
        assert shown[:3] == [str(scores["images"]), percent(scores["precision"], 2), percent(scores["recall"], 2)]
        assert shown[4] == ("none" if threshold is None else f"{threshold:.4f}")
    wrong = sum(count for i, row in enumerate(test.confusion) for j, count in enumerate(row) if i != j)
    mistakes = min(wrong, 24)
    # Above them stands what they are.
    assert text.count('alt="what spoke for') == mistakes and text.count("taken for") == mistakes + (mistakes > 0)


@pytest.mark.slow
def test_the_page_loads_nothing_and_names_are_escaped(facts, tmp_path):
    given = replace(facts, findings=(HOSTILE,), missed=HOSTILE, files=[MadeFile(HOSTILE, None, HOSTILE, HOSTILE)], check=HOSTILE)
    write_made_report(given, tmp_path / "report.html")
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in text and "&lt;script&gt;" in text and "\u202e" not in text and 'class="warn"' in text
    assert "default-src &#39;none&#39;" in text and str(facts.data.parent) not in text and "style=" not in text
    addresses = re.findall(r'(?:src|href)="([^"#]*)"', text)
    assert addresses and all(each.startswith("data:image/jpeg;base64,") or "%3Cscript" in each for each in addresses)
