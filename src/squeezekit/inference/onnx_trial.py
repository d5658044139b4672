"""The first run of an `.onnx` file, in a process whose memory and time are bounded. Started as a program, without this package.

Standard input: the file. Arguments: side, channels, images at once. The last line of standard output: the logits' type and shape,
as JSON, or `problem`, one line.
"""

import json
import sys

MEGABYTES, SECONDS = 3072, 60


def bound() -> None:
    """Limit memory and processor time, where the system can; a runtime that is already loaded does not count."""
    try:
        import resource
        from pathlib import Path

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEGABYTES * 2**20,) * 2)
        resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, OSError, ValueError):
        pass


def main() -> None:
    """Run the graph once on black images."""
    import numpy as np
    import onnxruntime

    content = sys.stdin.buffer.read()
    side, channels, count = map(int, sys.argv[1:])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    bound()
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (logits,) = session.run(["logits"], {"images": np.zeros((count, channels, side, side), np.uint8)})
        said = {"type": str(logits.dtype), "shape": list(logits.shape)}
    # Whatever a runtime makes of a file from outside.
    except Exception as error:
        said = {"problem": (str(error).splitlines() or [type(error).__name__])[0]}
    print(json.dumps(said))


if __name__ == "__main__":
    main()
