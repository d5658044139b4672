"""Plots are drawings without pixels, with the values that they show."""

from squeezekit.reporting.charts import confusion
from squeezekit.reporting.localization import Language


def test_a_confusion_matrix_is_a_drawing_in_the_language_of_the_report():
    for code, words in (("en", ("predicted class", "true class")), ("fr", ("classe prédite", "classe réelle"))):
        plot = confusion([[1234, 1], [2, 5]], ["cat & dog", "$x_$"], Language(code))
        assert "<image" not in plot.svg and all(word in plot.svg for word in words)
        assert Language(code).integer(1234) in plot.svg and "currentColor" in plot.svg
        assert plot.data.rows == [["cat & dog", 1234, 1], ["$x_$", 2, 5]]
