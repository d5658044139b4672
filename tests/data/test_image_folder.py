"""Image folders, from the files to the two parts."""

import hashlib
import itertools
import os
import shutil
import signal
import subprocess
import sys
import time
import unicodedata

import numpy as np
import pytest
from PIL import Image

from squeezekit.data import block_decoding, decoding
from squeezekit.data import image_folder as folder
from squeezekit.data.image_file import read_image
from squeezekit.data.image_folder import load_folder
from squeezekit.data.splits import split_images
from squeezekit.system.errors import SqueezekitError


def contents(images):
    return {image.tobytes() for image in images.images}


def expected(paths, size=32):
    return {read_image(path, size, 3).tobytes() for path in paths}


@pytest.fixture
def parted(tmp_path, write_pictures):
    """A folder with parts of its own."""
    root = tmp_path / "parted"
    for name in ("a", "b", "c"):
        write_pictures(root / "train" / name, 12)
        write_pictures(root / "test" / name, 3)
    return root


@pytest.fixture
def no_decoding(monkeypatch):
    """A switch: from its call on, reading a picture fails the test."""

    def switch():
        def refuse(*_):
            pytest.fail("a picture was read again")

        monkeypatch.setattr(block_decoding, "read_image", refuse)

    return switch


def test_parts_of_its_own_are_kept(parted):
    source = load_folder(parted)
    assert source.training.classes == source.test.classes == ("a", "b", "c")
    assert np.bincount(source.training.labels).tolist() == [12, 12, 12]
    assert np.bincount(source.test.labels).tolist() == [3, 3, 3]
    for part, images in (("train", source.training), ("test", source.test)):
        for label, name in enumerate(images.classes):
            ours = {image.tobytes() for image in images.images[images.labels == label]}
            assert ours == expected((parted / part / name).iterdir())
    assert source.unreadable == ()
    assert source.name == str(parted)


def test_15_percent_go_to_test_by_content_whatever_the_names(pets, tmp_path):
    source = load_folder(pets)
    assert np.bincount(source.training.labels).tolist() == [34, 34]
    assert np.bincount(source.test.labels).tolist() == [6, 6]
    for label, name in enumerate(source.test.classes):
        by_hash = sorted((pets / name).iterdir(), key=lambda path: hashlib.sha256(path.read_bytes()).digest())
        ours = {image.tobytes() for image in source.test.images[source.test.labels == label]}
        assert ours == expected(by_hash[:6])
    renamed = tmp_path / "renamed"
    for path in pets.rglob("*.png"):
        target = renamed / path.parent.name / "deeper" / f"{os.urandom(4).hex()}.PNG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    again = load_folder(renamed)
    assert again.test.fingerprint == source.test.fingerprint
    assert again.training.fingerprint == source.training.fingerprint
    assert (again.training.images == source.training.images).all()


def test_fingerprints_follow_the_content(pets):
    before = load_folder(pets)
    small = load_folder(pets, image_size=8)
    assert small.training.images.shape[1:] == (8, 8, 3)
    assert small.training.fingerprint == before.training.fingerprint
    assert before.training.fingerprint != before.test.fingerprint
    (pets / "cats").rename(pets / "lions")
    assert load_folder(pets).training.fingerprint != before.training.fingerprint


def test_identical_files_are_never_on_both_sides(pets):
    for path in list(pets.rglob("*.png")):
        shutil.copy(path, path.with_name("copy of " + path.name))
    source = load_folder(pets)
    assert len(source.training) + len(source.test) == 160
    assert not contents(source.training) & contents(source.test)


def test_a_picture_in_two_formats_is_never_on_both_sides(pets):
    for path in list(pets.rglob("*.png")):
        Image.open(path).save(path.with_suffix(".bmp"))
    source = load_folder(pets)
    assert len(source.training) + len(source.test) == 160
    assert not contents(source.training) & contents(source.test)
    # The second start finds the same parts without decoding.
    assert load_folder(pets).training.fingerprint == source.training.fingerprint


def test_a_validation_part_of_its_own(parted, write_pictures):
    for number, name in enumerate(("a", "b", "c")):
        for path in write_pictures(parted / "Valid" / name, 2):
            Image.new("RGB", (9, 9), (number, *path.stem.encode()[-2:])).save(path)
    source = load_folder(parted)
    training = source.training
    assert training.validation == 6 and len(training) == 42 and len(source.test) == 9
    ours = {image.tobytes() for image in training.images[-6:]}
    assert ours == expected((parted / "Valid").rglob("*.png"))
    split = split_images(training, seed=0)
    assert split.validation.tolist() == list(range(36, 42))


