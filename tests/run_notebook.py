"""Runs the code cells of a notebook in one namespace, as Jupyter would, and shows what each cell ends with.

    python run_notebook.py NOTEBOOK

Needs neither Jupyter nor a kernel. An error ends it with its traceback and the number of its cell.
"""

import ast
import json
import sys
from pathlib import Path


def shown(value):
    """As a notebook shows it."""
    for name in ("_repr_html_", "_repr_png_", "__repr__"):
        if hasattr(value, name) and (text := getattr(value, name)()) is not None:
            return text if isinstance(text, str) else f"{len(text)} bytes"
    return None


def run(notebook):
    """Every code cell; yields each one's text and what its last line shows."""
    namespace = {"__name__": "__main__"}
    cells = json.loads(Path(notebook).read_text(encoding="utf-8"))["cells"]
    for number, cell in enumerate(cells):
        if cell["cell_type"] != "code":
            continue
        text = "".join(cell["source"])
        tree = ast.parse(text)
        last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
        exec(compile(tree, f"cell {number}", "exec"), namespace)
        value = eval(compile(ast.Expression(last.value), f"cell {number}", "eval"), namespace) if last else None
        yield text, None if value is None else shown(value)


if __name__ == "__main__":
    for cell, output in run(sys.argv[1]):
        print(json.dumps([cell, output]), flush=True)
