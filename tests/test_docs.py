"""The pages in `docs` and the README: links lead somewhere, flags exist, and the commands of some pages are run as they stand.

Short, what they train is cut down (`tests/fixtures/commands.py`); whole, before a release, nothing is.
"""

import re
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezekit.cli import COMMANDS, main
from squeezekit.data.digits import load_digits
from tests.fixtures.commands import Commands, shorten
from tests.fixtures.postgresql import running_postgresql

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *(page for page in DOCS.rglob("*.md") if DOCS / "runs" not in page.parents)])
# What the log and the changelog say is of its day.
OF_TODAY = [page for page in PAGES if page.name not in ("log.md", "CHANGELOG.md")]
# Flags of torchrun.
OF_OTHERS = {"--max-restarts", "--nproc-per-node"}


def name_of(page):
    return str(page.relative_to(ROOT))


def anchors(page):
    """What GitHub makes of a page's headings, and the places it names itself."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    found, seen = set(re.findall(r'<a id="([^"]+)">', text)), {}
    for heading in re.findall(r"^#+ +(.*)$", text, re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).strip().replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if slug in seen else slug)
        seen[slug] = seen.get(slug, 0) + 1
    return found


def blocks(page, *languages):
    """The fenced blocks of a page in one of these languages: language and text."""
    found = re.findall(r"^```(\w+)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    return [(language, text) for language, text in found if language in languages]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    text = re.sub(r"`[^`\n]*`", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?://|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{target}: there is no {path}"
        if anchor:
            assert anchor in anchors(place), f"{target}: {place.name} has no heading of that name"


def test_pages_that_code_names_exist():
    files = [path for folder in ("src", "scripts", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.*")]
    missing = set()
    for path in files:
        if path.suffix in (".py", ".c", ".h", ".sh", ".jinja", ".toml") and path != Path(__file__):
            named = re.findall(r"docs/[\w./-]+\.(?:md|png|svg)", path.read_text(encoding="utf-8"))
            missing |= {f"{name_of(path)}: {name}" for name in named if not (ROOT / name).exists()}
    assert not missing


def flags_of(command, capsys):
    """Every flag of a command, as its help lists them; of `keys`, those of all its actions."""
    actions = [[action] for action in ("create", "rotate", "renew", "show")] if command == "keys" else [[]]
    shown = ""
    for action in actions:
        # Where --help shows every setting, there is no --help-all.
        for flag in ("--help", "--help-all"):
            with pytest.raises(SystemExit):
                main([command, *action, flag])
            shown += capsys.readouterr().out
    return set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", shown)) | {"--help", "--help-all", "--debug"}


def test_commands_and_flags_exist(capsys):
    flags = {command: flags_of(command, capsys) for command in COMMANDS}
    known = {flag for found in flags.values() for flag in found} | OF_OTHERS | {"--version", "--print-completion"}
    wrong = []
    for page in OF_TODAY:
        for _language, text in blocks(page, "sh", "console"):
            lines = re.sub(r"\\\n", " ", text).splitlines()
            for line in lines:
                called = re.search(r"(?:squeezekit|-m squeezekit) ([a-z][\w-]*)(.*)", line.partition("  #")[0])
                if not called or line.startswith(("squeezekit:", "pip")):
                    continue
                command, rest = called.groups()
                given = set(re.findall(r"(?<=\s)--?[a-z][\w-]*", rest))
                wrong += [f"{name_of(page)}: {line}: {flag}" for flag in given - flags.get(command, set())]
        if page.parent.name in ("guides", "tutorials") or page.name == "commands.md":
            inline = re.findall(r"`(--[a-z][\w-]*)[^`]*`", page.read_text(encoding="utf-8"))
            wrong += [f"{name_of(page)}: {flag}" for flag in set(inline) - known]
    assert not wrong, "\n".join(wrong)


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """How commands run: in a folder of their own."""
    return Commands(tmp_path, monkeypatch)


@pytest.fixture(params=["short", pytest.param("whole", marks=[pytest.mark.long, pytest.mark.timeout(1200)])])
def length(request):
    """Both of them."""
    return request.param


@pytest.fixture
def photos(tmp_path, length):
    """Two folders of pictures, and one more picture: digits in place of cats and dogs."""
    images = load_digits(image_size=32, channels=3).training
    for name, label in (("cat", 3), ("dog", 8)):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in np.flatnonzero(images.labels == label)[: 80 if length == "whole" else 30]:
            Image.fromarray(images.images[number]).save(tmp_path / "photos" / name / f"{number}.png")
    last = np.flatnonzero(images.labels == 3)[-1]
    Image.fromarray(images.images[last]).save(tmp_path / "cat.jpg")


@pytest.mark.slow
def test_first_steps_are_as_they_say(commands, photos, length, tmp_path, monkeypatch):
    if length == "short":
        shorten(monkeypatch)
    outputs = [commands.block(language, text) for language, text in blocks(DOCS / "tutorials" / "first-steps.md", "sh")]
    assert "cifar10-nano" in outputs[0] and "three.png: 3 " in outputs[0]
    assert "three.png: 3 " in outputs[1] and "three.png: 3 " in outputs[2]
    assert sorted(path.name for path in (tmp_path / "plots").iterdir()) == ["confusion.png", "mistakes.png"]
    assert (tmp_path / "photos.sqz").stat().st_size < 200_000


@pytest.mark.slow
def test_the_guide_of_make_does_what_it_says(commands, photos, length, monkeypatch):
    if length == "short":
        shorten(monkeypatch)
    [(language, text)] = blocks(DOCS / "guides" / "make.md", "sh")
    assert "cat.jpg: " in commands.block(language, text) and "<h2" in Path("out/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_tutorial_of_photos_does_what_it_says(commands, length, monkeypatch):
    """Step by step before a release only: the tutorial of boards trains and compresses the same pictures."""
    page = blocks(DOCS / "tutorials" / "photos.md", "sh")
    if length == "short":
        shorten(monkeypatch, epochs=1)
        page = page[:4]
    said = [commands.block(language, text) for language, text in page]
    assert "95% interval" in said[2] and "lemon/000.jpg: " in said[3]
    assert Path("fruit-classifier/classifier.html").stat().st_size < 1_000_000
    assert length == "short" or Path("fruit.html").exists()


@pytest.mark.slow
def test_the_tutorial_of_boards_does_what_it_says(commands, monkeypatch):
    shorten(monkeypatch, epochs=1)
    [(language, text)] = blocks(DOCS / "tutorials" / "embedded.md", "sh")
    assert "RAM for feature maps" in commands.block(language, text)
    assert {path.name for path in Path("classify").iterdir()} == {"classify.ino", "classifier.h", "classifier.c", "picture.h"}


@pytest.mark.slow
def test_the_french_page_does_what_it_says(commands, length, monkeypatch):
    """`make` before a release only: the tutorial of photos has it, and it takes two minutes."""
    page = blocks(DOCS / "fr" / "guide.md", "sh", "python")
    if length == "short":
        shorten(monkeypatch, epochs=1)
        page = [(language, text) for language, text in page if "fruits" not in text]
    said = [commands.block(language, text) for language, text in page]
    assert "three.png: 3 " in said[0] and said[-1].splitlines()[-1].isdigit()
    assert length == "short" or "lemon/000.jpg: " in said[3]
    report = Path("rapport.html").read_text(encoding="utf-8")
    assert '<html lang="fr"' in report and {"chiffres.html", "chiffres-c"} <= {path.name for path in Path().iterdir()}


@pytest.mark.slow
def test_several_machines_find_what_one_would(commands, length, monkeypatch):
    if length == "short":
        shorten(monkeypatch, epochs=1)
    with running_postgresql() as url:
        monkeypatch.setenv("DATABASE", url)
        said = [commands.block(language, text) for language, text in blocks(DOCS / "tutorials" / "several-machines.md", "sh")]
    recommended = [[line for line in text.splitlines() if line.startswith("recommended")] for text in said[1:3]]
    assert len(recommended[0]) == 1 and recommended[0] == recommended[1]
    assert "<h2" in Path("report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_network_of_ones_own_is_compressed(commands, length, monkeypatch, forgets_networks):
    """One from ONNX before a release only: torch takes most of a minute to write it, and other tests compress such files."""
    page = blocks(DOCS / "tutorials" / "your-own-network.md", "sh", "python")
    if length == "short":
        shorten(monkeypatch, epochs=1)
        page = [(language, text) for language, text in page if "plain." not in text]
    said = [commands.block(language, text) for language, text in page]
    assert int(said[-1].splitlines()[-2].split()[0]) == Path("narrow.sqz").stat().st_size
    assert int(said[-1].splitlines()[-1]) == Path("again.sqz").stat().st_size
    if length == "whole":
        assert "digit.png: 3 " in said[1] and Path("smaller.onnx").exists()
        assert Path("plain.sqz").stat().st_size < Path("plain.onnx").stat().st_size / 10


@pytest.mark.slow
def test_the_guide_of_check_does_what_it_says(commands, photos, monkeypatch):
    shorten(monkeypatch, epochs=1)
    [(language, text)] = blocks(DOCS / "guides" / "check.md", "sh")
    assert "copies " in commands.block(language, text) and "<h2" in Path("check.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_python_of_the_front_page_runs(commands, length, monkeypatch):
    if length == "short":
        shorten(monkeypatch)
    [(language, text)] = blocks(ROOT / "README.md", "python")
    assert commands.block(language, text).splitlines()[-1] == "3"


def test_the_python_of_compression_runs(commands):
    for language, text in blocks(DOCS / "guides" / "compress.md", "python"):
        commands.block(language, text)


def test_the_page_of_fpgas_does_what_it_says(commands, length):
    """Its circuits are written always, and simulated before a release: compiling them takes most of a minute."""
    pytest.importorskip("qonnx", reason="not installed; pip install 'squeezekit[dev]'")
    if length == "whole" and not shutil.which("verilator"):
        pytest.skip("Verilator is not installed")
    lines = [line for _language, text in blocks(DOCS / "guides" / "fpga.md", "sh") for line in text.strip().splitlines()]
    outputs = {line: commands.line(line) for line in lines if length == "whole" or not line.startswith("make")}
    assert [said.partition(":")[0] for line, said in outputs.items() if "export" in line] == [
        "digits-fpga",
        "cifar10-fpga",
        "digits-qonnx.onnx",
    ]
    simulated = [said.splitlines() for line, said in outputs.items() if line.startswith("make")]
    logits = [[line.split(" @ ")[0] for line in said if " @ " in line] for said in simulated]
    assert all(len(found) == 1 and found == logits[0] for found in logits)
    for [found] in logits:
        numbers = list(map(int, found.split()))
        assert numbers.index(max(numbers)) == 3
    assert [commands.block(*block) for block in blocks(DOCS / "guides" / "fpga.md", "python")] == ["3"]


@pytest.mark.slow
def test_export_and_serve_do_what_they_say(commands, length, monkeypatch):
    """Every command of the two guides, as it stands, in their order."""
    if length == "short":
        # The picture that the guide gives to the C program has 32 pixels a side.
        shorten(monkeypatch, image_size=32)
    for name in ("onnxscript", "fastapi", "ai_edge_litert"):
        pytest.importorskip(name, reason="not installed; pip install 'squeezekit[dev]'")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    pages = [DOCS / "guides" / name for name in ("export.md", "serve.md")]
    steps = [
        (language, command)
        for page in pages
        for language, text in blocks(page, "sh", "python")
        for command in (text.strip().splitlines() if language == "sh" else [text])
    ]
    outputs, running = [], []
    try:
        for language, command in steps:
            if command.startswith("squeezekit serve"):
                running.append(started(command))
                outputs.append("")
            else:
                outputs.append(commands.block(language, command))
    finally:
        for job in running:
            job.terminate()
            job.wait(20)
    # A digit that the network was not trained on.
    assert outputs[next(i for i, (language, _) in enumerate(steps) if language == "python")] == "3"
    one, two, about = outputs[-3:]
    assert one.startswith('{"results":[{"label":"3"') and two.count('"unsure"') == 2 and '"name":"digits.onnx"' in about


def started(command):
    """A service, as soon as it answers."""
    job = subprocess.Popen([sys.executable, "-m", *shlex.split(command)])
    deadline = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", 8000)).close()
            return job
        except OSError:
            assert time.monotonic() < deadline and job.poll() is None
            time.sleep(0.1)
