"""What the JSON sections of a `.sqz` file have in common."""

from __future__ import annotations

from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from squeezekit.networks.registry import first_problem
from squeezekit.system.errors import SqueezekitError


class Section(BaseModel):
    """Validated, immutable, plain data; `subject` says in errors what it is about."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    subject: ClassVar[str]

    @classmethod
    def read(cls, content: Any) -> Self:
        """What a file says; raises SqueezekitError."""
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            raise SqueezekitError(f"damaged: {cls.subject}: {first_problem(error)}; get the file again") from None
