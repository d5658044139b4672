"""A network that was trained elsewhere becomes a run, as if it had been trained here."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from squeezekit.data.batches import Batches
from squeezekit.data.image_set import ImageSet
from squeezekit.data.sources import load_images
from squeezekit.inference.onnx_graph import build_graph, read_onnx_graph
from squeezekit.inference.onnx_reader import ImportedGraph
from squeezekit.networks.config import NetworkConfig
from squeezekit.system.console import say
from squeezekit.system.errors import SqueezekitError
from squeezekit.training.fine_tuning import StartingPoint
from squeezekit.training.measurement import images_at_once, measure
from squeezekit.training.run_folder import Run
from squeezekit.training.settings import RECIPE_OF_TRAINED, resolve
from squeezekit.training.start import start_run

RECIPE_ELSEWHERE = "trained elsewhere"
# How other programs scale pixels of 0…1: mean, deviation.
USUAL = {
    "0 to 1": ((0.0,), (1.0,)),
    "-1 to 1": ((0.5,), (0.5,)),
    "ImageNet's mean and deviation": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "0 to 255": ((0.0,), (1 / 255,)),
}
# What a network's configuration admits.
LEAST_STD, MOST_STD = 1e-4, 1000.0
# So many images decide between them.
TRIED_IMAGES = 500
# A network that is right hardly more often than chance, by this share of the rest, knows other classes or another order.
ABOVE_CHANCE = 0.1


def adopted(network: nn.Module, data: str, folder: Path, *, name: str, validation_share: float) -> Run:
    """A run in `folder` whose weights are those of the network, whose field `config` describes it; no epoch is trained.

    Raises SqueezekitError for a network of an unknown kind, and for images of other classes.
    """
    config = getattr(network, "config", None)
    if not isinstance(config, NetworkConfig):
        how = "register its NetworkConfig (sk.register_network), and set network.config to the one that built it"
        raise SqueezekitError(f"{name}: has no field config; {how}")
    fields = {**config.model_dump(exclude={"name", "classes"}), "classes": config.classes}
    settings = {"data": data, "head_first": False, "validation_share": validation_share}
    network_fields, recipe, run_fields = resolve(
        network=config.name, recipe=RECIPE_OF_TRAINED, config=None, fields={**fields, **settings}
    )
    # Rounds go on gently; the network itself has learnt by another.
    recipe["name"] = RECIPE_ELSEWHERE
    own = copy.deepcopy(network).eval().cpu()
    start = StartingPoint(name, own, config, None, lambda _images: np.zeros(0, np.int64), ())
    run = start_run(folder, network_fields, recipe, run_fields, init_from=start).run
    run.write_best(own.state_dict())
    return run


def network_of_onnx(
    path: Path, data: str, *, image_size: int | None, mean: Sequence[float] | None, std: Sequence[float] | None
) -> nn.Module:
    """The network in an `.onnx` file of others, with pixels scaled as it wants them.

    Where `mean` and `std` are not given, they are those of the usual ones with which it is right most often. Raises
    SqueezekitError, also where images have other classes.
    """
    graph = read_onnx_graph(path, image_size)
    images = load_images(data, image_size=graph.image_size, channels=graph.channels).training
    if len(images.classes) != graph.classes:
        found = f"tells {graph.classes} classes apart, {data} holds {len(images.classes)}"
        raise SqueezekitError(f"{path}: {found}; give its own --data")
    if mean is not None or std is not None:
        given = ((0.0,) if mean is None else tuple(mean), (1.0,) if std is None else tuple(std))
        if not {len(given[0]), len(given[1])} <= {1, graph.channels}:
            raise SqueezekitError(f"--mean, --std: give one number, or one for each of the {graph.channels} channels")
        return build_graph(graph, *_within(graph, *given))
    tried = {}
    for title, (usual_mean, usual_std) in USUAL.items():
        scaled = _within(graph, usual_mean, usual_std) if len(usual_mean) in (1, graph.channels) else None
        if scaled and min(scaled[1]) >= LEAST_STD and max(scaled[1]) <= MOST_STD:
            network = build_graph(graph, *scaled)
            tried[title] = (_accuracy(network, images), network)
    if not tried:
        raise SqueezekitError(f"{path}: scales its pixels in no usual way; give --mean and --std")
    best = max(tried, key=lambda title: tried[title][0])
    accuracy, network = tried[best]
    others = ", ".join(f"{title}: {share:.1%}" for title, (share, _) in tried.items() if title != best)
    count = min(TRIED_IMAGES, len(images))
    say(f"pixels: {best}, right for {accuracy:.1%} of {count} images ({others}); --mean and --std change it")
    chance = 1 / graph.classes
    if accuracy < chance + ABOVE_CHANCE * (1 - chance):
        say(f"{path}: knows hardly any of these images; are its classes in the order of the folders' names?")
    return network


def _within(graph: ImportedGraph, mean: Sequence[float], std: Sequence[float]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and deviation with what the graph itself does to its input."""
    outer, inner = (np.array(mean), np.array(std)), (np.array(graph.mean), np.array(graph.std))
    return tuple(map(float, outer[0] + outer[1] * inner[0])), tuple(map(float, outer[1] * inner[1]))


def _accuracy(network: nn.Module, images: ImageSet) -> float:
    config = network.config
    assert isinstance(config, NetworkConfig)
    some = np.random.default_rng(0).permutation(len(images))[:TRIED_IMAGES]
    batches = Batches(images, some, batch_size=min(images_at_once(config.image_size), 50), mean=config.mean, std=config.std)
    with torch.inference_mode():
        return measure(network, batches).accuracy
