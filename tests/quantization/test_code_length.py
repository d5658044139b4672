"""The estimate of the bits that weights cost."""

import numpy as np
import pytest
import torch

from squeezekit.codec.encodings import Quantized
from squeezekit.codec.tensors import encode_tensors
from squeezekit.quantization.code_length import code_length


def test_the_code_length_is_near_what_the_coder_writes():
    torch.manual_seed(1)
    rows, columns = torch.rand(64, 1, 1, 1) + 0.1, torch.rand(1, 64, 1, 1) + 0.1
    integers = (3 * rows * columns * torch.randn(64, 64, 3, 3)).round()
    written = 8 * len(encode_tensors({"w": Quantized(integers.long().numpy(), np.ones(64, np.float32))}))
    assert code_length(integers) == pytest.approx(written, rel=0.06)
