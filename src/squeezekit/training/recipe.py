"""Recipes: how a network learns, as data."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from squeezekit.data.batches import Augmentation
from squeezekit.networks.stored_names import RECIPES_OF_0_1
from squeezekit.system.errors import SqueezekitError

Fraction = Annotated[float, Field(ge=0, lt=1)]


class Recipe(BaseModel):
    """Every number that training depends on. The defaults are those of `classic`."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = "classic"
    optimizer: Literal["adam", "adamw", "sgd", "muon"] = Field(
        "adam",
        description="sgd: with Nesterov momentum; muon: orthogonal updates where batch normalization follows, sgd elsewhere",
    )
    learning_rate: float = Field(1e-3, gt=0, description="learning rate at the start; for one-cycle the highest")
    momentum: Fraction = Field(0.9, description="momentum of sgd")
    bias_rate: float = Field(0.0, ge=0, description="highest learning rate of batch normalization's biases; 0: learning_rate")
    muon_rate: float = Field(0.0, ge=0, description="highest learning rate of muon's filters; 0: learning_rate")
    muon_momentum: Fraction = Field(0.6, description="momentum of muon's filters")
    layer_decay: float = Field(1.0, gt=0, le=1, description="what each layer's rate is multiplied by for every layer behind it")
    averaging: Fraction = Field(0.0, description="decay of the average over steps that is kept in place of the weights; 0: none")
    head_first: bool = Field(False, description="fit the last layer alone before everything learns, on features computed once")
    weight_decay: float = Field(0.0, ge=0, description="on filters only, not on biases, batch normalization or muon's filters")
    batch_size: int = Field(64, ge=1, description="images a step; small sets use fewer, so that an epoch has eight steps")
    epochs: int = Field(100, ge=1, le=1_000_000, description="most epochs to train")
    patience: int = Field(10, ge=0, description="epochs without a lower validation loss before training stops; 0: never")
    schedule: Literal["constant", "plateau", "cosine", "one-cycle"] = Field("plateau", description="how the learning rate moves")
    plateau_patience: int = Field(5, ge=1, description="epochs without a lower validation loss before the rate falls")
    plateau_factor: float = Field(0.5, gt=0, lt=1, description="what the rate is multiplied by then")
    plateau_min_delta: float = Field(1e-4, ge=0, description="a smaller fall of the validation loss does not count")
    plateau_cooldown: int = Field(0, ge=0, description="epochs after a fall of the rate that are not counted")
    plateau_min_rate: float = Field(0.0, ge=0, description="the rate never falls below")
    warmup: Fraction = Field(0.2, description="share of one-cycle's steps in which the rate rises")
    label_smoothing: Fraction = Field(0.0, description="share of the target spread over all classes; not with a teacher")
    augmentation: Augmentation = Field(
        "none", description="shifts, or crops of photos, and -flip for mirroring where the data allow it"
    )
    shift: float = Field(0.125, ge=0, le=0.5, description="furthest shift, as a share of the side")
    shift_step: int = Field(0, ge=0, description="pixels between shifts; 0: 1, with a teacher so many that views are at most 50")
    crop: float = Field(0.35, gt=0, le=1, description="smallest crop, as a share of the image's area")
    color: float = Field(0.0, ge=0, lt=1, description="how far crops move brightness, contrast and saturation")
    cutout: float = Field(0.0, ge=0, le=1, description="side of a square that augmentation blanks, as a share of the image's")
    temperature: float = Field(1.0, gt=0, description="divides the logits of teacher and student before they are compared")
    class_weights: Literal["none", "balanced"] = Field("none", description="weight classes by 1 ÷ frequency in the loss")
    normalization: Literal["unit", "standardise"] = Field(
        "unit", description="pixels to 0…1, or also to mean 0 and deviation 1 for each channel"
    )
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the processor computes in it")

    @model_validator(mode="after")
    def _fields_go_together(self) -> Self:
        if self.cutout and self.augmentation == "none":
            raise ValueError("cutout needs an augmentation beside it, such as shift-flip")
        if self.color and not self.augmentation.startswith("crop"):
            raise ValueError("color is part of the augmentations crop and crop-flip; choose one of them")
        if self.layer_decay < 1 and self.optimizer == "muon":
            raise ValueError("layer_decay needs an optimizer with one rate: sgd, adam or adamw")
        return self

    def changes(self) -> dict[str, Any]:
        """Its name, and the fields in which it differs from the preset of that name, if there is one; JSON."""
        preset, fields = RECIPES.get(self.name, self), self.model_dump(mode="json")
        return {"name": self.name, **{name: value for name, value in fields.items() if getattr(preset, name) != value}}


# What a recipe sets beside the network: defaults that a config file or a flag may overrule.
NETWORK_DEFAULTS: dict[str, dict[str, Any]] = {
    "classic": {},
    "modern": {"batch_norm": True, "dropout": 0.0},
    "fast": {"batch_norm": True, "dropout": 0.0},
    "fine-tune": {"batch_norm": True, "dropout": 0.0},
}

RECIPES: dict[str, Recipe] = {
    "classic": Recipe(),
    "modern": Recipe(
        name="modern",
        optimizer="muon",
        learning_rate=0.05,
        momentum=0.85,
        weight_decay=1e-3,
        batch_size=128,
        epochs=30,
        patience=0,
        schedule="one-cycle",
        label_smoothing=0.1,
        augmentation="shift-flip",
        normalization="standardise",
    ),
    "fast": Recipe(
        name="fast",
        optimizer="muon",
        learning_rate=0.005,
        bias_rate=26.0,
        muon_rate=0.12,
        momentum=0.85,
        batch_size=500,
        epochs=8,
        patience=0,
        schedule="one-cycle",
        warmup=0.0,
        label_smoothing=0.2,
        augmentation="shift-flip",
        shift=0.0625,
        normalization="standardise",
    ),
    "fine-tune": Recipe(
        name="fine-tune",
        optimizer="adamw",
        learning_rate=3e-4,
        layer_decay=0.9,
        averaging=0.99,
        head_first=True,
        weight_decay=1e-4,
        batch_size=64,
        epochs=20,
        patience=0,
        schedule="one-cycle",
        warmup=0.1,
        augmentation="crop-flip",
        color=0.2,
        normalization="standardise",
    ),
}


def named_recipe(name: str) -> Recipe:
    """The recipe of that name; raises SqueezekitError for an unknown one."""
    if name in RECIPES_OF_0_1:
        raise SqueezekitError(f"recipe '{name}' is called '{RECIPES_OF_0_1[name]}' now")
    if name not in RECIPES:
        raise SqueezekitError(f"recipe '{name}' is unknown; choose one of {', '.join(RECIPES)}")
    return RECIPES[name]
