"""Learning from the answers of a trained network."""

import shutil

import pytest
import torch

from squeezekit import SqueezekitError, train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.networks import network_config
from squeezekit.training.interruption import Interrupted
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES
from squeezekit.training.run_folder import Run
from squeezekit.training.teacher import Teacher, teacher_of
from tests.fixtures.tiny import TINY


def test_the_gradient_is_that_of_soft_targets_at_a_temperature(tiny_run):
    torch.manual_seed(0)
    config = tiny_run.config.network
    student, teacher = config.build(), Teacher(tiny_run.network(), config, config)
    recipe = RECIPES["classic"].model_copy(update={"precision": "fp32", "temperature": 3.0, "optimizer": "sgd", "momentum": 0.0})
    images, labels = torch.randn(6, config.channels, 16, 16), torch.randint(10, (6,))

    class Images:
        sizes = (6,)

        def elsewhere(self, step):
            return 0, 0

    trainer = Trainer(student, recipe, Images(), Images(), seed=0, device=torch.device("cpu"), teacher=teacher)
    student.eval()
    targets = (teacher(images) / 3).softmax(1)
    loss = -(targets * (student(images) / 3).log_softmax(1)).sum(1).mean()
    wanted = torch.autograd.grad(9 * loss, list(student.parameters()))
    step = trainer.step(images, labels, 1e-9)
    assert float(step[0]) == pytest.approx(float(loss), rel=1e-5)
    for parameter, gradient in zip(student.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_sees_images_as_it_knows_them(tiny_run):
    own = tiny_run.config.network
    other = own.model_copy(update={"mean": (0.3,), "std": (0.2,)})
    pixels = torch.rand(4, own.channels, 16, 16)
    as_student, as_own = (pixels - 0.3) / 0.2, (pixels - own.mean[0]) / own.std[0]
    taught = Teacher(tiny_run.network(), own, other)(as_student)
    assert torch.allclose(taught, tiny_run.network()(as_own), atol=1e-4)


@pytest.mark.slow
def test_a_student_comes_near_its_teacher(tiny_run, tmp_path):
    # Another way of learning than the teacher's, whose steps a student of the same seed would repeat.
    fields = {"precision": "fp32", "epochs": 8, "recipe": "classic", "learning_rate": 0.01, "batch_norm": True, "dropout": 0}
    fields |= {"normalization": "standardise", **TINY}
    run = train("digits", out=tmp_path / "student", teacher=str(tiny_run.folder), temperature=2.0, **fields)
    alone = train("digits", out=tmp_path / "alone", **fields)
    assert run.config.run.teacher == str(tiny_run.folder.absolute())
    digits, config, taught = load_digits(image_size=16, channels=1).test, tiny_run.config.network, tiny_run.network()
    images, _labels = next(Batches(digits, batch_size=200, mean=config.mean, std=config.std).in_order())
    with torch.no_grad():
        apart = [(taught(images).softmax(1) - one.network()(images).softmax(1)).abs().mean() for one in (run, alone)]
    assert apart[0] < 0.8 * apart[1], apart


@pytest.mark.slow
def test_a_run_goes_on_with_the_teacher_it_had_wherever_that_lies(tiny_run, tmp_path):
    fields = {"precision": "fp32", "epochs": 3, "test": False, **TINY}
    teacher = shutil.copytree(tiny_run.folder, tmp_path / "teacher")
    whole = train("digits", out=tmp_path / "whole", teacher=str(teacher), **fields)

    def stops(row):
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        train("digits", out=tmp_path / "student", teacher=str(teacher), on_epoch=stops, **fields)
    moved = teacher.rename(tmp_path / "moved")
    with pytest.raises(SqueezekitError, match="not a run folder"):
        train(out=tmp_path / "student", resume=True)
    run = train(out=tmp_path / "student", resume=True, teacher=str(moved))
    for one, other in zip(run.network().parameters(), whole.network().parameters(), strict=True):
        assert torch.equal(one, other)
    changed = {name: value + 1 for name, value in tiny_run.network().state_dict().items()}
    with pytest.raises(Interrupted):
        train("digits", out=tmp_path / "third", teacher=str(moved), on_epoch=stops, **fields)
    Run(moved).write_best(changed)
    with pytest.raises(SqueezekitError, match="not the teacher that this run has had"):
        train(out=tmp_path / "third", resume=True)
    with pytest.raises(SqueezekitError, match="begun without one"):
        train(out=tiny_run.folder, resume=True, teacher=str(moved))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"seed": 5}, "validate this run"), ({"image_size": 32}, "images of 16 pixels"), ({"limit": 300}, "validate this run")],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_made(tiny_run, tmp_path, changes, problem):
    with pytest.raises(SqueezekitError, match=problem):
        train("digits", out=tmp_path / "student", teacher=str(tiny_run.folder), **{**TINY, **changes})
    assert not (tmp_path / "student").exists()


def test_a_temperature_wants_a_teacher_and_cutout_an_augmentation(tmp_path):
    for changes, problem in (
        ({"temperature": 2.0}, "name one with --teacher"),
        ({"recipe": "classic", "cutout": 0.25}, "beside it"),
    ):
        with pytest.raises(SqueezekitError, match=problem):
            train("digits", out=tmp_path / "run", **{**TINY, **changes})
        assert not (tmp_path / "run").exists()


def test_a_teacher_of_other_classes_is_refused(tiny_run):
    data = {**tiny_run.data, "classes": ["a", "b"]}
    with pytest.raises(SqueezekitError, match="other classes"):
        teacher_of(tiny_run.folder, network_config("squeezenet-cifar", channels=1), data, tiny_run.split)
    data = {**tiny_run.data, "fingerprint": "0"}
    with pytest.raises(SqueezekitError, match="other images"):
        teacher_of(tiny_run.folder, tiny_run.config.network, data, Run(tiny_run.folder).split)
