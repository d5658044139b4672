"""How many foreign pictures are turned away."""

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.data.sources import load_images
from squeezekit.inference.foreign_images import Share, foreign_images, kept_share
from squeezekit.inference.model import load_model


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    folder = tmp_path_factory.mktemp("noise")
    random = np.random.default_rng(0)
    for number in range(40):
        Image.fromarray(random.integers(0, 256, (16, 16), np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return folder


def test_the_interval_of_a_share():
    # Of Wilson, 1927: 8 of 10.
    found = Share.of(np.arange(10) < 8)
    assert (found.low, found.high) == (pytest.approx(0.490, abs=1e-3), pytest.approx(0.943, abs=1e-3))
    assert Share.of(np.ones(5, bool)).high == 1 and Share.of(np.zeros(5, bool)).low == 0


def test_a_model_without_a_rule_keeps_everything():
    model = replace(load_model("digits-nano"), none_of_these=None)
    images = load_images("digits").test.subset(range(20))
    assert kept_share(model, images, limit=10) == Share.of(np.ones(10, bool))


@pytest.mark.slow
def test_foreign_pictures_are_turned_away(tiny_sqz, noise, capsys):
    found = foreign_images(tiny_sqz, [noise, noise], "digits")
    one = found.foreign[0]
    assert found.kept.share > 0.85 and found.kept.images > 200
    assert one.turned_away.images == 40 and one.unreadable == 1 and found.foreign[1] == one
    assert one.turned_away.low <= one.turned_away.share <= one.turned_away.high
    assert main(["evaluate", str(tiny_sqz), "--data", "digits", "--foreign", str(noise), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["none_of_these"]
    assert told["kept"]["share"] == found.kept.share and told["foreign"][0]["turned_away"]["share"] == one.turned_away.share
    assert main(["evaluate", str(tiny_sqz), "--data", "digits", "--foreign", str(noise)]) == 0
    said = capsys.readouterr().out
    assert (
        "of its own test images" in said and f"{noise}: {one.turned_away.share:.1%} of 40" in said and "1 cannot be read" in said
    )
    assert main(["predict", str(tiny_sqz), str(noise / "0.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["known"] in (True, False)


def test_what_cannot_be_measured_says_why(tiny_run, tiny_sqz, tmp_path):
    with pytest.raises(SqueezekitError, match="has no rule for none of these; give the .sqz file"):
        foreign_images(tiny_run.folder, [tmp_path])
    with pytest.raises(SqueezekitError, match="holds no picture that can be read"):
        foreign_images(tiny_sqz, [tmp_path], "digits")
    assert main(["evaluate", str(tiny_sqz), "--data", "digits", "--split", "validation", "--foreign", str(tmp_path)]) == 2
