"""Modules import each other in one direction, in stubs and for type checkers, too."""

import re
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "scikitplot" / "memmap"
IMPORT = re.compile(r"^\s*from \.(\w*) c?import \(?([\w\s,#]+)", re.MULTILINE)


def imported_by(name):
    """The modules of the package that a module names in its sources, declarations and stubs."""
    found = set()
    for suffix in (".py", ".pyi", ".pyx", ".pxd"):
        path = PACKAGE / f"{name}{suffix}"
        for module, names in IMPORT.findall(path.read_text() if path.exists() else ""):
            found.update([module] if module else re.findall(r"\w+", names))
    return found - {name}


def test_no_import_leads_back():
    modules = {path.stem for path in PACKAGE.glob("*.p*")} - {"py"}
    left = {name: imported_by(name) & modules for name in modules}
    assert "_map" in left["__init__"]
    assert "_region" in left["_core"]
    while left:  # take away what imports nothing that is left
        free = {name for name, imports in left.items() if not imports & left.keys()}
        assert free, f"a circle among {left}"
        left = {name: imports for name, imports in left.items() if name not in free}
