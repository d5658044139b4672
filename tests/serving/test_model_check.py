"""Models that cannot be served, each for its reason."""

import asyncio
import dataclasses

import numpy as np
import pytest

pytest.importorskip("fastapi", reason="FastAPI is not installed; pip install 'squeezekit[serve]'")

from squeezekit import Classifier, SqueezekitError
from squeezekit.inference.model import load_model
from squeezekit.modelfile.self_check import SelfCheck
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.serving.model_check import fit_classifier, problem_in_process


def test_a_good_model_is_fit(tiny_run, tiny_sqz):
    for path in (tiny_run.folder, tiny_sqz):
        assert fit_classifier(path).classes == tuple("0123456789")


def test_a_model_that_fails_its_own_check(tiny_sqz, tmp_path):
    sqz = read_sqz(tiny_sqz)
    wrong = SelfCheck(seeds=sqz.self_check.seeds, logits=tuple(tuple(2 * x for x in row) for row in sqz.self_check.logits))
    dataclasses.replace(sqz, self_check=wrong).write(tmp_path / "x.sqz")
    with pytest.raises(SqueezekitError, match="x.sqz: fails its self-check, its answers differ by 50 %"):
        fit_classifier(tmp_path / "x.sqz")
    # A file of before there were self-checks.
    dataclasses.replace(sqz, self_check=None).write(tmp_path / "y.sqz")
    fit_classifier(tmp_path / "y.sqz")


class Odd(Classifier):
    """A classifier that was loaded without complaint."""

    def __init__(self, model, answers):
        super().__init__(model)
        self._answers = answers

    def classify_pixels(self, pixels):
        return self._answers(super().classify_pixels(pixels))


def no_numbers(answers):
    return [
        dataclasses.replace(one, probabilities=tuple((name, float("nan")) for name, _ in one.probabilities)) for one in answers
    ]


def failing(answers):
    raise IndexError("tuple index\nout of range")


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        (no_numbers, "its answers are no probabilities"),
        (lambda answers: answers[:1], "has not one answer for each picture and class"),
        (failing, r"cannot be used \(IndexError: tuple index\); make it again"),
        (lambda answers: np.empty(2**50), "asks for more memory than there is"),
    ],
)
def test_answers_that_cannot_be_given(tiny_sqz, monkeypatch, answers, said):
    monkeypatch.setattr(Classifier, "load", lambda path: Odd(load_model(path), answers))
    with pytest.raises(SqueezekitError, match=said):
        fit_classifier(tiny_sqz)


def test_a_temperature_that_makes_every_answer_fail(tiny_sqz, monkeypatch):
    cold = dataclasses.replace(load_model(tiny_sqz), temperature=1e-320)
    monkeypatch.setattr(Classifier, "load", lambda path: Classifier(cold))
    with pytest.raises(SqueezekitError, match="answers with what is no number"):
        fit_classifier(tiny_sqz)


@pytest.mark.slow
def test_a_process_of_its_own_finds_it_out_within_its_time(tiny_sqz, tmp_path):
    (tmp_path / "cut.sqz").write_bytes(tiny_sqz.read_bytes()[:500])

    async def problems():
        return await asyncio.gather(problem_in_process(tmp_path / "cut.sqz"), problem_in_process(tiny_sqz, seconds=0.1))

    cut, late = asyncio.run(problems())
    assert cut.startswith(f"{tmp_path / 'cut.sqz'}: ") and len(cut.splitlines()) == 1
    assert late == f"{tiny_sqz}: its check did not end within 0.1 s"
