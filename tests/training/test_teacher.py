"""Learning from the answers of a trained network."""

import dataclasses
import shutil

import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from squeezekit import SqueezekitError, train
from squeezekit.acceleration.folding import folded
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.data.splits import split_images
from squeezekit.networks import network_config
from squeezekit.training import train as training
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.interruption import Interrupted
from squeezekit.training.loop import Trainer
from squeezekit.training.recipe import RECIPES
from squeezekit.training.run_folder import Run
from squeezekit.training.run_images import unlabelled_of
from squeezekit.training.teacher import Teacher, learn_classes, take_head, teacher_of, teacher_on
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


@pytest.mark.parametrize("side", [16, 12, 40])
def test_a_teacher_sees_images_in_its_own_size_and_channels(side):
    torch.manual_seed(0)
    own = network_config("resnet8", image_size=16, channels=3, mean=(0.5, 0.4, 0.3), std=(0.2,))
    network = own.build().eval()
    student = network_config("resnet8", image_size=side, channels=1, mean=(0.3,), std=(0.1,))
    grey = torch.rand(4, 1, 4, 4).repeat_interleave(side // 4, 2).repeat_interleave(side // 4, 3)
    # Squares of one colour are the same in any size, but at their borders.
    wanted = torch.nn.functional.interpolate(grey, (16, 16), mode="bilinear", antialias=True, align_corners=False)
    wanted = (wanted - torch.tensor(own.mean).view(1, 3, 1, 1)) / 0.2
    assert torch.allclose(Teacher(network, own, student)((grey - 0.3) / 0.1), network(wanted), atol=1e-3)


@pytest.mark.slow
def test_a_teacher_of_images_of_another_size_teaches(tiny_run, tmp_path):
    run = train("digits", out=tmp_path / "student", teacher=str(tiny_run.folder), epochs=1, **{**TINY, "image_size": 24})
    assert run.config.network.image_size == 24 and run.summary["validation"]["loss"] < run.summary["untrained_loss"]


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
    [({"seed": 5}, "validate this run"), ({"limit": 300}, "validate this run"), ({"channels": 3}, "images of 1 channels, not 3")],
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


def stand_in(name):
    """A network of random weights in place of a trained backbone: it knows no classes, and takes colour images of 20 pixels."""
    torch.manual_seed(1)
    config = network_config("resnet8", image_size=20, channels=3)
    return StartingPoint(name, folded(config.build().eval()), config.folded(), None, lambda _images: None, ())


BACKBONE = {"teacher": "stand-in", "load_teacher": stand_in, "precision": "fp32", "test": False, **TINY}


@pytest.fixture
def digit_pictures(tmp_path):
    """Pictures without labels: 60 that train, and 30 that validate or test."""
    source = load_digits(image_size=16, channels=1)
    split = split_images(source.training, seed=0, validation_share=0.1, limit=TINY["limit"])
    some = source.training.images[[*split.training[:60], *split.validation[:10]]]
    for number, pixels in enumerate([*some, *source.test.images[:20]]):
        (tmp_path / "more" / str(number % 3)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels[..., 0]).save(tmp_path / "more" / str(number % 3) / f"{number}.png")
    return tmp_path / "more"


@pytest.mark.slow
def test_a_backbone_learns_the_classes_of_images_that_train_and_then_teaches(tmp_path, digit_pictures, capfd):
    fields = {**BACKBONE, "epochs": 3, "unlabelled": str(digit_pictures)}
    whole = training.train("digits", out=tmp_path / "whole", **fields)
    said = capfd.readouterr().err
    assert f"a last layer for these classes is fitted to {len(whole.split.training)} images" in said
    assert "30 photos are left out, as copies" in said and "60 photos without labels are learnt" in said
    assert whole.config.run.teacher == "stand-in" and whole.config.run.unlabelled == str(digit_pictures)
    assert whole.summary["validation"]["loss"] < whole.summary["untrained_loss"]

    def stops(row):
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        training.train("digits", out=tmp_path / "student", on_epoch=stops, **fields)
    moved = digit_pictures.rename(tmp_path / "moved")
    resumed = training.train(
        out=tmp_path / "student", resume=True, load_teacher=stand_in, teacher="stand-in", unlabelled=str(moved)
    )
    assert capfd.readouterr().err.count("is fitted to") == 1
    for one, other in zip(resumed.network().parameters(), whole.network().parameters(), strict=True):
        assert torch.equal(one, other)


@pytest.mark.slow
def test_a_backbone_has_learnt_nothing_from_images_that_validate(tmp_path):
    source = load_digits(image_size=16, channels=1)
    split = split_images(source.training, seed=0, validation_share=0.1, limit=TINY["limit"])
    student = network_config("squeezenet-cifar", channels=1, image_size=16)
    heads = []
    for changed in (split.training, split.validation):
        labels = source.training.labels.copy()
        labels[changed] = (labels[changed] + 1) % 10
        images = dataclasses.replace(source.training, labels=labels)
        teacher = teacher_on(stand_in("stand-in"), student, 10)
        learn_classes(teacher, Batches(images, split.training[:120], batch_size=50), weights=None, seed=0)
        heads.append(teacher.head)
    before = teacher_on(stand_in("stand-in"), student, 10)
    learn_classes(before, Batches(source.training, split.training[:120], batch_size=50), weights=None, seed=0)
    assert all(torch.equal(before.head[name], heads[1][name]) for name in before.head)
    assert not torch.equal(before.head["weight"], heads[0]["weight"])


def test_a_last_layer_of_another_teacher_is_refused(tmp_path):
    teacher = teacher_on(stand_in("stand-in"), network_config("squeezenet-cifar", channels=1), 10)
    save_file({"weight": torch.zeros(10, 64), "bias": torch.zeros(10)}, tmp_path / "head.safetensors")
    with pytest.raises(SqueezekitError, match="not the teacher that this run has had"):
        take_head(teacher, tmp_path / "head.safetensors", {"teacher": "another"})
    save_file({"weight": torch.zeros(3, 3)}, tmp_path / "head.safetensors")
    with pytest.raises(SqueezekitError, match="damaged"):
        take_head(teacher, tmp_path / "head.safetensors", {})


def test_photos_without_labels_want_a_teacher_a_folder_and_one_process(tmp_path, tiny_run, monkeypatch):
    for fields, problem in (
        ({"unlabelled": str(tmp_path)}, "name one with --teacher"),
        ({"unlabelled": str(tmp_path / "none"), "teacher": str(tiny_run.folder)}, "no folder of photos"),
    ):
        with pytest.raises(SqueezekitError, match=problem):
            train("digits", out=tmp_path / "run", **TINY, **fields)
    with pytest.raises(SqueezekitError, match="begun without one"):
        train(out=tiny_run.folder, resume=True, unlabelled=str(tmp_path))
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "two")
    monkeypatch.setenv("WORLD_SIZE", "2")
    settings = tiny_run.config.run.model_copy(update={"unlabelled": str(tmp_path)})
    with pytest.raises(SqueezekitError, match="for one process"):
        unlabelled_of(tiny_run.config.model_copy(update={"run": settings}), tiny_run.split)
    assert not (tmp_path / "run").exists()
