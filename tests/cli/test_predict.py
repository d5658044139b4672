"""`squeezekit predict`: what is listed, what is said, what is answered."""

import json
import os

import pytest
from PIL import Image

from squeezekit.cli import main


@pytest.fixture
def folder(tmp_path):
    """Two pictures, and what systems leave beside them."""
    place = tmp_path / "pictures"
    (place / "below").mkdir(parents=True)
    Image.new("L", (20, 20), 200).save(place / "a.png")
    Image.new("L", (20, 20), 200).save(place / "below" / "b.jfif", "JPEG")
    (place / "._a.png").write_bytes(b"\0\5\x16\7")
    (place / ".ipynb_checkpoints").mkdir()
    Image.new("L", (20, 20)).save(place / ".ipynb_checkpoints" / "a.png")
    return place


def predict(capsys, *arguments):
    code = main(["predict", *map(str, arguments)])
    said = capsys.readouterr()
    return code, said.out.splitlines(), said.err


def test_hidden_files_are_passed_over(tiny_run, folder, capsys):
    code, answers, said = predict(capsys, tiny_run.folder, folder)
    assert (code, said) == (0, "")
    assert [line.split(":")[0] for line in answers] == [f"{folder}/a.png", f"{folder}/below/b.jfif"]


def test_what_is_left_out_is_named_and_counts_as_failed(tiny_run, folder, capsys):
    for name in ("c.heic", "d.heic"):
        (folder / name).write_bytes(b"heic")
    (folder / "e.png").symlink_to("nowhere")
    code, answers, said = predict(capsys, tiny_run.folder, folder)
    assert (code, len(answers)) == (1, 2)
    assert f"2 are left out (.heic is none of the formats that are read, JPEG, PNG, BMP and WebP): {folder}/c.heic" in said
    assert f"{folder}/e.png is left out (a link to nothing)" in said


def test_a_folder_of_other_formats_is_not_called_empty(tiny_run, folder, capsys):
    for name in ("a.png", "below/b.jfif"):
        (folder / name).rename((folder / name).with_suffix(".tif"))
    code, answers, said = predict(capsys, tiny_run.folder, folder)
    assert (code, answers) == (1, [])
    assert "2 are left out (.tif" in said and "holds no pictures" not in said


def test_a_name_that_is_not_utf8_is_shown_and_valid_in_json(tiny_run, folder, capsys):
    os.rename(folder / "a.png", folder / os.fsdecode(b"t\xe9te.png"))  # noqa: PTH104
    code, answers, _ = predict(capsys, tiny_run.folder, folder)
    assert code == 0 and answers[1].startswith(f"{folder}/t\\xe9te.png: ")
    code, answers, _ = predict(capsys, tiny_run.folder, folder, "--json")
    assert code == 0
    assert json.loads(answers[1].encode("utf-8"))["path"] == f"{folder}/t\\xe9te.png"


def test_pixels_are_bounded_by_one_flag(tiny_run, folder, capsys):
    Image.new("L", (50, 40)).save(folder / "c.png")
    code, answers, said = predict(capsys, tiny_run.folder, folder, "--max-pixels", "1999")
    assert (code, len(answers)) == (1, 2)
    assert said == (
        f"{folder}/c.png cannot be read as a picture (50 × 40 pixels, more than 1,999): make it smaller, or raise the limit, "
        "--max-pixels\n"
    )
    assert predict(capsys, tiny_run.folder, folder, "--max-pixels", "2000")[0] == 0
    assert main(["predict", str(tiny_run.folder), str(folder), "--max-pixels", "0"]) == 2


def test_a_pipe_is_no_picture(tiny_run, tmp_path, capsys):
    os.mkfifo(tmp_path / "a.png")
    code, _, said = predict(capsys, tiny_run.folder, tmp_path / "a.png")
    assert code == 1 and "not a regular file" in said


def test_a_missing_picture_is_not_to_be_replaced(tiny_run, tmp_path, capsys):
    code, _, said = predict(capsys, tiny_run.folder, tmp_path / "nosuch.png")
    assert code == 1 and said.endswith("nosuch.png cannot be read as a picture (No such file or directory): check its name\n")
