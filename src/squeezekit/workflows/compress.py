"""Compression as a user calls it: of a run, of a network that was trained elsewhere, of an `.onnx` file of others."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from os import PathLike
from pathlib import Path

from torch import nn

from squeezekit.compression.compress import compress as compress_run
from squeezekit.compression.job_state import check_output
from squeezekit.compression.result import Compressed
from squeezekit.data.sources import Data, data_name
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.paths import expanded
from squeezekit.training.interruption import Interrupted
from squeezekit.training.run_folder import Run
from squeezekit.workflows.adopt import adopted, network_of_onnx

# Of images that nothing learns from, half judge; where rounds learn from them, a tenth.
JUDGING_SHARE, VALIDATION_SHARE = 0.5, 0.1


def compress(
    model: str | PathLike[str] | nn.Module,
    out: str | PathLike[str],
    *,
    max_drop: float | None = None,
    max_bytes: int | None = None,
    method: str = "squeezekit",
    epochs: int | None = None,
    minutes: float | None = None,
    data: Data | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    image_size: int | None = None,
    teacher: str | Path | None = None,
    device: str = "auto",
    rate_weight: float | None = None,
    delta_from: str | Path | None = None,
    resume: bool = False,
) -> Compressed:
    """Compress a trained network to the `.sqz` file `out`.

    model: the folder of a finished run; the path of an `.onnx` file of an image classifier, wherever it was trained; or a network
    of a registered kind (`register_network`), whose field `config` describes it. The latter two need `data`, images of their
    classes as for `train`, in the order of the logits; they are quantised without training unless `minutes` or `epochs` say so.
    mean, std, image_size: of an `.onnx` file what pixels of 0…1 are scaled by, by default the usual one that suits it best, and
    the side of images where the file leaves it open.

    The target is at most `max_drop` points of validation accuracy lost (0.5 unless `max_bytes` is given), at most `max_bytes`
    bytes, or both. First weights are quantised without training (PTQ), which takes seconds. Rounds of quantisation-aware training
    (QAT) follow, of `epochs` epochs (4, or on small sets as many as make 400 steps), each at a larger rate weight λ, until one
    goes too far. Everything is done after `minutes`, for which the last round may have fewer epochs (0: PTQ only); by default
    after 5, or more where an epoch takes longer than 10 s, without limit where `epochs` are given. Rounds learn the answers of
    the run's own network, or of that of another run, the `teacher`, on `device` (Deep Compression always on the CPU). Training
    images train, validation images choose, test images are measured once, at the end. Of a run that no image validated, training
    images choose, which flatters. Where fewer than 2,000 images choose for a size, their loss does, since accuracy is too coarse.
    `method` is one of METHODS: our own, or Deep Compression.

    The best file so far is written at once and replaced by every better one, whether it meets the target or not. A round whose
    accuracy collapses ends early, and the next one learns four times more slowly.

    Where `max_bytes` is the whole target, PTQ that fits and loses nothing is the end; otherwise one round begins at the λ at
    which PTQ fits, and rate control ends it at or just below that size. Only where it cannot, up to two more follow.

    With `rate_weight`, our own method is a single QAT round at that λ: the price of a bit for every weight, in nats of an image's
    loss. With `max_bytes` as well, the round begins there and ends at or just below that size: rate control changes the price of
    a bit, up to eightfold.

    `delta_from` is an earlier `.sqz` file (or the name of a pretrained model) that the run was trained on from. Weights keep the
    grids of that file, and its integers wherever that costs little, so that a device that has it needs only a small delta. The
    file of the smallest delta that meets the target is written; one QAT round is spent where PTQ does not meet it.

    What has been done is kept beside `out` until the end; `resume` goes on with it. Raises SqueezekitError for wrong input,
    Interrupted after Ctrl-C, which leaves the best file so far.
    """
    onnx = not isinstance(model, nn.Module) and expanded(model).suffix == ".onnx"
    if any(each is not None for each in (mean, std, image_size)) and not onnx:
        raise SqueezekitError("--mean, --std and --image-size say how an .onnx file of others takes pictures; leave them out")
    source: AbstractContextManager[str | PathLike[str]]
    if isinstance(model, nn.Module) or onnx:
        learns = bool(minutes or epochs or rate_weight or method != "squeezekit")
        minutes = minutes if learns else 0
        given = Elsewhere(model, VALIDATION_SHARE if learns else JUDGING_SHARE, image_size, mean, std)
        source = _as_run(given, expanded(out).absolute(), data, resume=resume)
    else:
        source = nullcontext(model)
    with source as run:
        return compress_run(
            run,
            out,
            max_drop=max_drop,
            max_bytes=max_bytes,
            method=method,
            epochs=epochs,
            minutes=minutes,
            data=data,
            teacher=teacher,
            device=device,
            rate_weight=rate_weight,
            delta_from=delta_from,
            resume=resume,
        )


@dataclass(frozen=True)
class Elsewhere:
    """A `model` that was trained elsewhere, which share of its images judges, and how an `.onnx` file takes pictures."""

    model: str | PathLike[str] | nn.Module
    judging_share: float
    image_size: int | None
    mean: Sequence[float] | None
    std: Sequence[float] | None

    @property
    def name(self) -> str:
        """What a run remembers it by."""
        return type(self.model).__name__ if isinstance(self.model, nn.Module) else str(expanded(self.model).resolve())

    def network(self, images: str) -> nn.Module:
        """The network itself; raises SqueezekitError."""
        if isinstance(self.model, nn.Module):
            return self.model
        return network_of_onnx(expanded(self.model), images, image_size=self.image_size, mean=self.mean, std=self.std)


@contextmanager
def _as_run(given: Elsewhere, out: Path, data: Data | None, *, resume: bool) -> Iterator[Path]:
    """The folder of a run of that network, hidden beside `out`, which is there until its compression is done."""
    if data is None:
        raise SqueezekitError("a network that was trained elsewhere needs images of its classes; name them with --data")
    check_output(out, resume=resume)
    folder = out.with_name(f".{out.name}.run")
    if resume and (folder / "best.safetensors").exists():
        if (begun := Run(folder).data.get("start")) != given.name:
            raise SqueezekitError(f"{out}: was begun with {begun}, not {given.name}; leave out --resume")
    else:
        _make_free(folder)
        images = data_name(data)
        adopted(given.network(images), images, folder, name=given.name, validation_share=given.judging_share)
    try:
        yield folder
    except (Interrupted, KeyboardInterrupt):
        raise
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def _make_free(folder: Path) -> None:
    """What an earlier call that was stopped has left is done again; nothing else is deleted."""
    if folder.exists() and not (folder / "split.npz").exists():
        raise SqueezekitError(f"{folder}: is where the network is kept meanwhile, and something else; choose another --out")
    shutil.rmtree(folder, ignore_errors=True)
