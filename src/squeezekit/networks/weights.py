"""Start from weights that exist: torchvision's, or those of another run."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from squeezekit.system.errors import SqueezekitError


def load_weights(network: nn.Module, path: Path) -> list[str]:
    """Load a `.safetensors` file or a `.pth` of tensors into `network`; nothing in it is executed.

    Tensors of the last layer whose shape differs, because the number of classes does, keep their fresh values; their
    names are returned. Anything else that is missing, unknown or of another shape raises SqueezekitError.
    """
    return take_weights(network, read_weights(path), str(path))


def take_weights(network: nn.Module, given: Mapping[str, Tensor], source: str) -> list[str]:
    """`load_weights` of tensors that are read already, of which `source` says where they are from."""
    own = network.state_dict()
    normalized = [any("running_mean" in name for name in names) for names in (given, own)]
    if normalized[0] != normalized[1]:
        flag = "--batch-norm" if normalized[0] else "--no-batch-norm"
        raise SqueezekitError(f"{source}: the weights and this network differ in batch normalization; use {flag}")
    if unknown := set(given) - set(own):
        raise SqueezekitError(f"{source}: holds '{min(unknown)}', which this network has not; choose the --network it is for")
    if missing := set(own) - set(given):
        raise SqueezekitError(f"{source}: lacks '{min(missing)}', which this network has; choose the --network it is for")
    differing = [name for name in own if own[name].shape != given[name].shape]
    last = list(own)[-1].rpartition(".")[0]
    if wrong := [name for name in differing if name.rpartition(".")[0] != last]:
        name = wrong[0]
        shapes = f"{list(given[name].shape)} instead of {list(own[name].shape)}"
        raise SqueezekitError(f"{source}: '{name}' has shape {shapes}; choose the --network it is for")
    network.load_state_dict({name: own[name] if name in differing else given[name] for name in own})
    return differing


def read_saved(path: Path) -> Any:
    """What `torch.save` wrote of tensors and plain data; nothing in it is executed. Raises ValueError, in half a sentence."""
    if not path.is_file():
        # Opening a pipe would wait for somebody to write to it.
        raise ValueError("is not a file")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                # torch.save never packs anything, and a little that is packed may become any amount of memory.
                if any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist()):
                    raise ValueError("holds compressed parts, which torch.save does not make")
        return torch.load(path, map_location="cpu", weights_only=True)
    # Broken files make the reader raise nearly anything: UnpicklingError, RuntimeError, KeyError, struct.error …
    except Exception as error:
        raise ValueError(" ".join(str(error).split(". ")[0].split()) or type(error).__name__) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a `.pth` by name; nothing in it is executed. Raises SqueezekitError."""
    if path.exists() and not path.is_file():
        raise SqueezekitError(f"{path}: is not a file; give a .safetensors file or a .pth of tensors")
    try:
        content = load_file(path) if path.suffix == ".safetensors" else read_saved(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise SqueezekitError(
            f"{path}: weights cannot be read ({error}); give a .safetensors file or a .pth of tensors"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(value, Tensor) for value in content.values()):
        raise SqueezekitError(f"{path}: not a dictionary of tensors; save the network's state_dict()")
    return content
