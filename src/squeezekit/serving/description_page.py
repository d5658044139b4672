"""The page that describes the interface: one file without scripts, which loads nothing."""

from __future__ import annotations

import base64
import hashlib
from html import escape
from typing import Any

STYLE = """
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; color-scheme: light dark }
table { border-collapse: collapse } td, th { text-align: left; vertical-align: top; padding: .3rem .8rem .3rem 0 }
code, pre { font: .9rem/1.5 ui-monospace, monospace } pre { overflow-x: auto }
"""
POLICY = (
    "default-src 'none'; "
    f"style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<h1>{title}</h1>
<p>A picture is the body of a request, or several are parts of a form:</p>
<pre>curl --data-binary @picture.png '{address}/v1/classify?top=3'
curl -F images=@one.png -F images=@two.png {address}/v1/classify</pre>
{routes}
<p>For programs: <a href="/openapi.json">/openapi.json</a>.</p>
</body>
</html>
"""


def page_of_description(description: dict[str, Any], address: str) -> str:
    """The text of the page, from the service's OpenAPI description; `address` is how the reader has called the service."""
    routes = "\n".join(
        f"<h2><code>{escape(method.upper())} {escape(path)}</code></h2>\n<p>{escape(route.get('description', ''))}</p>\n"
        f"<table>{_rows(route)}</table>"
        for path, methods in description["paths"].items()
        for method, route in methods.items()
    )
    title = f"{description['info']['title']} {description['info']['version']}"
    return PAGE.format(title=escape(title), style=STYLE, address=escape(address), routes=routes)


def _rows(route: dict[str, Any]) -> str:
    parameters = [(f"?{one['name']}=", _range(one["schema"])) for one in route.get("parameters", ())]
    answers = [(status, answer["description"]) for status, answer in route["responses"].items()]
    return "".join(f"<tr><th><code>{escape(name)}</code></th><td>{escape(text)}</td></tr>" for name, text in parameters + answers)


def _range(schema: dict[str, Any]) -> str:
    bounds = f"{schema.get('minimum', '…')} to {schema.get('maximum', '…')}"
    return f"{schema.get('type', 'any')}, {bounds}, {schema.get('default')} where it is not given"
