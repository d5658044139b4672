"""What several tests need."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TINY = {"base_e": 16, "incr_e": 16, "stem_width": 16, "limit": 400}


@pytest.fixture(scope="session")
def cache(tmp_path_factory):
    """A cache of the tests' own, so that they neither use nor fill the user's."""
    folder = tmp_path_factory.mktemp("cache")
    before = os.environ.get("SQUEEZEKIT_CACHE")
    os.environ["SQUEEZEKIT_CACHE"] = str(folder)
    yield folder
    if before is None:
        del os.environ["SQUEEZEKIT_CACHE"]
    else:
        os.environ["SQUEEZEKIT_CACHE"] = before


@pytest.fixture(scope="session", autouse=True)
def _compiled_kernels():
    """Kernels compiled before the first test, where the developer's own are, so that no training has other ones than the next."""
    from squeezekit.acceleration.kernel_cache import kernel_folder, kernels_ready

    os.environ["NUMBA_CACHE_DIR"] = str(kernel_folder())
    if not kernels_ready():
        subprocess.run([sys.executable, "-m", "squeezekit.acceleration.compile_kernels"], check=True)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(_compiled_kernels, cache):
    yield


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A small network trained for a few epochs on the digits."""
    from squeezekit import train

    # In fp32, so that it is as good on every processor.
    return train("digits", out=tmp_path_factory.mktemp("runs") / "tiny", epochs=10, precision="fp32", **TINY)


@pytest.fixture(scope="session")
def real_images():
    """The folder of CIFAR-10 (JPEG) that SQUEEZEKIT_CIFAR10 names."""
    folder = os.environ.get("SQUEEZEKIT_CIFAR10")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SQUEEZEKIT_CIFAR10 does not name the folder of CIFAR-10 (JPEG)")
    return Path(folder)
