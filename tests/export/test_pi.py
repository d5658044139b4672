"""The folder for a Raspberry Pi holds the file and what a device needs, or a sentence says why it cannot."""

import pytest

import squeezekit as sk
from squeezekit import SqueezekitError
from squeezekit.pretrained.files import model_path


def test_a_folder_for_a_pi(tmp_path):
    exported = sk.export("digits-nano", tmp_path / "pi", format="pi")
    assert (tmp_path / "pi" / "model.sqz").read_bytes() == model_path("digits-nano").read_bytes()
    assert (tmp_path / "pi" / "requirements.txt").read_text() == f"./squeezekit_device-{sk.__version__}-py3-none-any.whl\n"
    assert exported.bytes == 7810 and "model.sqz of 7,810 bytes" in exported.lines()[0]
    sk.export("cifar10-pico", tmp_path / "pi", format="pi")
    assert (tmp_path / "pi" / "model.sqz").read_bytes() == model_path("cifar10-pico").read_bytes()
    (tmp_path / "pi" / "mine.txt").touch()
    with pytest.raises(SqueezekitError, match="holds other things than an export"):
        sk.export("cifar10-pico", tmp_path / "pi", format="pi")


def test_what_a_device_cannot_compute_is_said(tiny_run, tmp_path):
    with pytest.raises(SqueezekitError, match="is a run; compress it"):
        sk.export(tiny_run.folder, tmp_path / "pi", format="pi")
    golden = model_path("digits-nano").parents[4] / "tests" / "modelfile" / "golden" / "network-1.sqz"
    with pytest.raises(SqueezekitError, match="has no activation ranges"):
        sk.export(golden, tmp_path / "pi", format="pi")
    assert not (tmp_path / "pi").exists()
