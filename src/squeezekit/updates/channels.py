"""The names of files in a repository: those of a channel, and of the deltas that lead to its newest one."""

from __future__ import annotations

import hashlib
import re

from ..system.errors import SqueezekitError

CHANNEL = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def channel_files(channel: str) -> tuple[str, str]:
    """The name of a channel's file, and the prefix of its deltas' names; raises SqueezekitError for a bad name."""
    if not CHANNEL.fullmatch(channel):
        raise SqueezekitError(f"channel '{channel}': give a name of up to 32 small letters, digits, - and _")
    return f"{channel}.sqz", f"{channel}.from-"


def delta_name(channel: str, old: bytes) -> str:
    """The name of the delta from a file to the newest of a channel."""
    return f"{channel_files(channel)[1]}{hashlib.sha256(old).hexdigest()[:16]}"
