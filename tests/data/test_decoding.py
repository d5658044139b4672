"""Many files at once, by threads and by child interpreters."""

import hashlib
import os
import subprocess
import sys
import time
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from squeezekit.data import block_decoding, decoder_main, decoding
from squeezekit.data.decoder_process import DecoderEndedError, DecoderProcess
from squeezekit.data.decoding import decode_block, decode_files, hash_files
from squeezekit.data.image_file import ReadingFailedError, UnreadableImageError, read_image
from squeezekit.system.errors import SqueezekitError


def hashed(paths):
    return [(str(path), hashlib.sha256(path.read_bytes()).digest()) for path in paths]


def gathered(files):
    blocks = list(decode_files(files, 16, 3))
    return np.concatenate([pixels for pixels, _ in blocks]), [reason for _, reasons in blocks for reason in reasons]


@pytest.mark.parametrize("children", [False, True])
def test_files_come_back_in_order_with_the_broken_ones_left_out(children, tmp_path, write_pictures, monkeypatch):
    monkeypatch.setattr(decoding, "FILES_WORTH_CHILDREN", 1 if children else 10**9)
    monkeypatch.setattr(decoding, "usable_processors", lambda: 2)
    made = []
    monkeypatch.setattr(decoding, "DecoderProcess", lambda *shape: made.append(DecoderProcess(*shape)) or made[-1])
    paths = write_pictures(tmp_path / "é ☃", 300)
    for broken in (5, 64, 299):
        paths[broken].write_bytes(b"broken")
    pixels, reasons = gathered(hashed(paths))
    assert [at for at, reason in enumerate(reasons) if reason] == [5, 64, 299]
    assert "not a JPEG" in reasons[5]
    expected = [read_image(path, 16, 3) for at, path in enumerate(paths) if reasons[at] is None]
    assert (pixels == np.stack(expected)).all()
    assert len(made) == (2 if children else 0)


@pytest.mark.parametrize("children", [False, True])
@pytest.mark.parametrize("change", ["rewritten", "removed"])
def test_a_file_that_changes_meanwhile_is_named(children, change, tmp_path, write_pictures, monkeypatch):
    monkeypatch.setattr(decoding, "FILES_WORTH_CHILDREN", 1 if children else 10**9)
    monkeypatch.setattr(decoding, "usable_processors", lambda: 2)
    files = hashed(write_pictures(tmp_path, 5))
    if change == "removed":
        (tmp_path / "0003.png").unlink()
    else:
        (tmp_path / "0003.png").write_bytes((tmp_path / "0004.png").read_bytes())
    with pytest.raises(SqueezekitError, match=r"0003\.png was changed while .* run the same command again"):
        list(decode_files(files, 16, 3))


def test_no_more_than_a_few_blocks_are_under_way(tmp_path, write_pictures, monkeypatch):
    monkeypatch.setattr(decoding, "usable_processors", lambda: 2)
    done = []
    real = decode_block
    monkeypatch.setattr(decoding, "decode_block", lambda files, *shape: done.append(len(files)) or real(files, *shape))
    blocks = decode_files(hashed(write_pictures(tmp_path, 40)) * 50, 16, 3)
    next(blocks)
    time.sleep(0.3)
    assert len(done) <= 6
    assert max(done) <= 64
    blocks.close()


def test_large_pictures_go_in_smaller_blocks(tmp_path, write_pictures):
    files = hashed(write_pictures(tmp_path, 8))
    assert max(pixels.nbytes for pixels, _ in decode_files(files, 512, 3)) <= 2**21


@pytest.mark.parametrize("children", [False, True])
def test_large_pictures_are_refused_by_the_limit_alone(children, tmp_path, write_pictures, monkeypatch):
    """Those that a child may not decode unasked are decoded by its parent."""
    monkeypatch.setattr(decoding, "FILES_WORTH_CHILDREN", 1 if children else 10**9)
    monkeypatch.setattr(decoding, "usable_processors", lambda: 2)
    Image.new("RGB", (2100, 2000), (200, 0, 0)).save(tmp_path / "large.png")
    files = hashed([*write_pictures(tmp_path, 2), tmp_path / "large.png"])
    for limit, reason in ((4_200_000, None), (4_199_999, "2100 × 2000 pixels, more than 4,199,999")):
        ((pixels, reasons),) = decode_files(files, 16, 3, limit)
        assert (len(pixels), reasons) == (3 if reason is None else 2, [None, None, reason])
    assert (pixels[0] == read_image(files[0][0], 16, 3)).all()


@pytest.mark.parametrize("children", [False, True])
def test_a_failure_of_the_moment_is_an_error_that_names_the_file(children, tmp_path, write_pictures):
    """It is no reason to leave the file out, which would be remembered."""
    files = hashed(write_pictures(tmp_path, 3))

    def fail(*_, **__):
        raise ReadingFailedError("the picture", "too little memory")

    with (
        pytest.MonkeyPatch.context() as patch,
        pytest.raises(SqueezekitError, match=r"0000\.png could .*too little memory"),
    ):
        patch.setattr(block_decoding, "read_image", fail)
        if children:
            answer, _ = decoder_main._decode_files([(path, content_hash.hex()) for path, content_hash in files], 16, 3, 10**6)
            raise SqueezekitError(answer["error"])
        list(decode_files(files, 16, 3))


def test_a_child_decodes_the_content_of_a_file(tmp_path, write_pictures):
    content = write_pictures(tmp_path, 1)[0].read_bytes()
    with DecoderProcess(16, 3, 10**6) as child:
        assert (child.decode_content(content, 60) == read_image(BytesIO(content), 16, 3)).all()
        with pytest.raises(UnreadableImageError, match="not a JPEG"):
            child.decode_content(b"GIF89a", 60)
        assert child.decode_content(content, 60).shape == (16, 16, 3)
        # Much longer than this takes, and nobody waits for it.
        with pytest.raises(DecoderEndedError, match="was ended after at most 0.001 s"):
            child.decode_content(content * 100_000, 0.001)
        with pytest.raises(DecoderEndedError):
            child.decode_content(content, 60)


def test_a_child_that_dies_is_reported(tmp_path, write_pictures):
    files = hashed(write_pictures(tmp_path, 3))
    with DecoderProcess(16, 3) as child:
        assert child.decode(files)[0].shape == (3, 16, 16, 3)
        child._process.kill()
        child._process.wait()
        with pytest.raises(SqueezekitError, match="was ended near .*0000.png"):
            child.decode(files)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc"), reason="looks for processes in /proc")  # noqa: PTH112
def test_children_end_when_their_parent_is_killed():
    program = """
import time
from squeezekit.data.decoder_process import DecoderProcess
children = [DecoderProcess(16, 3) for _ in range(2)]
print(*(child._process.pid for child in children), flush=True)
time.sleep(60)
"""
    parent = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    parent.kill()
    parent.wait()
    assert len(pids) == 2
    deadline = time.monotonic() + 10
    while any(running(pid) for pid in pids):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def running(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:  # noqa: PTH123
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_file_that_cannot_be_opened_gives_its_reason(tmp_path, write_pictures):
    paths = [*write_pictures(tmp_path, 2), tmp_path / "missing.png", tmp_path]
    hashes = hash_files([str(path) for path in paths])
    assert hashes[1] == hashlib.sha256(paths[1].read_bytes()).digest()
    assert hashes[2] == "No such file or directory"
    assert isinstance(hashes[3], str)
