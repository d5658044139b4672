"""What every network's configuration has in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from torch import nn

from squeezekit.system.errors import SqueezekitError

# A file of a few hundred bytes can name a network that no machine holds. These admit AlexNet of 1,000 classes, SqueezeNet v1.0
# with images of 1,024 pixels, and every preset at 32: weights of 256 MiB, 1 GiB between two layers, a minute of a slow core.
MAX_PARAMETERS = 1 << 26
MAX_VALUES = 1 << 28
MAX_MACS = 1 << 36
# So many pixels are computed together at most: `images_at_once`.
PIXELS_AT_ONCE = 250 * 32**2
# As many as an integer of 16 bits counts, in C and in a page.
MAX_CLASSES = (1 << 16) - 1

Share = Annotated[float, Field(ge=0, lt=1)]
# `json_schema_extra` of fields that help leaves out.
HIDDEN: dict[str, JsonValue] = {"hidden": True}


@dataclass(frozen=True)
class Work:
    """What a network takes: `parameters`, and, for one image, `macs` and the `values` between two layers where they are most."""

    parameters: int
    values: int
    macs: int

    @classmethod
    def by_pixels(cls, config: NetworkConfig, *, macs: int, values: int, layers: int, last: int) -> Work:
        """That of a network of fixed widths: `macs` and `values` of a pixel, parameters of its `layers`, width of the `last`."""
        pixels = config.image_size**2
        return cls(layers + last * config.classes, values * pixels, macs * pixels + last * config.classes)


class NetworkConfig(BaseModel):
    """Everything needed to rebuild a network: validated, immutable, plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field("squeezenet-cifar", description="name of the preset")
    classes: int = Field(10, ge=2, le=MAX_CLASSES, description="number of classes; training takes those of the images")
    channels: int = Field(3, ge=1, le=4, description="channels of an image, 1 grey, 3 colour; training takes those of the images")
    image_size: int = Field(32, ge=8, le=1024, description="side of an image in pixels")
    mean: tuple[Annotated[float, Field(ge=-1000, le=1000)], ...] = Field(
        (0.0,), description="subtracted from pixels scaled to 0…1, for all or each channel"
    )
    std: tuple[Annotated[float, Field(ge=1e-4, le=1000)], ...] = Field((1.0,), description="divides them after that")

    @model_validator(mode="after")
    def _one_number_a_channel(self) -> Self:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels):
                raise ValueError(f"{name} must be one number, or one for each of the {self.channels} channels")
        return self

    def check_work(self) -> None:
        """Raises SqueezekitError for a network that takes more than any file of ours needs; nothing is allocated."""
        if (work := self.work()) is None:
            return
        values = work.values * max(PIXELS_AT_ONCE // self.image_size**2, 1)
        taken = (("parameters", work.parameters, MAX_PARAMETERS), ("MACs an image", work.macs, MAX_MACS))
        for what, count, most in (*taken, ("values between two layers", values, MAX_VALUES)):
            if count > most:
                found = f"network '{self.name}' has {count:,} {what} here, and at most {most:,} are possible"
                raise SqueezekitError(f"{found}; make it or its images smaller")

    def work(self) -> Work | None:
        """What the network takes, found without building it; None for a network of the user's own, which is not bounded."""
        return None

    def folded(self) -> Self:
        """That of the same network with its batch normalization folded into its layers (`acceleration/folding.py`)."""
        return self.model_copy(update={"batch_norm": False} if "batch_norm" in type(self).model_fields else {})

    def build(self) -> nn.Module:
        """The untrained network; its weights are drawn from torch's global generator."""
        raise NotImplementedError
