"""The one rule that turns a picture into pixels."""

import errno
import io
import os
import struct
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageFile

from squeezekit.data import image_file
from squeezekit.data.image_file import (
    FORMATS,
    IMAGE_SUFFIXES,
    ReadingFailedError,
    TooManyPixelsError,
    UnreadableImageError,
    decoded_pixels,
    read_image,
)
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.mutation import findings


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    file.seek(0)
    return file


def noise(*shape, dtype=np.uint8):
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, shape, dtype=dtype)


@pytest.mark.parametrize("kind", ["PNG", "BMP", "WEBP"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_picture_of_the_right_size_is_left_as_it_is(kind, channels):
    pixels = noise(32, 32) if channels == 1 else noise(32, 32, 3)
    file = saved(Image.fromarray(pixels), kind, **({"lossless": True} if kind == "WEBP" else {}))
    assert (read_image(file, 32, channels).squeeze() == pixels).all()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 40), st.sampled_from([1, 3]), st.integers(0, 255))
def test_any_size_becomes_the_square_asked_for_and_keeps_an_even_colour(width, height, size, channels, grey):
    pixels = read_image(Image.new("RGB", (width, height), (grey,) * 3), size, channels)
    assert pixels.shape == (size, size, channels)
    assert pixels.dtype == np.uint8
    assert (pixels == grey).all()


def test_the_centre_is_cut_out_with_the_aspect_kept():
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200
    assert (read_image(pixels, 10, 3) == 200).all()
    assert (read_image(pixels.swapaxes(0, 1), 10, 3) == 200).all()
    assert (read_image(pixels, 5, 3) == 200).all()


def test_shrinking_averages_instead_of_picking():
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    assert abs(read_image(stripes, 8, 1).astype(int) - 128).max() <= 6


def test_enlarging_interpolates():
    steps = read_image(np.array([[0, 200], [0, 200]], np.uint8), 8, 1)[0, :, 0]
    assert len(set(steps.tolist())) > 2
    assert (np.diff(steps.astype(int)) >= 0).all()


@pytest.mark.parametrize("orientation", range(2, 9))
def test_the_cameras_orientation_is_applied(orientation):
    upright = Image.fromarray(noise(4, 4, 3)).resize((32, 32), Image.Resampling.NEAREST)
    # What has to be done to the stored picture, undone here.
    undo = {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}[orientation]
    stored = upright
    for method in undo:
        stored = stored.transpose(Image.Transpose(method))
    exif = Image.Exif()
    exif[0x0112] = orientation
    pixels = read_image(saved(stored, "PNG", exif=exif), 32, 3)
    assert (pixels == np.asarray(upright)).all()
    assert not (np.asarray(stored) == np.asarray(upright)).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new(mode, (8, 8), (0, 0, 0, 0) if mode == "RGBA" else (0, 0))
    assert (read_image(saved(image, "PNG"), 8, 3) == 255).all()
    half = Image.new(mode, (8, 8), (0, 0, 0, 128) if mode == "RGBA" else (0, 128))
    assert (abs(read_image(saved(half, "PNG"), 8, 1).astype(int) - 127) <= 1).all()


def test_a_transparent_colour_of_a_palette_is_laid_on_white():
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 10, 20, 30])
    image.putpixel((0, 0), 1)
    pixels = read_image(saved(image, "PNG", transparency=0), 8, 3)
    assert pixels[0, 0].tolist() == [10, 20, 30]
    assert (pixels[1:] == 255).all()


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bit_grey_is_scaled_and_not_cut(channels):
    deep = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
    expected = np.rint(deep / 257)
    for source in (saved(Image.fromarray(deep), "PNG"), deep):
        assert (read_image(source, 8, channels)[:, :, 0] == expected).all()


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr", "HSV", "I;16", "I"])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_mode_is_understood(mode, channels):
    assert (read_image(Image.new(mode, (9, 7)), 4, channels).shape) == (4, 4, channels)


def test_colour_becomes_grey_by_brightness():
    assert read_image(Image.new("RGB", (4, 4), (0, 255, 0)), 4, 1)[0, 0, 0] == 150


