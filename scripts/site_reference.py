"""The pages of the site that are read off the program: every command with its settings, every name of the library.

Nothing of them is stored: scripts/site_pages.py has them written whenever the site is built.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

import squeezekit
from squeezekit.cli import COMMANDS, module_of
from squeezekit.cli.parser import Parser

# What the functions return, in the order of the functions.
RETURNED = {
    "Run": "training.run_folder",
    "Evaluation": "inference.evaluation",
    "Prediction": "inference.classifier",
    "Compressed": "compression.result",
    "Made": "workflows.make",
    "Findings": "data.findings",
    "Found": "search.search",
    "CrossValidation": "search.crossval",
    "ModelList": "pretrained.facts",
    "ImportedModel": "pretrained.import_model",
}


def command_page(name: str) -> str:
    """One command: what it does, two examples, and every setting with its help."""
    parser = Parser(prog=f"squeezekit {name}", description=f"{COMMANDS[name][0].upper()}{COMMANDS[name][1:]}.", everything=True)
    importlib.import_module(f"squeezekit.cli.{module_of(name)}").add_arguments(parser)
    parser.add_help_and_debug()
    return "\n".join([f"# `squeezekit {name}`", "", *_described(parser, "##")])


def _described(parser: Parser, heading: str) -> Iterator[str]:
    summary, _, examples = (parser.description or "").partition("\n\nexamples:\n")
    yield from (prose(summary), "", "```sh", *(line.strip() for line in examples.splitlines()), "```", "")
    yield from ("```text", f"usage: {(parser.usage or '') % {'prog': parser.prog}}", "```", "")
    for group in parser._action_groups:
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        nested = [action for action in actions if isinstance(action, argparse._SubParsersAction)]
        rows = [_row(parser, action) for action in actions if action not in nested and "--help-all" not in action.option_strings]
        if rows:
            title = {"positional arguments": "Arguments", "options": "Settings"}.get(group.title or "", group.title or "")
            yield from (f"{heading} {title[0].upper()}{title[1:]}", "", "| setting | meaning |", "|---|---|", *rows, "")
        for action in nested:
            for name, child in action.choices.items():
                yield from (f"{heading} `{parser.prog} {name}`", "", *_described(child, f"{heading}#"))
    if parser.epilog:
        yield from (prose(parser.epilog), "")


def _row(parser: Parser, action: argparse.Action) -> str:
    shown = parser._get_formatter()
    names = [f"`{name}`" for name in action.option_strings] or [f"`{action.metavar or action.dest}`"]
    value = "" if action.nargs == 0 or not action.option_strings else shown._format_args(action, (action.dest).upper())
    text = prose(" ".join(shown._expand_help(action).split()))
    cells = (f"{', '.join(names)}{f' `{value}`' if value else ''}", text)
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def library_page() -> str:
    """Every public name of `import squeezekit as sk`, then what the functions return."""
    parts = ["# The library, name by name", "", _INTRODUCTION, ""]
    public = [name for name in dir(squeezekit) if not name.startswith("__")]
    functions = [name for name in public if not inspect.isclass(getattr(squeezekit, name))]
    for name in functions:
        parts += [f"## `{name}`", "", *_function(_plain(getattr(squeezekit, name)), f"sk.{name}"), ""]
    parts += ["## `Classifier`", "", *_class(squeezekit.Classifier, "sk.")]
    parts += ["## Errors", ""]
    for name in ("SqueezekitError", "RunFailed"):
        parts += [f"### `{name}`", "", *_class(getattr(squeezekit, name), "sk.", members=False)]
    parts += ["## What the functions return", ""]
    for name, module in RETURNED.items():
        made = getattr(importlib.import_module(f"squeezekit.{module}"), name)
        parts += [f"### `{name}`", "", *_class(made, "")]
    return "\n".join(parts)


_INTRODUCTION = """What each function takes, returns and raises, from its docstring; `dir(sk)` lists the same names. Importing the
package is quick: torch is imported by what first needs it. `sk.__version__` is the version. How they work together:
[the library](../guides/python.md)."""


def _plain(named: Any) -> Any:
    """The function of a package that can be called."""
    return inspect.unwrap(named)


def _function(function: Any, name: str) -> Iterator[str]:
    signature = inspect.signature(function)
    yield from ("```python", *_written(name, signature), "```", "")
    yield from paragraphs(inspect.getdoc(function) or "", set(signature.parameters))
    yield f"Source: `{_place(function)}`"


def _written(name: str, signature: inspect.Signature) -> Iterator[str]:
    """A signature, one parameter a line where there are several."""
    given = [each for each in signature.parameters.values() if each.name != "self"]
    texts, keywords = [], False
    for each in given:
        if each.kind is each.KEYWORD_ONLY and not keywords:
            texts, keywords = [*texts, "*"], True
        texts.append(
            str(each).replace("'", "")
            if each.default is each.empty
            else str(each).replace(f": '{each.annotation}'", f": {each.annotation}")
        )
    returned = "" if signature.return_annotation in (signature.empty, "None") else f" -> {signature.return_annotation}"
    if len(texts) < 2:
        yield f"{name}({', '.join(texts)}){returned}"
    else:
        yield from (f"{name}(", *(f"    {text}," for text in texts), f"){returned}")


def _class(made: type, prefix: str, *, members: bool = True) -> Iterator[str]:
    yield from paragraphs(inspect.getdoc(made) or "", set())
    fields = (
        [field for field in dataclasses.fields(made) if not field.name.startswith("_")] if dataclasses.is_dataclass(made) else []
    )
    if fields:
        yield from ("| field | type |", "|---|---|")
        yield from (f"| `{field.name}` | `{_type(field.type)}` |" for field in fields)
        yield ""
    for name, member in _members(made) if members else ():
        if isinstance(member, property):
            yield from (f"**`.{name}`**: {prose(inspect.getdoc(member) or '')}", "")
            continue
        function = getattr(made, name)
        called = f"{prefix}{made.__name__}.{name}" if isinstance(member, classmethod | staticmethod) else f".{name}"
        called = "classifier" if name == "__call__" else called
        yield from ("```python", *_written(called, inspect.signature(function)), "```", "")
        yield from paragraphs(inspect.getdoc(function) or "", set())
    yield from (f"Source: `{_place(made)}`", "")


def _type(annotation: Any) -> str:
    return (annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))).replace("|", "\\|")


def _members(made: type) -> Iterator[tuple[str, Any]]:
    """Public methods and properties that have a docstring, the package's own base classes included."""
    seen: set[str] = set()
    for each in made.__mro__:
        if not each.__module__.startswith("squeezekit"):
            continue
        for name, member in vars(each).items():
            called = isinstance(member, property | classmethod | staticmethod) or inspect.isfunction(member)
            if called and name not in seen and (not name.startswith("_") or name == "__call__") and inspect.getdoc(member):
                seen.add(name)
                yield name, member


