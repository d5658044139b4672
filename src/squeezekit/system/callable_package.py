"""Packages that can be called: `sk.search(...)` works although `squeezekit.search` is a package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


class CallablePackage(ModuleType):
    """A package that stands for one of its functions, which is imported when first asked for.

    Importing any module of a package makes the package an attribute of its parent, in the place of a function of that name.
    """

    __function__: tuple[str, str]

    @property
    def __wrapped__(self) -> Callable[..., Any]:
        """The function; `inspect.signature` and notebooks look here."""
        module, name = self.__function__
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """Call the function."""
        return self.__wrapped__(*arguments, **options)


def make_callable(package: str, module: str, name: str) -> None:
    """Let a call of `package`, as its `__init__` names itself, be one of the function `name` in `module`."""
    made = sys.modules[package]
    made.__class__ = CallablePackage
    made.__function__ = (module, name)  # type: ignore[attr-defined]
