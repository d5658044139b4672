"""Wrong answers as thumbnails."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image

from squeezekit.data import decoding
from squeezekit.data.curation import Curation
from squeezekit.data.image_set import ImageSet
from squeezekit.data.sources import load_images
from squeezekit.inference.evaluation import _evaluation
from squeezekit.inference.model import Model
from squeezekit.networks import network_config
from squeezekit.reporting.mistakes import COLOR, MOST, SIDE, _covered, worst_mistakes
from tests.fixtures.shapes import draw_shapes


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shapes") / "photos"
    draw_shapes(folder, 12)
    (folder / "square" / "2.jpg").write_bytes(b"\xff\xd8\xff broken")
    return folder


def model_of(network):
    config = network_config(network, classes=3, image_size=16)
    classes = ("cross", "disk", "square")
    return Model(network, config.build().eval(), config, classes, None, None, lambda images: np.arange(0))


def evaluated(images, probabilities):
    logits = torch.tensor(probabilities).log()
    return _evaluation(logits, torch.from_numpy(images.labels), images)


def picture(address):
    kind, _, data = address.partition(",")
    assert kind == "data:image/jpeg;base64"
    return Image.open(io.BytesIO(base64.b64decode(data)))


def test_the_surest_come_first_with_their_files_and_maps(photos, monkeypatch):
    # In several blocks, one of which has a file that cannot be read.
    monkeypatch.setattr(decoding, "FILES_IN_BLOCK", 5)
    images = load_images(photos, image_size=16).test
    # Everything is called a disk, one image after the other more surely.
    probabilities = [[(1 - sure) / 4, sure, 3 * (1 - sure) / 4] for sure in np.linspace(0.6, 0.9, len(images))]
    found = worst_mistakes(model_of("squeezenet-cifar"), evaluated(images, probabilities), photos, Curation())
    assert len(found) == (images.labels != 1).sum() and {each.answer for each in found} == {"disk"}
    assert [each.probability for each in found] == sorted((each.probability for each in found), reverse=True)
    last = found[0]
    assert last.label == "square" and last.probability_of_label == pytest.approx(3 * (1 - last.probability) / 4, abs=1e-6)
    for each in found:
        assert each.path.startswith(f"{each.label}/") and (photos / each.path).is_file()
        shown, seen = picture(each.picture), picture(each.seen)
        assert shown.size == seen.size == (SIDE, SIDE)
        original = np.asarray(Image.open(photos / each.path).resize((SIDE, SIDE), Image.Resampling.BILINEAR), float)
        assert np.abs(np.asarray(shown, float) - original).mean() < 12


def test_what_is_nowhere_and_has_no_map_is_shown_as_the_network_sees_it(tmp_path):
    pixels = np.zeros((MOST + 5, 16, 16, 3), np.uint8)
    images = ImageSet(pixels, np.zeros(len(pixels), np.int64), ("cross", "disk", "square"), "", mirrorable=False)
    found = worst_mistakes(model_of("fast"), evaluated(images, [[0.1, 0.6, 0.3]] * len(pixels)), tmp_path, Curation())
    assert len(found) == MOST and {(each.path, each.seen) for each in found} == {("", "")}
    assert picture(found[0].picture).size == (SIDE, SIDE)
    assert worst_mistakes(model_of("fast"), evaluated(images, [[0.8, 0.1, 0.1]] * len(pixels)), tmp_path, Curation()) == []


def test_color_lies_where_the_map_speaks_for_the_answer():
    seen = np.array([[1.0, 0.0], [-5.0, 0.0]], np.float32)
    pixels = np.asarray(_covered(Image.new("RGB", (40, 40), "gray"), seen), float)
    assert np.abs(pixels[2, 2] - COLOR).max() < np.abs(pixels[2, 37] - COLOR).max()
    assert np.allclose(pixels[37], 128, atol=4)
