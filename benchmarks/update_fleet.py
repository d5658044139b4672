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
from pathlib import Path
from typing import Any

DEVICES = 1_000_000
RATES = {"9.6 kbit/s": 9_600, "100 kbit/s": 100_000, "10 Mbit/s": 10_000_000}
PAPER = {"AlexNet, float32": 240_000_000, "SqueezeNet, float32": 4_800_000, "SqueezeNet, the paper's 0.47 MB": 470_000}
# Timestamp, snapshot and targets of a channel with one delta.
METADATA = 1_350


def rows(measured: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """One for each thing that may be sent."""
    sizes = dict(PAPER)
    for row in measured:
        sizes[f"{row['network']}, the file"] = row["file"] + METADATA
        sizes[f"{row['network']}, delta ({row['pair']})"] = row["delta"] + METADATA
    for name, size in sizes.items():
        minutes = {rate: round(size * 8 / bits / 60, 4) for rate, bits in RATES.items()}
        yield {"what": name, "bytes": size, "fleet_gigabytes": round(size * DEVICES / 1e9, 2), "minutes": minutes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=Path(__file__).parents[1] / "docs" / "runs" / "updates" / "sizes.jsonl")
    arguments = parser.parse_args()
    for row in rows([json.loads(line) for line in arguments.rows.read_text().splitlines()]):
        print(json.dumps(row))
