"""Deep Compression, the baseline."""

from collections import Counter

import numpy as np
import pytest

from squeezekit.codec.huffman import coded_bytes
from squeezekit.compression.compress import compress
from squeezekit.compression.deep_compression import published_bytes
from squeezekit.modelfile.sqz import read_sqz


def test_published_bytes_by_hand():
    # Gaps 0, 2, 19 and 0; of 4 bits, 19 is a filler after 16 and a gap of 3; of 5 or 8 it is one gap.
    weight = np.zeros((1, 1, 5, 5), np.float32)
    weight.ravel()[[0, 3, 23, 24]] = [0.5, -0.5, 0.5, 0.25]
    bias = np.ones(3, np.float32)
    four = coded_bytes(Counter([1, 0, 1, 2, 3])) + coded_bytes(Counter([0, 2, 15, 3, 0]))
    eight = coded_bytes(Counter([2, 0, 2, 1])) + coded_bytes(Counter([0, 2, 19, 0]))
    assert published_bytes({"w": weight, "b": bias}) == 3 * 4 + min(four, eight) + 3 * 4
    assert published_bytes({"w": np.zeros((2, 2, 1, 1), np.float32)}) == 0


@pytest.mark.slow
def test_the_whole_way(tiny_run, tmp_path):
    found = compress(tiny_run.folder, tmp_path / "x.sqz", method="deep-compression", max_drop=30, epochs=1)
    file = read_sqz(tmp_path / "x.sqz")
    names = [stage.name for stage in found.stages]
    assert names[1].startswith("pruned") and names[-1].startswith("codebooks")
    for name, array in file.arrays().items():
        assert len(np.unique(array)) <= 256 or name.endswith("bias")
    assert found.stages[-1].density < 0.51
    assert 0.5 < found.bytes / published_bytes(file.weights) < 1.5
