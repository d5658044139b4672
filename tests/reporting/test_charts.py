"""Plots are drawings without pixels, with the values that they show."""

import re
import warnings

from squeezekit.inference.reliability import ConfidenceBin
from squeezekit.reporting.charts import bars, confusion, heat_map, reliability
from squeezekit.reporting.localization import Language


def test_a_confusion_matrix_is_a_drawing_in_the_language_of_the_report():
    for code, words in (("en", ("predicted class", "true class")), ("fr", ("classe prédite", "classe réelle"))):
        plot = confusion([[1234, 1], [2, 5]], ["cat & dog", "$x_$"], Language(code))
        assert "<image" not in plot.svg and all(word in plot.svg for word in words)
        assert Language(code).integer(1234) in plot.svg and "currentColor" in plot.svg
        assert plot.data.rows == [["cat & dog", 1234, 1], ["$x_$", 2, 5]]


def test_bars_of_confidence_have_their_numbers_beside_them():
    bins = [ConfidenceBin(0.4, 0.6, 3, 0.55, 1 / 3), ConfidenceBin(0.8, 1.0, 1200, 0.95, 0.9)]
    for code, words in (("en", ("confidence", "1,200")), ("fr", ("confiance", Language("fr").integer(1200)))):
        plot = reliability(bins, Language(code))
        assert all(word in plot.svg for word in words) and "style=" not in plot.svg
        assert plot.data.rows[1] == [0.8, 1.0, 1200, 0.95, 0.9]


def test_names_from_outside_are_only_labels():
    names = ["$\\frac{$", "US$5 - $10", "猫", "🦄", "_x", "{0}", "</text><script>", "\x1b[31m\x00", "a" * 255]
    english = Language("en")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plots = [
            confusion([[1] * 9] * 9, names, english),
            bars("influence", "caption", dict.fromkeys(names, 0.5), ("field", "share"), english),
            heat_map({(name, 1): 0.5 for name in names}, names[0], names[7], 3, english),
        ]
    for plot in plots:
        assert "<script>" not in plot.svg and "style=" not in plot.svg and "\x1b" not in plot.svg
        labels = re.sub(r"<[^>]*>", "|", plot.svg)
        assert all(f"|{name}|" in labels for name in names[:6])
        # The table beside it has every name as it is.
        assert sorted(row[0] for row in plot.data.rows) == sorted(names)


def test_forty_classes_with_long_names_fit():
    names = [f"Tomato___Spider_mites_Two-spotted_spider_mite_{number}" for number in range(40)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        plot = confusion([[1] * 40] * 40, names, Language("fr"))
    assert plot.data.rows[39][0] == names[39] and "…</text>" in plot.svg
