"""Trainings whose pictures are labelled, grouped and left out by files: config, resuming, evaluation."""

import numpy as np
import pytest
from PIL import Image

import squeezekit as sk
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.tiny import SMALL


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Sixty pictures in one folder, six of each of ten plants, and their labels."""
    folder = tmp_path_factory.mktemp("photos")
    rows = ["path,label,plant"]
    for number in range(60):
        pixels = np.random.default_rng(number).integers(0, 256, (16, 16, 3), np.uint8)
        pixels[..., number % 2] //= 8
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        rows.append(f"{number:02}.png,{'red' if number % 2 else 'green'},{number // 6}")
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


@pytest.mark.slow
def test_labels_and_groups_are_kept_and_changes_are_noticed(photos, tmp_path, capsys):
    (tmp_path / "list").write_text("00.png\n")
    labels = tmp_path / "labels.csv"
    labels.write_bytes((photos / "labels.csv").read_bytes())
    settings = {"labels": str(labels), "group_by": "plant", "leave_out": str(tmp_path / "list"), "epochs": 1, **SMALL}
    run = sk.train(str(photos), out=tmp_path / "run", validation_share=0.2, **settings)
    kept = run.config.run
    assert (kept.labels, kept.group_by, kept.leave_out) == (str(labels), "plant", str(tmp_path / "list"))
    said = capsys.readouterr().err
    assert "1 left out by list; grouped by column 'plant': 10 groups of at most 6 images" in said
    assert len(sk.evaluate(run.folder).images) == 11
    assert len(sk.evaluate(run.folder, photos, labels=labels, group_by="plant").images) == 12
    (run.folder / "summary.json").unlink()
    labels.rename(tmp_path / "moved.csv")
    assert sk.train(out=run.folder, resume=True, labels=str(tmp_path / "moved.csv")).summary
    (run.folder / "summary.json").unlink()
    (tmp_path / "list").write_text("00.png\n01.png\n")
    with pytest.raises(SqueezekitError, match="the images have changed since"):
        sk.train(out=run.folder, resume=True, labels=str(tmp_path / "moved.csv"))
    with pytest.raises(SqueezekitError, match="was begun with group_by = plant"):
        sk.train(out=run.folder, resume=True, group_by="label")


def test_named_data_takes_no_labels():
    with pytest.raises(SqueezekitError, match="digits: --labels, --group-by and --leave-out are for folders"):
        sk.train("digits", group_by="a")
