"""What the JSON sections of a `.sqz` file have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from squeezekit.networks.registry import first_problem
from squeezekit.system.errors import SqueezekitError


class JsonSection(BaseModel):
    """Validated, immutable, plain data; `title` names the section in error messages."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    title: ClassVar[str]

    @classmethod
    def read(cls, content: Any) -> Self:
        """The section that a file holds; raises SqueezekitError."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise SqueezekitError(f"damaged: {cls.title}: {first_problem(error)}; get the file again") from None