def test_without_a_test_part_some_training_pictures_are_set_aside(parted, write_pictures):
    shutil.rmtree(parted / "test")
    for name in ("a", "b", "c"):
        write_pictures(parted / "val" / name, 4)
    source = load_folder(parted)
    assert (len(source.training), source.training.validation, len(source.test)) == (42, 12, 6)
    assert source.notes == ("15 % of each class are set aside for the test, by their content",)


def test_the_same_pictures_for_training_or_for_validation_are_other_data(parted):
    (parted / "test").rename(parted / "val")
    before = load_folder(parted)
    for name in ("a", "b", "c"):
        for path in list((parted / "val" / name).iterdir())[1:]:
            path.rename(parted / "train" / name / f"moved-{path.name}")
    assert load_folder(parted).training.fingerprint != before.training.fingerprint


def test_pictures_that_swap_places_are_noticed(tmp_path):
    for name, colour in (("cats", "red"), ("dogs", "blue")):
        (tmp_path / "pets" / name).mkdir(parents=True)
        for number in range(20):
            image = Image.new("RGB", (9, 9), colour)
            image.putpixel((0, 0), (number, number, number))
            image.save(tmp_path / "pets" / name / f"{number}.bmp")
            os.utime(tmp_path / "pets" / name / f"{number}.bmp", (1, 1))
    before = load_folder(tmp_path / "pets")
    for number in range(20):
        one, other, aside = tmp_path / f"pets/cats/{number}.bmp", tmp_path / f"pets/dogs/{number}.bmp", tmp_path / "aside"
        one.rename(aside), other.rename(one), aside.rename(other)
    after = load_folder(tmp_path / "pets")
    reds = [images.training.images[images.training.labels == 0][..., 0].mean() for images in (before, after)]
    assert reds[0] > 200 and reds[1] < 50


def test_hidden_and_other_files_are_ignored_and_suffixes_have_no_case(pets, write_pictures):
    before = load_folder(pets)
    write_pictures(pets / ".thumbnails", 3)
    write_pictures(pets / "cats" / ".hidden", 3)
    (pets / "cats" / "notes.txt").write_text("hello")
    (pets / "cats" / "._0001.png").write_bytes(b"resource fork")
    (pets / "README.md").write_text("hello")
    (pets / "cats" / "0000.png").rename(pets / "cats" / "0000.PnG")
    after = load_folder(pets)
    assert after.unreadable == ()
    assert after.training.fingerprint == before.training.fingerprint


def test_all_formats_and_channels(tmp_path, write_pictures):
    for name in ("a", "b"):
        for suffix in (".jpg", ".jpeg", ".png", ".bmp", ".webp"):
            for path in write_pictures(tmp_path / "mixed" / name, 2, suffix=suffix):
                path.rename(path.with_stem(f"{suffix[1:]}-{path.stem}"))
    source = load_folder(tmp_path / "mixed", image_size=10, channels=1)
    assert source.training.images.shape[1:] == (10, 10, 1)
    assert len(source.training) + len(source.test) == 20


def test_a_second_start_reads_no_picture(pets, no_decoding, monkeypatch):
    before = load_folder(pets)
    no_decoding()
    monkeypatch.setattr(folder, "hash_files", lambda _: pytest.fail("the files were read again"))
    after = load_folder(pets)
    assert (after.training.images == before.training.images).all()
    assert after.training.fingerprint == before.training.fingerprint


def processor_seconds(do, *arguments):
    """What it takes of this process, whatever else the machine does."""
    begin = time.process_time()
    do(*arguments)
    return time.process_time() - begin


@pytest.mark.slow
def test_a_second_start_takes_less_than_a_second(tmp_path, write_pictures):
    path = write_pictures(tmp_path, 1, size=(4, 4))[0]
    for name in ("a", "b", "c", "d"):
        (tmp_path / "many" / name).mkdir(parents=True)
        for number in range(1000):
            os.link(path, tmp_path / "many" / name / f"{number}.png")
        write_pictures(tmp_path / "many" / name, 20, size=(4, 4))
    load_folder(tmp_path / "many")
    assert processor_seconds(load_folder, tmp_path / "many") < 0.5


