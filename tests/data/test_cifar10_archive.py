"""Reading CIFAR-10's files, honest and hostile."""

import gzip
import io
import os
import pickle
import tarfile
from functools import partial

import numpy as np
import pytest

from squeezekit.data import cifar10_archive as archive
from squeezekit.data.cifar10_archive import find_batches, read_cifar10
from squeezekit.system.errors import SqueezekitError
from tests.fixtures.cifar10_files import NAMES, as_images, binary_members, pickled, python_members, random_batches, tar
from tests.fixtures.mutation import findings

MEMBERS = {"python": python_members, "binary": binary_members}


# Words of pickles: a memo, marks, collections, a call, a state; and the types of tar's entries.
TOKENS = [
    b"r\xff\xff\xff\x0f",
    b"(",
    b"l",
    b"]",
    b"}",
    b"R",
    b"b",
    b"u",
    b"e",
    b"h\0",
    b"\x85",
    b"cnumpy\nndarray\n",
    b"S",
    b"x",
    b"L",
]


def check(read, batches):
    (images, labels), (test_images, test_labels) = read
    assert (images == np.concatenate([as_images(batches[name][0]) for name in NAMES[:-1]])).all()
    assert labels.tolist() == [label for name in NAMES[:-1] for label in batches[name][1]]
    assert labels.dtype == np.int64
    assert (test_images == as_images(batches["test_batch"][0])).all()
    assert test_labels.tolist() == batches["test_batch"][1]


def refused(path, content, sentence):
    path.write_bytes(content)
    with pytest.raises(SqueezekitError, match=sentence) as caught:
        read_cifar10(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("version", ["python", "binary"])
@pytest.mark.parametrize("mode", ["w:gz", "w"])
def test_an_archive_is_read_in_the_order_of_the_batches(version, mode, tmp_path):
    batches = random_batches()
    (tmp_path / "a.tar.gz").write_bytes(tar(MEMBERS[version](batches), mode))
    check(read_cifar10(tmp_path / "a.tar.gz"), batches)


@pytest.mark.parametrize("version", ["python", "binary"])
@pytest.mark.parametrize("below", ["", "cifar-10-batches-py-target"])
def test_an_unpacked_folder_is_found_and_read(version, below, tmp_path):
    batches = random_batches()
    place = tmp_path / below if version == "python" else tmp_path
    for name, content in MEMBERS[version](batches).items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(content)
    found = find_batches(tmp_path)
    assert found.parent == place
    assert find_batches(found) == found
    check(read_cifar10(found), batches)


def test_a_folder_without_batches_is_none(tmp_path):
    (tmp_path / "cats").mkdir()
    assert find_batches(tmp_path) is None


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("order", ["C", "F"])
def test_batches_pickled_again_by_python_3_are_read(protocol, order, tmp_path):
    batches = random_batches()
    members = {
        f"cifar-10-batches-py/{name}": pickle.dumps({"data": np.asarray(data, order=order), "labels": labels}, protocol)
        for name, (data, labels) in batches.items()
    }
    (tmp_path / "a.tar.gz").write_bytes(tar(members))
    check(read_cifar10(tmp_path / "a.tar.gz"), batches)


class Attack:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, eval, np.load, np.frombuffer, getattr, pickle.loads])
def test_a_pickle_that_calls_anything_else_is_refused_before_it_does(function, tmp_path):
    target = tmp_path / "made"
    argument = f"__import__('os').mkdir({str(target)!r})" if function is eval else str(target)
    members = python_members(random_batches())
    members["cifar-10-batches-py/data_batch_2"] = pickle.dumps({"data": Attack(function, argument), "labels": []}, 2)
    refused(tmp_path / "a.tar.gz", tar(members), r"its pickle asks for \S+, which no batch needs")
    assert not target.exists()


def test_hostile_arrays_are_never_handed_to_numpy(tmp_path):
    objects = np.array([[None] * 3072] * 4, dtype=object)
    members = python_members(random_batches())
    for data in (
        objects,
        np.zeros((4, 3072)),
        np.zeros((4, 3072), np.int8),
        np.zeros((4, 3071), np.uint8),
        np.zeros(3072, np.uint8),
    ):
        members["cifar-10-batches-py/data_batch_2"] = pickle.dumps({"data": data, "labels": [0, 1, 2, 3]}, 2)
        refused(tmp_path / "a.tar.gz", tar(members), "cannot be read as CIFAR-10")


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (pickled(np.zeros((3, 3072), np.uint8), [0, 1]), "data_batch_2 does not hold pictures of 3072 bytes with a label"),
        (pickled(np.zeros((0, 3072), np.uint8), []), "data_batch_2 does not hold pictures"),
        (pickled(np.zeros((2, 3072), np.uint8), [0, 10]), "label that is not 0 to 9"),
        (pickled(np.zeros((2, 3072), np.uint8), [0, -1]), "label that is not 0 to 9"),
        (pickle.dumps({"data": [1, 2], "labels": [0]}, 2), "holds no data or no labels"),
        (pickle.dumps({"labels": [0]}, 2), "holds no data or no labels"),
        (pickle.dumps("text", 2), "cannot be read"),
        (b"", "cannot be read"),
        (b"\x80\x02}q\x01(", "cannot be read"),
    ],
)
def test_a_batch_that_makes_no_sense_is_refused(batch, reason, tmp_path):
    members = {**python_members(random_batches()), "cifar-10-batches-py/data_batch_2": batch}
    refused(tmp_path / "a.tar.gz", tar(members), reason)


