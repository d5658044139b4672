"""A hostile `.sqz` file is refused with one sentence, fast and without much memory: atheris looks for one that is not.

    pip install atheris
    python tests/fuzz/fuzz_sqz.py -max_total_time=600 -timeout=20 -rss_limit_mb=2048 -max_len=8192 CORPUS

Each input is read as it is and, since no fuzzer guesses SHA-256, once more with its digest put right. CORPUS is a folder;
what is found of interest is added to it. An empty one gets a small valid file to begin with.
"""

from __future__ import annotations

import hashlib
import resource
import sys
import time
from pathlib import Path

import atheris
import numpy as np

# numba cannot compile what atheris has instrumented.
COMPILED = [f"squeezekit.codec.{name}" for name in ("range_coder", "integer_model", "byte_model", "delta_model")]

with atheris.instrument_imports(include=["squeezekit.codec", "squeezekit.modelfile"], exclude=COMPILED):
    from squeezekit.codec.encodings import Quantized
    from squeezekit.codec.log_scales import COARSE, FINE, from_log_steps
    from squeezekit.modelfile import container, sqz
    from squeezekit.networks import network_config
    from squeezekit.system.errors import SqueezekitError

MOST_SECONDS = 1.0
MOST_MEGABYTES = 64


def valid_file() -> bytes:
    """A whole file of a tiny network, every kind of section in it."""
    config = network_config("squeezenet-cifar", base_e=4, incr_e=4, stem_width=4, depth=2, pool_before=(1,), classes=2)
    weights = {}
    for number, (name, tensor) in enumerate(config.build().state_dict().items()):
        array = tensor.numpy()
        # Coarse and fine ones.
        scales = from_log_steps(np.full(len(array), 4001 if number % 4 else 1000), FINE if number % 4 else COARSE)
        quantized = Quantized(np.rint(array * 5).astype(np.int64), scales)
        weights[name] = quantized if array.ndim == 4 else array
    stage = sqz.Stage(name="trained", bytes=1, density=1, bits=1, accuracy=1)
    calibration = sqz.ProbabilityCalibration(temperature=1, threshold=0.5)
    whole = sqz.Sqz(
        config, ("a", "b"), weights, stages=(stage,), probability_calibration=calibration, other_sections={"abcd": b"x"}
    )
    return whole.to_bytes()


def one_input(data: bytes) -> None:
    """Reads or refuses, within the limits."""
    for content in (data, data[: -container.DIGEST_BYTES] + hashlib.sha256(data[: -container.DIGEST_BYTES]).digest()):
        begin, memory = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        try:
            read = sqz.from_bytes(content)
            if read.to_bytes() != content and time.process_time() - begin < MOST_SECONDS:
                # A foreign writer may code or order things in another way, but what it says must survive.
                assert sqz.from_bytes(read.to_bytes()).to_bytes() == read.to_bytes()
        except SqueezekitError as error:
            assert "\n" not in str(error)
        assert time.process_time() - begin < MOST_SECONDS
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024
        assert grown < MOST_MEGABYTES + 1, f"{grown:.0f} MB more"


if __name__ == "__main__":
    corpus = Path(sys.argv[-1])
    corpus.mkdir(exist_ok=True)
    if not any(corpus.iterdir()):
        (corpus / "valid").write_bytes(valid_file())
    # Compiles the loops and imports what is imported late.
    sqz.from_bytes(valid_file())
    one_input(valid_file())
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