def test_a_moved_or_touched_folder_is_not_decoded_again(pets, no_decoding):
    before = load_folder(pets)
    no_decoding()
    for path in pets.rglob("*.png"):
        os.utime(path, (1, 1))
    assert load_folder(pets).training.fingerprint == before.training.fingerprint
    pets.rename(pets.with_name("elsewhere"))
    assert load_folder(pets.with_name("elsewhere")).training.fingerprint == before.training.fingerprint


@pytest.mark.parametrize("change", ["added", "removed", "rewritten"])
def test_a_changed_folder_is_noticed(change, pets, write_pictures):
    before = load_folder(pets)
    path = pets / "cats" / "0007.png"
    if change == "added":
        Image.new("RGB", (9, 9), "red").save(pets / "cats" / "new.png")
    elif change == "removed":
        path.unlink()
    else:
        Image.new("RGB", (9, 9), "red").save(path)
    after = load_folder(pets)
    assert (after.training.fingerprint, after.test.fingerprint) != (before.training.fingerprint, before.test.fingerprint)
    red = np.full((32, 32, 3), (255, 0, 0), np.uint8).tobytes()
    assert (red in contents(after.training) | contents(after.test)) == (change != "removed")


def test_another_size_is_another_store(pets):
    for size in (16, 24, 16):
        for channels in (1, 3):
            source = load_folder(pets, image_size=size, channels=channels)
            assert source.training.images.shape[1:] == (size, size, channels)


@pytest.mark.parametrize("damage", ["cut", "removed"])
def test_a_damaged_store_is_rebuilt(damage, pets, fresh_cache):
    before = np.array(load_folder(pets).training.images)
    (path,) = (fresh_cache / "decoded").glob("*/images.npy")
    if damage == "cut":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
    assert (load_folder(pets).training.images == before).all()


def test_broken_pictures_are_named_skipped_and_counted(pets, capfd):
    broken = [pets / "cats" / "0003.png", pets / "dogs" / "a [bold]name :cat: that is long enough to wrap.jpg"]
    for path in broken:
        path.write_bytes(b"not a picture")
    for _ in range(2):
        source = load_folder(pets)
        assert sorted(source.unreadable) == sorted(str(path) for path in broken)
        assert len(source.training) + len(source.test) == 79
        lines = capfd.readouterr().err.splitlines()
        for path in broken:
            assert any(line.startswith(f"{path} cannot be read") and line.endswith("skipped") for line in lines)
        assert lines[-1] == "2 of 81 pictures could not be used and were skipped"
        assert "2 files and folders left out" in source.notes


def test_strict_makes_a_broken_picture_an_error(pets):
    (pets / "cats" / "0003.png").write_bytes(b"not a picture")
    load_folder(pets)
    with pytest.raises(SqueezekitError, match=r"1 of 80 pictures cannot be used.*cats/0003\.png.*leave out --strict"):
        load_folder(pets, strict=True)


def test_a_file_that_could_not_be_opened_is_tried_again(pets):
    refused, real = str(pets / "cats" / "0003.png"), folder.hash_files

    def refusing(paths):
        return ["Permission denied" if path == refused else found for path, found in zip(paths, real(paths), strict=True)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "hash_files", refusing)
        assert load_folder(pets).unreadable == (refused,)
    source = load_folder(pets)
    assert source.unreadable == ()
    assert len(source.training) + len(source.test) == 80


def test_a_test_part_that_cannot_be_opened_is_not_taken_from_the_training_part(parted):
    for path in (parted / "test").rglob("*.png"):
        with path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(SqueezekitError, match="has no readable picture for its test part"):
        load_folder(parted)


def test_a_link_up_the_tree_does_not_go_round_for_ever(pets):
    (pets / "cats" / "up").symlink_to(pets)
    assert len(load_folder(pets).training) == 68


def test_what_is_left_out_is_named_counted_and_an_error_if_asked_for(pets, capfd):
    for number in range(5):
        (pets / "cats" / f"scan {number}.tif").write_bytes(b"")
    (pets / "dogs" / "gone.jpg").symlink_to("/nowhere/x.jpg")
    (pets / "stray.png").write_bytes(b"")
    source = load_folder(pets)
    err = capfd.readouterr().err
    assert f"5 are left out (.tif is none of the formats that are read, JPEG, PNG, BMP and WebP): {pets}/cats/scan 0.tif, " in err
    assert f"{pets}/dogs/gone.jpg is left out (a link to nothing)" in err
    assert f"{pets}/stray.png is left out (it lies in no class folder)" in err
    assert err.splitlines()[-1] == "7 of 87 pictures could not be used and were skipped"
    assert len(source.unreadable) == 7 and "7 files and folders left out" in source.notes
    with pytest.raises(SqueezekitError, match="7 of 87 pictures cannot be used"):
        load_folder(pets, strict=True)