def test_a_large_jpeg_is_decoded_small_and_still_right():
    smooth = Image.fromarray(noise(6, 6, 3)).resize((1024, 1024), Image.Resampling.BICUBIC)
    file = saved(smooth, "JPEG", quality=95)
    whole = Image.open(io.BytesIO(file.getvalue()))
    expected = np.asarray(whole.resize((32, 32), Image.Resampling.BILINEAR)).astype(int)
    assert abs(read_image(file, 32, 3) - expected).max() <= 3


def test_a_jpeg_is_never_decoded_below_twice_the_size(monkeypatch):
    decoded = []
    resize = Image.Image.resize
    monkeypatch.setattr(Image.Image, "resize", lambda self, *rest: decoded.append(self.size) or resize(self, *rest))
    read_image(saved(Image.new("RGB", (1000, 500)), "JPEG"), 60, 3)
    assert decoded == [(125, 125)]


def test_of_an_animation_the_first_frame_is_taken():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    file = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert read_image(file, 8, 3)[0, 0].tolist() == [255, 0, 0]


def test_every_kind_of_source(tmp_path):
    pixels = noise(8, 8, 3)
    path = tmp_path / "a.png"
    Image.fromarray(pixels).save(path)
    with path.open("rb") as file:
        for source in (path, str(path), file, Image.fromarray(pixels), pixels):
            assert (read_image(source, 8, 3) == pixels).all()
    assert (read_image(pixels[:, :, :1], 8, 1) == pixels[:, :, :1]).all()


def test_the_caller_may_change_the_pixels_and_the_source_stays():
    image = Image.fromarray(noise(8, 8, 3))
    before = np.asarray(image).copy()
    read_image(image, 8, 3)[:] = 0
    assert (np.asarray(image) == before).all()


