"""Fixtures of the update client's tests."""

import pytest

from tests.fixtures.repositories import _templates, checked_here, few_rounds, one, two, versions

__all__ = ["_templates", "one", "two", "versions"]


@pytest.fixture(autouse=True)
def _quickly(monkeypatch):
    checked_here(monkeypatch)
    few_rounds(monkeypatch)
