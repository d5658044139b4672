"""What installed packages need of each other, and what of that is not there: `pip check`, for one package and what it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, metadata, requires, version

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name


@dataclass(frozen=True)
class Unmet:
    """`needed_by` needs `requirement` (`torch>=2.10`), and `installed` is the version that is there, None where none is."""

    needed_by: str
    requirement: str
    installed: str | None

    @property
    def package(self) -> str:
        """The name without the version."""
        return Requirement(self.requirement).name


def installed_version(package: str) -> str | None:
    """The version of a package, None where it is not installed."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def needs(package: str, extra: str = "") -> list[Requirement]:
    """What an installed package needs here: for itself, or with `extra` what that extra adds; empty where it is not installed."""
    try:
        lines = requires(package) or []
    except PackageNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            requirement = Requirement(line)
        except InvalidRequirement:
            # Packages of the past wrote others.
            continue
        marker = requirement.marker
        of_itself = marker is None or marker.evaluate({"extra": ""})
        if (marker is not None and not of_itself and marker.evaluate({"extra": extra})) if extra else of_itself:
            found.append(requirement)
    return found


def extras_of(package: str) -> list[str]:
    """The extras that an installed package has, in its own order."""
    try:
        return metadata(package).get_all("Provides-Extra") or []
    except PackageNotFoundError:
        return []


def unmet(package: str) -> Iterator[Unmet]:
    """What is missing, too old or too new of all that `package` needs, and of what those need in turn."""
    waiting, seen = [(package, "")], set()
    while waiting:
        name, extra = waiting.pop()
        if (canonicalize_name(name), extra) in seen:
            continue
        seen.add((canonicalize_name(name), extra))
        for requirement in needs(name, extra):
            if (found := not_met(name, requirement)) is not None:
                yield found
            waiting += [(requirement.name, each) for each in ("", *requirement.extras)]


def not_met(needed_by: str, requirement: Requirement) -> Unmet | None:
    """Why a requirement is not met by what is installed; None where it is."""
    there = installed_version(requirement.name)
    if there is not None and requirement.specifier.contains(there, prereleases=True):
        return None
    return Unmet(needed_by, f"{requirement.name}{requirement.specifier}", there)
