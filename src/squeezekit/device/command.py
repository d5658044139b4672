"""`squeezekit-device`: what a device does with a model, each in one command."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..system.errors import SqueezekitError
from ..system.shown_text import shown, shown_lines
from ..system.standard_streams import drop_unwritable_output, prepare_standard_streams
from ..system.valid_json import as_json

DESCRIPTION = """Classify pictures on a small computer, without PyTorch.

examples:
  squeezekit-device predict model.sqz photo.jpg
  squeezekit-device serve model.sqz --port 8000"""
MODEL = "the .sqz file that squeezekit has made"
Options = dict[str, Any]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns the exit code: 0 done, 1 failed, 2 wrong usage or input, 130 interrupted."""
    prepare_standard_streams()
    try:
        options = vars(_parser().parse_args(sys.argv[1:] if arguments is None else list(arguments)))
        code: int = options.pop("run")(options)
        sys.stdout.flush()
        return code
    except SqueezekitError as error:
        _say(f"squeezekit-device: {error}")
        return error.exit_code
    except KeyboardInterrupt:
        _say("squeezekit-device: stopped")
        return 130
    except OSError as error:
        drop_unwritable_output()
        if not isinstance(error, BrokenPipeError):
            place = f"{error.filename}: " if error.filename else ""
            _say(f"squeezekit-device: {place}{error.strerror or error}; check path, permissions and free space")
        return 1


