"""Accuracy on corrupted pictures."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.data.digits import load_digits
from squeezekit.inference.robustness import STRENGTHS, corrupted, robustness


def test_pictures_are_corrupted_as_they_say():
    images = load_digits(image_size=32, channels=3).test
    assert np.array_equal(corrupted(images, "contrast", 1.0).images, images.images)
    pale = corrupted(images, "contrast", 0.5).images.astype(float)
    assert pale.std() == pytest.approx(images.images.std() / 2, rel=0.1)
    noise = corrupted(images, "noise", 8).images.astype(float) - images.images
    inside = noise[(images.images > 40) & (images.images < 215)]
    assert inside.std() == pytest.approx(8, rel=0.1) and abs(inside.mean()) < 1
    blurred = corrupted(images, "blur", 1.5).images.astype(float)
    assert np.abs(np.diff(blurred, axis=2)).mean() < np.abs(np.diff(images.images.astype(float), axis=2)).mean()
    file = io.BytesIO()
    Image.fromarray(images.images[0]).save(file, "JPEG", quality=10)
    assert np.array_equal(corrupted(images, "jpeg", 10).images[0], np.asarray(Image.open(file)))
    assert np.array_equal(corrupted(images, "noise", 8).images, corrupted(images, "noise", 8).images)


def test_grey_images_stay_grey():
    images = load_digits(image_size=32, channels=1).test
    for kind, strengths in STRENGTHS.items():
        assert corrupted(images, kind, strengths[-1]).images.shape == images.images.shape


@pytest.mark.slow
def test_worse_pictures_are_recognised_less_well(tiny_run, capsys):
    rows = {(row.kind, row.strength): row for row in robustness(tiny_run.folder, limit=150)}
    assert rows["none", 0].images == 150 and len(rows) == 1 + sum(map(len, STRENGTHS.values()))
    assert rows["none", 0].accuracy > 0.5
    assert rows["noise", 32].accuracy <= rows["none", 0].accuracy
    assert main(["evaluate", str(tiny_run.folder), "--robustness", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["robustness"]
    assert {row["kind"] for row in told} == {"none", *STRENGTHS}
    with pytest.raises(SqueezekitError, match="at least 1"):
        robustness(tiny_run.folder, limit=0)
