"""The page that describes the interface loads nothing, and shows whatever it is given as text."""

import base64
import hashlib
import re

from squeezekit.serving.description_page import POLICY, page_of_description


def test_nothing_is_loaded_and_everything_is_text():
    odd = "<script>alert('1')</script>&\"{x}"
    route = {
        "description": odd,
        "parameters": [{"name": odd, "schema": {"type": odd}}],
        "responses": {"200": {"description": odd}},
    }
    description = {"info": {"title": odd, "version": "1"}, "paths": {f"/{odd}": {"post": route}}}
    page = page_of_description(description, f"http://{odd}")
    assert "<script" not in page and "&lt;script&gt;" in page
    # The one address is of the service itself.
    assert re.findall(r"\b(?:src|href|url|import)[=( ]+[\"']?([^\"'> ]*)", page) == ["/openapi.json"]
    style = re.search(r"<style>(.*)</style>", page, re.S)[1]
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}'" in POLICY and "default-src 'none'" in POLICY and "unsafe" not in POLICY
