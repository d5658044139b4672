"""Answers as JSON: the same fields on the command line and over HTTP, and as `squeezekit predict --json` has them."""

from __future__ import annotations

from typing import Any

from .classifier import DeviceAnswer


def answer_as_json(answer: DeviceAnswer, top: int | None = None) -> dict[str, Any]:
    """Plain data, with the `top` most probable classes, or all."""
    ranked = [{"label": label, "probability": probability} for label, probability in answer.probabilities[:top]]
    return {**ranked[0], "unsure": answer.unsure, "known": answer.known, "top": ranked}
