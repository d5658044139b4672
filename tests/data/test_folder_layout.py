"""Which folders are parts of a data set."""

import pytest

from squeezekit.data.folder_layout import Part, find_layout
from squeezekit.system.errors import SqueezekitError


def made(root, *paths):
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")
    return root


@pytest.mark.parametrize(
    ("training", "validation", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("training_set", "valid", "test_set"),
        ("TRAIN", "Dev", "TEST"),
        ("train-images", "validation images", "Test Images"),
        ("trainset", "val_data", "testset"),
    ],
)
def test_usual_spellings(tmp_path, training, validation, test):
    names = {Part.TRAINING: training, Part.VALIDATION: validation, Part.TEST: test}
    made(tmp_path, *(f"{name}/cat/a.png" for name in names.values()))
    assert find_layout(tmp_path).parts == {part: tmp_path / name for part, name in names.items()}


def test_a_test_or_a_validation_part_is_enough(tmp_path):
    made(tmp_path, "train/cat/a.png", "val/cat/a.png")
    assert find_layout(tmp_path).parts == {Part.TRAINING: tmp_path / "train", Part.VALIDATION: tmp_path / "val"}


def test_what_is_beside_the_parts_is_left_out(tmp_path):
    # A test part without labels, as competitions give it.
    made(tmp_path, "train/cat/a.png", "val/cat/a.png", "unlabelled/a.png", "test/1.png", ".git/x", "__MACOSX/x", "labels.csv")
    assert find_layout(tmp_path).others == ("test", "unlabelled")


def test_classes_alone(tmp_path):
    made(tmp_path, "cat/a.png", "dog/young/a.png", "train/a.png", "testimony/a.png", "valley/a.png")
    assert find_layout(tmp_path) == find_layout(made(tmp_path, "notes.txt"))
    assert not find_layout(tmp_path).parts


@pytest.mark.parametrize(
    ("paths", "sentence"),
    [
        (["train/cat/a.png", "Training/cat/a.png", "test/cat/a.png"], "holds two training parts, Training and train: keep one"),
        (["train/cat/a.png"], "train has no .*test beside it"),
        (["cat/a.png", "dog/a.png", "Test/cat/a.png"], "Test looks like a part of a data set, and .* has no training part"),
        (["train/1.png", "test/1.png"], "test and .*train look like parts of a data set and hold no class folders"),
    ],
)
def test_what_can_be_understood_in_two_ways_is_one_sentence(tmp_path, paths, sentence):
    with pytest.raises(SqueezekitError, match=sentence):
        find_layout(made(tmp_path, *paths))
