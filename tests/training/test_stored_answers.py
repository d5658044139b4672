"""A teacher's answers are stored once, and are those that it would give."""

import errno

import numpy as np
import pytest
import torch

from squeezekit import train
from squeezekit.data.batches import Batches
from squeezekit.data.digits import load_digits
from squeezekit.system import atomic_io
from squeezekit.system.errors import RunFailed
from squeezekit.training import stored_answers
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import Run
from squeezekit.training.stored_answers import TeacherAnswers, decoded, encoded, fill
from squeezekit.training.teacher import teacher_of
from tests.fixtures.commands import ROOT, run_script
from tests.fixtures.tiny import TINY

SCRIPT = ROOT / "scripts" / "teacher_answers.py"
DIGITS = load_digits(image_size=16, channels=1).training
STUDENT = {"precision": "fp32", "epochs": 3, "test": False, "recipe": "fast", "shift": 0.125, "cutout": 0.25, **TINY}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """Without answers; with the digits, which are in no cache."""
    monkeypatch.setenv("SQUEEZEKIT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def teacher(tiny_run):
    return teacher_of(tiny_run.folder, tiny_run.config.network, tiny_run.data, tiny_run.split)


@pytest.fixture
def batches(tiny_run):
    """As a student sees them, in the normalization of the teacher."""
    config = tiny_run.config.network
    options = {"batch_size": 50, "augmentation": "shift", "shift_step": 2, "mean": config.mean, "std": config.std}
    return Batches(DIGITS, tiny_run.split.training[:120], **options)


@pytest.fixture
def nobody_answers(monkeypatch):
    """A function after which whoever asks a teacher fails."""

    def asked(*_views):
        raise AssertionError("asked again")

    return lambda: monkeypatch.setattr(TeacherAnswers, "_asked", asked)


def student(folder, tiny_run, **fields):
    return train("digits", out=folder, **{"teacher": str(tiny_run.folder), **STUDENT, **fields})


def weights(run):
    return torch.cat([tensor.flatten().double() for tensor in run.network().state_dict().values()])


@pytest.mark.parametrize("temperature", [1, 2, 4])
def test_a_byte_a_logit_changes_probabilities_by_less_than_half_a_hundredth(temperature):
    random = np.random.default_rng(0)
    logits = (random.standard_normal((2000, 10)) * random.uniform(0.5, 10, (2000, 1)) + 5).astype(np.float32)
    kept = decoded(encoded(logits))
    before, after = ((torch.as_tensor(values) / temperature).softmax(1) for values in (logits, kept))
    assert (before - after).abs().max() < 0.004
    assert (kept.max(1).values == 0).all()


def test_a_teacher_that_answers_with_no_number_is_an_error():
    with pytest.raises(RunFailed, match="not numbers"):
        encoded(np.array([[1, np.nan]], np.float32))


def test_answers_are_those_to_the_pixels_that_the_student_sees(teacher, batches):
    answers = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32")
    for epoch in range(2):
        for (images, _labels), (indices, views) in zip(batches.shuffled(epoch), batches.views(epoch), strict=True):
            # As many at once as are asked, so that rounding is the same.
            shown = images[torch.arange(-(-len(images) // 32) * 32).clamp(max=len(images) - 1)]
            with torch.no_grad():
                live = torch.cat([teacher(some) for some in torch.split(shown, 32)])[: len(images)]
            fresh = answers(indices, views)
            assert torch.equal(fresh, decoded(encoded(live.numpy())))
            assert torch.equal(answers(indices, views), fresh)


def test_a_teacher_of_another_size_answers_as_it_would_live(teacher, tiny_run):
    larger = load_digits(image_size=24, channels=1).training
    config = tiny_run.config.network
    batches = Batches(larger, tiny_run.split.training[:32], batch_size=32, shift_step=2, mean=config.mean, std=config.std)
    [(images, _labels)], [seen] = batches.shuffled(0), batches.views(0)
    with torch.no_grad():
        live = teacher(images)
    assert torch.equal(TeacherAnswers.kept(teacher, batches, larger, "fp32")(*seen), decoded(encoded(live.numpy())))


def test_an_answer_does_not_depend_on_what_is_asked_with_it(teacher, batches):
    indices, views = next(batches.views(0))
    alone = TeacherAnswers(teacher, batches, "fp32", None)
    together = alone(indices, views)
    assert torch.equal(torch.cat([alone(indices[i : i + 1], views[i : i + 1]) for i in range(5)]), together[:5])
    assert alone(indices[:0], views[:0]).shape == (0, 10)


@pytest.mark.slow
def test_a_student_has_the_same_weights_whether_answers_were_stored_or_not(
    tiny_run, tmp_path, nobody_answers, monkeypatch, capsys
):
    first = student(tmp_path / "first", tiny_run)
    assert first.config.recipe.shift_step == 2
    with monkeypatch.context() as patch:
        patch.setattr(stored_answers, "MOST_BYTES", 1000)
        live = student(tmp_path / "live", tiny_run)
    assert "are not kept, so that it computes in each step; a larger --shift-step" in capsys.readouterr().err
    nobody_answers()
    stored = student(tmp_path / "stored", tiny_run)
    assert torch.equal(weights(stored), weights(first)) and torch.equal(weights(live), weights(first))
    other_seed_of_the_network = student(tmp_path / "wider", tiny_run, base_e=24)
    assert other_seed_of_the_network.summary


@pytest.mark.slow
def test_a_student_that_was_stopped_goes_on_to_the_same_weights(tiny_run, tmp_path, cache):
    def stops(row):
        raise Interrupted("stopped")

    with pytest.raises(Interrupted):
        student(tmp_path / "stopped", tiny_run, on_epoch=stops)
    whole = student(tmp_path / "whole", tiny_run)
    for file in (cache / "answers").iterdir():
        file.unlink()
    resumed = train(out=tmp_path / "stopped", resume=True)
    assert torch.equal(weights(resumed), weights(whole))


@pytest.mark.parametrize("torn", [np.s_[:-1], np.s_[-1:], np.s_[3:4], np.s_[:5]])
def test_half_a_record_is_none(teacher, batches, torn, nobody_answers):
    answers = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32")
    indices, views = next(batches.views(0))
    whole = answers(indices, views)
    records = np.memmap(answers.file, np.uint8, "r+", shape=(len(DIGITS) * 9, 11))
    row = int(indices[7] * 9 + views[7])
    codes = records[row].copy()
    records[row, torn] = 0
    if (records[row] == codes).all():
        records[row, torn] = 1
    assert torch.equal(answers(indices, views), whole)
    # Mended by the answer that was given anew.
    assert (records[row] == codes).all()
    nobody_answers()
    assert torch.equal(answers(indices, views), whole)


def test_a_filled_grid_leaves_nothing_to_ask_and_filling_goes_on_where_it_was(
    teacher, batches, tiny_run, nobody_answers, monkeypatch
):
    answers, some = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32"), tiny_run.split.training[:120]
    fill(answers, some[:50])
    asked, ask = [], TeacherAnswers._asked
    monkeypatch.setattr(TeacherAnswers, "_asked", lambda self, *views: asked.append(len(views[0])) or ask(self, *views))
    # Another process, say.
    fill(TeacherAnswers.kept(teacher, batches, DIGITS, "fp32"), some)
    assert sum(asked) == 70 * 9
    nobody_answers()
    for epoch in range(3):
        for indices, views in batches.views(epoch):
            answers(indices, views)


def test_another_teacher_other_images_another_grid_and_another_precision_have_files_of_their_own(
    teacher, batches, tiny_run, cache
):
    def file(teacher=teacher, images=DIGITS, precision="fp32", **options):
        given = {"batch_size": 50, "augmentation": "shift", "shift_step": 2, **options}
        return TeacherAnswers.kept(teacher, Batches(images, **given), images, precision).file

    other = teacher_of(tiny_run.folder, tiny_run.config.network, tiny_run.data, tiny_run.split)
    other.digest = "0"
    files = [
        file(),
        file(teacher=other),
        file(images=DIGITS.subset(np.arange(300))),
        file(shift_step=1),
        file(shift=0.25),
        file(augmentation="none"),
        file(precision="bf16"),
    ]
    assert len(set(files)) == len(files) == len(list((cache / "answers").iterdir()))
    assert file(seed=5, batch_size=7, cutout=0.5) == files[0]


def test_a_file_of_another_size_is_made_again(teacher, batches):
    file = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32").file
    size = file.stat().st_size
    assert size == len(DIGITS) * 9 * 11
    file.write_bytes(b"cut short")
    assert TeacherAnswers.kept(teacher, batches, DIGITS, "fp32").file.stat().st_size == size


def test_on_a_full_disk_answers_are_kept_in_memory(teacher, batches, monkeypatch, capsys, nobody_answers, cache):
    def full(path):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(atomic_io, "replacing", full)
    answers = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32")
    said = capsys.readouterr().err
    assert "answers are kept for this training only" in said and "No space left on device" in said and str(cache) in said
    indices, views = next(batches.views(0))
    first = answers(indices, views)
    nobody_answers()
    assert answers.file is None and torch.equal(answers(indices, views), first)


def test_who_may_only_read_the_cache_uses_what_is_there(teacher, batches, monkeypatch, nobody_answers):
    indices, views = next(batches.views(0))
    writer = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32")
    writer(indices[:10], views[:10])
    before = writer.file.read_bytes()
    monkeypatch.setattr(stored_answers.os, "access", lambda path, mode: False)
    reader = TeacherAnswers.kept(teacher, batches, DIGITS, "fp32")
    found = reader(indices, views)
    assert reader.file is None and writer.file.read_bytes() == before
    nobody_answers()
    assert torch.equal(reader(indices, views), found)


@pytest.mark.slow
@pytest.mark.parametrize("teacher", ["run folder", ".sqz"])
def test_the_script_stores_all_that_a_student_asks(teacher, tiny_run, tiny_sqz, tmp_path, nobody_answers, cache, capsys):
    grid = ["--recipe", "fast", "--shift", "0.125", "--precision", "fp32", "--device", "cpu"]
    model, count = (tiny_run.folder, "360") if teacher == "run folder" else (tiny_sqz, "1,488")
    with pytest.raises(SystemExit) as ended:
        run_script(SCRIPT, model, "digits", *grid, "--out", tmp_path / "copy")
    assert ended.value.code == 0
    (file,) = (cache / "answers").iterdir()
    assert (tmp_path / "copy" / file.name).read_bytes() == file.read_bytes()
    assert capsys.readouterr().out == f"{tmp_path / 'copy' / file.name}: {count} images, 9 views each, fp32\n"
    nobody_answers()
    assert student(tmp_path / "student", tiny_run, teacher=str(model)).summary


def test_the_script_names_what_is_wrong(tiny_run, tmp_path, capsys):
    cases = [
        ([tmp_path, "digits"], "not a run folder"),
        ([tiny_run.folder, tmp_path / "none"], "none"),
        ([tiny_run.folder, "digits", "--recipe", "fine-tune"], "shows no shifts"),
    ]
    for given, problem in cases:
        with pytest.raises(SystemExit) as ended:
            run_script(SCRIPT, *given)
        assert ended.value.code == 2 and problem in capsys.readouterr().err


@pytest.mark.slow
def test_without_a_teacher_shifts_are_as_they_were(tmp_path, cache):
    run = train("digits", out=tmp_path / "run", **{**STUDENT, "epochs": 1})
    assert run.config.recipe.shift_step == 0
    assert not (cache / "answers").exists()
    assert Run(run.folder).config == run.config
