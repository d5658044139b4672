"""Kernels, and as many threads as share them."""

import pytest
import torch


@pytest.fixture
def kernels(compiled_kernels):
    """The module of the kernels; two threads share their work."""
    from squeezekit.acceleration import dispatch

    assert dispatch.threads_can_be_shared()
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    dispatch.use_kernels()
    yield dispatch.kernels()
    dispatch.use_kernels(False)
    torch.set_num_threads(before)
