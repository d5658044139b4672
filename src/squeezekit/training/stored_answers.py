"""A teacher's answers, kept in the cache: each view of an image is answered once, for all students.

As in Shen and Xing, 2022, arXiv 2112.01528, with views from a grid.

`answers/` under the cache folder has a file for each teacher, set of images, grid of views and precision, which its name stands
for. It has one record for each view of each image: a byte for each class, then one that says that the record is whole, written
last. Zeros are a view without an answer. Several trainings may use a file at the same time.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from squeezekit.data.batches import Batches, Normalization
from squeezekit.data.decoded_store import building, key_of, writable
from squeezekit.data.image_set import ImageSet
from squeezekit.system import atomic_io
from squeezekit.system.console import progress_bar, say
from squeezekit.system.errors import RunFailed, SqueezekitError
from squeezekit.training.teacher import Teacher

FORMAT = "answers 1"
# Of a file: 45,000 images of 100 classes in 50 views take 0.23 GB.
MOST_BYTES = 2**30
# Views that a teacher is asked together. Always as many, since rounding depends on how many there are: an answer is then the same
# whatever else is missing.
ASKED_AT_ONCE, ASKED_OF_GPU_AT_ONCE = 32, 1024
# A logit that lies d below the highest is kept as 255 · exp(-d ÷ SCALE), rounded, which is finest where probabilities are: they
# are off by less than 0.004, at temperatures of 1 to 4 (an even grid of log-probabilities down to -12: up to 0.25).
SCALE = 6.0
# What the smallest byte stands for, which would be infinitely far below.
_DISTANCES = -SCALE * np.log(np.array([0.25, *range(1, 256)]) / 255)
# A prime below 255, so that a record that lacks the 255 of its highest logit is found out.
_CHECK = 251


def encoded(logits: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Logits [n, classes] as a byte each; raises RunFailed where one is no number."""
    if not np.isfinite(logits).all():
        raise RunFailed("the teacher answers with logits that are not numbers; choose another --teacher")
    distances = logits.max(1, keepdims=True, initial=-np.inf) - logits.astype(np.float64)
    codes: NDArray[np.uint8] = np.rint(255 * np.exp(-distances / SCALE)).astype(np.uint8)
    return codes


def decoded(codes: NDArray[np.uint8]) -> Tensor:
    """What `encoded` has made, [n, classes], as logits of which the highest is 0: float32."""
    return torch.from_numpy(-_DISTANCES.astype(np.float32)[codes])


