"""Fixtures of the update client's tests."""

from tests.fixtures.repositories import _templates, one, two, versions

__all__ = ["_templates", "one", "two", "versions"]
