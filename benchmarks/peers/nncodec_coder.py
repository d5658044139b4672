"""nncodec's coder alone: what it makes of integers, nothing lost.

    PYTHON_WITH_NNCODEC benchmarks/peers/nncodec_coder.py nncodec_size.py integers.npz

Integers times the step of quantisation parameter -20, without dependent quantisation, are quantised to themselves, which the
decoded arrays must show. Prints one JSON line: bytes, everything counted, and seconds. `nncodec_size.py` is the script that knows
how to import nncodec.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import sys
import tempfile
import time

import numpy as np

QP, STEP = -20, 2.0**-5

if __name__ == "__main__":
    spec = importlib.util.spec_from_file_location("nncodec_size", sys.argv[1])
    peer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(peer)
    with np.load(sys.argv[2]) as integers:
        arrays = {name: (integers[name] * STEP).astype(np.float32) for name in integers}
    options = {"qp": QP, "use_dq": False, "opt_qp": False, "param_opt": True, "verbose": False}
    with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
        begin = time.perf_counter()
        stream = peer.encode(dict(arrays), {**options, "results": scratch})
        written = time.perf_counter()
        decoded = peer.decode(stream)
        read = time.perf_counter()
    for name, array in arrays.items():
        if not np.array_equal(np.asarray(decoded[name]).reshape(array.shape), array):
            sys.exit(f"{name}: did not come back as it was")
    print(json.dumps({"bytes": len(stream), "write_s": round(written - begin, 3), "read_s": round(read - written, 3)}))
