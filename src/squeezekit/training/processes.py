"""Several processes that train one network together, as torchrun starts them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from squeezekit.errors import RunFailed
from squeezekit.training.global_norm import use_global_statistics

Value = TypeVar("Value")


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
        """This process's own GPU where a GPU was chosen."""
        if chosen.type == "cpu" or self.count == 1:
            return chosen
        torch.cuda.set_device(self.local_rank)
        return torch.device("cuda", self.local_rank)

    def replica(self, network: nn.Module) -> nn.Module:
        """What to call in the place of `network`, so that gradients become the mean of all processes'."""
        if self.count == 1:
            return network
        use_global_statistics(network)
        return DistributedDataParallel(network, forward_sync_buffers=False)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count > 1:
            dist.all_reduce(values)
        return values

    def any(self, wish: bool, device: torch.device) -> bool:
        """Whether any process wishes it."""
        return wish if self.count == 1 else bool(self.total(torch.tensor(float(wish), device=device)) > 0)

    def wait(self) -> None:
        """Until all processes are here."""
        self.agreed(None)

    def agreed(self, value: Value) -> Value:
        """The first process's value, for all."""
        if self.count == 1:
            return value
        box: list[Any] = [value]
        dist.broadcast_object_list(box)
        return box[0]  # type: ignore[no-any-return]


@contextmanager
def joined() -> Iterator[Processes]:
    """All processes that torchrun started, or this one alone; raises RunFailed when another one ends before its time."""
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Processes()
        return
    backends = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    # The others wait while the first decodes the images.
    dist.init_process_group(backends, timeout=timedelta(days=1))
    try:
        yield Processes(dist.get_rank(), count, int(os.environ["LOCAL_RANK"]))
    except RuntimeError as error:
        if not _is_about_communication(error):
            raise
        raise RunFailed(
            f"another of the {count} processes has ended; start them again with --resume to go on from the last checkpoint"
        ) from error
    finally:
        dist.destroy_process_group()


def restarted() -> bool:
    """Whether torchrun has started this process anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) > 0


def _is_about_communication(error: RuntimeError) -> bool:
    return isinstance(error, dist.DistError) or "gloo" in str(error) or "closed by peer" in str(error)
