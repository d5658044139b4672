"""A page answers as the integer reference does, in a real browser."""

import base64
import importlib.util
import io
import json
import re
import socket
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from squeezekit import SqueezekitError
from squeezekit.cli import main
from squeezekit.data.sources import load_images
from squeezekit.export.html.export import export_html, page_of
from squeezekit.inference.classifier import Classifier
from squeezekit.inference.int8_model import in_int8, integer_plan
from squeezekit.inference.model import load_model
from squeezekit.modelfile.none_of_these import NoneOfThese
from tests.fixtures.browser import CAMERA, CHROMIUM, Browser
from tests.fixtures.exported import pictures_like, planned, small

ROOT = Path(__file__).parents[3]
# What the page shows, as data.
SHOWN = """(() => {
  const rows = [...document.querySelectorAll("#bars li")].map(
    row => [row.children[0].textContent, row.children[1].firstChild.style.width]);
  const text = selector => document.querySelector(selector).textContent;
  return { verdict: text("#verdict"), problem: text("#problem"), rows };
})()"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if CHROMIUM is None:
        pytest.skip("no Chromium is installed; apt-get install chromium")
    opened = Browser(tmp_path_factory.mktemp("profile"), *CAMERA)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def digits_page(tiny_run, tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    return Path(export_html(tiny_run.folder, folder / "digits.html").file)


def answered(browser, picture, tmp_path):
    """What the page says of a picture: label, probabilities by class, whether it is unsure."""
    path = tmp_path / "picture.png"
    picture.save(path, exif=picture.getexif())
    browser.value("document.querySelector('#verdict').textContent = ''; document.querySelector('#problem').textContent = ''; 0")
    browser.choose("#file", path)
    browser.wait_for("(document.querySelector('#verdict').textContent || document.querySelector('#problem').textContent) !== ''")
    shown = browser.value(SHOWN)
    assert shown["problem"] == ""
    return shown["verdict"], {name: float(width.removesuffix("%")) / 100 for name, width in shown["rows"]}


def in_python(model, plan, pictures):
    return Classifier(in_int8(model, plan)).classify(pictures)


def compare(browser, model, plan, pictures, tmp_path):
    for picture, expected in zip(pictures, in_python(model, plan, pictures), strict=True):
        verdict, found = answered(browser, picture, tmp_path)
        assert expected.label in verdict and verdict.startswith("Unsure") == (expected.unsure and expected.known)
        assert verdict.startswith("None of these") != expected.known
        wanted = dict(expected.probabilities[:10])
        assert next(iter(found)) == expected.label
        for name, probability in found.items():
            assert abs(probability - dict(expected.probabilities)[name]) < 1e-3
        assert len(found) == len(wanted)


class Elements(HTMLParser):
    """What a browser finds: the elements, and the text of each script by its id."""

    def __init__(self):
        super().__init__()
        self.found, self.texts = [], {}

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data):
        if self.found and self.found[-1][0] == "script":
            name = self.found[-1][1].get("id", "")
            self.texts[name] = self.texts.get(name, "") + data


def test_names_of_classes_and_files_stay_text():
    model, plan = small("grey")
    nasty = [
        "</script><script>alert(1)</script>",
        "<!--",
        "@SCRIPT@@MODEL@@POLICY@",
        "\u2028\x1b[2J",
        "\"'&<img src=x onerror=y>",
    ]
    model = replace(model, name="runs/</title>\udcff<script>", classes=(*nasty, *model.classes[5:]))
    plain, page = Elements(), Elements()
    plain.feed(page_of(replace(model, name="x", classes=("a",) * len(model.classes)), plan))
    text = page_of(model, plan)
    page.feed(text)
    assert page.found == plain.found and json.loads(page.texts["facts"])["classes"] == list(model.classes)
    assert text.encode() and page.texts["model"] == plain.texts["model"]
    policies = [attributes["content"] for tag, attributes in page.found if attributes.get("http-equiv")]
    assert len(policies) == 1 and "unsafe-inline" not in policies[0] and "default-src 'none'" in policies[0]
    assert not [attributes for _tag, attributes in page.found if {"style", "onclick", "onload", "onerror"} & set(attributes)]
    assert "script-src 'sha256-" in policies[0] and "style-src 'sha256-" in policies[0]


@pytest.mark.slow
def test_fifty_pictures_are_answered_as_in_python(browser, digits_page, tiny_run, tmp_path):
    model = load_model(tiny_run.folder)
    images = load_images("digits", image_size=16, channels=1).test.images[:50]
    browser.console.clear()
    browser.open(digits_page.as_uri())
    compare(browser, model, integer_plan(model), [Image.fromarray(image[:, :, 0]) for image in images], tmp_path)
    assert browser.console == []


def test_depthwise_filters_are_answered_as_in_python(browser, tmp_path):
    model, plan = small("depthwise")
    page = tmp_path / "depthwise.html"
    page.write_text(page_of(model, plan))
    browser.open(page.as_uri())
    compare(browser, model, plan, [Image.fromarray(pixels) for pixels in pictures_like(model.config, 8)], tmp_path)


def test_a_page_says_none_of_these(browser, tmp_path):
    model, plan = small("grey")
    # No logit is as large as that.
    model = replace(model, none_of_these=NoneOfThese(weights=(), biases=(-(10**6),), least=-(1 << 31)))
    page = tmp_path / "none.html"
    page.write_text(page_of(model, plan))
    browser.open(page.as_uri())
    compare(browser, model, plan, [Image.fromarray(pixels[:, :, 0]) for pixels in pictures_like(model.config, 3)], tmp_path)


@pytest.mark.slow
def test_fifty_photographs_are_answered_as_in_python(browser, photographs, tmp_path):
    model, images = load_model(ROOT / "docs" / "runs" / "late-24-bf16").folded(), load_images(photographs, image_size=32)
    plan = planned(model, np.array(images.training.images))
    page = tmp_path / "late.html"
    page.write_text(page_of(model, plan))
    assert page.stat().st_size < 1e6
    chosen = np.random.default_rng(0).permutation(len(images.test))[:50]
    browser.open(page.as_uri())
    compare(browser, model, plan, [Image.fromarray(images.test.images[i]) for i in chosen], tmp_path)


@pytest.mark.parametrize("name", ["mirrored", "three wide pooling", "grey"])
def test_pictures_of_any_size_and_kind(name, browser, tmp_path):
    model, plan = small(name)
    page = tmp_path / "page.html"
    page.write_text(page_of(replace(model, temperature=30.0), plan))
    random = np.random.default_rng(0)
    noise = Image.fromarray(random.integers(0, 256, (700, 531, 3), np.uint8))
    clouds = Image.fromarray(random.integers(0, 256, (6, 7, 3), np.uint8)).resize((301, 200), Image.Resampling.BICUBIC)
    clear = clouds.resize((40, 50)).convert("RGBA")
    clear.putalpha(Image.fromarray((random.random((50, 40)) < 0.5).astype(np.uint8) * 255))
    pictures = [noise, clouds, clouds.convert("L"), clouds.convert("P"), clouds.resize((9, 20)), clear, turned(clouds)]
    browser.open(page.as_uri())
    compare(browser, replace(model, temperature=30.0), plan, pictures, tmp_path)


def turned(picture):
    """As a camera held upright leaves it: to be turned by who shows it."""
    orientation = Image.Exif()
    orientation[0x0112] = 6
    file = io.BytesIO()
    picture.save(file, "PNG", exif=orientation)
    return Image.open(file)


def test_a_page_says_unsure_and_which_file_it_cannot_read(browser, tiny_run, tmp_path):
    trained = load_model(tiny_run.folder)
    model = replace(trained, threshold=1.1, classes=("<b>&</b>", "</script>", *"234567", "@SCRIPT@", "9"))
    page = tmp_path / "page.html"
    page.write_text(page_of(model, integer_plan(trained)))
    browser.open(page.as_uri())
    image = Image.fromarray(load_images("digits", image_size=16, channels=1).test.images[0][:, :, 0])
    verdict, found = answered(browser, image, tmp_path)
    assert verdict.startswith("Unsure, perhaps ") and set(found) == set(model.classes)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    browser.choose("#file", tmp_path / "broken.png")
    browser.wait_for("document.querySelector('#problem').textContent.includes('not a picture')")
    browser.value("document.querySelector('#paste').click()")
    browser.wait_for("/nothing be pasted|no picture to paste/.test(document.querySelector('#problem').textContent)")


def test_a_picture_can_be_pasted_dropped_and_taken_by_camera(browser, digits_page):
    browser.open(digits_page.as_uri())
    image = load_images("digits", image_size=16, channels=1).test.images[1]
    file = io.BytesIO()
    Image.fromarray(image[:, :, 0]).save(file, "PNG")
    # A stand-in for what the system's clipboard and file manager hand over.
    coded = base64.b64encode(file.getvalue()).decode()
    browser.value(f"""window.carried = new DataTransfer();
        const content = Uint8Array.from(atob("{coded}"), character => character.charCodeAt(0));
        carried.items.add(new File([content], "x.png", {{ type: "image/png" }})); 0""")
    pasted, dropped = "ClipboardEvent('paste', { clipboardData: carried })", "DragEvent('drop', { dataTransfer: carried })"
    for event in (f"new {pasted}", f"new {dropped}"):
        browser.value("document.querySelector('#verdict').textContent = ''; 0")
        browser.value(f"document.dispatchEvent({event}), 0")
        browser.wait_for("document.querySelector('#verdict').textContent !== ''")
    browser.value("document.querySelector('#verdict').textContent = ''; document.querySelector('#camera').click(); 0")
    browser.wait_for("document.activeElement.id === 'shoot'")
    browser.value("document.querySelector('#shoot').click()")
    browser.wait_for("document.querySelector('#verdict').textContent !== ''")
    assert browser.value("document.querySelector('#viewfinder').hidden && !document.querySelector('#video').srcObject")


def test_keyboard_and_screen_reader(browser, digits_page):
    browser.open(digits_page.as_uri())
    met = []
    for _ in range(3):
        browser.press("Tab", "Tab", windowsVirtualKeyCode=9)
        met.append(browser.value("document.activeElement.id"))
    assert met == ["file", "paste", "camera"]
    browser.tell("Accessibility.enable")
    tree = browser.tell("Accessibility.getFullAXTree")["nodes"]
    named = {(node["role"]["value"], node.get("name", {}).get("value", "")) for node in tree if not node["ignored"]}
    assert ("heading", "What is it? 10 classes") in named and ("button", "Camera") in named
    assert any("choose a file" in name for role, name in named if role == "button")


def test_nothing_can_leave_the_page(browser, digits_page):
    text = digits_page.read_text()
    assert not re.search(r"https?://", text)
    browser.open(digits_page.as_uri())
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        for attempt in ("fetch('data:,x')", f"fetch('{url}', {{ mode: 'no-cors' }})", "import('data:text/javascript,1')"):
            assert browser.value(f"{attempt}.then(() => 'out', () => 'kept')") == "kept"
        browser.value(f"new Image().src = '{url}x.png'; navigator.sendBeacon('{url}', 'x'); 0")
        listening.settimeout(0.5)
        with pytest.raises(TimeoutError):
            listening.accept()
    browser.value("""(() => {
        const made = document.createElement("script");
        made.textContent = "window.inside = 1";
        document.body.append(made);
    })()""")
    assert browser.value("window.inside") is None


@pytest.mark.slow
def test_the_command_and_what_a_page_weighs(tiny_run, tiny_sqz, tmp_path, capsys):
    out = tmp_path / "x.html"
    assert main(["export", str(tiny_sqz), "--format", "html", "-o", str(out), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["bytes"] == out.stat().st_size and said["validation"] == {}
    runtime = len((ROOT / "src/squeezekit/export/html/page/page.wasm").read_bytes())
    assert said["bytes"] < 4 / 3 * (said["model"] + runtime) + 20_000
    # Of the file's bytes a page adds a third and some 40 KB.
    assert said["bytes"] < 4 / 3 * 1.1 * (tiny_sqz).stat().st_size + 45_000
    assert main(["export", str(tiny_run.folder), "--format", "html", "-o", str(out)]) == 0
    assert "in eight bits" in capsys.readouterr().out
    assert main(["export", str(tiny_run.folder), "--format", "html", "-o", str(out.with_suffix(".onnx"))]) == 2
    assert "name a file that ends in .html" in capsys.readouterr().err
    assert main(["export", str(tiny_run.folder), "--format", "html", "--int8", "-o", str(out)]) == 2
    assert "leave it out" in capsys.readouterr().err
    (tmp_path / "folder").mkdir()
    with pytest.raises((SqueezekitError, OSError)):
        export_html(tiny_run.folder, tmp_path / "folder")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ziglang") is None, reason="not installed; pip install 'squeezekit[c]'")
def test_the_module_that_is_shipped_is_what_its_source_gives(tmp_path):
    made = tmp_path / "page.wasm"
    subprocess.run([sys.executable, ROOT / "scripts" / "build_page.py", made], check=True)
    assert made.read_bytes() == (ROOT / "src/squeezekit/export/html/page/page.wasm").read_bytes()
