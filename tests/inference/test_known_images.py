"""Python, C and the page turn away the same pictures."""

import json
import shutil
import subprocess

import numpy as np
import pytest
import torch

from squeezekit import Classifier
from squeezekit.data.sources import load_images
from squeezekit.export.c.export import export_c
from squeezekit.export.c.source import source_of
from squeezekit.export.html.export import page_of
from squeezekit.inference.int8_model import in_int8, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.modelfile.none_of_these import NoneOfThese
from tests.fixtures.exported import answers, built, pictures_like, reference, small

# The function of the page, on logits that come as JSON.
IN_NODE = """
const { facts, logits } = JSON.parse(require("fs").readFileSync(0, "utf8"));
%s
console.log(JSON.stringify(logits.map(isKnown)));
"""


def in_the_page(model, plan, logits):
    """What the page's own function says of integer logits [n, classes]."""
    page = page_of(model, plan)
    start = page.index("function isKnown")
    function = page[start : page.index("\n}\n", start) + 3]
    facts = json.loads(page.split('id="facts">')[1].split("</script>")[0])
    given = json.dumps({"facts": facts, "logits": logits.tolist()})
    done = subprocess.run(["node", "-e", IN_NODE % function], input=given, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def foreign_like(config, count):
    return pictures_like(config, count, seed=3)


@pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("node"), reason="gcc or node is not installed")
@pytest.mark.slow
def test_the_decision_is_the_same_in_python_in_c_and_in_the_page(tiny_sqz, tmp_path):
    model = load_model(tiny_sqz)
    test = load_images("digits", image_size=16, channels=1).test.images
    pixels = np.concatenate([test, foreign_like(model.config, 300)])
    predictions = Classifier.load(tiny_sqz).classify_pixels(pixels)
    known = [each.known for each in predictions]
    assert np.mean(known[: len(test)]) > 0.85 and not all(known[len(test) :])
    export_c(tiny_sqz, tmp_path / "c")
    program = built(tmp_path / "built", {path.name: path.read_text() for path in (tmp_path / "c").iterdir()}, "-O2")
    labels, logits = answers(program, pixels)
    assert [label != "none of these" for label in labels] == known
    plan = integer_plan(model)
    assert in_the_page(model, plan, logits) == known
    # The model in integers says the same.
    assert [each.known for each in Classifier(in_int8(model, plan)).classify_pixels(pixels)] == known


@pytest.mark.skipif(not shutil.which("gcc") or not shutil.which("node"), reason="gcc or node is not installed")
@pytest.mark.slow
@pytest.mark.parametrize("name", ["odd sides", "mirrored", "inverted"])
def test_rules_with_and_without_weights_are_the_same_everywhere(name, tmp_path):
    model, plan = small(name)
    pixels = pictures_like(model.config, 60, seed=2)
    logits = torch.from_numpy(reference(plan, pixels))
    floats = logits * 2.0**-plan.fraction
    rule = NoneOfThese.fit((floats, torch.arange(60) % logits.shape[1]), floats)
    # So that about half of them are turned away.
    middle = int(rule.test(plan.fraction).scores(logits).median()) * 2**6 >> plan.fraction
    rule = rule.model_copy(update={"biases": tuple(bias - middle for bias in rule.biases)})
    model = type(model)(**{**vars(model), "none_of_these": rule})
    known = [each.known for each in Classifier(in_int8(model, plan)).classify_pixels(pixels)]
    assert 10 < sum(known) < 50 and bool(rule.weights) == (model.config.classes <= 32)
    program = built(tmp_path / "built", source_of(plan, model, store_weights="dense").files, "-O1")
    labels, found = answers(program, pixels)
    assert np.array_equal(found, logits) and [label != "none of these" for label in labels] == known
    assert in_the_page(model, plan, found) == known


def test_a_model_without_a_rule_knows_everything(tiny_run):
    classifier = Classifier.load(tiny_run.folder)
    predictions = classifier.classify_pixels(foreign_like(classifier.config, 4))
    assert all(each.known for each in predictions) and "known" not in repr(predictions[0])


def test_a_network_without_integers_decides_by_its_own_logits():
    model, plan = small("grey")
    pixels = pictures_like(model.config, 40)
    logits = torch.from_numpy(reference(plan, pixels) * 2.0**-plan.fraction)
    rule = NoneOfThese.fit((logits, torch.arange(40) % 10), logits)
    # It is no file, so that no ranges are known.
    model = type(model)(**{**vars(model), "none_of_these": rule})
    known = [each.known for each in Classifier(model).classify_pixels(pixels)]
    assert 0.8 <= np.mean(known) <= 1
