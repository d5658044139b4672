"""Photographs, for networks that leave."""

import itertools

import pytest


@pytest.fixture(scope="session")
def photographs(real_images, shared):
    """A folder with a few of the real images: of each class 20 to train with, and 100 to test with."""

    def make(folder):
        for part, count in (("train", 20), ("test", 100)):
            for group in (real_images / part).iterdir():
                (folder / part / group.name).mkdir(parents=True)
                for path in itertools.islice(sorted(group.iterdir()), count):
                    (folder / part / group.name / path.name).symlink_to(path)

    return shared("photographs", make)
