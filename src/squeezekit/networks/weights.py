"""Start from weights that exist: torchvision's, or those of another run."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from squeezekit.system.errors import SqueezekitError
from squeezekit.system.shown_text import shortened

# With an optimizer's state, sixteen times the largest network that a file may name.
MAX_BYTES = 1 << 32


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
        raise SqueezekitError(
            f"{source}: holds '{shortened(min(unknown))}', which this network has not; choose the --network it is for"
        )
    if missing := set(own) - set(given):
        raise SqueezekitError(f"{source}: lacks '{min(missing)}', which this network has; choose the --network it is for")
    differing = [name for name in own if own[name].shape != given[name].shape]
    last = list(own)[-1].rpartition(".")[0]
    if wrong := [name for name in differing if name.rpartition(".")[0] != last]:
        name = wrong[0]
        shapes = f"{list(given[name].shape)} instead of {list(own[name].shape)}"
        raise SqueezekitError(f"{source}: '{name}' has shape {shapes}; choose the --network it is for")
    if broken := [name for name in own if name not in differing and not torch.isfinite(given[name]).all()]:
        raise SqueezekitError(
            f"{source}: '{broken[0]}' holds numbers that are not finite; give weights of a training that went well"
        )
    network.load_state_dict({name: own[name] if name in differing else given[name] for name in own})
    return differing


def read_saved(path: Path) -> Any:
    """What `torch.save` wrote of tensors and plain data; nothing in it is executed. Raises ValueError, in half a sentence."""
    _check_file(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    # Broken files make the reader raise nearly anything: UnpicklingError, RuntimeError, KeyError, struct.error …
    except Exception as error:
        raise ValueError(" ".join(str(error).split(". ")[0].split()) or type(error).__name__) from None


def read_weights(path: Path) -> dict[str, Tensor]:
    """The tensors of a `.safetensors` file or a `.pth` by name; nothing in it is executed. Raises SqueezekitError."""
    try:
        content = _read_safetensors(path) if path.suffix == ".safetensors" else read_saved(path)
    except (OSError, SafetensorError, ValueError, MemoryError) as error:
        reason = shortened(error or type(error).__name__, 200)
        raise SqueezekitError(
            f"{path}: weights cannot be read ({reason}); give a .safetensors file or a .pth of tensors"
        ) from None
    if not isinstance(content, dict) or not all(isinstance(name, str) and _is_plain(value) for name, value in content.items()):
        raise SqueezekitError(f"{path}: not a dictionary of tensors; save the network's state_dict()")
    return content


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    _check_file(path)
    return load_file(path)


def _check_file(path: Path) -> None:
    """Raises ValueError, in half a sentence, for what would make a reader wait for ever or fill the memory."""
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise ValueError(getattr(error, "strerror", None) or str(error)) from None
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a file")
    if found.st_size > MAX_BYTES:
        raise ValueError(f"it is larger than {MAX_BYTES:,} bytes, which no such file needs")
    if zipfile.is_zipfile(path):
        members = _members(path)
        # A little that is packed, or stored once for many names, may become any amount of memory.
        packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
        if packed or sum(member.file_size for member in members) > found.st_size:
            raise ValueError("it is packed, which torch.save does not do")


def _members(path: Path) -> list[zipfile.ZipInfo]:
    """What an archive says that it holds; raises ValueError for a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.infolist()
    # Beside BadZipFile what a broken list of names, versions or lengths raises.
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, struct.error) as error:
        raise ValueError(f"a damaged archive: {error}") from None


def _is_plain(value: object) -> bool:
    """Whether this is a tensor of numbers that has its memory, as training saves them."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.device.type == "cpu" and not value.is_quantized
