"""Warnings are silent while pictures are read, and only then."""

import warnings

import pytest

from squeezekit.data.quiet_pillow import quiet_pillow


def test_the_filters_are_restored_when_the_last_reader_is_done():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, second = quiet_pillow, quiet_pillow
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        warnings.warn("still silent", stacklevel=1)
        second.__exit__(None, None, None)
        with pytest.raises(UserWarning):
            warnings.warn("heard", stacklevel=1)
