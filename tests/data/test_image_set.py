"""The image set itself."""

import numpy as np
import pytest

from squeezekit.data.image_set import ImageSet, content_fingerprint, copies_in, first_copies


def small_set():
    images = np.arange(4 * 2 * 2 * 3, dtype=np.uint8).reshape(4, 2, 2, 3)
    return ImageSet(images, np.array([0, 1, 0, 1]), ("a", "b"), "f" * 64, mirrorable=True)


def test_length_size_and_channels():
    images = small_set()
    assert (len(images), images.image_size, images.channels) == (4, 2, 3)


def test_a_subset_is_a_copy_with_its_own_fingerprint():
    images = small_set()
    part = images.subset([3, 0])
    assert part.labels.tolist() == [1, 0]
    assert (part.images == images.images[[3, 0]]).all()
    part.images[:] = 0
    assert images.images[3].any()
    fingerprints = {images.fingerprint, part.fingerprint, images.subset([0, 3]).fingerprint}
    assert len(fingerprints) == 3
    assert images.subset([3, 0]).fingerprint == part.fingerprint


@pytest.mark.parametrize(
    ("images", "labels"),
    [
        (np.zeros((2, 4, 4), np.uint8), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4, 3), np.float32), np.zeros(2, np.int64)),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(3, np.int64)),
        (np.zeros((2, 4, 4, 3), np.uint8), np.zeros(2, np.int32)),
    ],
)
def test_arrays_that_do_not_fit_together_are_refused(images, labels):
    with pytest.raises(ValueError, match="must be"):
        ImageSet(images, labels, ("a",), "", mirrorable=True)


def test_a_fingerprint_depends_on_names_labels_content_and_order():
    hashes = [b"1" * 32, b"2" * 32]
    fingerprints = {
        content_fingerprint(("a", "b"), [0, 1], hashes),
        content_fingerprint(("a", "c"), [0, 1], hashes),
        content_fingerprint(("ab", ""), [0, 1], hashes),
        content_fingerprint(("a", "b"), [1, 0], hashes),
        content_fingerprint(("a", "b"), [0, 1], hashes[::-1]),
    }
    assert len(fingerprints) == 5
    assert content_fingerprint(("a", "b"), [0, 1], hashes) in fingerprints


def test_copies_are_found_by_all_their_pixels():
    images = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)
    images[4], images[5] = images[1], images[1]
    # Another one in a single pixel, which is none of those that are compared first.
    images[5, 0, 0, 1] ^= 1
    assert first_copies(images).tolist() == [0, 1, 2, 3, 1, 5]
    assert copies_in(images, images[[1, 2]]).tolist() == [False, True, True, False, True, False]


def test_of_no_images_none_is_a_copy():
    some, none = small_set().images, small_set().images[:0]
    assert not copies_in(some, none).any()
    assert len(copies_in(none, some)) == len(first_copies(none)) == 0
