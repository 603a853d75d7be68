"""Draws the folders of the package and what imports what: ``python docs/pictures/architecture.py``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean

import networkx as nx
from make import BLUE, INK, arrow, box, svg, text

PACKAGE = Path(__file__).parents[2] / "autoprune"
LEFT_OUT = {"__init__", "__main__"}
COLUMN, ROW, WIDTH, HEIGHT = 200, 76, 176, 40


def room(file: Path) -> str:
    """The folder of the package, or its module, that a file belongs to."""
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(file: Path) -> Iterator[str]:
    """The folders and modules of the package that a file imports from."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            package, _, inside = node.module.partition(".")
            if package == PACKAGE.name:
                yield from [inside.partition(".")[0]] if inside else [alias.name for alias in node.names]


def imports() -> nx.DiGraph[str]:
    """An arrow from each folder to those that it imports, without those that follow from others."""
    files = [file for file in PACKAGE.rglob("*.py") if room(file) not in LEFT_OUT]
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(map(room, files))
    graph.add_edges_from((room(file), other) for file in files for other in imported_rooms(file))
    graph.remove_edges_from(list(nx.selfloop_edges(graph)))
    graph.remove_nodes_from([name for name in graph if name not in set(map(room, files))])
    ordered: nx.DiGraph[str] = nx.DiGraph()
    ordered.add_edges_from(sorted(nx.transitive_reduction(graph).edges))
    return ordered


def with_bends(graph: nx.DiGraph[str]) -> tuple[nx.DiGraph[str], dict[str, int]]:
    """The graph with a bend in each row that an arrow crosses, and the row of every node, from the top.

    Example: an arrow from row 1 to row 4 becomes three, by bends in rows 2 and 3, and passes between boxes.
    """
    row = {name: number for number, names in enumerate(nx.topological_generations(graph)) for name in names}
    bent: nx.DiGraph[str] = nx.DiGraph()
    for start, end in graph.edges:
        path = [start, *(f"{start} {end} {number}" for number in range(row[start] + 1, row[end])), end]
        row |= {name: row[start] + place for place, name in enumerate(path)}
        nx.add_path(bent, path)
    return bent, row


def ordered_rows(graph: nx.DiGraph[str], row: dict[str, int]) -> list[list[str]]:
    """The nodes of each row from left to right, by the mean place of neighbours (Sugiyama et al., 1981)."""
    rows = [sorted(name for name in row if row[name] == number) for number in range(max(row.values()) + 1)]
    for sweep in range(20):
        neighbours = graph.predecessors if sweep % 2 == 0 else graph.successors
        place = {name: number - len(names) / 2 for names in rows for number, name in enumerate(names)}
        for names in rows if sweep % 2 == 0 else reversed(rows):
            names.sort(key=lambda name: fmean([place[other] for other in neighbours(name)] or [place[name]]))
            place |= {name: number - len(names) / 2 for number, name in enumerate(names)}
    return rows


def is_box(node: str) -> bool:
    """Whether a node is a folder or module, rather than the bend of an arrow."""
    return " " not in node


def line_or_arrow(x1: float, y1: float, x2: float, y2: float, *, is_arrow: bool) -> str:
    """A straight part of an arrow; its last one has the head."""
    if is_arrow:
        return arrow(x1, y1, x2, y2 - 3)
    return f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{INK}" stroke-width="1.5" fill="none"/>'


def drawn() -> str:
    """The folders in rows, so that every arrow goes down, as an SVG."""
    graph, row = with_bends(imports())
    rows = ordered_rows(graph, row)
    width = max(map(len, rows)) * COLUMN + 40
    centre = {
        name: (width / 2 + (place - (len(names) - 1) / 2) * COLUMN, 30 + number * ROW)
        for number, names in enumerate(rows)
        for place, name in enumerate(names)
    }
    parts = []
    for start, end in graph.edges:
        (x1, y1), (x2, y2) = centre[start], centre[end]
        parts.append(line_or_arrow(x1, y1 + HEIGHT, x2, y2, is_arrow=is_box(end)))
    for name, (x, y) in centre.items():
        if not is_box(name):
            parts.append(line_or_arrow(x, y, x, y + HEIGHT, is_arrow=False))
        else:
            files = len([file for file in PACKAGE.rglob("*.py") if room(file) == name])
            parts += [
                box(x - WIDTH / 2, y, WIDTH, HEIGHT),
                text(x, y + 18, name, size=15, colour=BLUE),
                text(x, y + 33, f"{files} modules" if files > 1 else "one module", size=11),
            ]
    return svg(
        "Folders of the package: each imports from those below it",
        width,
        60 + len(rows) * ROW,
        parts,
    )


if __name__ == "__main__":
    Path(__file__).with_suffix(".svg").write_text(drawn(), encoding="utf-8")