def broken_files(tmp_path):
    whole = saved(Image.fromarray(noise(64, 64, 3)), "JPEG").getvalue()
    png = saved(Image.fromarray(noise(64, 64, 3)), "PNG").getvalue()
    gif = saved(Image.new("L", (8, 8)), "GIF").getvalue()
    return {"cut.jpg": whole[: len(whole) // 2], "cut.png": png[:900], "text.png": b"hello", "empty.bmp": b"", "g.jpg": gif}


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png", "text.png", "empty.bmp", "g.jpg", "missing.webp"])
def test_an_unreadable_file_is_named_in_one_sentence(name, tmp_path):
    path = tmp_path / name
    if name != "missing.webp":
        path.write_bytes(broken_files(tmp_path)[name])
    with pytest.raises(SqueezekitError) as caught:
        read_image(path, 32, 3)
    assert str(path) in str(caught.value)
    assert str(caught.value).endswith(": check its name" if name == "missing.webp" else ": replace or remove it")
    assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damage_never_raises_anything_else(data):
    kind = data.draw(st.sampled_from(["JPEG", "PNG", "BMP", "WEBP"]))
    content = bytearray(saved(Image.fromarray(noise(12, 12, 3)), kind).getvalue())
    for _ in range(data.draw(st.integers(1, 6))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read_image(io.BytesIO(bytes(content)), 8, 3).shape == (8, 8, 3)
    except SqueezekitError:
        pass


def test_pixels_are_bounded_before_any_is_decoded(tmp_path, monkeypatch):
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("it was decoded"))
    for kind in ("PNG", "JPEG", "BMP", "WEBP"):
        path = tmp_path / f"bomb.{kind}"
        path.write_bytes(with_declared_size(kind))
        with pytest.raises(TooManyPixelsError, match=rf"bomb\.{kind} .*16000 × 10000 pixels, more than 100,000,000"):
            read_image(path, 32, 3)


def with_declared_size(kind):
    """A tiny file whose header says 16,000 × 10,000."""
    options = {"lossless": True} if kind == "WEBP" else {}
    content = bytearray(saved(Image.new("RGB", (3, 5)), kind, **options).getvalue())
    if kind == "PNG":
        content[16:24] = struct.pack(">II", 16000, 10000)
        content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    elif kind == "BMP":
        content[18:26] = struct.pack("<ii", 16000, 10000)
    elif kind == "JPEG":
        at = content.index(b"\xff\xc0") + 5
        content[at : at + 4] = struct.pack(">HH", 10000, 16000)
    else:
        content[21:25] = struct.pack("<I", 15999 | 9999 << 14)
    return bytes(content)


def test_the_callers_limit_is_the_only_one(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    monkeypatch.setattr(image_file, "PIXELS_OF_STRIP", 100)
    for kind in ("PNG", "JPEG", "BMP"):
        file = saved(Image.new("L", (60, 40), 7), kind)
        assert (read_image(file, 8, 1, max_pixels=2400) == 7).all()
        with pytest.raises(TooManyPixelsError, match="60 × 40 pixels, more than 2,399.*--max-pixels"):
            read_image(file, 8, 1, max_pixels=2399)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "I;16", "CMYK"])
def test_a_large_picture_is_converted_in_strips_without_a_difference(mode, monkeypatch):
    pixels = noise(61, 83, {"RGB": 3, "P": 3, "LA": 2}.get(mode, 4))
    image = Image.fromarray(noise(61, 83, dtype=np.uint16) if mode == "I;16" else pixels)
    image = image.quantize(40) if mode == "P" else image if mode in ("I;16", "LA", "RGBA", "RGB") else image.convert("CMYK")
    if mode == "P":
        image.info["transparency"] = 3
    whole = [read_image(image, 20, channels) for channels in (1, 3)]
    monkeypatch.setattr(image_file, "PIXELS_OF_STRIP", 500)
    assert [read_image(image, 20, channels).tobytes() for channels in (1, 3)] == [pixels.tobytes() for pixels in whole]


def test_what_a_picture_costs_is_known_before_it_is_decoded():
    image = Image.new("RGB", (1600, 1000))
    assert decoded_pixels(saved(image, "PNG").getvalue(), 32) == 1_600_000
    assert decoded_pixels(saved(image, "JPEG").getvalue(), 32) == 200 * 125
    assert decoded_pixels(saved(image, "JPEG", progressive=True).getvalue(), 32) == 1_600_000
    with pytest.raises(TooManyPixelsError):
        decoded_pixels(saved(image, "PNG").getvalue(), 32, 1_599_999)


@pytest.mark.parametrize(
    ("failure", "said"),
    [
        (MemoryError(), "too little memory"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (OSError("out of memory error when reading image file"), "out of memory"),
    ],
)
def test_a_failure_of_the_moment_is_no_verdict_on_the_file(failure, said, tmp_path, monkeypatch):
    def fail(*_):
        raise failure

    path = tmp_path / "a.png"
    Image.new("L", (4, 4)).save(path)
    monkeypatch.setattr(Image.Image, "crop", fail)
    with pytest.raises(ReadingFailedError, match=rf"a\.png could not be read this time \(.*{said}.*run the same command again"):
        read_image(path, 2, 1)


def test_a_decoder_that_is_refused_memory_calls_the_file_broken(monkeypatch):
    def fail(*_):
        raise OSError("broken data stream when reading image file")

    monkeypatch.setattr(Image.Image, "crop", fail)
    file = saved(Image.new("L", (400, 400)), "PNG")
    with pytest.raises(UnreadableImageError, match="broken data stream"):
        read_image(file, 2, 1)
    monkeypatch.setattr(image_file, "BYTES_TO_DECODE_PIXEL", 2**44)
    with pytest.raises(ReadingFailedError):
        read_image(file, 2, 1)


def test_too_many_open_files_are_a_failure_of_the_moment(tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(image_file.os, "open", fail)
    with pytest.raises(ReadingFailedError, match="Too many open files"):
        read_image(tmp_path / "a.png", 2, 1)


@pytest.mark.parametrize("kind", ["a pipe", "a folder", "a large file"])
def test_what_is_no_file_of_a_picture_is_refused_unread(kind, tmp_path):
    path = tmp_path / "a.png"
    if kind == "a pipe":
        os.mkfifo(path)
    elif kind == "a folder":
        path.mkdir()
    else:
        with path.open("wb") as file:
            file.truncate(2**40)
    with pytest.raises(UnreadableImageError, match="regular file|larger than 1,073,741,824 bytes|directory"):
        read_image(path, 2, 1)


@pytest.mark.parametrize("source", [None, b"bytes", [[0, 1]], 3])
def test_a_source_of_another_type_is_named(source):
    with pytest.raises(SqueezekitError, match=f"a {type(source).__name__} is no picture: give a path, an open file"):
        read_image(source, 8, 1)


def test_what_pillow_finds_odd_is_read_in_silence():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    cut = exif.tobytes()[:20]
    tags = struct.pack("<HHII", 0x112, 3, 1, 6) + struct.pack("<HHII", 0x11A, 5, 2, 38)
    two_resolutions = b"Exif\0\0II*\0\x08\0\0\0\2\0" + tags + bytes(4) + struct.pack("<IIII", 72, 1, 72, 1)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        for odd in (cut, two_resolutions):
            file = saved(Image.new("L", (8, 8), 9), "JPEG", exif=odd)
            assert (read_image(file, 8, 1) == 9).all()
            with pytest.raises(UserWarning):
                dict(Image.open(file).getexif())
    assert caught == []


def test_pillows_guard_stays_on():
    assert Image.MAX_IMAGE_PIXELS is not None
    assert Image.MAX_IMAGE_PIXELS < 100_000_000


@pytest.mark.parametrize(
    ("size", "channels", "sentence"), [(0, 3, "image size of 0"), (-3, 3, "size of -3"), (32, 2, "2 channels")]
)
def test_impossible_shapes(size, channels, sentence):
    with pytest.raises(SqueezekitError, match=sentence):
        read_image(Image.new("L", (4, 4)), size, channels)


def test_suffixes():
    assert IMAGE_SUFFIXES == (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".bmp", ".webp")
    registered = Image.registered_extensions()
    assert {suffix for suffix, kind in registered.items() if kind in FORMATS} == set(IMAGE_SUFFIXES)


def read_small(content):
    for channels in (1, 3):
        assert read_image(io.BytesIO(content), 16, channels, max_pixels=500_000).shape == (16, 16, channels)


def corpus():
    """Pictures of every kind, small and declared large, with much in them that decoders look at."""
    colour, exif = Image.fromarray(noise(40, 60, 3)), Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    frames = [Image.new("RGB", (20, 20), name) for name in ("red", "blue")]
    yield from (saved(colour, kind, exif=exif).getvalue() for kind in ("JPEG", "PNG", "WEBP"))
    yield from (with_declared_size(kind) for kind in ("PNG", "JPEG", "BMP", "WEBP"))
    yield from (saved(colour.convert(mode), "PNG", transparency=3).getvalue() for mode in ("P", "L"))
    yield from (saved(colour.convert(mode), "PNG").getvalue() for mode in ("1", "LA", "RGBA", "I;16"))
    yield from (saved(colour.convert(mode), "JPEG", progressive=True).getvalue() for mode in ("L", "CMYK", "RGB"))
    yield saved(frames[0], "PNG", save_all=True, append_images=frames[1:]).getvalue()
    yield saved(frames[0], "MPO", save_all=True, append_images=frames[1:]).getvalue()
    yield saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True).getvalue()
    yield saved(colour.convert("P"), "BMP").getvalue()
    header = struct.pack("<IiiHHIIiiII", 40, 600, 600, 1, 8, 1, 4, 0, 0, 256, 0)
    yield b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + b"\0\2\xff\xff" * 2000
    scans = saved(Image.new("L", (600, 600)), "JPEG", progressive=True).getvalue()
    yield scans[:-2] + scans[scans.rindex(b"\xff\xda") : -2] * 90 + scans[-2:]


@pytest.mark.long
def test_mutated_pictures_are_read_or_refused_within_little_memory_and_time():
    tokens = [b"\xff\xda", b"\xff\xc2", b"\xff\xe1\xff\xffExif\0\0", b"IDAT", b"tRNS", b"acTL", b"eXIf", b"VP8X", b"ANMF"]
    assert findings(read_small, list(corpus()), count=6000, tokens=tokens, seconds=5, megabytes=400) == []
