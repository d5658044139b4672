"""Errors keep their kind and their sentence on the way from one process to another."""

import pickle

import pytest

from squeezekit.data.image_file import ReadingFailedError, TooManyPixelsError, UnreadableImageError
from squeezekit.system.errors import RunFailed, SqueezekitError


@pytest.mark.parametrize(
    "error",
    [
        SqueezekitError("what, where"),
        RunFailed("it diverged"),
        UnreadableImageError("a.png", "cut short"),
        ReadingFailedError("a.png", "too little memory"),
        TooManyPixelsError("a.png", 30_000, 30_000, 100),
    ],
)
def test_an_error_is_the_same_in_another_process(error):
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))
