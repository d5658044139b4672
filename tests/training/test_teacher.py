"""Learning from the answers of a trained network."""

import pytest
import torch
import torch.nn.functional as F
from tests.conftest import TINY

from squeezekit import SqueezekitError, train
from squeezekit.networks import network_config
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES
from squeezekit.training.run_folder import Run
from squeezekit.training.teacher import Teacher, teacher_of


def test_the_gradient_is_that_of_soft_targets_at_a_temperature(tiny_run):
    torch.manual_seed(0)
    config = tiny_run.config.network
    pupil, teacher = config.build(), Teacher(tiny_run.network(), config, config)
    recipe = RECIPES["report"].model_copy(update={"precision": "fp32", "temperature": 3.0, "optimizer": "sgd", "momentum": 0.0})
    images, labels = torch.randn(6, config.channels, 32, 32), torch.randint(10, (6,))

    class Images:
        sizes = (6,)

        def elsewhere(self, step):
            return 0, 0

    trainer = Trainer(pupil, recipe, Images(), Images(), seed=0, device=torch.device("cpu"), teacher=teacher)
    pupil.eval()
    targets = (teacher(images) / 3).softmax(1)
    loss = -(targets * (pupil(images) / 3).log_softmax(1)).sum(1).mean()
    wanted = torch.autograd.grad(9 * loss, list(pupil.parameters()))
    told = trainer.step(images, labels, 1e-9)
    assert float(told[0]) == pytest.approx(float(loss), rel=1e-5)
    for parameter, gradient in zip(pupil.parameters(), wanted, strict=True):
        assert torch.allclose(parameter.grad, gradient, atol=1e-6)
    assert not any(parameter.requires_grad for parameter in teacher.parameters())


def test_a_teacher_sees_images_as_it_knows_them(tiny_run):
    own = tiny_run.config.network
    other = own.model_copy(update={"mean": (0.3,), "std": (0.2,)})
    pixels = torch.rand(4, own.channels, 32, 32)
    as_pupil, as_own = (pixels - 0.3) / 0.2, (pixels - own.mean[0]) / own.std[0]
    taught = Teacher(tiny_run.network(), own, other)(as_pupil)
    assert torch.allclose(taught, tiny_run.network()(as_own), atol=1e-4)
    assert F.cross_entropy(taught, taught.argmax(1)) >= 0


def test_a_pupil_comes_near_its_teacher(tiny_run, tmp_path):
    fields = {"precision": "fp32", "epochs": 3, **TINY}
    run = train("digits", out=tmp_path / "pupil", teacher=str(tiny_run.folder), temperature=2.0, **fields)
    assert run.config.run.teacher == str(tiny_run.folder.absolute())
    assert run.summary["validation"]["accuracy"] > 0.5


@pytest.mark.parametrize(
    ("changes", "problem"),
    [({"seed": 5}, "validate this run"), ({"image_size": 16}, "images of 32 pixels"), ({"limit": 300}, "validate this run")],
)
def test_a_teacher_that_does_not_fit_is_refused_before_anything_is_made(tiny_run, tmp_path, changes, problem):
    with pytest.raises(SqueezekitError, match=problem):
        train("digits", out=tmp_path / "pupil", teacher=str(tiny_run.folder), **{**TINY, **changes})
    assert not (tmp_path / "pupil").exists()


def test_a_teacher_of_other_classes_is_refused(tiny_run):
    data = {**tiny_run.data, "classes": ["a", "b"]}
    with pytest.raises(SqueezekitError, match="other classes"):
        teacher_of(tiny_run.folder, network_config("report", channels=1), data, tiny_run.split)
    data = {**tiny_run.data, "fingerprint": "0"}
    with pytest.raises(SqueezekitError, match="other images"):
        teacher_of(tiny_run.folder, tiny_run.config.network, data, Run(tiny_run.folder).split)
