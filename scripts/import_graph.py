"""Draw the rooms of the source and the imports between them, and name what runs backwards.

    python scripts/import_graph.py [--source src/squeezekit] [-o docs/rooms.svg] [--json]

A room is a folder of the package; files beside the folders are rooms of their own. Imports inside functions count, those
under `if TYPE_CHECKING` do not: nothing is run for them. The picture lists the rooms from the first to the last. An arc on the
right leads from a room to one that it may import, a red arc on the left runs backwards; many imports make it wide.
"""

from __future__ import annotations

import argparse
import ast
import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path

# A room may import the rooms that stand before it; `squeezekit` is the package itself, with the verbs of the library.
ROOMS = (
    "system",
    "data",
    "networks",
    "acceleration",
    "codec",
    "training",
    "modelfile",
    "integer",
    "pretrained",
    "search",
    "quantization",
    "compression",
    "inference",
    "export",
    "serving",
    "updates",
    "device",
    "reporting",
    "workflows",
    "squeezekit",
    "cli",
)
Graph = dict[str, set[str]]


def imports_of(source: Path) -> Graph:
    """Which modules of the package each of its modules imports; `source` is the package's folder."""
    paths = {_module(path, source): path for path in sorted(source.rglob("*.py"))}
    return {name: {found for found in _named(path, source, set(paths)) if found != name} for name, path in paths.items()}


def _module(path: Path, source: Path) -> str:
    parts = path.relative_to(source.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _named(path: Path, source: Path, modules: set[str]) -> Iterator[str]:
    folders = path.relative_to(source.parent).parts[:-1]
    for node in _run_nodes(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            # A point is the folder of the file, each further one the folder around it.
            around = folders[: len(folders) + 1 - node.level] if node.level else ()
            origin = ".".join([*around, *([node.module] if node.module else [])])
            names = [f"{origin}.{alias.name}" for alias in node.names]
        for name in names:
            if name.split(".")[0] == source.name:
                yield name if name in modules else name.rpartition(".")[0]


def _run_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """Every node but those under `if TYPE_CHECKING`."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and isinstance(child.test, ast.Name) and child.test.id == "TYPE_CHECKING":
            continue
        yield child
        yield from _run_nodes(child)


def room_of(module: str) -> str:
    """The room that a module stands in: `squeezekit.data.splits` -> `data`; the package itself is `squeezekit`."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else parts[0]


def between_rooms(graph: Graph) -> Counter[tuple[str, str]]:
    """How many modules of the first room import a module of the second."""
    pairs = ((room_of(module), room_of(other)) for module, others in graph.items() for other in others)
    return Counter((here, there) for here, there in pairs if here != there)


def backwards(graph: Graph, rooms: Sequence[str]) -> list[str]:
    """Imports of a later room, or of a room that has no place in the order, as `module -> module`."""
    place = {room: number for number, room in enumerate(rooms)}
    return sorted(
        f"{module} -> {other}"
        for module, others in graph.items()
        for other in others
        if room_of(module) in place and place.get(room_of(other), len(rooms)) > place[room_of(module)]
    )


def cycles(graph: Graph) -> list[list[str]]:
    """Groups of modules that import each other in a circle (strongly connected; Tarjan, 1972)."""
    found: list[list[str]] = []
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        stack.append(module)
        for other in sorted(graph.get(module, ())):
            if other not in number:
                visit(other)
                lowest[module] = min(lowest[module], lowest[other])
            elif other in stack:
                lowest[module] = min(lowest[module], number[other])
        if lowest[module] == number[module]:
            group = stack[stack.index(module) :]
            del stack[stack.index(module) :]
            if len(group) > 1:
                found.append(sorted(group))

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return found


def drawn(graph: Graph, rooms: Sequence[str], files: Counter[str]) -> str:
    """The rooms and their imports as SVG; `files` counts the modules of each room."""
    step, left, width, height = 34, 210, 190, 26
    place = {room: 40 + step * number for number, room in enumerate(rooms)}
    shapes = []
    for (here, there), count in sorted(between_rooms(graph).items(), key=lambda item: item[1]):
        if here not in place or there not in place:
            continue
        start, end, back = place[here] + height / 2, place[there] + height / 2, place[there] > place[here]
        edge, reach = (
            (left, left - 20 - 0.28 * abs(start - end)) if back else (left + width, left + width + 20 + 0.42 * abs(start - end))
        )
        shapes.append(
            f'<path d="M{edge} {start} C{reach:.0f} {start}, {reach:.0f} {end}, {edge} {end}" fill="none" '
            f'stroke="{"#c0392b" if back else "#4a7fb5"}" stroke-opacity="0.55" stroke-width="{min(1 + count / 4, 5):.2f}">'
            f"<title>{escape(here)} imports {escape(there)}: {count}</title></path>"
        )
    for room, top in place.items():
        count = f"{files[room]} file{'s' if files[room] > 1 else ''}"
        shapes.append(
            f'<rect x="{left}" y="{top}" width="{width}" height="{height}" rx="6" fill="#f4f6f8" stroke="#5b6b7b"/>'
            f'<text x="{left + 12}" y="{top + 17}" fill="#1c2733">{escape(room)}</text>'
            f'<text x="{left + width - 10}" y="{top + 17}" text-anchor="end" fill="#5b6b7b" font-size="11">{count}</text>'
        )
    tall = 50 + step * len(rooms)
    title = "A room imports the rooms above it (blue, right). What runs backwards is red, left."
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 760 {tall}" font-family="sans-serif" font-size="14">'
        f'<rect width="760" height="{tall}" fill="white"/><text x="20" y="24" fill="#1c2733">{title}</text>'
        f"{''.join(shapes)}</svg>\n"
    )


def main() -> int:
    """0 where imports run one way and in no circle, 1 elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--source", type=Path, default=Path("src/squeezekit"), help="the package's folder (src/squeezekit)")
    parser.add_argument("--rooms", nargs="+", metavar="ROOM", default=ROOMS, help="the rooms from the first to the last")
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="write the picture there (SVG)")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    arguments = parser.parse_args()
    graph = imports_of(arguments.source)
    files = Counter(room_of(module) for module in graph)
    wrong, circles = backwards(graph, arguments.rooms), cycles(graph)
    if arguments.out:
        arguments.out.write_text(drawn(graph, arguments.rooms, files), encoding="utf-8")
    if arguments.json:
        pairs = {f"{here} -> {there}": count for (here, there), count in sorted(between_rooms(graph).items())}
        print(json.dumps({"files": files, "imports": pairs, "backwards": wrong, "circles": circles}))
    else:
        print(f"{len(graph)} modules in {len(files)} rooms; {len(wrong)} imports run backwards, {len(circles)} circles")
        for line in (*wrong, *(" <-> ".join(circle) for circle in circles)):
            print(f"  {line}")
    return 1 if wrong or circles else 0


if __name__ == "__main__":
    sys.exit(main())
