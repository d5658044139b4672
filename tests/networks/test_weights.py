"""Starting from weights that exist."""

import json
import os
import struct
import zipfile

import pytest
import torch
from safetensors.torch import save_file

from squeezekit import SqueezekitError, train
from squeezekit.networks import network_config
from squeezekit.networks.weights import MAX_BYTES, load_weights, read_weights
from tests.fixtures.tiny import TINY


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_same_weights_same_logits(tmp_path, suffix):
    torch.manual_seed(0)
    old, new = (network_config("squeezenet1_1").build().eval() for _ in range(2))
    path = tmp_path / f"v1.1.{suffix}"
    if suffix == "pth":
        torch.save(old.state_dict(), path)
    else:
        save_file(old.state_dict(), path)
    assert load_weights(new, path) == []
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(old(x), new(x))


def test_another_class_count_keeps_the_rest(tmp_path):
    old, new = network_config("squeezenet1_1").build(), network_config("squeezenet1_1", classes=7).build()
    torch.save(old.state_dict(), tmp_path / "w.pth")
    assert load_weights(new, tmp_path / "w.pth") == ["classifier.1.weight", "classifier.1.bias"]
    assert torch.equal(new.features[0].weight, old.features[0].weight)
    with pytest.raises(SqueezekitError, match="--network"):
        load_weights(network_config("squeezenet1_0").build(), tmp_path / "w.pth")


def test_nothing_is_executed(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("executed").touch, ())

    torch.save({"features.0.weight": Bomb()}, tmp_path / "bomb.pth")
    with pytest.raises(SqueezekitError, match="cannot be read"):
        load_weights(network_config("squeezenet-cifar").build(), tmp_path / "bomb.pth")
    assert not (tmp_path / "executed").exists()


def test_training_goes_on_from_a_run(tiny_run, tmp_path):
    weights = tiny_run.folder / "best.safetensors"
    run = train("digits", out=tmp_path / "x", init_from=weights, epochs=1, learning_rate=1e-4, **TINY)
    # The same validation images, in the precision of training.
    expected = pytest.approx(tiny_run.summary["validation"]["loss"], rel=0.02)
    assert run.checkpoint()["progress"]["untrained_loss"] == expected


def test_batch_normalisation_that_differs_is_named(tmp_path):
    torch.save(network_config("squeezenet-cifar").build().state_dict(), tmp_path / "w.pth")
    with pytest.raises(SqueezekitError, match="--no-batch-norm"):
        load_weights(network_config("squeezenet-cifar", batch_norm=True).build(), tmp_path / "w.pth")


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"weights", b"PK\x03\x04cut", b"\x80\x02}q\x00(X"])
def test_damaged_files_are_one_sentence(tmp_path, suffix, content):
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(SqueezekitError, match="cannot be read"):
        load_weights(network_config("squeezenet-cifar").build(), path)


def safetensors(header, body=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + body


BROKEN = {
    "empty.safetensors": b"",
    "header of 2 to the 63.safetensors": struct.pack("<Q", 2**63) + b"{}",
    "header of a gigabyte.safetensors": struct.pack("<Q", 10**9) + b"{}",
    "deep.safetensors": safetensors(b"[" * 100_000),
    "sides of 2 to the 40.safetensors": safetensors(
        {"a": {"dtype": "F32", "shape": [2**40] * 2, "data_offsets": [0, 4]}}, bytes(4)
    ),
    "a negative side.safetensors": safetensors({"a": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}}, bytes(4)),
    "empty.pth": b"",
    "text.pth": b"weights\n" * 100,
    "half a zip.pth": b"PK\x03\x04" + bytes(100),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_ends_in_a_sentence(name, tmp_path):
    (tmp_path / name).write_bytes(BROKEN[name])
    with pytest.raises(SqueezekitError, match="weights cannot be read") as found:
        read_weights(tmp_path / name)
    assert str(found.value).isprintable() and len(str(found.value)) < 500


def test_what_is_no_file_is_not_waited_for(tmp_path):
    for suffix in ("pth", "safetensors"):
        os.mkfifo(tmp_path / f"pipe.{suffix}")
        (tmp_path / f"device.{suffix}").symlink_to("/dev/zero")
        for name in ("pipe", "device"):
            with pytest.raises(SqueezekitError, match=r"weights cannot be read \(it is not a file\)"):
                read_weights(tmp_path / f"{name}.{suffix}")


def test_a_packed_file_is_not_unpacked(tmp_path):
    torch.save({"a": torch.zeros(1_000_000)}, tmp_path / "plain.pth")
    with (
        zipfile.ZipFile(tmp_path / "plain.pth") as plain,
        zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as to,
    ):
        for part in plain.infolist():
            to.writestr(part.filename, plain.read(part))
    assert (tmp_path / "packed.pth").stat().st_size < 20_000
    assert list(read_weights(tmp_path / "plain.pth")) == ["a"]
    with pytest.raises(SqueezekitError, match="it is packed"):
        read_weights(tmp_path / "packed.pth")


def test_a_file_larger_than_any_network_is_not_read(tmp_path):
    with (tmp_path / "large.safetensors").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(SqueezekitError, match="is larger than"):
        read_weights(tmp_path / "large.safetensors")


def test_only_tensors_of_plain_numbers_are_weights(tmp_path):
    odd = [{1: torch.zeros(1)}, {"a": 1}, [torch.zeros(1)], {"a": torch.zeros(2, 2).to_sparse()}]
    for content in (*odd, {"a": torch.empty(2, device="meta")}):
        torch.save(content, tmp_path / "odd.pth")
        with pytest.raises(SqueezekitError, match="not a dictionary of tensors|cannot be read"):
            read_weights(tmp_path / "odd.pth")


def test_one_number_for_a_trillion_weights_takes_no_memory(tmp_path):
    network = network_config("squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=1, pool_before=(1,)).build()
    weights = network.state_dict()
    weights["features.0.weight"] = torch.zeros(1).expand(10**6, 10**6)
    torch.save(weights, tmp_path / "wide.pth")
    with pytest.raises(SqueezekitError, match="'features.0.weight' has shape"):
        load_weights(network, tmp_path / "wide.pth")


def test_weights_that_are_no_numbers_are_refused(tmp_path):
    network = network_config("squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=1, pool_before=(1,)).build()
    weights = {**network.state_dict(), "features.0.bias": torch.full((4,), float("nan"))}
    torch.save(weights, tmp_path / "nan.pth")
    with pytest.raises(SqueezekitError, match="'features.0.bias' holds numbers that are not finite"):
        load_weights(network, tmp_path / "nan.pth")


@pytest.mark.parametrize("place", ["size of the list", "place of the list", "name of a part"])
def test_a_damaged_archive_is_said_to_be_one(tmp_path, place):
    path = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(3)}, path)
    data = bytearray(path.read_bytes())
    # What torch writes ends as an archive of 64 bits.
    end, names = data.rindex(b"PK\x06\x06"), data.rindex(b"PK\x01\x02")
    at = {"size of the list": end + 40, "place of the list": end + 48, "name of a part": names + 28}[place]
    data[at : at + 2] = b"\xff\xff"
    path.write_bytes(data)
    with pytest.raises(SqueezekitError, match="weights cannot be read .*; give a .safetensors file"):
        read_weights(path)
