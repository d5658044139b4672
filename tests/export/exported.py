"""Small networks in C, and what they have to answer: for several tests."""

import subprocess
from pathlib import Path

import numpy as np
import torch

from squeezekit.acceleration.folding import folded
from squeezekit.inference.model import Model
from squeezekit.integer.quantizer import plan_of
from squeezekit.integer.reference import IntegerNetwork
from squeezekit.modelfile.activation_ranges import ActivationRanges
from squeezekit.networks import network_config
from squeezekit.system import atomic_io

STRICT = ["-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror"]
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1"]
SMALL = {"base_e": 16, "incr_e": 12, "stem_width": 13, "squeeze_ratio": 0.5, "depth": 4}
NETWORKS = {
    "plain": {},
    "simple bypass": {"bypass": "simple", "batch_norm": True},
    "complex bypass": {"bypass": "complex", "batch_norm": True},
    "three wide pooling": {"pool_size": 3, "pool_before": (1, 3, 4), "stem_stride": 2, "image_size": 63, "stem_kernel": 7},
    "depthwise": {"depthwise": 5, "bypass": "simple", "batch_norm": True},
    "more than a block": {"depthwise": 3, "base_e": 70},
    "gated": {"gated": True, "depthwise": 3, "share_3x3": 0.3, "pool_before": (1, 3)},
    "gated, with bypass": {"gated": True, "bypass": "complex", "batch_norm": True, "image_size": 27, "mirrored": True},
    "odd sides": {"pool_before": (1, 3, 5), "image_size": 27, "depth": 5, "classes": 37},
    "mirrored": {"mirrored": True, "head_relu": True, "bypass": "simple", "stem_kernel": 5},
    "mirrored average": {"mirrored": True, "pool_before": (), "depth": 2},
    "grey": {"channels": 1, "mean": (0.3,), "std": (0.2,), "pool_before": (2,)},
}


def pictures_like(config, count, seed=0):
    """Coloured cells of several sizes, black and white: uint8 [count, side, side, channels]."""
    random, side = np.random.default_rng(seed), config.image_size
    found = [np.zeros((side, side, config.channels)), np.full((side, side, config.channels), 255)]
    for i in range(count - 2):
        cell = (1, 4, 11, side)[i % 4]
        cells = random.integers(0, 256, (-(-side // cell), -(-side // cell), config.channels))
        found.append(cells.repeat(cell, 0).repeat(cell, 1)[:side, :side])
    return np.stack(found).astype(np.uint8)


def small(name):
    """A model, untrained but lively, and its plan."""
    fields = {"mean": (0.5, 0.4, 0.3), "std": (0.2, 0.25, 0.3), **SMALL, **NETWORKS[name]}
    config = network_config("squeezenet-cifar", **fields)
    torch.manual_seed(0)
    network = folded(lively(config.build()))
    model = Model("x", network, network.config, tuple(f"class {i}" for i in range(config.classes)), None, None, None)
    return model, plan_of(network, ActivationRanges.of(network, [(floats(config, pictures_like(config, 20, seed=1)), None)]))


def lively(network):
    """Statistics and a last layer that say something."""
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
    *_, last = (module for module in network.modules() if isinstance(module, torch.nn.Conv2d | torch.nn.Linear))
    torch.nn.init.normal_(last.weight, std=0.1)
    return network.eval()


def floats(config, pixels):
    mean, std = (torch.tensor(numbers).view(1, 1, 1, -1) for numbers in (config.mean, config.std))
    return ((torch.from_numpy(pixels) / 255 - mean) / std).permute(0, 3, 1, 2)


def reference(plan, pixels):
    """Integer logits [n, classes]."""
    parts = torch.from_numpy(pixels).permute(0, 3, 1, 2).split(100)
    return torch.cat([IntegerNetwork(plan).integers(part) for part in parts]).numpy()


def processor_has(kind):
    """Whether Linux lists an instruction set of this machine."""
    listed = Path("/proc/cpuinfo")
    return listed.exists() and kind in listed.read_text().split()


def built(folder, files, *flags):
    """The program `classify`, compiled strictly."""
    atomic_io.write_folder(folder, files)
    program = folder / "classify"
    command = ["gcc", *STRICT, *flags, folder / "main.c", folder / "classifier.c", "-o", program]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def answers(program, pixels):
    """Labels, and logits [n, classes], of pictures in one raw file."""
    path = program.with_name("pictures.raw")
    pixels.tofile(path)
    done = subprocess.run([str(program), str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    labels, numbers = zip(*(line.split("\t") for line in done.stdout.splitlines()), strict=True)
    return labels, np.array([list(map(int, line.split())) for line in numbers])
