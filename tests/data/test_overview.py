"""What is said about the images before a training."""

import dataclasses

import numpy as np
import pytest

from squeezekit.data.image_set import ImageSet, ImageSource
from squeezekit.data.overview import check_copies, check_different, overview
from squeezekit.data.splits import split_images
from squeezekit.system.errors import SqueezekitError


def images_of(seeds, classes=("cat", "dog")):
    """An image for each seed, in classes that take turns; equal seeds give equal images."""
    pixels = np.stack([np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8) for seed in seeds])
    return ImageSet(pixels, np.arange(len(seeds)) % len(classes), classes, "", mirrorable=True)


def source_of(training, test):
    return ImageSource("pets", training, test)


def lines(source):
    return list(overview(source, split_images(source.training, seed=0)))


def test_one_line_with_classes_and_the_images_of_each_part():
    assert lines(source_of(images_of(range(40)), images_of(range(40, 50)))) == [
        "pets: 2 classes; images: 36 for training, 4 for validation, 10 for the test"
    ]


def test_what_was_left_out_is_in_that_line():
    source = dataclasses.replace(source_of(images_of(range(40)), images_of([99, 98])), notes=("12 files left out",))
    assert lines(source)[0].endswith("2 for the test; 12 files left out")


def test_images_in_both_parts_are_counted_and_an_error_if_asked_for():
    source = source_of(images_of(range(40)), images_of([3, 4, 99, 98]))
    assert lines(source)[1].startswith("images in both the training and the test part: 2")
    with pytest.raises(SqueezekitError, match=r"pets: images in both the training and the test part: 2.*leave out --strict"):
        check_copies(source, split_images(source.training, seed=0))


def test_a_given_validation_part_that_repeats_training_images_is_counted():
    training = dataclasses.replace(images_of([*range(40), *range(10), *range(50, 60)]), validation=20)
    assert lines(source_of(training, images_of([99, 98])))[1].startswith("images for both training and validation: 10")


def test_an_image_in_two_classes_is_counted():
    source = source_of(images_of([*range(40), 1, 3]), images_of([99, 98]))
    assert "images that are copies of one in another class: 1; decide for one class" in lines(source)


def test_a_test_image_in_two_classes_is_counted_and_an_error_if_asked_for():
    source = source_of(images_of(range(40)), images_of([99, 99]))
    assert lines(source)[1:] == ["images that are copies of one in another class: 1; decide for one class"]
    with pytest.raises(SqueezekitError, match="images that are copies of one in another class: 1; decide for one class"):
        check_copies(source, split_images(source.training, seed=0))


def test_copies_on_one_side_are_said_and_no_error():
    source = source_of(images_of([*range(40), *range(40)]), images_of([99, 98]))
    assert lines(source)[1:] == ["images that are copies of others: 40; they stay on one side with them"]
    check_copies(source, split_images(source.training, seed=0))


def test_names_of_mirror_images_are_said():
    source = source_of(images_of(range(40), ("left", "right")), images_of([99, 98], ("left", "right")))
    assert lines(source)[1:] == ["'left' and 'right' are each other's mirror image: images are not mirrored"]


def test_names_cannot_move_the_cursor():
    source = source_of(images_of(range(40)), images_of([99, 98]))
    assert lines(dataclasses.replace(source, name="\x1b[2J"))[0].startswith("\\x1b[2J: 2 classes")


def test_images_that_are_all_the_same_are_an_error():
    check_different(source_of(images_of([0, 0, 1]), images_of([2, 3])))
    with pytest.raises(SqueezekitError, match="pets: all 6 images for training are the same once they are decoded"):
        check_different(source_of(images_of([7] * 6), images_of([2, 3])))
