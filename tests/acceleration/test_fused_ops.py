"""Kernels against torch's own operations, forward and backward, in float64."""

import pytest
import torch
from torch import nn

from squeezekit.acceleration import dispatch, fused_ops
from squeezekit.acceleration.fused_ops import FusedBatchNorm, finished, finished_and_pooled, normalized_and_clipped
from squeezekit.acceleration.pooling import MaxPool, averaged
from squeezekit.networks.dropout import Dropout

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kernels", "two_threads")]

EXACT = {"rtol": 1e-10, "atol": 1e-12}


def test_a_few_images_that_teach_nothing_are_left_to_torch():
    few, many = (drawn(count, 2, 3, 3) for count in (31, 32))
    assert dispatch.fit(few) and dispatch.fit(many)
    with torch.inference_mode():
        assert not dispatch.fit(few) and dispatch.fit(many)


def drawn(*shape, offset=0.0, dtype=torch.float64):
    values = torch.randn(*shape, dtype=torch.float64).add(offset).to(dtype)
    return values.contiguous(memory_format=torch.channels_last).requires_grad_()


def norms(channels, training):
    """Two equal batch normalisations, gains of both signs."""
    first, second = (FusedBatchNorm(channels).double().train(training) for _ in range(2))
    with torch.no_grad():
        for parameter in (first.weight, first.bias, first.running_mean):
            parameter.normal_()
        first.running_var.uniform_(0.5, 2)
    second.load_state_dict(first.state_dict())
    return first, second


def compare(ours, theirs, inputs, others):
    """Results, gradients of the inputs and of each side's own parameters."""
    assert torch.allclose(ours, theirs, **EXACT)
    arriving = torch.randn_like(theirs)
    found, wanted = (torch.autograd.grad(y, [*inputs, *own], arriving) for y, own in zip((ours, theirs), others, strict=True))
    for one, other in zip(found, wanted, strict=True):
        assert torch.allclose(one, other, **EXACT)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rectify", [True, False])
@pytest.mark.parametrize("bypassed", [True, False])
def test_joining_normalising_rectifying_and_adding(training, rectify, bypassed):
    torch.manual_seed(0)
    norm, plain = norms(12, training)
    branches = [drawn(5, channels, 7, 6, offset=3) for channels in (5, 7)]
    beside = drawn(5, 12, 7, 6) if bypassed else None
    ours = finished(branches, norm, rectify=rectify, bypass=beside)
    assert type(ours.grad_fn).__name__ == "_FinishedBackward"
    theirs = plain.plain(torch.cat(branches, 1))
    theirs = theirs.relu() if rectify else theirs
    theirs = theirs if beside is None else theirs + beside
    inputs = branches if beside is None else [*branches, beside]
    compare(ours, theirs, inputs, (list(norm.parameters()), list(plain.parameters())))
    for name, buffer in norm.named_buffers():
        assert torch.allclose(buffer.double(), plain.get_buffer(name).double(), **EXACT), name


@pytest.mark.parametrize("training", [True, False])
def test_normalising_and_clipping(training):
    torch.manual_seed(0)
    norm, plain = norms(12, training)
    x = drawn(5, 12, 7, 6, offset=3)
    theirs = nn.functional.hardtanh(plain.plain(x), 0, 1.5)
    assert (theirs == 0).any() and (theirs == 1.5).any() and ((theirs > 0) & (theirs < 1.5)).any()
    compare(normalized_and_clipped(x, norm, 1.5), theirs, [x], (list(norm.parameters()), list(plain.parameters())))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("rectify", [True, False])
