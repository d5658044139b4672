"""A file of 730,000 weights is read in little time and memory."""

import json
import subprocess
import sys

import pytest

# The clock.
pytestmark = pytest.mark.alone

# The processors of tests are shared: three times what docs promise on a quiet one.
SECONDS, MEGABYTES = 0.9, 100

READ = """
import json, resource, sys, time
from pathlib import Path
import numpy as np
from squeezekit.codec.encodings import Quantized
from squeezekit.codec.log_scales import from_log_steps
from squeezekit.modelfile.sqz import Sqz, read_sqz
from squeezekit.networks import network_config

path = Path(sys.argv[1])
if not path.exists():
    config = network_config("squeezenet-late")
    random, weights = np.random.default_rng(0), {}
    for name, tensor in config.build().state_dict().items():
        if tensor.ndim == 4:
            integers = np.rint(random.laplace(scale=1.2, size=tuple(tensor.shape))).astype(np.int64)
            weights[name] = Quantized(integers, from_log_steps(900 + random.integers(0, 40, len(integers))))
        else:
            weights[name] = np.zeros(tuple(tensor.shape), np.float32)
    Sqz(config, tuple("0123456789"), weights).write(path)
else:
    # What is compiled once is compiled now.
    small = network_config("squeezenet-cifar", base_e=8, incr_e=8, stem_width=8, depth=3)
    arrays = {name: tensor.numpy() for name, tensor in small.build().state_dict().items()}
    Sqz(small, tuple("0123456789"), arrays).write(path.with_suffix(".small"))
    read_sqz(path.with_suffix(".small")).build()
    before, begin = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.perf_counter()
    file = read_sqz(path)
    seconds = time.perf_counter() - begin
    size = sum(part.integers.size for part in file.weights.values() if isinstance(part, Quantized))
    more = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"seconds": seconds, "megabytes": more / 1024, "weights": size}))
"""


def test_reading_is_quick_and_small(tmp_path):
    for _ in range(2):
        command = [sys.executable, "-c", READ, str(tmp_path / "late.sqz")]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["weights"] > 720_000
    assert found["megabytes"] < MEGABYTES
    assert found["seconds"] < SECONDS
