"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.training import launch
from squeezekit.training.synchronized_batch_norm import use_synchronized_batch_norm

# The others wait while the first decodes the images.
TIMEOUT = timedelta(hours=6)


@dataclass(frozen=True)
class Processes:
    """This process's number among `count`, from 0; one process alone needs no communication."""

    rank: int = 0
    count: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and speaks."""
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

    def any(self, wish: bool) -> bool:
        """Whether any process wishes it."""
        return bool(self.total(torch.tensor(float(wish))) > 0)

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
    """All processes that torchrun started, or this one alone; raises RunFailed when another one ends before its time."""
    count = launch.processes()
    if count == 1:
        yield Processes()
        return
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    store, rank, _ = next(rendezvous("env://", timeout=TIMEOUT))
    # torchrun keeps its store when it restarts: addresses of the dead must not be found again.
    store = PrefixStore(f"attempt {launch.attempt()}", store)
    dist.init_process_group(backends, store=store, rank=rank, world_size=count, timeout=TIMEOUT)
    try:
        yield Processes(rank, count, launch.local_rank())
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
