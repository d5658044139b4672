"""Whether a model can be served: it loads, passes its own self-check, and answers with probabilities.

`python -m squeezekit.serving.model_check MODEL` finds it out in a process of its own, which a bad file may exhaust or crash. It
ends with exit code 0, or with UNFIT and the reason on standard output.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import numpy as np

from squeezekit.inference.classifier import Classifier
from squeezekit.modelfile.check_image import problem_of_difference
from squeezekit.modelfile.self_check import check_image
from squeezekit.modelfile.sqz import read_sqz
from squeezekit.serving.child_process import run_module
from squeezekit.system.errors import SqueezekitError
from squeezekit.system.machine import memory_bytes
from squeezekit.training.measurement import images_at_once

SECONDS = 120.0
UNFIT = 3
WARM_BATCH = 64
# Of address space, beyond what the imports take: half of the machine's, within these bounds.
LEAST_BYTES, MOST_BYTES = 2**30, 2**32


def fit_classifier(path: Path) -> Classifier:
    """The classifier of a MODEL, checked and warm; raises SqueezekitError where it cannot be served."""
    try:
        classifier = Classifier.load(path)
        _check_itself(path, classifier)
        # One small and one large batch, so that whatever is compiled is compiled.
        for count in (2, min(WARM_BATCH, images_at_once(classifier.config.image_size))):
            _check_answers(classifier, count)
    except (SqueezekitError, OSError):
        raise
    except Exception as error:
        # torch's own exception says it so.
        if isinstance(error, MemoryError) or "can't allocate memory" in str(error):
            raise SqueezekitError(f"{path}: asks for more memory than there is; make a smaller one") from None
        raise SqueezekitError(f"{path}: cannot be used ({_named(error)}); make it again") from None
    return classifier


async def problem_in_process(model: Path, seconds: float = SECONDS) -> str:
    """Why a MODEL cannot be served, empty where it can, found out in a process of its own."""
    try:
        # One thread: the others have requests to answer.
        code, said, _ = await run_module("squeezekit.serving.model_check", str(model), seconds=seconds, OMP_NUM_THREADS="1")
    except TimeoutError:
        return f"{model}: its check did not end within {seconds:g} s"
    if code == UNFIT:
        return said.strip()
    return f"{model}: the process that checked it ended with code {code}" if code else ""


def _check_itself(path: Path, classifier: Classifier) -> None:
    if path.suffix != ".sqz" or (check := read_sqz(path).self_check) is None:
        return
    if problem := problem_of_difference(check.difference(classifier.model.network, classifier.config)):
        raise SqueezekitError(f"{path}: {problem.removeprefix('it ')}")


def _check_answers(classifier: Classifier, count: int) -> None:
    config = classifier.config
    pixels = np.zeros((count, config.image_size, config.image_size, config.channels), np.uint8)
    pixels[0], pixels[-1] = 255, check_image(1, config.image_size, config.channels)
    answers = [[probability for _, probability in one.probabilities] for one in classifier.classify_pixels(pixels)]
    if np.shape(answers) != (count, len(classifier.classes)):
        raise SqueezekitError(f"{classifier.model.name}: has not one answer for each picture and class; make it again")
    if not np.allclose(np.sum(answers, axis=1), 1, atol=1e-3):
        raise SqueezekitError(f"{classifier.model.name}: its answers are no probabilities; make it again")


def _named(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).splitlines()[0]}"[:300] if str(error) else type(error).__name__


def _bound_memory() -> None:
    if sys.platform == "win32":
        return
    import resource

    page = os.sysconf("SC_PAGE_SIZE")
    most = max(LEAST_BYTES, min(MOST_BYTES, (memory_bytes() or 0) // 2))
    if (known := Path("/proc/self/statm")).exists():
        limit = int(known.read_text().split()[0]) * page + most
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _main(model: str) -> int:
    if hasattr(signal, "alarm"):
        # Also where the service has been killed.
        signal.alarm(int(SECONDS) + 1)
    _bound_memory()
    try:
        fit_classifier(Path(model))
    except (SqueezekitError, OSError) as error:
        print(error)
        return UNFIT
    return 0


if __name__ == "__main__":
    sys.exit(_main(*sys.argv[1:]))
