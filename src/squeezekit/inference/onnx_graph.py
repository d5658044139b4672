"""A network in an `.onnx` file of others, as one that can be trained and compressed: its nodes and its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import nn

from squeezekit.inference.onnx_file import BrokenOnnx, check_onnx, metadata_of
from squeezekit.inference.onnx_network import KEY
from squeezekit.inference.onnx_operators import read_node
from squeezekit.inference.onnx_reader import GraphReader, ImportedGraph, Unreadable
from squeezekit.networks.registry import network_config
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.outside_files import read_outside_bytes
from squeezekit.system.shown_text import shown

MAX_BYTES = 1 << 29
READ = "convolutions, batch normalization behind them, sums, concatenations, ReLU, ReLU6, poolings, means, padding, linear layers"


def read_onnx_graph(path: Path, image_size: int | None = None) -> ImportedGraph:
    """The network in a file; `image_size` is needed where its input leaves the side of images open.

    Raises SqueezekitError, which names the node that cannot be read.
    """
    import onnx

    content = read_outside_bytes(path, MAX_BYTES)
    try:
        check_onnx(content)
        if KEY in metadata_of(content):
            raise SqueezekitError(f"{path}: was made by squeezekit export; give the run or the .sqz file that it was made from")
        # Its own errors are of several kinds: protobuf's, and those of what it converts.
        graph = onnx.load_model_from_string(content).graph
    except BrokenOnnx as error:
        raise SqueezekitError(
            f"{path}: {error}; give an .onnx file of one image classifier, its weights inside (torch: external_data=False)"
        ) from None
    except SqueezekitError:
        raise
    except Exception as error:
        raise SqueezekitError(f"{path}: cannot be read ({' '.join(str(error).split())[:200]})") from None
    try:
        reader = GraphReader.of(graph, path, image_size)
    except (ValueError, LookupError, TypeError) as error:
        raise SqueezekitError(f"{path}: holds weights that cannot be read ({' '.join(str(error).split())[:200]})") from None
    for number, node in enumerate(graph.node, 1):
        try:
            read_node(reader, node)
        # Of a node whose fields are missing or make no sense, pydantic, numpy and Python complain in several ways.
        except (ValueError, LookupError, TypeError, ArithmeticError, AttributeError) as error:
            name = shown(node.name or f"number {number}")
            said = error if isinstance(error, Unreadable) else "has fields that are missing or do not fit together"
            raise SqueezekitError(f"{path}: node '{name}' ({node.op_type}) {said}; what is read are {READ}") from None
    return reader.result(graph.output)


def build_graph(graph: ImportedGraph, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
    """The network, in evaluation mode; pixels scaled to 0…1 less `mean`, divided by `std`, are what its first node takes.

    Raises SqueezekitError for one that is too large, and for scales that no image has.
    """
    config = network_config(
        "graph",
        nodes=graph.nodes,
        channels=graph.channels,
        image_size=graph.image_size,
        classes=graph.classes,
        mean=mean,
        std=std,
    )
    config.check_work()
    network = config.build()
    network.load_state_dict({name: torch.from_numpy(np.array(array, np.float32)) for name, array in graph.weights.items()})
    return network.eval()
