"""Scripts that complete commands, flags and values in a shell. They hold all words: no Python runs while somebody types."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from squeezekit.cli.parser import Parser
from squeezekit.networks.registry import NETWORKS
from squeezekit.pretrained.files import known_names
from squeezekit.training.recipe import RECIPES


@dataclass(frozen=True)
class Word:
    """A command or a flag, what it does, and the `values` it takes: () for any, files among them, None for none."""

    name: str
    help: str
    values: Sequence[str] | None = None


@dataclass(frozen=True)
class Completed:
    """What may follow a command: its flags, and words that are no flags (actions, names of models)."""

    command: Word
    flags: Sequence[Word]
    words: Sequence[str]

    def proposed(self) -> list[Word]:
        """The flags but their short forms, which are complete."""
        return [flag for flag in self.flags if flag.name.startswith("--")]


def script(shell: str, commands: Mapping[str, str], parser_of: Callable[[str], Parser]) -> str:
    """The script of `bash`, `zsh` or `fish` for `commands` (name: summary), each with the parser that `parser_of` gives."""
    completed = [_completed(Word(name, _plain(summary)), parser_of(name), known_names()) for name, summary in commands.items()]
    return {"bash": _bash, "zsh": _zsh, "fish": _fish}[shell](completed)


def _completed(command: Word, parser: argparse.ArgumentParser, models: Sequence[str]) -> Completed:
    flags: dict[str, Word] = {}
    words: list[str] = []
    for action in all_actions(parser):
        if action.help == argparse.SUPPRESS:
            continue
        values = _values(action, models)
        if action.option_strings:
            flags |= {name: Word(name, _short(action), values) for name in action.option_strings}
        else:
            words += values or ()
    return Completed(command, list(flags.values()), list(dict.fromkeys(words)))


def all_actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Those of a parser, and of all actions of a command that has such."""
    for action in parser._actions:
        yield action
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from all_actions(below)


def _values(action: argparse.Action, models: Sequence[str]) -> Sequence[str] | None:
    if action.nargs == 0:
        return None
    named = {"--network": list(NETWORKS), "--recipe": list(RECIPES), "--data": ["digits", "cifar10"]}
    if action.choices is not None:
        return [str(choice) for choice in action.choices]
    if action.metavar == "MODEL":
        return models
    return named.get(action.option_strings[0], ()) if action.option_strings else ()


def _short(action: argparse.Action) -> str:
    """The first words of a flag's help, without what a shell or argparse would read."""
    text = "" if action.help in (None, argparse.SUPPRESS) else str(action.help)
    return _plain(text.split(" (")[0].replace("%%", "%"))[:70]


def _plain(text: str) -> str:
    """Without what a shell would read."""
    return "".join(character for character in text if character not in "'\"`\\$:[]\n")


def _bash(completed: Sequence[Completed]) -> str:
    values, words = [], []
    for each in completed:
        name = each.command.name
        with_values = [flag for flag in each.flags if flag.values is not None]
        named = [flag for flag in with_values if flag.values]
        values += [f"        '{name} {flag.name}') words='{' '.join(flag.values or ())}' ;;" for flag in named]
        any_value = "|".join(f"'{name} {flag.name}'" for flag in with_values if not flag.values)
        values += [f"        {any_value}) ;;"] if any_value else []
        flags = " ".join(flag.name for flag in each.proposed())
        words.append(f"            '{name} -'*) words='{flags}' ;;")
        # Later and with nothing typed, what follows is rather a file.
        later = '[ -z "$word" ] && [ "$COMP_CWORD" -gt 2 ]'
        words += [f"            '{name} '*) {later} || words='{' '.join(each.words)}' ;;"] if each.words else []
    commands = " ".join(each.command.name for each in completed)
    return "\n".join(
        [
            "# For ~/.local/share/bash-completion/completions/squeezekit",
            "_squeezekit() {",
            "    local IFS=$' \\t\\n' word=${COMP_WORDS[COMP_CWORD]} words=''",
            '    if [ "$COMP_CWORD" -eq 1 ]; then',
            f"        words='{commands} --help --version --print-completion'",
            "    else",
            '        case "${COMP_WORDS[1]} ${COMP_WORDS[COMP_CWORD-1]}" in',
            *values,
            '        *) case "${COMP_WORDS[1]} $word" in',
            *words,
            "            esac ;;",
            "        esac",
            "    fi",
            '    COMPREPLY=($(compgen -W "$words" -- "$word"))',
            "}",
            "# Where no word fits, files do.",
            "complete -o default -F _squeezekit squeezekit",
            "",
        ]
    )


def _zsh(completed: Sequence[Completed]) -> str:
    values, flags, words = [], [], []
    for each in completed:
        name = each.command.name
        for flag in each.flags:
            if flag.values is not None:
                found = f"compadd -- {' '.join(flag.values)}; " if flag.values else ""
                values.append(f"        '{name} {flag.name}') {found}_files; return ;;")
        described = " ".join(f"'{flag.name}:{flag.help}'" for flag in each.proposed())
        flags.append(f"            {name}) flags=({described}) ;;")
        words += [f"            {name}) compadd -- {' '.join(each.words)} ;;"] if each.words else []
    commands = " ".join(f"'{each.command.name}:{each.command.help}'" for each in completed)
    return "\n".join(
        [
            "#compdef squeezekit",
            "# For a file _squeezekit in a folder of $fpath",
            "_squeezekit() {",
            "    local -a commands flags",
            f"    commands=({commands})",
            "    if (( CURRENT == 2 )); then _describe command commands; return; fi",
            '    case "$words[2] $words[CURRENT-1]" in',
            *values,
            "    esac",
            "    if [[ $PREFIX == -* ]]; then",
            '        case "$words[2]" in',
            *flags,
            "        esac",
            "        _describe option flags",
            "    else",
            '        case "$words[2]" in',
            *words,
            "        esac",
            "        _files",
            "    fi",
            "}",
            "# The first Tab loads this file as the function itself.",
            'if [ "$funcstack[1]" = _squeezekit ]; then _squeezekit "$@"; else compdef _squeezekit squeezekit; fi',
            "",
        ]
    )


def _fish(completed: Sequence[Completed]) -> str:
    lines = ["# For ~/.config/fish/completions/squeezekit.fish"]
    for each in completed:
        name, here = each.command.name, f"-n '__fish_seen_subcommand_from {each.command.name}'"
        lines.append(f"complete -c squeezekit -f -n __fish_use_subcommand -a {name} -d '{each.command.help}'")
        lines += [f"complete -c squeezekit {here} -a '{' '.join(each.words)}'"] if each.words else []
        for flag in each.proposed():
            taken = "" if flag.values is None else f" -r -a '{' '.join(flag.values)}'" if flag.values else " -r"
            lines.append(f"complete -c squeezekit {here} -l {flag.name.removeprefix('--')}{taken} -d '{flag.help}'")
    return "\n".join([*lines, ""])
