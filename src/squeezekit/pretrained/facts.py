"""What there is to know of the pretrained models before using one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from functools import cache
from typing import Any

from squeezekit.integer.outline import ram_of
from squeezekit.modelfile.deep_compression_file import imagenet_classes, published_network
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.networks.layer_table import layer_table
from squeezekit.pretrained.files import FILES, pretrained_names
from squeezekit.pretrained.published import PUBLISHED
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.presentation import Row, Tabular

LICENCE = "Apache-2.0"
# What the first part of a name stands for.
DATA = {
    "cifar10": "CIFAR-10",
    "digits": "scikit-learn's handwritten digits",
    "photo": "photos of Caltech-101 and imagenette",
}
# What each is good for; of those that are not named, the first part of the name says it.
USES = {
    "digits": "handwritten digits; the first thing to try",
    "cifar10-pico": "ten kinds of things in 32 pixels, on the smallest microcontrollers",
    "cifar10-nano": "ten kinds of things in 32 pixels, on a microcontroller",
    "cifar10": "ten kinds of things in 32 pixels",
    "photo-s": "where training on photos starts if the file must be small",
    "photo-l": "where training on photos starts",
    "squeezenet1_0-imagenet": "1,000 kinds of things in photos",
}
# What the list can be sorted by.
NUMBERS = ("bytes", "parameters", "macs", "ram", "accuracy")


@dataclass(frozen=True)
class Facts:
    """Of one model: `bytes` of its file, `macs` multiply-adds for one image, `ram` bytes that its feature maps take as C.

    `accuracy` is that on test images, 0…1, measured once; None where we have none. One that is `downloaded`, at first use, has
    the bytes of what others publish.
    """

    name: str
    bytes: int
    parameters: int
    macs: int
    ram: int
    accuracy: float | None
    classes: tuple[str, ...]
    image_size: int
    data: str
    good_for: str
    licence: str = LICENCE
    downloaded: bool = False

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class ModelList(Tabular, tuple[Facts, ...]):
    """Pretrained models, a row each."""

    def _shown(self) -> Row:
        return {"models": [facts.name for facts in self]}

    def _records(self) -> Sequence[Row]:
        return [{**facts.as_json(), "classes": len(facts.classes)} for facts in self]


@cache
def facts(name: str) -> Facts:
    """Of the pretrained model of that name; raises SqueezekitError for an unknown one."""
    path = FILES / f"{name}.sqz"
    file = read_sqz(path)
    table = layer_table(file.network)
    assert file.provenance is not None
    return Facts(
        name=name,
        bytes=path.stat().st_size,
        parameters=table.parameters,
        macs=table.macs,
        ram=ram_of(file.network).least,
        accuracy=file.provenance.accuracy["test"],
        classes=file.classes,
        image_size=file.network.image_size,
        data=DATA[name.partition("-")[0]],
        good_for=_use(name),
    )


@cache
def published_facts(name: str) -> Facts:
    """Of the model of that name that others publish; nothing is downloaded."""
    published, network, classes = PUBLISHED[name], published_network(), imagenet_classes()
    table = layer_table(network)
    return Facts(
        name=name,
        bytes=published.size,
        parameters=table.parameters,
        macs=table.macs,
        ram=ram_of(network).least,
        accuracy=None,
        classes=classes,
        image_size=network.image_size,
        data=published.data,
        good_for=_use(name),
        licence=published.licence,
        downloaded=True,
    )


def list_models(pattern: str = "*", *, sort: str = "") -> ModelList:
    """The pretrained models: name, bytes, parameters, MACs, accuracy and so on, and `to_frame()`.

    pattern: of their names, with * for anything: "photo*". sort: one of NUMBERS, the least first, the highest accuracy first;
    otherwise those of the package come first, the smallest file before the others, then those that are downloaded at first use.
    Raises SqueezekitError for another `sort`.
    """
    if sort and sort not in NUMBERS:
        raise SqueezekitError(f"--sort {sort}: is unknown; choose {', '.join(NUMBERS)}")
    found = [*map(facts, pretrained_names()), *map(published_facts, PUBLISHED)]
    chosen = [each for each in found if fnmatchcase(each.name, pattern)]
    return ModelList(sorted(chosen, key=lambda each: _place(each, sort)) if sort else chosen)


def _place(each: Facts, sort: str) -> float:
    if sort == "accuracy":
        return 0.0 if each.accuracy is None else -each.accuracy
    return float(getattr(each, sort))


def _use(name: str) -> str:
    return USES.get(name) or USES[name.partition("-")[0]]
