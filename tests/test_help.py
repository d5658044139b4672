"""Help: examples that run as they stand, groups, line lengths, the field's words, no waiting for torch."""

import re
import shlex
import subprocess
import sys

import pytest

from squeezekit.cli import COMMANDS, GROUPS, main
from squeezekit.cli.keys import ACTIONS
from squeezekit.modelfile.deep_compression_file import published_network
from squeezekit.system.version import version
from tests.fixtures import deep_compression
from tests.fixtures.commands import Commands, shorten

# DESIGN.md has the words to use instead.
FORBIDDEN = re.compile(
    r"\b(promise\w*|pressure|the box|pressed|workshop|subject|near|told|taken up|foretells?|settled?|bends|curvature|"
    r"octaves?|octets?|zoo|shelf|R\d+)\b"
)
EVERY = [[], *([name] for name in COMMANDS), *(["keys", action] for action in ACTIONS)]
# Commands in an order in which each finds what it needs.
ORDER = [
    "train", "evaluate", "predict", "models", "import", "describe", "inspect", "lr-range", "compress", "search", "cross-validate",
    "report", "export", "keys", "publish", "update", "doctor",
]  # fmt: skip


def helped(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([*arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def examples(text):
    """The commands of the block below `examples:`."""
    block = re.search(r"^examples:\n((?:  .+\n)+)", text, re.MULTILINE)
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def test_commands_stand_in_groups(capsys):
    text = helped(capsys, "--help")
    assert list(GROUPS) == ["train", "choose", "shrink", "ship", "update"]
    for group, commands in GROUPS.items():
        block = text.split(f"\n{group}:\n")[1].split("\n\n")[0]
        assert [line.split()[0] for line in block.splitlines()] == list(commands)


@pytest.mark.parametrize("arguments", EVERY, ids=" ".join)
@pytest.mark.parametrize("columns", [80, 200])
def test_help_of_every_command(arguments, columns, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    texts = [helped(capsys, *arguments, "--help")]
    if "--help-all" in texts[0]:
        texts.append(helped(capsys, *arguments, "--help-all"))
    for text in texts:
        assert len(examples(text)) == 2
        for line in text.splitlines():
            assert len(line) <= 100 if line.startswith("  squeezekit ") else len(line) <= min(columns, 100), line
        assert not FORBIDDEN.search(text), FORBIDDEN.search(text)


@pytest.mark.parametrize("name", sorted(set(COMMANDS) - set(ORDER)))
def test_examples_of_commands_that_do_not_end_have_known_flags(name, capsys, monkeypatch):
    ran = []
    monkeypatch.setattr(f"squeezekit.cli.{name}.run", lambda **settings: ran.append(settings) or 0)
    for arguments in examples(helped(capsys, name, "--help")):
        assert main(arguments) == 0
    assert len(ran) == 2


@pytest.mark.slow
def test_every_example_runs_as_it_stands(tmp_path, monkeypatch, capsys):
    for package in ("tuf", "securesystemslib"):
        pytest.importorskip(package, reason="not installed; pip install 'squeezekit[updates]'")
    commands = Commands(tmp_path, monkeypatch)
    shorten(monkeypatch, epochs=1)
    monkeypatch.setenv("SQUEEZEKIT_PASSPHRASE", "a passphrase of the tests")
    layers = deep_compression.random_layers(published_network(), density=0.001)
    (tmp_path / "compressed_SqueezeNet.net").write_bytes(deep_compression.file_of(layers))
    for name in ORDER:
        assert name in COMMANDS
        texts = [helped(capsys, name, "--help")]
        if name == "keys":
            texts = [helped(capsys, name, action, "--help") for action in ACTIONS] + texts[1:]
        for arguments in (each for text in texts for each in examples(text)):
            commands.line(shlex.join(["squeezekit", *arguments]))


def test_version(capsys):
    assert helped(capsys, "--version") == f"squeezekit {version()}\n"


def test_help_does_not_wait_for_torch():
    code = (
        "import sys; from squeezekit.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'pydantic', 'rich')))"
    )
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.DEVNULL).returncode == 0