def test_binary_batches_that_make_no_sense_are_refused(tmp_path):
    members = binary_members(random_batches())
    for content, reason in ((b"\x0b" + bytes(3072), "0 to 9"), (bytes(3072), "breaks off"), (b"", "does not hold")):
        broken = {**members, "cifar-10-batches-bin/data_batch_3.bin": content}
        refused(tmp_path / "a.tar.gz", tar(broken), reason)


@pytest.mark.parametrize("name", [*NAMES])
def test_a_missing_batch_is_named(name, tmp_path):
    members = python_members(random_batches())
    del members[f"cifar-10-batches-py/{name}"]
    refused(tmp_path / "a.tar.gz", tar(members), f"it holds no {name}")


@pytest.mark.parametrize("name", ["../{}", "/{}", "cifar-10-batches-py/../{}", "./cifar-10-batches-py/../../{}", "{}"])
def test_names_that_lead_elsewhere_are_neither_read_nor_written(name, tmp_path):
    batches = random_batches()
    members = python_members(batches)
    hostile = {name.format("test_batch"): b"hostile", name.format("evil"): b"hostile"}
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / "a.tar.gz").write_bytes(tar({**members, **hostile}))
    check(read_cifar10(inside / "a.tar.gz"), batches)
    assert [path.name for path in tmp_path.rglob("*")] == ["inside", "a.tar.gz"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_links_and_devices_in_the_place_of_a_batch_are_not_followed(kind, tmp_path):
    file = io.BytesIO(tar(python_members(random_batches()), "w"))
    with tarfile.open(fileobj=file, mode="a") as opened:
        info = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
        info.type, info.linkname = kind, "/etc/passwd"
        opened.addfile(info)
    (tmp_path / "a.tar").write_bytes(file.getvalue())
    check(read_cifar10(tmp_path / "a.tar"), random_batches())


def test_an_archive_that_bursts_is_stopped(tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "MAX_BYTES", 2**22)
    members = {"zeros": bytes(2**23), **python_members(random_batches())}
    refused(tmp_path / "a.tar.gz", tar(members), "far larger than CIFAR-10")
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.XHDTYPE, 2**40
    refused(tmp_path / "b.tar.gz", gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(2**23)), "far larger than CIFAR-10")


def sparse_header(size, real_size):
    """The header of a file that says it is mostly holes."""
    header = tarfile.TarInfo("cifar-10-batches-py/data_batch_1")
    header.type, header.size = tarfile.GNUTYPE_SPARSE, size
    block = bytearray(header.tobuf(tarfile.GNU_FORMAT))
    block[386:410], block[483:495] = b"00000000000\0" * 2, b"%011o\0" % real_size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def nested(depth):
    """2 ** (depth + 1) numbers, made of as many lists as it is deep."""
    numbers = [0, 1]
    for _ in range(depth):
        numbers = [numbers, numbers]
    return numbers


def test_holes_long_names_and_hosts_of_entries_take_no_memory(tmp_path):
    whole = tar(python_members(random_batches()), "w")
    refused(tmp_path / "a.tar", sparse_header(0, 2**33 - 1) + bytes(1024), "it holds no data_batch_1")
    (tmp_path / "b.tar").write_bytes(sparse_header(0, 2**33 - 1) + whole)
    check(read_cifar10(tmp_path / "b.tar"), random_batches())
    name = tarfile.TarInfo("././@LongLink")
    name.type, name.size = tarfile.GNUTYPE_LONGNAME, 1
    refused(tmp_path / "c.tar", (name.tobuf() + b"x" + bytes(511)) * 2000 + whole, "more than 1,000 entries")
    refused(tmp_path / "d.tar", tarfile.TarInfo("x").tobuf() * 2000 + whole, "more than 1,000 entries")
    for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.REGTYPE):
        name.type, name.size = kind, 2**40
        refused(tmp_path / "e.tar", name.tobuf(tarfile.GNU_FORMAT) + whole, "far larger than CIFAR-10")
    name.size = -512
    refused(tmp_path / "f.tar", name.tobuf(tarfile.GNU_FORMAT) + whole, "far larger than CIFAR-10")


