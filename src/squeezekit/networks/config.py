"""What every network's configuration has in common."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, JsonValue, model_validator
from torch import nn

Share = Annotated[float, Field(ge=0, lt=1)]
# `json_schema_extra` of fields that help leaves out.
HIDDEN: dict[str, JsonValue] = {"hidden": True}


class NetworkConfig(BaseModel):
    """Everything needed to rebuild a network: validated, immutable, plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field("squeezenet-cifar", description="name of the preset")
    classes: int = Field(10, ge=2, description="number of classes; training takes those of the images")
    channels: int = Field(3, ge=1, le=4, description="channels of an image, 1 grey, 3 colour; training takes those of the images")
    image_size: int = Field(32, ge=8, le=1024, description="side of an image in pixels")
    mean: tuple[float, ...] = Field((0.0,), description="subtracted from pixels scaled to 0…1, for all or each channel")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field((1.0,), description="divides them after that")

    @model_validator(mode="after")
    def _one_number_a_channel(self) -> Self:
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if len(numbers) not in (1, self.channels):
                raise ValueError(f"{name} must be one number, or one for each of the {self.channels} channels")
        return self

    def folded(self) -> Self:
        """That of the same network with its batch normalization folded into its layers (`acceleration/folding.py`)."""
        return self.model_copy(update={"batch_norm": False} if "batch_norm" in type(self).model_fields else {})

    def build(self) -> nn.Module:
        """The untrained network; its weights are drawn from torch's global generator."""
        raise NotImplementedError
