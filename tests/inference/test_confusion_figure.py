"""One drawing of a confusion matrix, with the labels of whoever asks for it."""

import io
import time
import warnings

import numpy as np
from matplotlib.figure import Figure

from squeezekit.inference.confusion_figure import CLASSES_WITH_NAMES, CLASSES_WITH_NUMBERS, confusion_figure, draw_confusion


def test_labels_and_numbers_are_those_that_are_given():
    axes = Figure().subplots()
    draw_confusion(axes, [[1200, 3], [0, 7]], ["$cat_$", "dog"], predicted="prédite", actual="réelle", number="{:,}".format)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prédite", "réelle")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["$cat_$", "dog"]
    assert {text.get_text(): text.get_position() for text in axes.texts} == {
        "1,200": (0.5, 0.5),
        "3": (1.5, 0.5),
        "7": (1.5, 1.5),
    }


def test_the_first_class_stands_at_the_top_and_depth_is_the_share_of_the_class():
    (axes,) = confusion_figure([[9, 1], [0, 5]], ["a", "b"]).axes
    low, high = axes.get_ylim()
    assert low > high
    alphas = axes.collections[0].get_array()[..., 3].ravel().tolist()
    assert [round(alpha, 2) for alpha in alphas] == [0.77, 0.13, 0.05, 0.85]


def test_many_classes_have_no_numbers_and_very_many_no_names():
    for count in (CLASSES_WITH_NUMBERS + 1, CLASSES_WITH_NAMES + 1):
        (axes,) = confusion_figure([[1] * count] * count, [f"class {i}" for i in range(count)]).axes
        assert not axes.texts
        named = any(label.get_text() == "class 3" for label in axes.get_xticklabels())
        assert named == (count <= CLASSES_WITH_NAMES)


def test_two_hundred_classes_are_drawn_in_seconds():
    begin = time.process_time()
    figure = confusion_figure(np.eye(200, dtype=np.int64), [f"class {number}" for number in range(200)])
    figure.savefig(io.BytesIO(), format="png")
    assert max(figure.get_size_inches()) <= 16
    assert time.process_time() - begin < 10


def test_long_and_foreign_names_are_whole_without_a_warning():
    names = ["Tomato___Spider_mites_Two-spotted_spider_mite_on_lower_leaf", "猫", "$\\frac{$", "b" * 255]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        figure = confusion_figure(np.eye(4, dtype=np.int64), names)
        figure.savefig(io.BytesIO(), format="png")
    (axes,) = figure.axes
    labels = [label.get_text().replace("\n", "") for label in axes.get_yticklabels()]
    assert labels == [names[0], "class 2", names[2], names[3]]
    whole = figure.bbox
    for label in (*axes.get_yticklabels(), *axes.get_xticklabels(), axes.xaxis.label, axes.yaxis.label):
        box = label.get_window_extent()
        assert box.x0 >= whole.x0 and box.y0 >= whole.y0 and box.x1 <= whole.x1 and box.y1 <= whole.y1, label
