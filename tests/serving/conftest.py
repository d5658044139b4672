"""Fixtures of the update client's tests, for services that update themselves."""

from tests.fixtures.repositories import _templates, one, versions

__all__ = ["_templates", "one", "versions"]
