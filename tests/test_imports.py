"""Modules import each other in one direction, in stubs and for type checkers, too, and as CONTRIBUTING.md says."""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

from architecture import graph, svg  # noqa: E402


def test_no_import_leads_back():
    left = graph()
    assert "_map" in left["__init__"]
    assert "_region" in left["_core"]
    while left:  # take away what imports nothing that is left
        free = {name for name, imports in left.items() if not imports & left.keys()}
        assert free, f"a circle among {left}"
        left = {name: imports for name, imports in left.items() if name not in free}


def test_contributing_lists_every_module_below_those_that_it_imports():
    table = re.findall(r"^\| (`.+?) \|", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.MULTILINE)
    rank = {name: k for k, cell in enumerate(table) for name in re.findall(r"`(\w+)\.p(?:y|yx|xd)`", cell)}
    imports = graph()
    assert rank.keys() == imports.keys()
    wrong = {(name, one) for name, its in imports.items() for one in its if rank[one] > rank[name]}
    assert not wrong


def test_the_picture_of_the_architecture_has_every_module_and_what_it_needs():
    picture, imports = svg(graph()), graph()
    assert all(f">{name}</text>" in picture for name in imports)
    assert picture.count("<path") >= sum(map(bool, imports.values()))
