"""What every network's configuration has in common."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from torch import nn

Share = Annotated[float, Field(ge=0, lt=1)]


class NetworkConfig(BaseModel):
    """Everything needed to rebuild a network: validated, immutable, plain data."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field("report", description="name of the preset")
    classes: int = Field(10, ge=2, description="number of classes")
    channels: int = Field(3, ge=1, le=4, description="channels of an image: 1 grey, 3 colour")
    image_size: int = Field(32, ge=8, le=1024, description="side of an image in pixels")
    mean: tuple[float, ...] = Field((0.0,), description="subtracted from pixels scaled to 0…1, for all or each channel")
    std: tuple[Annotated[float, Field(gt=0)], ...] = Field((1.0,), description="divides them after that")

    def build(self) -> nn.Module:
        """The untrained network; its weights are drawn from torch's global generator."""
        raise NotImplementedError