def _parser() -> argparse.ArgumentParser:
    layout = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("squeezekit-device", description=DESCRIPTION, formatter_class=layout, allow_abbrev=False)
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and end")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(name: str, summary: str, run: Any, *examples: str) -> argparse.ArgumentParser:
        shown_examples = "\n".join(f"  squeezekit-device {example}" for example in examples)
        text = f"{summary[0].upper()}{summary[1:]}.\n\nexamples:\n{shown_examples}"
        found = commands.add_parser(name, help=summary, description=text, formatter_class=layout, allow_abbrev=False)
        found.set_defaults(run=run)
        return found

    predict = command(
        *("predict", "classify pictures", _predict),
        *("predict model.sqz photo.jpg", "predict model.sqz one.jpg two.jpg --top 3 --json"),
    )
    predict.add_argument("model", metavar="MODEL", help=MODEL)
    predict.add_argument("pictures", metavar="PICTURE", nargs="+", help="picture files")
    predict.add_argument("--top", metavar="N", type=int, default=1, help="show the N most probable classes (default 1)")
    predict.add_argument("--max-pixels", metavar="N", type=int, help="pixels that a picture may have (default 100 million)")
    predict.add_argument("--json", action="store_true", help="print one JSON object a picture, each on a line")
    serve = command(
        *("serve", "answer over HTTP", _serve),
        *("serve model.sqz", "serve model.sqz --port 8080 --max-bytes 1000000"),
    )
    serve.add_argument("model", metavar="MODEL", help=MODEL)
    serve.add_argument("--host", metavar="ADDRESS", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    serve.add_argument("--port", metavar="N", type=int, default=8000, help="port to listen on; 0: any free one (default 8000)")
    serve.add_argument("--max-bytes", metavar="N", type=int, help="bytes of a picture (default 16 MiB)")
    serve.add_argument("--max-pixels", metavar="N", type=int, help="pixels of a picture (default 25 million)")
    serve.add_argument("--seconds", metavar="N", type=float, help="seconds that a request may take (default 10)")
    serve.add_argument("--max-connections", metavar="N", type=int, help="connections at once (default 8)")
    check = command(*("check", "run the self-check of a model", _check), *("check model.sqz", "check model.sqz --json"))
    check.add_argument("model", metavar="MODEL", help=MODEL)
    check.add_argument("--json", action="store_true", help="print the result as JSON")
    update = command(
        *("update", "fetch, verify and install the newest version of a model", _update),
        *("update --repo https://models.example.org --trust root.json -o device", "update --back -o device"),
    )
    update.add_argument("--repo", metavar="URL", help="the update repository: an http or https address, or a folder")
    update.add_argument("-o", "--out", metavar="FOLDER", required=True, help="folder to install the model in, as model.sqz")
    update.add_argument("--trust", metavar="root.json", help="the root.json of the repository; needed the first time")
    update.add_argument("--channel", metavar="NAME", default="stable", help="channel to follow (default stable)")
    update.add_argument("--back", action="store_true", help="return to the version before, and never install this one again")
    update.add_argument("--max-bytes", metavar="N", type=int, help="refuse a larger model (default 16 MiB)")
    update.add_argument("--retry-refused", action="store_true", help="try versions again that this device has refused")
    update.add_argument("--slowest", metavar="N", type=float, help="give up below N bytes/s, on average over 30 s (default 100)")
    update.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser


class _Version(argparse.Action):
    """Looks for the version where it is asked for, since that takes as long as all other imports."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import PackageNotFoundError, version

        found = "source"
        with suppress(PackageNotFoundError):
            # As a part of squeezekit, or as a distribution of its own.
            found = version((__package__ or "").partition(".")[0].replace("_", "-"))
        print(parser.prog, found)
        parser.exit()


def _predict(options: Options) -> int:
    """Every picture that can be read; 1 when some cannot."""
    from ..data.image_file import MOST_PIXELS
    from .answers import answer_as_json
    from .classifier import DeviceClassifier

    max_pixels = MOST_PIXELS if options["max_pixels"] is None else options["max_pixels"]
    for flag, number in (("--top", options["top"]), ("--max-pixels", max_pixels)):
        if number < 1:
            raise SqueezekitError(f"{flag} {number}: must be at least 1")
    classifier, failed = DeviceClassifier(options["model"]), False
    for path in options["pictures"]:
        try:
            answer = classifier.answer(path, max_pixels=max_pixels)
        except SqueezekitError as error:
            _say(f"squeezekit-device: {error}")
            failed = True
            continue
        if options["json"]:
            # Bytes of a name that are not UTF-8 cannot be in JSON.
            name = os.fsencode(path).decode(errors="backslashreplace")
            print(as_json({"path": name, **answer_as_json(answer, options["top"])}))
        else:
            remark = "" if answer.known else "none of these; nearest "
            remark = remark or ("unsure, perhaps " if answer.unsure else "")
            ranked = ", ".join(f"{label} {share:.1%}" for label, share in answer.probabilities[: options["top"]])
            print(shown(f"{path}: {remark}{ranked}"))
    return 1 if failed else 0


def _serve(options: Options) -> int:
    """Until asked to end."""
    from .classifier import DeviceClassifier
    from .service import DeviceService, ServiceLimits

    model, host, port = (options.pop(name) for name in ("model", "host", "port"))
    limits = ServiceLimits(**{name: value for name, value in options.items() if value is not None})
    with DeviceService((host, port), DeviceClassifier(model), limits) as service:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=service.shutdown).start())
        _say(f"listening on http://{host}:{service.server_port}")
        service.serve_forever()
    return 0


def _check(options: Options) -> int:
    """Whether a model passes."""
    from .model import read_model
    from .self_check import self_check_problem

    problem = self_check_problem(read_model(Path(options["model"])))
    if options["json"]:
        print(as_json({"model": options["model"], "passed": problem is None, "problem": problem}))
    else:
        print(shown(f"{options['model']}: {problem or 'passes its self-check'}"))
    return 1 if problem else 0


def _update(options: Options) -> int:
    """Update, or return to the version before."""
    if missing := [name for name in ("tuf", "securesystemslib", "cryptography") if find_spec(name) is None]:
        raise SqueezekitError(f"update needs {', '.join(missing)}; install the extra: pip install '<the wheel>[updates]'")
    from ..updates.fetcher import FetchLimits
    from ..updates.update import go_back, update

    repo, out, back, as_data, slowest = (options.pop(name) for name in ("repo", "out", "back", "json", "slowest"))
    if back == (repo is not None):
        raise SqueezekitError("update needs --repo URL, or else --back; see squeezekit-device update --help")
    if back:
        go_back(out)
        print(as_json({"back": True}) if as_data else shown(f"{out}: the version before is installed again"))
        return 0
    # So that a service that ends can stop it in good order.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    limits = FetchLimits() if slowest is None else FetchLimits(min_rate=slowest)
    result = update(repo, out, limits=limits, **{name: value for name, value in options.items() if value is not None})
    done = "installed" if result.changed else "is the newest"
    print(
        as_json(vars(result)) if as_data else shown(f"{result.channel} {result.version} {done}; {result.fetched:,} bytes fetched")
    )
    return 0


def _say(message: str) -> None:
    print(shown_lines(message), file=sys.stderr)
