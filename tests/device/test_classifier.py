"""A device answers as squeezekit does: integers to the bit, pictures pixel for pixel."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezekit import Classifier, SqueezekitError
from squeezekit.cli import main
from squeezekit.device.answers import answer_as_json
from squeezekit.device.classifier import DeviceClassifier
from squeezekit.device.library import library_path
from squeezekit.inference.int8_model import in_int8, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.pretrained.files import model_path, pretrained_names
from tests.fixtures.device_files import file_of
from tests.fixtures.exported import EVERY_NETWORK, pictures_like, reference

pytestmark = pytest.mark.skipif(not library_path().exists(), reason="a device has Linux on x86-64 or AArch64")
EXAMPLE = Path(__file__).parents[2] / "examples" / "three.png"


def logits_of(classifier, pixels):
    return [classifier.logits(image.tobytes()) for image in pixels]


@pytest.mark.slow
@pytest.mark.parametrize("name", pretrained_names())
def test_every_pretrained_network_gives_the_bits_of_the_reference(name):
    device, model = DeviceClassifier(model_path(name)), load_model(name)
    plan, pixels = integer_plan(model), pictures_like(model.config, 6)
    assert logits_of(device, pixels) == reference(plan, pixels).tolist()
    assert (device.classes, device.model.plan.fraction) == (model.classes, plan.fraction)


@pytest.mark.parametrize("name", EVERY_NETWORK)
def test_every_kind_of_network_gives_the_bits_of_the_reference(name, tmp_path):
    plan = file_of(name, tmp_path / "small.sqz")
    device = DeviceClassifier(tmp_path / "small.sqz")
    pixels = pictures_like(load_model(tmp_path / "small.sqz").config, 6)
    assert logits_of(device, pixels) == reference(plan, pixels).tolist()


def test_answers_have_the_fields_that_predict_has(capsys):
    assert main(["predict", "digits-nano", str(EXAMPLE), "--top", "3", "--json"]) == 0
    wanted = json.loads(capsys.readouterr().out)
    found = answer_as_json(DeviceClassifier(model_path("digits-nano")).answer(EXAMPLE), 3)
    assert list(found) == [name for name in wanted if name != "path"]
    assert [row.keys() for row in found["top"]] == [row.keys() for row in wanted["top"]]
    assert (found["label"], found["known"], found["unsure"]) == (wanted["label"], wanted["known"], wanted["unsure"])


def pictures(folder):
    """Files with all that a camera or a program may do: a turned photo, transparency, 16 bits, a palette."""
    random = np.random.default_rng(0)
    photo = Image.fromarray(random.integers(0, 256, (9, 14, 3), np.uint8).repeat(9, 0).repeat(7, 1))
    exif = Image.Exif()
    exif[0x0112] = 6
    photo.save(folder / "turned.jpg", exif=exif)
    photo.convert("RGBA").save(folder / "clear.png")
    photo.quantize(20).save(folder / "palette.png")
    deep = random.integers(0, 65536, (40, 50)).astype(np.uint16)
    Image.fromarray(deep).save(folder / "deep.png")
    photo.save(folder / "photo.webp")
    photo.resize((32, 32)).save(folder / "same.bmp")
    return sorted(folder.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["cifar10-nano", "digits-nano"])
def test_pictures_are_answered_as_predict_answers_them(name, tmp_path):
    device, model = DeviceClassifier(model_path(name)), load_model(name)
    # Of noise, floats would say something else.
    known = Classifier(in_int8(model, integer_plan(model)))
    for path in pictures(tmp_path):
        found, wanted = device.answer(path), known(path)
        close = pytest.approx(dict(wanted.probabilities), abs=1e-6)
        assert dict(found.probabilities) == close and found.known == wanted.known, path.name
        assert device.predict(path) == list(found.probabilities) == device.predict(io.BytesIO(path.read_bytes()))
        assert [share for _, share in device.predict(Image.open(path))] == sorted(dict(found.probabilities).values())[::-1]


def test_what_is_no_picture_is_said(tmp_path):
    device = DeviceClassifier(model_path("digits-nano"))
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff" + b"x" * 100)
    for source, said in ((tmp_path / "bad.jpg", "cannot be read as a picture"), (3, "a int is no picture")):
        with pytest.raises(SqueezekitError, match=said):
            device.predict(source)
    with pytest.raises(SqueezekitError, match="an image of 5 bytes: give 32 × 32 × 1"):
        device.logits(b"12345")
    Image.new("L", (40, 40)).save(tmp_path / "large.png")
    with pytest.raises(SqueezekitError, match="40 × 40 pixels, more than 1,000"):
        device.predict(tmp_path / "large.png", max_pixels=1000)
