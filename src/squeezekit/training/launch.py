"""What torchrun tells the processes that it starts."""

from __future__ import annotations

import os


def launch() -> str | None:
    """The name of this launch, the same in all its processes and after a restart; None without torchrun."""
    return os.environ.get("TORCHELASTIC_RUN_ID")


def processes() -> int:
    """How many processes were started together."""
    return int(os.environ["WORLD_SIZE"]) if launch() else 1


def rank() -> int:
    """This process's number among them, from 0."""
    return int(os.environ["RANK"]) if launch() else 0


def local_rank() -> int:
    """This process's number among those on this machine, from 0."""
    return int(os.environ["LOCAL_RANK"]) if launch() else 0


def attempt() -> int:
    """How often torchrun has started this process anew after a failure."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")) if launch() else 0
