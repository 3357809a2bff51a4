"""The public surface is the one that was agreed on: ``python tests/test_public_api.py`` writes public_api.txt anew."""

import inspect
import re
import tomllib
from pathlib import Path

import scikitplot.memmap
from scikitplot.memmap._batches import Batches
from scikitplot.memmap._concat import ConcatMap

ROOT = Path(__file__).parents[1]
SNAPSHOT = ROOT / "tests" / "public_api.txt"
HEADING = "# Written by tests/test_public_api.py. A line that changes or goes breaks somebody's program.\n"
OF_OBJECT = set(dir(object)) | {"__dict__", "__module__", "__weakref__", "__slots__", "__annotations__", "__doc__"}
# how Python and Cython make classes, which differs from version to version
MACHINERY = {"__pyx_vtable__", "__static_attributes__", "__firstlineno__", "__parameters__", "__orig_bases__"}
MACHINERY |= {"__annotate__", "__annotate_func__", "__annotations_cache__"}


def signature_of(thing):
    signature = inspect.signature(thing)
    bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=inspect.Signature.empty))


def lines_of(name, thing):
    """One line for a function; for a class one for each public attribute, protocols of other libraries included."""
    if not inspect.isclass(thing):
        return [name + signature_of(thing)]
    if issubclass(thing, Exception):
        return [f"{name}({thing.__mro__[1].__name__})"]
    found = []
    for attribute in sorted(set(dir(thing)) - OF_OBJECT - MACHINERY):
        if (attribute.startswith("_") and not attribute.startswith("__")) or not hasattr(thing, attribute):
            continue
        value = getattr(thing, attribute)
        if attribute.startswith("__") or not callable(value):
            found.append(f"{name}.{attribute}")
        else:
            found.append(f"{name}.{attribute}{signature_of(value)}")
    return found


def surface():
    public = {name: getattr(scikitplot.memmap, name) for name in scikitplot.memmap.__all__}
    public |= {"batches() -> Batches": Batches, "concat() -> ConcatMap": ConcatMap}
    return HEADING + "".join(f"{line}\n" for name in sorted(public) for line in lines_of(name, public[name]))


def test_the_public_surface_is_that_of_the_snapshot():
    assert surface().splitlines() == SNAPSHOT.read_text(encoding="utf-8").splitlines()


def test_the_version_stands_in_meson_build_only():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert "version" not in project
    assert project["dynamic"] == ["version"]


def test_the_citation_is_that_of_the_last_release():
    text = {name: (ROOT / name).read_text(encoding="utf-8") for name in ("CITATION.cff", "CHANGELOG.md", "meson.build")}
    version, date = re.search(r"^## (\d+\.\d+\.\d+) - (\S+)$", text["CHANGELOG.md"], re.MULTILINE).groups()
    assert f"\nversion: {version}\ndate-released: {date}\n" in text["CITATION.cff"]
    assert f"version: '{version}'" in text["meson.build"]


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), encoding="utf-8")
