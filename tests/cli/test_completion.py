"""What shells complete, asked of real ones."""

import shlex
import shutil
import subprocess

import pytest

from squeezekit.cli import COMMANDS, SHELLS, main
from squeezekit.networks.registry import NETWORKS


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    """Of every shell, in files."""
    folder = tmp_path_factory.mktemp("completion")
    for shell in SHELLS:
        with pytest.MonkeyPatch.context() as patch, (folder / shell).open("w", encoding="utf-8") as file:
            patch.setattr("sys.stdout", file)
            with pytest.raises(SystemExit, match="0"):
                main(["--print-completion", shell])
    return folder


@pytest.fixture
def bash(scripts, tmp_path):
    """What bash proposes for the last of some words."""
    if not shutil.which("bash"):
        pytest.skip("bash is not installed")

    def proposes(*words):
        line = f"COMP_WORDS=(squeezekit {shlex.join(words)}); COMP_CWORD={len(words)}; _squeezekit"
        command = f"set -u; source {scripts}/bash; {line}; printf '%s\\n' \"${{COMPREPLY[@]-}}\""
        done = subprocess.run(["bash", "--norc", "-c", command], capture_output=True, text=True, check=True, cwd=tmp_path)
        assert done.stderr == ""
        return done.stdout.split()

    return proposes


def test_bash_knows_all_commands(bash):
    assert bash("") == [*COMMANDS, "--help", "--version", "--print-completion"]
    assert bash("ex") == ["export"]


def test_bash_knows_flags_of_the_command_alone(bash):
    assert bash("train", "--opt") == ["--optimizer"] and bash("predict", "--opt") == []
    # Help leaves it out.
    assert bash("train", "--gat") == []
    assert "--repo" in bash("keys", "create", "--") and bash("keys", "ro") == ["rotate", "root"]


def test_bash_knows_values(bash):
    assert bash("train", "--optimizer", "") == ["adam", "adamw", "sgd", "muon"]
    assert bash("train", "--network", "squeezenet1") == [name for name in NETWORKS if name.startswith("squeezenet1")]
    assert bash("predict", "digits") == ["digits-nano"]


def test_after_a_flag_that_takes_a_file_bash_proposes_files(bash):
    """By its own default, where no word is proposed."""
    assert bash("train", "-o", "") == [] and bash("train", "--config", "") == [] and bash("predict", "digits-nano", "") == []


def test_files_are_proposed_by_bash_itself(scripts):
    with (scripts / "bash").open(encoding="utf-8") as file:
        assert "complete -o default -F _squeezekit squeezekit\n" in file.readlines()


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_reads_its_script(shell, scripts):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    subprocess.run([shell, "--no-config" if shell == "fish" else "-f", "-n", str(scripts / shell)], check=True)


def test_fish_knows_commands_flags_and_values(scripts):
    if not shutil.which("fish"):
        pytest.skip("fish is not installed")

    def proposes(line):
        command = f"source {scripts}/fish; complete -C '{line}'"
        done = subprocess.run(["fish", "--no-config", "-c", command], capture_output=True, text=True, check=True)
        return [row.split("\t")[0] for row in done.stdout.splitlines()]

    assert set(COMMANDS) <= set(proposes("squeezekit "))
    assert proposes("squeezekit train --opt") == ["--optimizer"]
    assert "muon" in proposes("squeezekit train --optimizer ")


def test_another_shell_is_refused_with_those_that_are_known(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["--print-completion", "csh"])
    assert "bash" in capsys.readouterr().err
