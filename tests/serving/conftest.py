"""Fixtures of the update client's tests, for services that update themselves."""

from tests.updates.conftest import _templates, one, versions

__all__ = ["_templates", "one", "versions"]
