"""Whether packages can be imported, and what torch finds here. Started as a program, since what is broken may end its process.

Arguments: names of modules. Standard output: a JSON object a line; before each import `trying`, for each that failed `failed` and
`why`, and at the end the facts: `torch`, `kernels`, `cache`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Callable
from functools import partial
from typing import Any


def main() -> None:
    """Import all, in their order, then ask torch and squeezekit."""
    # What packages and their libraries print while they are imported must not stand among the lines.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    steps: list[tuple[str, Callable[[], dict[str, Any]]]] = [(module, partial(_imported, module)) for module in sys.argv[1:]]
    for name, work in [*steps, ("torch", _torch), ("squeezekit", _cache)]:
        print(json.dumps({"trying": name}), file=out, flush=True)
        print(json.dumps(_facts(name, work)), file=out, flush=True)
    # Taking down all that was imported takes as long as importing it, and threads of packages may wait for ever.
    os._exit(0)


def _facts(name: str, work: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    try:
        return work()
    # Whatever a package that does not fit this machine raises.
    except Exception as error:
        return {"failed": name, "why": (str(error).strip().splitlines() or [type(error).__name__])[0]}


def _imported(module: str) -> dict[str, Any]:
    importlib.import_module(module)
    return {}


def _torch() -> dict[str, Any]:
    import torch

    gpus = [torch.cuda.get_device_properties(number) for number in range(torch.cuda.device_count())]
    capabilities: dict[str, object] = getattr(torch.cpu, "get_capabilities", dict)()
    found = {
        "instructions": [name for name, there in capabilities.items() if there is True],
        "used": torch.backends.cpu.get_cpu_capability(),
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "gpus": [{"name": gpu.name, "bytes": gpu.total_memory} for gpu in gpus],
    }
    return {"torch": found}


def _cache() -> dict[str, Any]:
    from squeezekit.acceleration.kernel_cache import kernels_ready, kernels_wanted
    from squeezekit.data.decoded_store import cache_folder
    from squeezekit.system.errors import SqueezekitError

    kernels = "compiled" if kernels_ready() else "not compiled" if kernels_wanted() else "off"
    try:
        return {"kernels": kernels, "cache": str(cache_folder().absolute())}
    except SqueezekitError as error:
        return {"kernels": kernels, "cache_problem": str(error)}


if __name__ == "__main__":
    main()
