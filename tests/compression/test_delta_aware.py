"""Compression with a small delta from an earlier file."""

import pytest

from squeezekit import SqueezekitError, evaluate, fine_tune
from squeezekit.codec.encodings import Quantized
from squeezekit.compression.compress import compress
from squeezekit.modelfile.delta import apply_delta, delta_between
from squeezekit.modelfile.sqz import read_sqz
from tests.fixtures.families import WIDTHS, compressed_and_tuned


@pytest.fixture(scope="module")
def tuned(tiny_sqz, shared):
    """A run that started from a file."""
    options = {"epochs": 1, "limit": 400, "precision": "fp32", "learning_rate": 0.002}
    return shared("tuned", lambda folder: fine_tune(tiny_sqz, "digits", out=folder, **options))


@pytest.mark.slow
def test_the_delta_is_small_and_the_target_met(tuned, tiny_sqz, tmp_path):
    new = tmp_path / "next.sqz"
    result = compress(tuned, new, delta_from=tiny_sqz, max_drop=3)
    assert result.met_target and result.validation.after >= result.validation.before - 0.03
    delta = delta_between(tiny_sqz.read_bytes(), new.read_bytes())
    assert apply_delta(tiny_sqz.read_bytes(), delta) == new.read_bytes()
    # The test accuracy is written into the file after the delta was measured.
    assert abs(len(delta) - result.delta_bytes) < 40 and len(delta) < 0.4 * result.bytes
    for name, part in read_sqz(new).weights.items():
        if isinstance(part, Quantized):
            assert (part.scales == read_sqz(tiny_sqz).weights[name].scales).all()


@pytest.mark.slow
def test_options_that_do_not_go_with_it(tuned, tiny_run, tiny_sqz, tmp_path):
    with pytest.raises(SqueezekitError, match="--delta-from: leave out"):
        compress(tuned, tmp_path / "x.sqz", delta_from=tiny_sqz, max_bytes=5000)
    with pytest.raises(SqueezekitError, match="holds another network than the run"):
        compress(tiny_run.folder, tmp_path / "x.sqz", delta_from="digits-nano")
    with pytest.raises(SqueezekitError, match=r"none.sqz: does not exist"):
        compress(tuned, tmp_path / "x.sqz", delta_from=tmp_path / "none.sqz")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet8", "xvel-tiniest"])
@WIDTHS
def test_networks_of_other_families_too(name, width, shared, monkeypatch, tmp_path):
    folder = compressed_and_tuned(name, width, shared, monkeypatch)
    old, new = folder / "old.sqz", tmp_path / "new.sqz"
    made = compress(folder / "tuned", new, delta_from=old, max_drop=100, epochs=1, minutes=0)
    delta = delta_between(old.read_bytes(), new.read_bytes())
    # The test accuracy comes to the file afterwards.
    assert len(delta) <= made.delta_bytes + 8 and len(delta) < 0.8 * made.bytes
    assert evaluate(new, "digits", "validation").accuracy == pytest.approx(made.stages[-1].accuracy, abs=1e-4)
