"""Workflows and issue templates: they parse, and what they call exists."""

import re
import shlex
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="not installed; pip install pyyaml")
ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
FORMS = sorted((GITHUB / "ISSUE_TEMPLATE").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def read(path):
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def steps(path):
    return [step for job in read(path)["jobs"].values() for step in job["steps"]]


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_commands_call_what_there_is(path):
    called = [step["run"] for step in steps(path) if "run" in step]
    assert called
    for command in called:
        first, *words = shlex.split(re.sub(r"\$\{\{.*?\}\}", "", command))
        if first == "make":
            assert words[0] in TARGETS, command
        elif first == "python" and words[0] != "-m":
            assert (ROOT / words[0]).is_file(), command
        elif first != "python":
            assert (ROOT / first).is_file(), command
        for word in words:
            if word.endswith((".txt", ".py")):
                assert (ROOT / word).exists(), command


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_actions_have_a_version_and_jobs_no_more_rights_than_they_need(path):
    for step in steps(path):
        assert re.fullmatch(r"[\w-]+/[\w-]+@(v\d+|release/v\d+)", step.get("uses", "a/b@v1")), step
    workflow = read(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert [job.get("permissions") for job in workflow["jobs"].values() if job.get("permissions")] in (
        [],
        [{"id-token": "write"}],
    )


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_what_was_never_run_says_so(path):
    assert path.read_text(encoding="utf-8").startswith("# Not run yet: ")


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_forms_have_what_github_asks_for(path):
    form = read(path)
    assert {"name", "description", "body"} <= set(form)
    names = [field["id"] for field in form["body"]]
    assert len(set(names)) == len(names) > 0
    assert all(field["type"] == "textarea" and field["attributes"]["label"] for field in form["body"])


def test_tested_versions_of_python_are_those_of_the_package():
    matrix = read(GITHUB / "workflows" / "tests.yml")["jobs"]["quick"]["strategy"]["matrix"]
    least = re.search(r'requires-python = ">=([\d.]+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert matrix["python"][0] == least[1] and matrix["os"] == ["ubuntu-latest", "macos-latest", "windows-latest"]
