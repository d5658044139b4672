"""What a device notes of its models, and how it stands in state.json."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

MAX_REFUSED = 32


@dataclass(frozen=True)
class ModelVersion:
    """Number of a model in a channel; `root` is the version of the root metadata that verified it."""

    channel: str
    number: int
    root: int


@dataclass(frozen=True)
class RefusedModel:
    """A model that this device will not install: its SHA-256, its version, why, and until when if not for good."""

    sha256: str
    version: int
    reason: str
    until: datetime | None = None


@dataclass(frozen=True)
class DeviceState:
    """What is known of the models here; digests are SHA-256 in hexadecimal digits.

    `known` are versions by digest; `trying` is the digest of a model whose check has begun, `trials` how often it has; `origin`
    is the digest of the root.json that this device was given; at the time `latest` the repository's metadata were current.
    """

    known: Mapping[str, ModelVersion] = field(default_factory=dict)
    trying: str = ""
    trials: int = 0
    origin: str = ""
    latest: datetime | None = None
    refused: tuple[RefusedModel, ...] = ()


def written_state(state: DeviceState) -> str:
    """The text of state.json; times as ISO 8601 has them."""
    return json.dumps(asdict(state), indent=1, default=datetime.isoformat) + "\n"


def state_as_read(text: bytes) -> DeviceState:
    """What `written_state` wrote; raises ValueError or RecursionError for anything else."""
    found = _checked(json.loads(text), DeviceState)
    known, refused = found.get("known", {}), found.get("refused", [])
    if not isinstance(known, dict) or not isinstance(refused, list) or len(refused) > MAX_REFUSED:
        raise ValueError("no versions, or too many")
    versions = {name: ModelVersion(**_checked(version, ModelVersion)) for name, version in known.items()}
    return DeviceState(
        **{
            **found,
            "known": versions,
            "refused": tuple(RefusedModel(**_checked(each, RefusedModel)) for each in refused),
        }
    )


def _checked(content: Any, kind: type) -> dict[str, Any]:
    """The fields of a dataclass: texts, whole numbers and times with their zone are what they should be, and no field is new."""
    kinds = {each.name: each.type for each in fields(kind)}
    if not isinstance(content, dict) or set(content) - set(kinds):
        raise ValueError("other fields")
    found = dict(content)
    for name, value in content.items():
        if kinds[name] in ("str", "int") and type(value).__name__ != kinds[name]:
            raise ValueError(f"{name} is of another type")
        if kinds[name] == "datetime | None" and value is not None:
            found[name] = _time(value)
    needed = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    if needed - set(found):
        raise ValueError("fields are missing")
    return found


def _time(text: Any) -> datetime:
    if not isinstance(text, str) or (time := datetime.fromisoformat(text)).tzinfo is None:
        raise ValueError("a time without its zone")
    return time
