"""What several tests need. What is expensive is made once, by whichever process comes first, for all that run tests."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures.tiny import TINY


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """A function that returns the file or folder of a name, `make(path)` having made it once for all processes."""
    from squeezekit.system.file_lock import one_at_a_time

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    folder.mkdir(exist_ok=True)

    def made(name, make):
        path, done = folder / name, folder / f"{name}.done"
        with one_at_a_time(folder / f"{name}.lock"):
            if not done.exists():
                # What an attempt that failed has left.
                shutil.rmtree(path, ignore_errors=True)
                path.unlink(missing_ok=True)
                make(path)
                done.touch()
        return path

    return made


@pytest.fixture(scope="session", autouse=True)
def _own_cache(shared):
    """A cache of the tests' own, so that they neither use nor fill the user's, and no kernels but where a test is about them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SQUEEZEKIT_CACHE", str(shared("cache", Path.mkdir)))
        patch.setenv("SQUEEZEKIT_KERNELS", "0")
        patch.delenv("NUMBA_CACHE_DIR", raising=False)
        yield


@pytest.fixture(scope="session")
def _compiled_kernels(shared, _own_cache):
    """All kernels, compiled as a training has it done; the digest of what they computed then."""

    def compile_all(path):
        environment = {name: value for name, value in os.environ.items() if name != "SQUEEZEKIT_KERNELS"}
        command = [sys.executable, "-m", "tests.fixtures.compile_kernels"]
        path.write_bytes(subprocess.check_output(command, env=environment, cwd=Path(__file__).parents[1]))

    return shared("kernels", compile_all).read_text()


@pytest.fixture
def compiled_kernels(_compiled_kernels, monkeypatch):
    """Compiled kernels compute, where they are asked for."""
    monkeypatch.delenv("SQUEEZEKIT_KERNELS")
    return _compiled_kernels


@pytest.fixture(scope="session")
def tiny_run(shared):
    """A small network trained for a few epochs on the digits; tests change only copies of it."""
    from squeezekit import train
    from squeezekit.training.run_folder import Run

    # In fp32, so that it is as good on every processor.
    return Run(shared("tiny", lambda folder: train("digits", out=folder, epochs=10, precision="fp32", **TINY)))


@pytest.fixture(scope="session")
def tiny_sqz(tiny_run, shared):
    """That network in a file, quantized after training, as good as it was within a few points."""
    from squeezekit import compress

    return shared("tiny.sqz", lambda path: compress(tiny_run.folder, path, max_drop=2, minutes=0))


@pytest.fixture(scope="session")
def real_images():
    """The folder of CIFAR-10 without loss, 45,000 images for training and 6,000 for the test, that SQUEEZEKIT_CIFAR10 names."""
    folder = os.environ.get("SQUEEZEKIT_CIFAR10")
    if not folder or not Path(folder).is_dir():
        pytest.skip("SQUEEZEKIT_CIFAR10 does not name the folder of CIFAR-10 without loss")
    return Path(folder)


@pytest.fixture
def forgets_networks():
    """What a test registers is unknown to others: no worker could import it."""
    from squeezekit.networks.registry import NETWORKS

    before = dict(NETWORKS)
    yield
    NETWORKS.clear()
    NETWORKS.update(before)