def test_compiled_branches_are_normalised_before_they_are_joined(training, rectify, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    norm, plain = norms(12, training)
    branches = [drawn(5, channels, 7, 6, offset=3) for channels in (5, 7)]
    ours, theirs = finished(branches, norm, rectify=rectify), plain.plain(torch.cat(branches, 1))
    assert type(ours.grad_fn).__name__ == "CatBackward0"
    theirs = theirs.relu() if rectify else theirs
    compare(ours, theirs, branches, (list(norm.parameters()), list(plain.parameters())))
    for name, buffer in norm.named_buffers():
        assert torch.allclose(buffer.double(), plain.get_buffer(name).double(), **EXACT), name


@pytest.mark.parametrize("normed", [True, False])
@pytest.mark.parametrize("side", [8, 7])
def test_normalising_after_pooling_is_pooling_after_normalising(normed, side):
    torch.manual_seed(0)
    norm, plain = norms(12, training=True) if normed else (nn.Identity(), nn.Identity())
    branches = [drawn(3, channels, side, side, offset=1) for channels in (5, 7)]
    joined = torch.cat(branches, 1)
    theirs = nn.functional.max_pool2d((plain.plain(joined) if normed else joined).relu(), 2, ceil_mode=True)
    ours = finished_and_pooled(branches, norm, MaxPool(2, 2, ceil_mode=True))
    assert type(ours.grad_fn).__name__ == "_FinishedAndPooledBackward"
    compare(ours, theirs, branches, (list(norm.parameters()), list(plain.parameters())))


@pytest.mark.parametrize("side", [2, 3])
def test_windows_that_would_reach_beyond_the_edge_are_left_out_without_ceil_mode(side):
    torch.manual_seed(0)
    norm, plain = norms(12, training=True)
    x = drawn(3, 12, 7, 8, offset=1)
    theirs = nn.functional.max_pool2d(plain.plain(x).relu(), side, 2)
    compare(finished_and_pooled([x], norm, MaxPool(side, 2)), theirs, [x], (list(norm.parameters()), list(plain.parameters())))


@pytest.mark.parametrize("side", [2, 3])
@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize("rectified", [True, False])
def test_pooling(side, ceil_mode, rectified):
    torch.manual_seed(0)
    x, pool = drawn(3, 10, 9, 8), MaxPool(side, 2, ceil_mode=ceil_mode)
    ours = pool.rectified(x) if rectified else pool(x)
    assert type(ours.grad_fn).__name__ == "_PooledBackward"
    theirs = nn.functional.max_pool2d(x.relu() if rectified else x, side, 2, ceil_mode=ceil_mode)
    compare(ours, theirs, [x], ([], []))


def test_the_average_of_what_dropout_leaves():
    dropout, x = Dropout(0.4), drawn(4, 6, 3, 5)
    torch.manual_seed(1)
    ours = averaged(x, dropout)
    torch.manual_seed(1)
    compare(ours, dropout(x).mean((2, 3)), [x], ([], []))
    compare(averaged(x, dropout.eval()), x.mean((2, 3)), [x], ([], []))


@pytest.mark.parametrize("special", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_numbers_that_are_none_stay_none(special, dtype):
    """So that a diverged network is found out."""
    with torch.no_grad():
        x = drawn(2, 4, 4, 4, dtype=dtype).detach()
        x[1, 2, 3, 3] = special
        theirs = nn.functional.max_pool2d(x, 2).relu()
        assert torch.equal(MaxPool(2, 2).rectified(x).nan_to_num(7), theirs.nan_to_num(7))
        norm = FusedBatchNorm(4).eval()
        assert torch.allclose(finished([x], norm).nan_to_num(7), norm.plain(x).relu().nan_to_num(7), rtol=1e-2)
        assert finished([x], FusedBatchNorm(4))[:, 2].isnan().any()


def test_bfloat16_is_rounded_to_nearest_as_torch_does(kernels):
    torch.manual_seed(0)
    x = drawn(64, 16, 4, 4, dtype=torch.bfloat16).detach()
    ones, zeros = torch.ones(16).numpy(), torch.full((16,), 1 / 3).numpy()
    out = torch.empty_like(x)
    kernels.scaled(dispatch.rows(x), ones, zeros, *fused_ops.UNLIMITED, dispatch.rows(out), 0, 1)
    assert torch.equal(out, (x.float() + torch.tensor(1 / 3)).bfloat16())
