"""A first training does not wait for kernels to be compiled."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from squeezekit.acceleration import kernel_cache
from squeezekit.acceleration.kernel_cache import compile_in_background, kernel_folder, kernels_ready, stamp


@pytest.fixture
def fresh(tmp_path, monkeypatch):
    """As where squeezekit was just installed."""
    monkeypatch.delenv("SQUEEZEKIT_KERNELS")
    monkeypatch.setenv("SQUEEZEKIT_CACHE", str(tmp_path))
    kernel_cache._start.cache_clear()
    yield tmp_path
    kernel_cache._start.cache_clear()


def test_at_first_they_are_not_ready_and_that_is_known_at_once(fresh):
    begin = time.perf_counter()
    assert not kernels_ready()
    assert time.perf_counter() - begin < 0.5
    assert kernel_folder() == fresh / "kernels"


def test_one_process_is_started_and_only_where_it_is_needed(fresh, monkeypatch):
    started = []
    monkeypatch.setattr(kernel_cache.subprocess, "Popen", lambda command, **_: started.append(command))
    monkeypatch.setenv("SQUEEZEKIT_KERNELS", "0")
    compile_in_background()
    monkeypatch.delenv("SQUEEZEKIT_KERNELS")
    assert not started
    compile_in_background()
    compile_in_background()
    assert started == [[sys.executable, "-P", "-m", "squeezekit.acceleration.compile_kernels"]]
    stamp().parent.mkdir()
    stamp().touch()
    assert kernels_ready()
    kernel_cache._start.cache_clear()
    compile_in_background()
    assert len(started) == 1
    monkeypatch.setenv("SQUEEZEKIT_KERNELS", "0")
    assert not kernels_ready()


LOADED = """
import sys
import torch
from squeezekit.acceleration import dispatch
from squeezekit.acceleration.accelerate import accelerate
from squeezekit.acceleration.kernel_cache import kernels_ready
from squeezekit.networks import network_config
from tests.fixtures.compile_kernels import digest_of_gradients
assert kernels_ready()
accelerate(network_config("resnet8").build(), kernels=False)
assert "numba" not in sys.modules
torch.set_num_threads(1)
for name in (
    "squeezenet-late", "fast", "squeezenet1_1", "resnet8", "mobilenetv2_050", "shufflenetv2_050", "xvel-tiniest", "alexnet-cifar"
):
    for normed in (False, True):
        config = network_config(name)
        fields = {"batch_norm": normed, "base_e": 16, "incr_e": 8, "image_size": 32}
        config = config.model_copy(update={field: value for field, value in fields.items() if hasattr(config, field)})
        network = accelerate(config.build().to(memory_format=torch.channels_last), kernels=True)
        for half in (False, True):
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                images = torch.randn(3, 3, 32, 32).to(memory_format=torch.channels_last)
                network(images).float().sum().backward()
print(digest_of_gradients())
known = [each for each in vars(dispatch.kernels()).values() if hasattr(each, "stats")]
assert torch.get_num_threads() == 1
assert len(known) > 9 and not any(each.stats.cache_misses for each in known), [each.stats for each in known]
"""


@pytest.mark.slow
def test_what_is_compiled_in_advance_is_all_that_training_needs_and_gives_the_same_bits(compiled_kernels):
    """Bits as those in the process that compiled them. numba waits until kernels are used, and leaves torch's threads alone."""
    root = Path(__file__).parents[2]
    assert subprocess.check_output([sys.executable, "-c", LOADED], cwd=root, text=True) == compiled_kernels


@pytest.mark.slow
def test_a_process_that_finds_them_compiled_ends_at_once(compiled_kernels):
    done = subprocess.run([sys.executable, "-m", "squeezekit.acceleration.compile_kernels"], check=True, capture_output=True)
    assert kernels_ready() and not done.stdout and not done.stderr
