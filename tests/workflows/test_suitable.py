"""What is chosen for a folder of pictures."""

import numpy as np
import pytest
from PIL import Image

import squeezekit as sk
from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.pretrained.files import pretrained_names
from squeezekit.workflows.suitable import ENLARGED_TO, SIDES, Budget, photo_models, suitable


def pictures(folder, width, height, each=12):
    """Two classes, bright and dark, in noise."""
    random = np.random.default_rng(0)
    for label, brightness in (("dark", 60), ("light", 180)):
        (folder / label).mkdir(parents=True)
        for number in range(each):
            pixels = random.normal(brightness, 30, (height, width, 3)).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / label / f"{number}.png")
    return folder


@pytest.fixture
def photos(tmp_path):
    """Of 90 × 70 pixels."""
    return pictures(tmp_path / "photos", 90, 70)


def test_photos_start_from_the_most_accurate_network_and_every_line_names_its_flag(photos):
    choice = suitable(photos, Budget(), {})
    assert choice.init_from == photo_models()[0] in pretrained_names()
    assert choice.fields == {"image_size": ENLARGED_TO, "epochs": 60}
    assert "24 pictures, their shorter side 70 pixels" in choice.lines[0]
    assert "--init-from" in choice.lines[1] and "--epochs" in choice.lines[2]


def test_photos_are_seen_as_large_as_they_are(tmp_path):
    sides = [
        suitable(pictures(tmp_path / str(side), side + 30, side, 1), Budget(), {}).fields["image_size"]
        for side in (130, 170, 400)
    ]
    assert sides == [128, 160, SIDES[0]]


def test_what_is_given_is_not_chosen(photos):
    assert suitable(photos, Budget(), {"image_size": 80, "epochs": 3}).fields == {}
    assert suitable(photos, Budget(), {"squeeze_ratio": 0.5}).init_from is None


def test_budgets_choose_smaller_networks_and_smaller_images(photos):
    largest = suitable(photos, Budget(), {})
    smaller = suitable(photos, Budget(max_bytes=60_000), {})
    assert smaller.init_from in photo_models()[1:] and "60,000 bytes" in smaller.lines[1]
    fewer = suitable(photos, Budget(max_macs=100_000_000), {})
    assert fewer.init_from == largest.init_from and fewer.fields["image_size"] < largest.fields["image_size"]
    assert suitable(photos, Budget(max_ram=60_000), {}).fields["image_size"] == ENLARGED_TO
    assert suitable(photos, Budget(max_ram=40_000), {}).fields["image_size"] < ENLARGED_TO
    with pytest.raises(SqueezekitError, match=r"within 100 bytes: the smallest, photo-s at 64 pixels, takes about [\d,]+ bytes"):
        suitable(photos, Budget(max_bytes=100), {})


def test_classes_and_pictures_are_those_that_labels_and_lists_leave(photos, tmp_path):
    lines = [f"dark/{number}.png,{number % 3}" for number in range(12)]
    (photos / "labels.csv").write_text("\n".join(["path,label", *lines]))
    (tmp_path / "less.txt").write_text("dark/0.png\n")
    choice = suitable(photos, Budget(), {"labels": str(photos / "labels.csv"), "leave_out": str(tmp_path / "less.txt")})
    assert "11 pictures" in choice.lines[0] and choice.init_from == photo_models()[0]


def test_small_pictures_and_named_data_are_trained_from_random_weights(tmp_path):
    assert suitable(pictures(tmp_path / "small", 40, 40), Budget(), {}).lines == ()
    assert suitable("digits", Budget(), {}).init_from is None


@pytest.mark.slow
def test_training_says_what_it_chose_and_can_be_taken_up(photos, tmp_path, capsys):
    run = sk.train(photos, out=tmp_path / "run", max_macs=70_000_000, epochs=1, precision="fp32")
    said = capsys.readouterr().err
    assert "photos" in said and "--max-macs" in said
    assert run.config.recipe.name == "fine-tune" and run.config.network.image_size in SIDES
    again = sk.train(photos, out=tmp_path / "run", max_macs=70_000_000, resume=True)
    assert again.config == run.config
    (photos / "labels.csv").write_text("path,label\n" + "".join(f"dark/{number}.png,{number % 2}\n" for number in range(12)))
    fields = {"labels": photos / "labels.csv", "validation_share": 0.4, "max_macs": 70_000_000, "epochs": 1, "precision": "fp32"}
    labelled = sk.train(out=tmp_path / "labelled", **fields)
    assert labelled.config.network.depth == run.config.network.depth and labelled.config.recipe.name == "fine-tune"
    assert main(["train", "--data", str(photos), "--network", "nano", "--max-bytes", "50k"]) == 2
    assert "choose a network for photos; leave them out" in capsys.readouterr().err
