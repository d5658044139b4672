"""Drawings of matplotlib as parts of a page that allows no inline style: plain attributes in the colors of the text."""

from __future__ import annotations

import re
import xml.etree.ElementTree as Tree

NAMESPACE = "http://www.w3.org/2000/svg"
# A color that nothing else has stands for that of the text.
INK = "#010203"
# What matplotlib says of every element in a style sheet of the drawing.
LINES = {"stroke-linejoin": "round", "stroke-linecap": "butt"}

Tree.register_namespace("", NAMESPACE)
Tree.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def for_page(drawing: str, caption: str) -> str:
    """An SVG without prologue, comments and fixed size, with a title for screen readers."""
    root = Tree.fromstring(drawing)
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", **LINES}
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag.rpartition("}")[2] in ("metadata", "style"):
                parent.remove(child)
        _plain(parent)
    title = Tree.Element(f"{{{NAMESPACE}}}title")
    title.text = caption
    root.insert(0, title)
    return Tree.tostring(root, encoding="unicode")


def with_prefix(drawing: str, prefix: str) -> str:
    """The same with a prefix to its IDs, which all drawings of a page would share otherwise."""
    # Between tags stand labels, which may hold anything.
    return re.sub(r"<[^>]*>", lambda tag: re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{prefix}-", tag[0]), drawing)


def in_color(drawing: str, color: str) -> str:
    """The same for a file of its own, which has no text around it whose color it could inherit."""
    return re.sub(r"<[^>]*>", lambda tag: tag[0].replace('"currentColor"', f'"{color}"'), drawing)


def _plain(element: Tree.Element) -> None:
    """Its style as attributes, which mean the same."""
    for declaration in element.attrib.pop("style", "").split(";"):
        name, _, value = declaration.partition(":")
        if value:
            element.set(name.strip(), value.strip())
    for name, value in element.attrib.items():
        if value == INK:
            element.set(name, "currentColor")
