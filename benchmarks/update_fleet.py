"""What it costs, on paper, to send a new version of a network to a million devices.

    python benchmarks/update_fleet.py [--rows docs/runs/updates/sizes.jsonl]

Bytes are those of the weights in float32 (AlexNet and SqueezeNet: table 2 of the paper, in MB of 10^6 bytes), of the paper's
smallest network, of our files and of our deltas, with the signed metadata that a device fetches for a new version. Time is
bytes · 8 ÷ rate, of one device; the protocol's own bytes, and what a radio spends on waiting, come on top. Prints one JSON line a
row.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from squeezekit.modelfile.sqz import read_sqz
from squeezekit.pretrained.files import model_path
from squeezekit.updates.keys import KeyRing
from squeezekit.updates.publish import publish
from squeezekit.updates.repository import Repository

DEVICES = 1_000_000
RATES = {"9.6 kbit/s": 9_600, "100 kbit/s": 100_000, "10 Mbit/s": 10_000_000}
PAPER = {"AlexNet, float32": 240_000_000, "SqueezeNet, float32": 4_800_000, "SqueezeNet, the paper's 0.47 MB": 470_000}


def metadata_bytes() -> int:
    """Timestamp, snapshot and targets of a channel with one delta, as a device fetches them: of a repository made for this."""
    with TemporaryDirectory() as name:
        folder, old = Path(name), model_path("digits-nano")
        Repository.create(folder / "public", KeyRing([folder / "keys"], ["for a minute"]))
        sqz = read_sqz(old)
        replace(sqz, stages=()).write(folder / "new.sqz")
        for model in (old, folder / "new.sqz"):
            made = publish(model, folder / "public", keys=[folder / "keys"], passphrases=["for a minute"])
        assert len(made.deltas) == 1
        return made.metadata_bytes


def rows(measured: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One for each thing that may be sent."""
    sizes, metadata = dict(PAPER), metadata_bytes()
    for row in measured:
        sizes.setdefault(f"{row['network']}, the file", row["file"] + metadata)
        sizes[f"{row['network']}, delta ({row['pair']})"] = row["delta"] + metadata
    for name, size in sizes.items():
        minutes = {rate: round(size * 8 / bits / 60, 6) for rate, bits in RATES.items()}
        yield {"what": name, "bytes": size, "fleet_gigabytes": round(size * DEVICES / 1e9, 2), "minutes": minutes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path(__file__).parents[1] / "docs" / "runs" / "updates" / "sizes.jsonl")
    arguments = parser.parse_args()
    for row in rows([json.loads(line) for line in arguments.rows.read_text().splitlines()]):
        print(json.dumps(row))
