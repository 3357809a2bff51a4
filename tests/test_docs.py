"""Every example runs: in docstrings (of compiled modules, too), in the README, in the guide, in the gallery."""

import doctest
import importlib
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

import scikitplot.memmap

ROOT = Path(__file__).parents[1]
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = [
    importlib.import_module(f"scikitplot.memmap.{module.name}")
    for module in pkgutil.iter_modules(scikitplot.memmap.__path__)
]
FOUND = [test for module in MODULES for test in doctest.DocTestFinder().find(module) if test.examples]
DOCSTRINGS = {test.name: test for test in FOUND if "__test__" not in test.name}  # where Cython repeats them
PAGES = [ROOT / "README.md", *sorted(page for end in ("md", "rst") for page in ROOT.glob(f"doc/**/*.{end}"))]
# `make demo` runs the word vectors
SCRIPTS = sorted(set(ROOT.glob("doc/examples/*.py")) - {ROOT / "doc/examples/word_vectors.py"})


def run(test):
    """Run a doctest; fail with its report."""
    report = []
    failed, attempted = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert attempted == len(test.examples)
    assert not failed, "".join(report)


def examples_of(page):
    """The examples of a page as one test. A fence ends the output above it."""
    text = re.sub(r"^\s*(```|:::).*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)


def methods(cls):
    return {
        name: getattr(cls, name) for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name, None))
    }


PUBLIC = {name: getattr(scikitplot.memmap, name) for name in scikitplot.memmap.__all__}
PUBLIC |= methods(scikitplot.memmap.MemMap)


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def needs_of(text):
    """What code that imports more than NumPy is marked with."""
    return pytest.mark.consumers if "matplotlib" in text else ()


def needs(name):
    return needs_of("".join(example.source for example in DOCSTRINGS[name].examples))


@pytest.mark.parametrize("name", [pytest.param(name, marks=needs(name)) for name in DOCSTRINGS])
def test_the_examples_of_a_docstring_run(name):
    run(DOCSTRINGS[name])


def test_the_examples_of_compiled_modules_are_found():
    compiled = [module.__name__ for module in MODULES if not module.__file__.endswith(".py")]
    assert "scikitplot.memmap._core" in compiled
    assert sum(name.startswith(tuple(compiled)) for name in DOCSTRINGS) >= 6
    assert sum(len(test.examples) for test in DOCSTRINGS.values()) >= 60


@pytest.mark.parametrize(("name", "thing"), PUBLIC.items(), ids=list(PUBLIC))
def test_every_public_name_is_documented_with_an_example_that_runs(name, thing):
    assert ">>> " in thing.__doc__
    assert name in {found.rpartition(".")[2] for found in DOCSTRINGS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_examples_of_a_page_run(page):
    run(examples_of(page))


def test_the_readme_has_examples():
    assert len(examples_of(ROOT / "README.md").examples) >= 3


@pytest.mark.parametrize(
    "script",
    [pytest.param(script, id=script.name, marks=needs_of(script.read_text(encoding="utf-8"))) for script in SCRIPTS],
)
def test_a_script_of_the_gallery_runs(script, tmp_path):
    environment = {**os.environ, "MPLBACKEND": "Agg"}
    done = subprocess.run([sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