@pytest.mark.parametrize("labels", [nested(27), [[0]] * 20, [2**100] * 20, ["1"] * 20, [True] * 20, [0.5] * 20, [None] * 20])
def test_labels_that_are_no_numbers_are_never_handed_to_numpy(labels, tmp_path):
    batch = pickle.dumps({"data": np.zeros((20, 3072), np.uint8), "labels": labels}, 2)
    members = {**python_members(random_batches()), "cifar-10-batches-py/data_batch_2": batch}
    refused(tmp_path / "a.tar.gz", tar(members), "cannot be read as CIFAR-10")


def test_a_batch_that_is_no_dictionary_is_refused(tmp_path):
    members = {**python_members(random_batches()), "cifar-10-batches-py/data_batch_2": pickle.dumps([("data", 1)], 2)}
    refused(tmp_path / "a.tar.gz", tar(members), "a batch is no dictionary")


def test_a_pipe_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "a.tar.gz")
    with pytest.raises(SqueezekitError, match=r"cannot be read as CIFAR-10 \(it is not a file\)"):
        read_cifar10(tmp_path / "a.tar.gz")
    os.mkfifo(tmp_path / "data_batch_1")
    assert find_batches(tmp_path) is None


def test_bits_that_have_changed_in_a_packed_archive_are_noticed(tmp_path):
    content = bytearray(gzip.compress(tar(python_members(random_batches()), "w"), 0))
    # Without compression, only the check sum tells.
    content[len(content) // 2] ^= 1
    refused(tmp_path / "a.tar.gz", bytes(content), "CRC check failed")


def test_a_reason_of_any_length_stays_one_sentence(tmp_path):
    batch = b"\x80\x02c" + b"m" * 100_000 + b"\nname\n."
    members = {**python_members(random_batches()), "cifar-10-batches-py/data_batch_2": batch}
    with pytest.raises(SqueezekitError, match="its pickle asks for mmm") as caught:
        (tmp_path / "a.tar.gz").write_bytes(tar(members))
        read_cifar10(tmp_path / "a.tar.gz")
    assert len(str(caught.value)) < 600 + len(str(tmp_path))


def read_tar(folder, content):
    """What the fuzzer calls: reads an archive whose headers have had their check sums put right."""
    content = bytearray(content)
    for at in range(0, len(content) - 511, 512):
        if content[at + 257 : at + 262] == b"ustar":
            content[at + 148 : at + 156] = b" " * 8
            content[at + 148 : at + 156] = b"%06o\0 " % sum(content[at : at + 512])
    (folder / "a.tar").write_bytes(content)
    read_cifar10(folder / "a.tar")


def hostile_archives():
    """A whole one of each version, and those that were attacks."""
    members, labels = python_members(random_batches(2)), random_batches(2)["test_batch"][1]
    deep = [pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": nested(27)}, protocol) for protocol in (2, 4)]
    batches = [b"\x80\x02Nr\xff\xff\xff\x0f.", b"\x80\x02" + b"]" * 5000 + b".", *deep]
    again = {
        f"cifar-10-batches-py/{name}": pickle.dumps({"data": data, "labels": labels}, 4)
        for name, (data, _) in random_batches(2).items()
    }
    hostile = [tar({**members, "cifar-10-batches-py/data_batch_2": batch}, "w") for batch in batches]
    sparse = sparse_header(0, 2**33 - 1) + bytes(1024)
    return [tar(members, "w"), tar(again, "w"), tar(binary_members(random_batches(2)), "w"), sparse, *hostile]


@pytest.mark.slow
def test_hostile_archives_are_read_or_refused_within_limits(tmp_path):
    assert findings(partial(read_tar, tmp_path), hostile_archives(), count=20, tokens=TOKENS) == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(1, 5))
def test_many_hostile_archives_are_read_or_refused_within_limits(seed, tmp_path):
    assert findings(partial(read_tar, tmp_path), hostile_archives(), count=2_000, seed=seed, tokens=TOKENS) == []


def test_the_limits_leave_room_for_the_official_archive():
    assert archive.MAX_BATCH_BYTES > 2 * 31_035_704
    assert archive.MAX_BYTES > 1.4 * 186_000_000


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_a_cut_archive_is_refused(share, tmp_path):
    whole = tar(python_members(random_batches()))
    refused(tmp_path / "a.tar.gz", whole[: int(len(whole) * share)], "cannot be read as CIFAR-10 .*give the whole")


def test_another_file_is_refused(tmp_path):
    refused(tmp_path / "photo.jpg", b"\xff\xd8\xff" + bytes(5000), "cannot be read as CIFAR-10")
    refused(tmp_path / "other.tar.gz", tar({"cifar-100-python/train": b"x"}), "it holds no data_batch_1")
