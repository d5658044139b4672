"""Drawings for a page that allows no inline style."""

from squeezekit.reporting.svg import for_page, in_color, with_prefix

DRAWING = """<?xml version="1.0" encoding="utf-8" standalone="no"?>
<svg xmlns:xlink="http://www.w3.org/1999/xlink" width="9pt" height="9pt" viewBox="0 0 9 9" xmlns="http://www.w3.org/2000/svg">
 <metadata><x/></metadata>
 <defs><style type="text/css">*{stroke-linejoin: round}</style><path id="m1" d="M 0 0" style="stroke: #010203; opacity: 0.5"/></defs>
 <!-- a comment -->
 <g id="g1"><use xlink:href="#m1" clip-path="url(#c1)"/><text style="font-family: 'DejaVu Sans', serif">id="x" #010203 &lt;b&gt;</text></g>
</svg>"""  # noqa: E501


def test_styles_become_attributes_and_labels_stay():
    page = for_page(DRAWING, 'what & "why" <script>')
    assert page.startswith('<svg xmlns="http://www.w3.org/2000/svg"') and "style" not in page
    assert "comment" not in page and "metadata" not in page and "width=" not in page
    assert 'stroke="currentColor" opacity="0.5"' in page and "font-family=\"'DejaVu Sans', serif\"" in page
    assert '<title>what &amp; "why" &lt;script&gt;</title>' in page
    assert '>id="x" #010203 &lt;b&gt;</text>' in page


def test_ids_get_a_prefix_and_colors_a_value_but_never_in_a_label():
    page = for_page(DRAWING, "a drawing")
    prefixed = with_prefix(page, "plot-1")
    assert all(part in prefixed for part in (' id="plot-1-m1"', 'href="#plot-1-m1"', "url(#plot-1-c1)", ' id="plot-1-g1"'))
    assert '>id="x" #010203' in prefixed
    assert 'stroke="#222222"' in in_color(page, "#222222")