def test_a_link_to_a_folder_of_more_pictures_is_followed(pets, tmp_path, write_pictures):
    write_pictures(tmp_path / "elsewhere", 10)
    (pets / "cats" / "more").symlink_to(tmp_path / "elsewhere")
    source = load_folder(pets)
    assert len(source.training) + len(source.test) == 90


def test_run_folders_are_no_classes(pets, write_pictures):
    before = load_folder(pets)
    for run in (pets / "runs" / "1", pets / "mine", pets / "cats" / "one more"):
        write_pictures(run, 1)
        for name in ("config.toml", "split.npz"):
            (run / name).write_bytes(b"")
    after = load_folder(pets)
    assert after.training.classes == ("cats", "dogs")
    assert after.training.fingerprint == before.training.fingerprint


def test_a_letter_in_two_unicode_forms_is_one_class_or_one_sentence(parted, write_pictures):
    composed, apart = (unicodedata.normalize(form, "é") for form in ("NFC", "NFD"))
    write_pictures(parted / "train" / composed, 3)
    write_pictures(parted / "test" / apart, 3)
    assert load_folder(parted).training.classes == ("a", "b", "c", "é")
    write_pictures(parted / "train" / apart, 3)
    with pytest.raises(SqueezekitError, match="two folders in .*train are called 'é', in two Unicode forms"):
        load_folder(parted)


def test_a_class_folder_whose_name_is_not_utf_8_is_one_sentence(pets):
    (pets / "dogs").rename(pets / os.fsdecode(b"na\xefve"))
    with pytest.raises(SqueezekitError, match=r"class folder 'na\\xefve': its name is not UTF-8"):
        load_folder(pets)


def test_a_class_may_be_a_link(pets, tmp_path, write_pictures):
    write_pictures(tmp_path / "elsewhere", 10)
    (pets / "birds").symlink_to(tmp_path / "elsewhere")
    assert load_folder(pets).training.classes == ("birds", "cats", "dogs")


def test_train_may_be_the_name_of_a_class(pets, write_pictures):
    write_pictures(pets / "train", 10)
    assert load_folder(pets).training.classes == ("cats", "dogs", "train")


@pytest.mark.slow
def test_a_killed_decode_leaves_a_cache_in_which_the_next_start_is_right(pets, fresh_cache):
    program = f"""
import os, signal, time
from pathlib import Path
from squeezekit.data import image_folder as folder
real = folder.decode_files
def slow(files, *shape):
    for at in range(0, len(files), 10):
        yield from real(files[at:at + 10], *shape)
        print("block", flush=True)
        time.sleep(0.3)
folder.decode_files = slow
folder.load_folder(Path({str(pets)!r}))
"""
    process = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE)
    for _ in range(3):
        process.stdout.readline()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert list((fresh_cache / "decoded").glob(".*.partial"))
    source = load_folder(pets)
    assert len(source.training) + len(source.test) == 80
    assert contents(source.training) | contents(source.test) == expected(pets.rglob("*.png"))


