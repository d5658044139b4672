"""Compression that stays near to an earlier file."""

import numpy as np
import pytest
import torch

from squeezekit import SqueezekitError, evaluate, fine_tune, train
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import nearest_log_scale
from squeezekit.compression.compress import compress
from squeezekit.compression.delta_aware import round_near
from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.pretrained.files import model_path
from squeezekit.quantization.fisher import FisherInformation


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """A run that went on from a network in the box."""
    folder = tmp_path_factory.mktemp("tuned") / "run"
    return fine_tune("digits-nano", "digits", out=folder, recipe="modern", epochs=1, precision="fp32").folder


def test_the_price_of_a_bit_decides_how_much_changes():
    random = np.random.default_rng(0)
    old = Quantized(random.integers(-2, 3, (8, 6, 3, 3)), nearest_log_scale(np.full(8, 0.1, np.float32)))
    weight = torch.from_numpy(old.dequantized() + random.normal(0, 0.04, (8, 6, 3, 3)).astype(np.float32))
    bend = FisherInformation(torch.eye(54), torch.ones(8), torch.zeros(8))
    changes = [int((round_near(weight, old, bend, price) != old.integers).sum()) for price in (1e-9, 1e-4, 1e-3, 1e3)]
    assert changes == sorted(changes, reverse=True) and changes[0] > 50 and changes[-1] == 0
    # Where a bit is worth nothing, every weight goes to the nearest place on the grid.
    nearest = np.rint(weight.numpy() / old.scales[:, None, None, None])
    assert (round_near(weight, old, bend, 1e-9) == nearest).mean() > 0.95


def test_the_delta_is_small_and_the_promise_kept(tuned, tmp_path):
    result = compress(tuned, tmp_path / "next.sqz", near="digits-nano", max_drop=3)
    old, new = model_path("digits-nano"), tmp_path / "next.sqz"
    assert result.kept and result.validation["after"] >= result.validation["before"] - 0.03
    delta = delta_between(old.read_bytes(), new.read_bytes())
    assert apply_delta(old.read_bytes(), delta) == new.read_bytes()
    # The test accuracy is written into the file after the delta was measured.
    assert abs(len(delta) - result.delta_bytes) < 40 and len(delta) < 0.4 * result.bytes
    for name, part in read_sqz(new).weights.items():
        if isinstance(part, Quantized):
            assert (part.scales == read_sqz(old).weights[name].scales).all()


def test_what_does_not_go_with_it(tuned, tiny_run, tmp_path):
    with pytest.raises(SqueezekitError, match="--near: leave out"):
        compress(tuned, tmp_path / "x.sqz", near="digits-nano", max_bytes=5000)
    with pytest.raises(SqueezekitError, match="is no file of the run's network"):
        compress(tiny_run.folder, tmp_path / "x.sqz", near="digits-nano")
    with pytest.raises(SqueezekitError, match=r"none.sqz: does not exist"):
        compress(tuned, tmp_path / "x.sqz", near=tmp_path / "none.sqz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["resnet8", "xvel-tiniest"])
def test_networks_of_other_families_stay_near_too(name, tmp_path):
    run = train("digits", out=tmp_path / "run", network=name, epochs=1, limit=150, test=False)
    compress(run.folder, tmp_path / "old.sqz", epochs=1, pressure=0.01)
    tuned = fine_tune(tmp_path / "old.sqz", "digits", out=tmp_path / "tuned", epochs=1, limit=150, test=False)
    made = compress(tuned.folder, tmp_path / "new.sqz", near=tmp_path / "old.sqz", max_drop=100, epochs=1, minutes=0)
    delta = delta_between(*((tmp_path / f"{which}.sqz").read_bytes() for which in ("old", "new")))
    # The test accuracy comes to the file afterwards.
    assert len(delta) <= made.delta_bytes + 8 and len(delta) < 0.8 * made.bytes
    assert evaluate(tmp_path / "new.sqz", "digits", "validation").accuracy == pytest.approx(made.stages[-1]["accuracy"], abs=1e-4)