def _place(named: Any) -> str:
    return f"src/{named.__module__.replace('.', '/')}.py"


def paragraphs(text: str, parameters: set[str]) -> Iterator[str]:
    """A docstring as Markdown; sentences that begin with parameters and a colon become a list."""
    label = re.compile(rf"(?:^|(?<=\s))((?:{'|'.join(sorted(parameters)) or '(?!)'})\b(?:, \w+| \([^)]*\))*):\s")
    for paragraph in re.split(r"\n\s*\n", text.strip()):
        begin, *labelled = label.split(" ".join(paragraph.split()))
        if begin.strip():
            yield from (prose(begin.strip()), "")
        if labelled:
            pairs = zip(labelled[::2], labelled[1::2], strict=True)
            yield from (f"- {_labels(names, parameters)}: {prose(meaning.strip())}" for names, meaning in pairs)
            yield ""


def _labels(text: str, parameters: set[str]) -> str:
    return re.sub(r"\w+", lambda found: f"**`{found[0]}`**" if found[0] in parameters else found[0], text)


def prose(text: str) -> str:
    """Plain text, of which only code between backticks is Markdown."""
    parts = re.split(r"(`[^`]*`)", text)
    return "".join(
        part if part.startswith("`") and len(part) > 1 else re.sub(r"([*_\[\]<>\\`])", r"\\\1", part) for part in parts
    )