@pytest.mark.slow
def test_two_processes_at_once_decode_once(pets, fresh_cache):
    program = f"""
from pathlib import Path
from squeezekit.data import image_folder as folder
real = folder._write
folder._write = lambda *rest: (print("decoding"), real(*rest))
print(folder.load_folder(Path({str(pets)!r})).training.fingerprint)
"""
    processes = [subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    lines = [line for process in processes for line in process.communicate()[0].split()]
    assert all(process.returncode == 0 for process in processes)
    assert lines.count("decoding") == 1
    assert lines.count(load_folder(pets).training.fingerprint) == 3


@pytest.mark.parametrize(
    ("folders", "sentence"),
    [
        ({}, "holds no class folders"),
        ({"cats": 30}, "holds 1 class folder, and at least 2 .*, perhaps .*cats"),
        ({"cats": 30, "dogs": 0}, "class 'dogs' in .* holds no picture"),
        ({"cats": 30, "dogs": 1}, r"class 'dogs' in .* holds too few pictures \(1\).*at least 2"),
        ({"train/a": 5, "train/b": 5}, "train has no .*test beside it"),
        ({"train/a": 5, "train/b": 5, "test/a": 2}, "test holds 1 class folder,"),
        ({"train/a": 5, "train/b": 5, "test/a": 2, "test/c": 2}, "class 'b' stands in .*train but not in .*test"),
        ({"train/a": 5, "train/b": 5, "test/a": 2, "test/b": 0}, "class 'b' in .*test holds no picture"),
        ({"train/a": 5, "train/b": 5, "test/a": 2, "test/b": 2, "test/c": 2}, "class 'c' stands in .*test but not in"),
    ],
)
def test_a_folder_that_cannot_be_used_ends_in_one_sentence(folders, sentence, tmp_path, write_pictures):
    root = tmp_path / "root"
    root.mkdir()
    for name, count in folders.items():
        write_pictures(root / name, count)
    with pytest.raises(SqueezekitError, match=sentence) as caught:
        load_folder(root)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["training", "test"])
def test_a_class_of_broken_pictures_ends_in_one_sentence(part, parted, fresh_cache):
    for path in (parted / {"training": "train"}.get(part, part) / "b").iterdir():
        path.write_bytes(b"broken")
    with pytest.raises(SqueezekitError, match=f"class 'b' in .* has no readable picture for its {part} part"):
        load_folder(parted)
    assert list((fresh_cache / "decoded").iterdir()) == []


def test_a_folder_that_cannot_be_listed(pets, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(SqueezekitError, match=r"pets cannot be listed \(Permission denied\)"):
        load_folder(pets)


@pytest.mark.slow
def test_a_large_set_is_decoded_in_little_memory(tmp_path, write_pictures):
    for path in write_pictures(tmp_path / "big" / "a", 20) + write_pictures(tmp_path / "big" / "b", 20):
        for number in range(6):
            os.link(path, path.with_stem(f"{path.stem}-{number}"))
    program = f"""
import resource
from pathlib import Path
from squeezekit.data.image_folder import load_folder
load_folder(Path({str(tmp_path / "big")!r}), image_size=8)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
source = load_folder(Path({str(tmp_path / "big")!r}), image_size=512)
size = source.training.images.nbytes + source.test.images.nbytes
print(size, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    size, grown = map(int, out.split())
    assert size > 200e6
    assert grown < 100e6


@pytest.mark.slow
def test_thousands_of_real_pictures_are_decoded_by_children_and_listed_at_once(real_images, tmp_path, monkeypatch):
    for part, count in (("train", 400), ("test", 50)):
        for group in (real_images / part).iterdir():
            (tmp_path / "some" / part / group.name).mkdir(parents=True)
            for path in itertools.islice(group.iterdir(), count):
                (tmp_path / "some" / part / group.name / path.name).symlink_to(path)
    children, real = [], decoding.DecoderProcess
    monkeypatch.setattr(decoding, "usable_processors", lambda: 2)
    monkeypatch.setattr(decoding, "DecoderProcess", lambda *shape: children.append(real(*shape)) or children[-1])
    source = load_folder(tmp_path / "some")
    assert source.training.images.shape == (4_000, 32, 32, 3) and source.test.images.shape == (500, 32, 32, 3)
    assert (np.bincount(source.training.labels) == 400).all() and len(children) == 2
    assert source.unreadable == ()
    assert processor_seconds(load_folder, tmp_path / "some") < 0.5


@pytest.mark.long
def test_the_real_folder(real_images):
    source = load_folder(real_images)
    assert source.training.images.shape == (45_000, 32, 32, 3)
    assert source.test.images.shape == (6_000, 32, 32, 3)
    assert (np.bincount(source.training.labels) == 4_500).all()
    assert source.unreadable == ()
    assert processor_seconds(load_folder, real_images) < 1


@pytest.mark.parametrize(
    ("names", "mirrorable"), [(("left", "right"), False), (("3", "7"), False), (("a", "B"), False), (("a", "dogs"), True)]
)
def test_characters_are_not_mirrored(tmp_path, write_pictures, names, mirrorable):
    for name in names:
        write_pictures(tmp_path / "all" / name, 20)
    assert load_folder(tmp_path / "all").training.mirrorable is mirrorable
