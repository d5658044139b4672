"""Several processes that train one network together, as torchrun starts them: everything about ranks.

What torchrun sets for this process, the process group, what is exchanged, and batch normalization over all processes.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from squeezekit.acceleration.fused_ops import FusedBatchNorm
from squeezekit.system.console import silence
from squeezekit.system.errors import RunFailed, SqueezekitError

# The others wait while the first decodes the images.
TIMEOUT = timedelta(hours=6)


def launch_name() -> str | None:
    """The name of this launch, the same in all its processes and after a restart; None without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def process_count() -> int:
    """How many processes were started together."""
    return int(os.environ["WORLD_SIZE"]) if launch_name() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if launch_name() else 0


def local_rank() -> int:
    """This process's number among those on this machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if launch_name() else 0


def attempt() -> int:
    """How often torchrun has started this process anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if launch_name() else 0


@dataclass(frozen=True)
class Processes:
    """This process's number among `count`, from 0; one process alone needs no communication."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes files and messages."""
        return self.rank == 0

    def device(self, chosen: torch.device) -> torch.device:
        """This process's own GPU where a GPU was chosen; raises SqueezekitError when there are too few."""
        if chosen.type == "cpu":
            return chosen
        if self.count == 1:
            # Streams and graphs are made where this points to.
            torch.cuda.set_device(chosen.index or 0)
            return chosen
        if self.local_rank >= torch.cuda.device_count():
            raise SqueezekitError(
                f"{torch.cuda.device_count()} GPUs are here for more processes; lower torchrun's --nproc-per-node"
            )
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def replica(self, network: nn.Module) -> nn.Module:
        """What to call in the place of `network`, so that gradients become the mean of all processes'."""
        if self.count == 1:
            return network
        use_synchronized_batch_norm(network)
        with warnings.catch_warnings():
            # Its newer name does not exist in older versions.
            warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
            return DistributedDataParallel(network, broadcast_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """`values` as their sum over all processes, in place."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, flag: bool) -> bool:
        """Whether it is set in any process."""
        return bool(self.total(torch.tensor(float(flag))) > 0)

    def wait(self) -> None:
        """Until all processes are here."""
        self.any(False)

    def broadcast_text(self, text: str) -> str:
        """The first process's text, for all."""
        if self.count == 1:
            return text
        length = torch.tensor(len(text.encode()))
        dist.broadcast(length, 0)
        letters = torch.zeros(int(length), dtype=torch.uint8)
        if self.first:
            letters = torch.tensor(list(text.encode()), dtype=torch.uint8)
        dist.broadcast(letters, 0)
        return bytes(letters.tolist()).decode()


def gathered(share: Tensor, sizes: list[int]) -> Tensor:
    """The shares [sizes[rank], …] of all processes, one after the other: [sum of sizes, …]."""
    padded = F.pad(share, [0, 0] * (share.ndim - 1) + [0, max(sizes) - len(share)])
    shares = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(shares, padded)
    return torch.cat([one[:size] for one, size in zip(shares, sizes, strict=True)])


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that torchrun started, or this one alone; of several, only the first shows anything on the console.

    Raises RunFailed when another one ends before its time.
    """
    count = process_count()
    if count == 1:
        yield Processes()
        return
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, _ = next(rendezvous("env://", timeout=TIMEOUT))
    # torchrun keeps its store when it restarts: addresses of the dead must not be found again.
    store = PrefixStore(f"attempt {attempt()}", store)
    dist.init_process_group(backends, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
    try:
        with silence() if rank > 0 else nullcontext():
            yield Processes(rank, count, local_rank())
        # All leave together: who goes first takes the others' connections along.
        dist.barrier()
    except RuntimeError as error:
        if not _is_about_communication(error):
            raise
        raise RunFailed(
            f"another of the {count} processes has ended; start them again with --resume to go on from the last checkpoint"
        ) from error
    finally:
        # With the others gone this may fail too, and must not hide why.
        with suppress(RuntimeError):
            dist.destroy_process_group()


def _is_about_communication(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "closed by peer" in str(error)


class SynchronizedBatchNorm(FusedBatchNorm):
    """Batch normalization with mean and variance of the batches of all processes together.

    torch's SyncBatchNorm does the same, but refuses CPUs and waits for the GPU at every call. Shapes: [n, c, …] ->
    [n, c, …]; n may differ between processes, and be 0.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def reduce(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        total = torch.from_numpy(sums.copy())
        dist.all_reduce(total)
        return total.numpy()

    def plain(self, x: Tensor) -> Tensor:
        if not self.training:
            return super().plain(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        others = [0, *range(2, x.ndim)]
        channels = [1, -1] + [1] * (x.ndim - 2)
        places = wide.new_full((1,), x.numel() / x.shape[1])
        sums = over_processes(torch.cat([wide.sum(others), places]))
        count = sums[-1]
        mean = sums[:-1] / count
        centred = wide - mean.view(channels)
        variance = over_processes(centred.square().sum(others)) / count
        self._remember(mean.detach(), (variance * count / (count - 1)).detach())
        scale = (variance + self.eps).rsqrt() * self.weight
        normalized: Tensor = centred * scale.view(channels) + self.bias.view(channels)
        return normalized.to(x.dtype)

    def _remember(self, mean: Tensor, variance: Tensor) -> None:
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance, self.momentum)
        self.num_batches_tracked += 1


class SumOverProcesses(torch.autograd.Function):
    """The sum of every process's tensor, and in the other direction the sum of every process's gradient."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        """The sum, on every process."""
        total = x.detach().clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        """What reaches this process's tensor from all the losses."""
        total = gradients[0].clone()
        dist.all_reduce(total)
        return total


def over_processes(x: Tensor) -> Tensor:
    """`SumOverProcesses`, as a function."""
    total: Tensor = SumOverProcesses.apply(x)  # type: ignore[no-untyped-call]
    return total


def use_synchronized_batch_norm(network: nn.Module) -> None:
    """Make every batch normalization of `network` one over all processes; parameters and their names stay.

    Raises SqueezekitError for one without weights or running statistics.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            continue
        if type(module) not in (nn.BatchNorm1d, nn.BatchNorm2d, FusedBatchNorm) or not FusedBatchNorm.serves(module):
            raise SqueezekitError(
                f"layer '{name}': several processes need plain batch normalization with weights, running statistics and a fixed "
                "momentum; train with one process, or change the layer"
            )
        module.__class__ = SynchronizedBatchNorm
