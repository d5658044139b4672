"""Kernels, and threads that share their work."""

import pytest
import torch


@pytest.fixture
def kernels(compiled_kernels):
    """The module of the kernels, which are used."""
    from squeezekit.acceleration import dispatch

    assert dispatch.threads_can_be_shared()
    dispatch.use_kernels()
    yield dispatch.kernels()
    dispatch.use_kernels(False)


@pytest.fixture
def two_threads():
    """As many threads share the kernels' work."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
