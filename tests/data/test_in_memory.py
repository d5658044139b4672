"""Pictures in memory: what is taken, what is refused, how they are found again."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import Subset

from squeezekit.data.in_memory import hold, load_in_memory
from squeezekit.data.sources import data_name, in_memory, load_images, settled
from squeezekit.system.errors import SqueezekitError


def some(count=40, shape=(12, 12, 3)):
    random = np.random.default_rng(0)
    return random.integers(0, 256, (count, *shape), np.uint8), np.arange(count) % 4


class Listed(list):
    classes = ("ant", "bee", "cat", "dog")


def test_arrays_become_a_source_that_is_found_by_name():
    images, labels = some()
    name = data_name((images, labels, ["ant", "bee", "cat", "dog"]))
    assert name == settled(name) and in_memory(name) and name.startswith("memory:")
    source = load_images(name, image_size=12)
    assert source.training.images.shape[1:] == (12, 12, 3) and source.training.classes == ("ant", "bee", "cat", "dog")
    assert len(source.training) + len(source.test) == 40 and np.bincount(source.test.labels).min() >= 1
    held = {image.tobytes() for image in images}
    assert {image.tobytes() for part in (source.training, source.test) for image in part.images} == held
    everything = source.everything()
    assert len(everything) == 40 and everything.fingerprint not in (source.training.fingerprint, source.test.fingerprint)


def test_the_same_content_has_the_same_name_and_parts_at_every_size():
    images, labels = some()
    assert hold((images, labels)) == hold((images.copy(), labels.astype(np.uint8))) != hold((255 - images, labels))
    one, other = (load_in_memory(hold((images, labels)), image_size=size) for size in (12, 8))
    assert one.test.fingerprint == other.test.fingerprint and other.test.images.shape[1:] == (8, 8, 3)


def test_grey_pictures_have_one_channel_unless_told():
    images, labels = some(shape=(12, 12))
    name = hold((images, labels))
    assert load_images(name).training.images.shape[1:] == (32, 32, 1)
    assert load_images(name, channels=3).training.images.shape[1:] == (32, 32, 3)
    assert hold((images[..., None], labels)) == hold((torch.from_numpy(images)[:, None], torch.from_numpy(labels))) == name


def test_pictures_of_any_size_and_kind_from_a_data_set():
    images, labels = some(8)
    pairs = Listed(
        (Image.fromarray(image).resize((20, 10 + i)), int(label))
        for i, (image, label) in enumerate(zip(images, labels, strict=True))
    )
    source = load_in_memory(hold(pairs), image_size=8)
    assert source.training.classes == Listed.classes and len(source.everything()) == 8
    assert load_in_memory(hold(Subset(pairs, range(4)))).training.classes == Listed.classes
    palette = [(picture.convert("P"), label) for picture, label in pairs]
    assert load_in_memory(hold(palette)).training.channels == 3


def test_names_of_classes_that_the_caller_knows_are_taken_where_there_are_none():
    images, labels = some()
    assert load_in_memory(hold((images, labels), ("w", "x", "y", "z"))).training.classes == ("w", "x", "y", "z")
    assert load_in_memory(hold((images, labels, list("abcd")), ("w", "x", "y", "z"))).training.classes == tuple("abcd")


def _normalized(images, labels):
    return [(torch.from_numpy(image).permute(2, 0, 1) / 127.5 - 1, label) for image, label in zip(images, labels, strict=True)]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda i, y: (i.astype(np.float32), y), "give 0…1 before normalization, or uint8"),
        (_normalized, "before normalization"),
        (lambda i, y: (np.full(i.shape, np.nan), y), "holds nan to nan"),
        (lambda i, y: ((i > 9).astype(np.uint8), y), "which is black"),
        (lambda i, y: (i.astype(np.int64), y), "array of int64 .* is no picture"),
        (lambda i, y: (i.reshape(40, -1), y), "array of uint8 .* is no picture"),
        (lambda i, y: (i[..., :2], y), "array of uint8 .* is no picture"),
        (lambda i, y: (i, y[:-1]), "40 images and 39 labels"),
        (lambda i, y: (i, y / 2), "labels are float64"),
        (lambda i, y: (i, y - 1), "a label is -1"),
        (lambda i, y: (i, y, ["a", "b"]), "a label is 3, and there are 2 classes"),
        (lambda i, y: (i, y, ["a", "a", "b", "c"]), "a name of its own"),
        (lambda i, y: (i, y, ["a"], 4), "a tuple of 4"),
        (lambda i, y: [(i[0], "ant")], "item 0 of the data set"),
        (lambda i, y: [i[0]], "item 0 of the data set"),
        (lambda i, y: iter([(i[0], 0)]), "map-style"),
        (lambda i, y: (i[:0], y[:0]), "two or more"),
    ],
)
def test_anything_else_is_refused_in_one_sentence(make, told):
    with pytest.raises(SqueezekitError, match=told) as refused:
        hold(make(*some()))
    assert "\n" not in str(refused.value)


def test_pictures_that_change_are_noticed():
    images, labels = some()
    name = hold((images, labels))
    images[3] //= 2
    with pytest.raises(SqueezekitError, match="picture 3 is another one than at first"):
        load_in_memory(name)


def test_pictures_of_another_process_are_asked_for():
    with pytest.raises(SqueezekitError, match="give the same ones again"):
        load_images("memory:0123456789abcdef")
