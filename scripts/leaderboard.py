"""The leaderboard: docs/results/leaderboard.md, its picture and the README's part, from the cards and from measured rows.

    python scripts/leaderboard.py [--rows docs/results/models/rows.jsonl] [--measure KIND MODEL IMAGES COMMAND]

Without --measure, page and picture are drawn anew. With it, one row is measured first, on the test images, and added: KIND says
what MODEL is (`trained`, `int8`), a run folder or an .onnx file, COMMAND how it was made.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from model_cards import commit
from torch import nn

from squeezekit.inference.evaluation import evaluate_model
from squeezekit.inference.model import load_model
from squeezekit.networks import network_config
from squeezekit.networks.layer_table import layer_table
from squeezekit.reporting.figures import draw_sizes
from squeezekit.system import atomic_io

DOCS = Path(__file__).parent.parent / "docs"
RESULTS = DOCS / "results"
ROWS = RESULTS / "models" / "rows.jsonl"
BEGIN, END = "<!-- leaderboard -->", "<!-- end of leaderboard -->"
SHORT_HEAD = "| what | test accuracy | bytes | parameters | multiply-adds |\n|---|---|---|---|---|"
PAGE = """# Leaderboard

CIFAR-10 (JPEG): all of CIFAR-10, re-encoded as JPEG of quality 75, 45,000 / 5,000 / 10,000 images; every network here was
trained on it, and no figure of others on the original is comparable. No choice was made on the test images. Multiply-adds are
those of one picture, of both its sides where answers are averaged with the mirror image's; activations are their peak at one
byte a value.

| what | test accuracy | bytes | parameters | multiply-adds | activations, bytes | epochs | command | commit |
|---|---|---|---|---|---|---|---|---|
{rows}

![Test accuracy against bytes](../leaderboard.png)

{remarks}
"""


def measured(kind: str, model: str, images: str, command: str) -> dict[str, Any]:
    """One row."""
    loaded = load_model(model)
    config, place = loaded.config, Path(model)
    # An ONNX file says only which network it was made from.
    table = layer_table(config if place.is_dir() else network_config(config.name))
    return {
        "name": config.name,
        "kind": kind,
        "accuracy": evaluate_model(loaded, images, "test").accuracy,
        "bytes": _float_bytes(loaded.network) if place.is_dir() else place.stat().st_size,
        "parameters": table.parameters,
        "macs": table.macs,
        "activation_bytes": table.activation_bytes,
        "command": command,
        "commit": commit(),
    }


def _float_bytes(network: nn.Module) -> int:
    return sum(4 * tensor.numel() for tensor in network.state_dict().values() if tensor.is_floating_point())


def line(row: dict[str, Any]) -> str:
    """One row, in Markdown."""
    numbers = [f"{row['accuracy']:.4f}", *(f"{row[key]:,}" for key in ("bytes", "parameters", "macs", "activation_bytes"))]
    return f"| {row['label']} | " + " | ".join([*numbers, str(row["epochs"]), f"`{row['command']}`", row["commit"]]) + " |"


def short_line(row: dict[str, Any]) -> str:
    """One row of the README, in Markdown."""
    label = row["label"].replace("](models/", "](docs/results/models/")
    return f"| {label} | {row['accuracy']:.4f} | " + " | ".join(f"{row[key]:,}" for key in ("bytes", "parameters", "macs")) + " |"


def trained_for(row: dict[str, Any]) -> str:
    """Epochs of training: 20 of "20 + 4"."""
    return str(row["epochs"]).split()[0]


def of_card(path: Path) -> dict[str, Any]:
    """The row of a pretrained model."""
    card = json.loads(path.read_text(encoding="utf-8"))
    name = card["name"]
    return {
        **card,
        "label": f"[`{name}`](models/{name}.md)",
        "kind": "box",
        "epochs": f"{card['recipe']['epochs']} + {card['rounds']}",
        "command": "scripts/train_pretrained.sh",
    }


def all_rows(measured: Path) -> list[dict[str, Any]]:
    """Those of the pretrained models and the measured ones, labelled, the most accurate first."""
    rows = [json.loads(text) for text in measured.read_text(encoding="utf-8").splitlines()]
    for row in rows:
        # Named where a network has several rows: the epochs of training, not those of QAT rounds.
        several = {trained_for(other) for other in rows if other["name"] == row["name"]}
        row["epochs_told"] = f", {trained_for(row)} epochs" if len(several) > 1 else ""
        row["label"] = f"`{row['name']}`, {row['kind']}{row['epochs_told']}"
    rows += [of_card(path) for path in sorted((RESULTS / "models").glob("cifar10-*.json"))]
    return sorted(rows, key=lambda row: -row["accuracy"])


def page(rows: list[dict[str, Any]]) -> str:
    """The whole leaderboard, in Markdown."""
    remarks = (RESULTS / "leaderboard-remarks.md").read_text(encoding="utf-8").strip()
    return PAGE.format(rows="\n".join(map(line, rows)), remarks=remarks)


def with_short(readme: str, rows: list[dict[str, Any]]) -> str:
    """The README with its part of it: the pretrained networks, and the best of the others that were compressed."""
    before, _, rest = readme.partition(BEGIN)
    shown = [row for row in rows if row["kind"] == "box"] + [row for row in rows if row["kind"] == "compressed"][:1]
    short = "\n".join([SHORT_HEAD, *map(short_line, shown)])
    return f"{before}{BEGIN}\n{short}\n{END}{rest.partition(END)[2]}"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=Path, default=ROWS)
    parser.add_argument("--measure", nargs=4, metavar=("KIND", "MODEL", "IMAGES", "COMMAND"))
    parser.add_argument("--epochs", help="of what is measured")
    given = parser.parse_args()
    if given.measure:
        with given.rows.open("a", encoding="utf-8") as file:
            file.write(json.dumps({**measured(*given.measure), "epochs": given.epochs}) + "\n")
    rows = all_rows(given.rows)
    atomic_io.write_text(RESULTS / "leaderboard.md", page(rows))
    readme = DOCS.parent / "README.md"
    atomic_io.write_text(readme, with_short(readme.read_text(encoding="utf-8"), rows))
    points: dict[str, list[tuple[int, float]]] = {}
    for row in sorted(rows, key=lambda row: row["bytes"]):
        title = "squeezekit's" if row["kind"] == "box" else row["name"] + row["epochs_told"]
        points.setdefault(title, []).append((row["bytes"], row["accuracy"]))
    draw_sizes(points, DOCS / "leaderboard.png")
