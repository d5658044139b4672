"""What a look at a folder of pictures found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from squeezekit.data.curation import list_line
from squeezekit.system.presentation import Row, Tabular, percent


@dataclass(frozen=True)
class FoundPicture:
    """A picture: its path relative to the data folder, its class, its part ("train", "val", "test"; "" where there are none)."""

    path: str
    label: str
    part: str


@dataclass(frozen=True)
class CopyGroup:
    """Pictures that are the same, or with `near` nearly so; whether some are of other classes, or in other parts."""

    pictures: tuple[FoundPicture, ...]
    near: bool
    across_classes: bool
    across_parts: bool


@dataclass(frozen=True)
class DoubtfulLabel:
    """A picture that is likelier of class `likelier`: probabilities 0…1 of both classes by models that have not seen it."""

    picture: FoundPicture
    likelier: str
    probability: float
    probability_of_label: float


@dataclass(frozen=True)
class Shortcut:
    """Classes told apart by `what` alone: balanced accuracy of that, of what the pictures show, and of a guess, 0…1."""

    what: str
    accuracy: float
    accuracy_of_pictures: float
    guess: float


@dataclass(frozen=True, repr=False)
class Findings(Tabular):
    """What `check` found; `to_frame()` has a row for each picture that is worth a look.

    classes: number of pictures of each class in each part. sides: shortest, median and longest of the shorter sides in pixels.
    broken: (path, reason). accuracy: balanced accuracy of the model that doubts labels, out of fold, 0…1; None without doubts.
    notes: what is to know beside.
    """

    data: str
    pictures: int
    classes: dict[str, dict[str, int]]
    sides: tuple[int, int, int]
    broken: tuple[tuple[str, str], ...]
    copies: tuple[CopyGroup, ...]
    blank: tuple[FoundPicture, ...]
    blurred: tuple[FoundPicture, ...]
    doubtful: tuple[DoubtfulLabel, ...]
    shortcuts: tuple[Shortcut, ...]
    accuracy: float | None
    model: str
    seconds: float
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)

    def copies_of(self, *, near: bool) -> list[CopyGroup]:
        """The groups of copies, or of near-copies."""
        return [group for group in self.copies if group.near is near]

    def lines(self) -> list[str]:
        """The list of pictures to leave out, as `read_list` reads it: of copies all but the first.

        Of copies of several classes nobody knows which is right: all are on it. Near-copies are only where they are in another
        part than that for the test.
        """
        found: list[str] = []
        seen: set[str] = set()
        for reason, paths in self._to_leave_out():
            if paths := [path for path in dict.fromkeys(paths) if path not in seen]:
                found += [f"# {reason}", *map(list_line, paths)]
                seen.update(paths)
        return found

    def _to_leave_out(self) -> Iterator[tuple[str, Sequence[str]]]:
        yield "cannot be read", [path for path, _ in self.broken]
        yield "blank", [picture.path for picture in self.blank]
        for near in (False, True):
            name = "near-copies" if near else "copies"
            groups = self.copies_of(near=near)
            yield f"{name} in several classes", [each.path for group in groups if group.across_classes for each in group.pictures]
            yield f"{name} of pictures in another part", [path for group in groups for path in _not_tested(group)]
            if not near:
                yield "copies of other pictures", [each.path for group in groups for each in group.pictures[1:]]
        yield "doubtful labels", [each.picture.path for each in self.doubtful]

    def _shown(self) -> Row:
        counts: dict[str, object] = {"copies": len(self.copies_of(near=False)), "near_copies": len(self.copies_of(near=True))}
        counts |= {name: len(getattr(self, name)) for name in ("broken", "blank", "blurred", "doubtful")}
        accuracy = {} if self.accuracy is None else {"accuracy": percent(self.accuracy)}
        return {"data": self.data, "pictures": self.pictures, **counts, **accuracy}

    def _records(self) -> Sequence[Row]:
        rows: list[Row] = [{"path": path, "what": "broken", "detail": reason} for path, reason in self.broken]
        for name in ("blank", "blurred"):
            rows += [{"path": each.path, "what": name, "label": each.label} for each in getattr(self, name)]
        for number, group in enumerate(self.copies):
            own = {"what": "near-copy" if group.near else "copy", "detail": f"group {number}"}
            rows += [{"path": each.path, "label": each.label, **own} for each in group.pictures]
        for doubt in self.doubtful:
            own = {"what": "doubtful label", "detail": doubt.likelier}
            rows.append({"path": doubt.picture.path, "label": doubt.picture.label, **own})
        return rows


def _not_tested(group: CopyGroup) -> list[str]:
    """Of a group in several parts the pictures to drop, so that one part keeps its own: the test, or else validation."""
    if not group.across_parts:
        return []
    kept = min((each.part for each in group.pictures), key=("test", "val", "train", "").index)
    return [each.path for each in group.pictures if each.part != kept]
