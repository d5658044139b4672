"""What is published: one version everywhere, and wheels and sdists that hold what they must and nothing else."""

import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "squeezekit"
PROJECTS = {"squeezekit": ROOT, "squeezekit_device": ROOT / "device"}
MOST_BYTES = {"squeezekit": 6_000_000, "squeezekit_device": 200_000}
# Neither Python nor read by it: by suffix, what an installation needs.
NEEDED = (
    "models/*.sqz",
    "*.LICENSE",
    "runtime/*.[ch]",
    "runtime/Makefile",
    "verilog/*",
    "page/*",
    "pages/*",
    "native/*",
    "py.typed",
)


def project(folder):
    return tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_one_version_everywhere():
    citation = re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    changelog = re.search(r"^## (\d\S*)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    versions = {project(folder)["version"] for folder in PROJECTS.values()} | {citation[1], changelog[1]}
    assert len(versions) == 1, versions


def test_wheels_that_pages_name_have_this_version():
    version = project(ROOT)["version"]
    pages = [*ROOT.glob("*.md"), *(ROOT / "device").glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")]
    named = [
        found for page in pages for found in re.findall(r"squeezekit(?:_device)?-([\d.]+)-py3", page.read_text(encoding="utf-8"))
    ]
    assert named and set(named) == {version}


def test_both_have_the_same_license():
    assert (ROOT / "device" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_the_oldest_versions_are_the_bounds_of_pyproject():
    """All of them but torch, whose builds for processors have an index of their own."""
    extras = project(ROOT)["optional-dependencies"]
    lines = project(ROOT)["dependencies"] + [
        line for name, found in extras.items() if name not in ("dev", "docs") for line in found
    ]
    bounds = {re.match(r"[\w-]+", line)[0]: re.search(r">=([\d.]+)", line)[1] for line in lines}
    oldest = dict(re.findall(r"^([\w-]+)==(\S+)$", (ROOT / "constraints-oldest.txt").read_text(encoding="utf-8"), re.MULTILINE))
    assert "torch" not in oldest
    assert {name: oldest[name] for name in bounds if name != "torch"} == {n: b for n, b in bounds.items() if n != "torch"}


def test_versions_of_python_that_are_named_were_tried():
    rows = [
        json.loads(line) for line in (ROOT / "docs" / "runs" / "install" / "linux.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    tried = {row["python"].rpartition(".")[0] for row in rows if row["works"]}
    named = {each for line in project(ROOT)["classifiers"] for each in re.findall(r"Python :: (3\.\d+)$", line)}
    assert named == tried


@pytest.fixture(scope="module", params=PROJECTS)
def built(request, tmp_path_factory):
    """The name, the wheel and the sdist of each, built without a network by what is installed here."""
    pytest.importorskip("hatchling", reason="not installed; pip install hatchling")
    out = tmp_path_factory.mktemp("dist")
    build(PROJECTS[request.param], out)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return request.param, wheel, sdist


def build(folder, out, *options):
    command = [sys.executable, "-m", "hatchling", "build", "-d", str(out), *options]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


def contents(wheel):
    with zipfile.ZipFile(wheel) as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.mark.slow
def test_a_wheel_holds_the_package_and_its_notices_and_nothing_else(built):
    name, wheel, _sdist = built
    version = project(ROOT)["version"]
    assert wheel.name == f"{name}-{version}-py3-none-any.whl" and wheel.stat().st_size < MOST_BYTES[name]
    found, about = contents(wheel), f"{name}-{version}.dist-info"
    assert {path.split("/")[0] for path in found} == {name, about}
    suffixes = {Path(path).suffix for path in found if path.startswith(f"{name}/")}
    assert suffixes <= {*("", ".py", ".typed", ".bin", ".c", ".h", ".v", ".sqz", ".txt", ".LICENSE"),
                        *(".css", ".html", ".js", ".wasm", ".jinja", ".json")}  # fmt: skip
    assert not [path for path in found if re.search(r"test_|docs/|runs/|__pycache__|\.pyc", path)]


@pytest.mark.slow
def test_every_file_of_the_package_is_in_its_wheel(built):
    name, wheel, _sdist = built
    found = contents(wheel)
    if name == "squeezekit":
        needed = [path for pattern in NEEDED for path in SOURCE.rglob(pattern) if path.is_file()]
        assert len(needed) > 50
        needed += SOURCE.rglob("*.py")
    else:
        shared = tomllib.loads((ROOT / "device" / "pyproject.toml").read_text(encoding="utf-8"))
        names = shared["tool"]["hatch"]["build"]["hooks"]["custom"]["shared"]
        needed = [path for each in names for path in [SOURCE / each, *(SOURCE / each).rglob("*.*")] if path.is_file()]
        needed = [path for path in needed if path.suffix != ".pyc"]
    assert not [path for path in needed if found.get(f"{name}/{path.relative_to(SOURCE).as_posix()}") != path.read_bytes()]


@pytest.mark.slow
def test_the_notice_of_every_license_is_with_its_metadata(built):
    name, wheel, _sdist = built
    found = contents(wheel)
    (about,) = [path for path in found if path.endswith("METADATA")]
    metadata = message_from_bytes(found[about])
    notices = metadata.get_all("License-File")
    assert [path for path in notices if f"{Path(about).parent}/licenses/{path}" not in found] == []
    written = {path.relative_to(ROOT).as_posix() for path in SOURCE.rglob("*.LICENSE")} if name == "squeezekit" else set()
    assert set(notices) == {"LICENSE", *written}
    assert metadata["License-Expression"] == project(PROJECTS[name])["license"]
    assert metadata["Description-Content-Type"] == "text/markdown" and len(metadata.get_payload()) > 500


@pytest.mark.slow
def test_an_sdist_builds_the_same_wheel(built, tmp_path):
    """Elsewhere, where there is no clone around it."""
    _name, wheel, sdist = built
    shutil.unpack_archive(sdist, tmp_path)
    (folder,) = tmp_path.iterdir()
    assert {path.name for path in folder.iterdir()} <= {
        *(
            "LICENSE",
            "PKG-INFO",
            "README.md",
            "pyproject.toml",
            "src",
            "hatch_build.py",
            "CHANGELOG.md",
            "CITATION.cff",
            ".gitignore",
        )
    }
    build(folder, tmp_path / "again", "-t", "wheel")
    (again,) = (tmp_path / "again").iterdir()
    found, wanted = contents(again), contents(wheel)
    (record,) = [path for path in wanted if path.endswith("/RECORD")]
    # Files that the hook adds are listed last.
    assert sorted(found.pop(record).splitlines()) == sorted(wanted.pop(record).splitlines())
    assert found == wanted and again.name == wheel.name