def _checks(codes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The last byte of records with these codes, 1…251: uint8 [n]."""
    checks: NDArray[np.uint8] = (codes.sum(1, dtype=np.int64) % _CHECK + 1).astype(np.uint8)
    return checks


class TeacherAnswers:
    """What a teacher answers to views of the images of `images`, as they come before anything is blanked.

    A view without an answer in `records`, uint8 [images · views, classes + 1], is shown to the teacher, and the answer kept
    there; without records it is shown each time. The answers are the same in both cases.
    """

    def __init__(self, teacher: Teacher, images: Batches, precision: str, records: NDArray[np.uint8] | None) -> None:
        self.grid, self._images, self._records = images.grid, images, records
        self._teacher: Teacher = teacher.to(images.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._normalize = Normalization(teacher.own.mean, teacher.own.std, images.device)
        self._in_bf16, self._classes = precision == "bf16", teacher.own.classes
        self._at_once = ASKED_AT_ONCE if images.device.type == "cpu" else ASKED_OF_GPU_AT_ONCE

    @classmethod
    def kept(cls, teacher: Teacher, batches: Batches, images: ImageSet, precision: str) -> TeacherAnswers:
        """Those of a teacher to views of `images`, which `batches` shows, with all that the cache knows of them."""
        grid = batches.grid
        name = key_of(
            FORMAT,
            teacher.digest,
            *(images.fingerprint, images.image_size, images.channels),
            *(grid.furthest, grid.step, grid.mirror),
            precision,
        )
        return cls(teacher, batches, precision, _records(name, (len(images) * len(grid), teacher.own.classes + 1)))

    @property
    def file(self) -> Path | None:
        """Where answers are kept; None where they are in memory only."""
        records = self._records
        return Path(str(records.filename)) if isinstance(records, np.memmap) and records.mode == "r+" else None

    def __call__(self, indices: Tensor, views: Tensor) -> Tensor:
        """Logits, float32 [n, classes], of which the highest is 0: the answers to views [n] of images of the set [n]."""
        rows = (indices * len(self.grid) + views).numpy()
        codes, known = self._known(rows)
        if len(missing := np.flatnonzero(~known)):
            asked = torch.from_numpy(missing)
            codes[missing] = self._asked(indices[asked], views[asked])
            self._keep(rows[missing], codes[missing])
        return decoded(codes)

    def _known(self, rows: NDArray[np.int64]) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Of records [n]: the codes, and whether there are any."""
        if self._records is None:
            return np.zeros((len(rows), self._classes), np.uint8), np.zeros(len(rows), np.bool_)
        records = np.asarray(self._records[rows])
        codes = records[:, :-1]
        return codes, records[:, -1] == _checks(codes)

    def _keep(self, rows: NDArray[np.int64], codes: NDArray[np.uint8]) -> None:
        if self._records is not None:
            self._records[rows, :-1] = codes
            # Last: whoever is killed in between leaves a record that is not whole.
            self._records[rows, -1] = _checks(codes)

    @torch.no_grad()
    def _asked(self, indices: Tensor, views: Tensor) -> NDArray[np.uint8]:
        """What the teacher answers now, encoded."""
        count, device = len(indices), self._images.device
        padded = torch.arange(-(-count // self._at_once) * self._at_once).clamp(max=count - 1)
        answers = []
        with torch.autocast(device.type, torch.bfloat16, enabled=self._in_bf16):
            for some in torch.split(padded, self._at_once):
                pixels = self._images.pixels(indices[some], views[some])
                answers.append(self._teacher.network(self._teacher.shaped(self._normalize(pixels))).float())
        return encoded(torch.cat(answers)[:count].cpu().numpy())


def fill(answers: TeacherAnswers, indices: NDArray[np.int64]) -> None:
    """Have every view of these images of the set [n] answered; what was stopped goes on where it was."""
    grid = torch.arange(len(answers.grid))
    with progress_bar("teacher's answers", len(indices) * len(grid)) as advance:
        for some in torch.split(torch.from_numpy(indices), max(2048 // len(grid), 1)):
            answers(some.repeat_interleave(len(grid)), grid.repeat(len(some)))
            advance(len(some) * len(grid))


def _records(name: str, shape: tuple[int, int]) -> NDArray[np.uint8] | None:
    """The records of that name in the cache folder, mapped; in memory where they cannot be kept; None where they are too many."""
    size = shape[0] * shape[1]
    if size > MOST_BYTES:
        say(
            f"the teacher's answers would take {size / 1e9:.1f} GB and are not kept, so that it computes in each step; "
            "a larger --shift-step makes them fewer"
        )
        return None
    try:
        with writable("answers") as folder, building(name):
            path = folder / name
            if not _is_file_of(path, size):
                _write_zeros(path, size)
            # Whoever may only read it keeps what is missing in memory.
            return np.memmap(path, np.uint8, "r+" if os.access(path, os.W_OK) else "c", shape=shape)
    except SqueezekitError as error:
        say(f"the teacher's answers are kept for this training only: {error}")
        return np.zeros(shape, np.uint8)


def _is_file_of(path: Path, size: int) -> bool:
    try:
        status = path.stat()
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode) and status.st_size == size


def _write_zeros(path: Path, size: int) -> None:
    """All of them, since a full disk would otherwise end the process where a hole of the file is written to."""
    block = bytes(2**20)
    with atomic_io.replacing(path) as file:
        for start in range(0, size, len(block)):
            file.write(block[: size - start])
