"""Files that are small, declare few pixels, and would keep a decoder busy."""

import io
import struct
import time
import zlib

import pytest
from PIL import Image

from squeezekit.data.decoding_effort import check_effort, webp_size
from squeezekit.data.image_file import UnreadableImageError, read_image


def saved(kind, size=(32, 32), **options):
    file = io.BytesIO()
    Image.effect_noise(size, 60).convert("RGB").save(file, kind, **options)
    return file.getvalue()


def with_scans(count):
    """A progressive JPEG that says `count` times more that its coefficients are as they were."""
    content = saved("JPEG", progressive=True)
    scan = content.rindex(b"\xff\xda")
    return content[:-2] + content[scan:-2] * count + b"\xff\xd9"


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"exif": b"Exif\0\0" + b"\xff\xda" * 500}])
def test_honest_jpegs_pass(options):
    check_effort(saved("JPEG", (300, 200), **options))
    check_effort(saved("JPEG", **options) + b"\xff\xda" * 1000)
    check_effort(with_scans(20))


def test_a_jpeg_of_thousands_of_scans_is_refused():
    with pytest.raises(ValueError, match="a JPEG with more than 100 scans"):
        check_effort(with_scans(2000))


def test_a_scan_in_a_comment_between_scans_is_none():
    content = with_scans(1)
    comments = b"\xff\xfe" + struct.pack(">H", 2002) + b"\xff\xda" * 1000
    check_effort(content[:-2] + comments + content[-2:])


@pytest.mark.parametrize(
    "inserted",
    [
        b"\xff\xfe\0\x02" * 300_000,
        b"\xff" * 1_000_000,
        b"\xff\0" * 500_000,
        b"\0" * 1_000_000,
        (b"\xff\xe1\xff\xff" + b"Exif\0\0".ljust(65533, b"\0")) * 60,
    ],
)
def test_a_jpeg_with_a_header_of_nothing_is_refused_at_once(inserted):
    content = saved("JPEG")
    begin = time.process_time()
    with pytest.raises(UnreadableImageError, match="too many parts that hold nothing"):
        read_image(io.BytesIO(content[:2] + inserted + content[2:]), 32, 3)
    assert time.process_time() - begin < 1


def test_a_png_with_a_million_empty_parts_is_refused_at_once():
    content = saved("PNG")
    for at in (33, len(content) - 12):
        with pytest.raises(UnreadableImageError, match="too many parts that hold nothing"):
            read_image(io.BytesIO(content[:at] + chunk(b"teXt", b"") * 200_000 + content[at:]), 32, 3)


def test_a_large_bmp_of_run_lengths_is_refused():
    header = struct.pack("<IiiHHIIiiII", 40, 3000, 3000, 1, 8, 1, 4, 0, 0, 256, 0)
    content = b"BM" + struct.pack("<IHHI", 0, 0, 0, 14 + 40 + 1024) + header + bytes(1024) + b"\0\2\0\0" * 2**20
    with pytest.raises(ValueError, match="a BMP of run lengths"):
        check_effort(content)
    check_effort(content[: 2**20])


@pytest.mark.parametrize("content", [b"", b"\xff\xd8", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0\0", b"\x89PNG\r\n", b"BM", b"RIFF"])
def test_what_is_cut_short_is_for_the_decoder_to_refuse(content):
    check_effort(content)
    assert webp_size(content) is None


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"exif": b"Exif\0\0"}])
def test_the_size_of_a_webp_is_in_its_header(options):
    assert webp_size(saved("WEBP", (301, 17), **options)) == (301, 17)
