"""Which module of the package imports which, as a graph and as a picture: ``python tools/architecture.py FILE.svg``."""

import re
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "scikitplot" / "memmap"
IMPORT = re.compile(r"^\s*from \.(\w*) c?import \(?([\w\s,#]+)", re.MULTILINE)
WIDE, HIGH, ACROSS, DOWN, BEND = 112, 30, 128, 62, 18  # of a box, from one to the next, of a bend
KINDS = {".pyx": "compiled", ".pxd": "compiled", ".py": "python"}


def imported_by(name):
    """Return the modules of the package that a module names in its sources, declarations and stubs."""
    found = set()
    for suffix in (".py", ".pyi", ".pyx", ".pxd"):
        path = PACKAGE / f"{name}{suffix}"
        for module, names in IMPORT.findall(path.read_text(encoding="utf-8") if path.exists() else ""):
            found.update([module] if module else re.findall(r"\w+", names))
    return found - {name}


def graph():
    """Return every module with those that it imports."""
    modules = {path.stem for path in PACKAGE.glob("*.p*")} - {"py"}
    return {name: imported_by(name) & modules for name in sorted(modules)}


def layered(imports):
    """Return rows of names, from the bottom up, and lines from each to names of the next row below.

    A module stands above all that it imports. A line that passes a row bends there, between the boxes of others; a bend
    is a name of its own. An import that follows from others has no line.
    """

    @cache
    def below(name):
        return frozenset(imports[name]).union(*map(below, imports[name]))

    @cache
    def rank(name):
        return 1 + max(map(rank, imports[name]), default=-1)

    rows = [[name for name in imports if rank(name) == at] for at in range(1 + max(map(rank, imports)))]
    lines = {name: [] for name in imports}
    for name, its in imports.items():
        for one in sorted(one for one in its if not any(one in below(other) for other in its)):
            bends = {at: f"{name} to {one}, row {at}" for at in range(rank(name) - 1, rank(one), -1)}
            for at, bend in bends.items():
                rows[at].append(bend)
            for upper, lower in pairwise([name, *bends.values(), one]):
                lines.setdefault(upper, []).append(lower)
    return rows, lines


def placed(rows, lines, boxes):
    """Return where each name stands: in its row, near what is below it."""
    places = {}
    for at, row in enumerate(rows):
        row.sort(key=lambda name: sum(places[one][0] for one in lines[name]) / max(len(lines[name]), 1))
        widths = [ACROSS if name in boxes else BEND for name in row]
        left = -sum(widths) / 2
        for name, width in zip(row, widths, strict=True):
            places[name] = left + width / 2, (len(rows) - 1 - at) * DOWN + HIGH / 2 + 1
            left += width
    return places


def svg(imports):
    """Draw the graph."""
    rows, lines = layered(imports)
    places = placed(rows, lines, imports)
    drawn = []
    for name, its in lines.items():
        for one in its:
            (x, y), (to_x, to_y) = places[name], places[one]
            y, to_y = y + HIGH / 2 * (name in imports), to_y - HIGH / 2 * (one in imports)
            middle = (y + to_y) / 2
            drawn.append(f'<path d="M{x:g} {y:g} C{x:g} {middle:g} {to_x:g} {middle:g} {to_x:g} {to_y:g}"/>')
    for name in imports:
        x, y = places[name]
        kind = next(kind for end, kind in KINDS.items() if (PACKAGE / f"{name}{end}").exists())
        box = f'x="{x - WIDE / 2:g}" y="{y - HIGH / 2:g}" width="{WIDE}" height="{HIGH}" rx="5"'
        drawn.append(f'<rect class="{kind}" {box}/><text x="{x:g}" y="{y + 5:g}">{name}</text>')
    edge = max(abs(x) for x, _ in places.values()) + ACROSS / 2
    size = f"{-edge:g} 0 {2 * edge:g} {(len(rows) - 1) * DOWN + HIGH + 2}"
    start = f'<svg class="architecture" xmlns="http://www.w3.org/2000/svg" viewBox="{size}">'
    return "\n".join([start, *drawn, "</svg>\n"])


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(svg(graph()), encoding="utf-8")
