"""Sphinx configuration. It documents the installed package, and runs the examples of the gallery."""

import re
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tools"))

import architecture  # noqa: E402

project = "scikit-plots-memmap"
author = "scikit-plots developers"
copyright = author
release = version = installed_version(project)

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "numpydoc",
    "sphinx_design",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
exclude_patterns = ["_build", "_lanes.rst", "user_guide/_scenarios.rst", "examples"]
source_suffix = {".rst": "restructuredtext"}  # Markdown is only included
suppress_warnings = ["myst.xref_missing"]  # links between files of the repository that are no pages
default_role = "py:obj"
nitpicky = True
# NumPy, parameters and attributes have no page here; names that should have one (MemMap.close) are still checked
nitpick_ignore_regex = [("py:obj", r"(numpy\.)?[a-z_]+")]

templates_path = ["_templates"]
autosummary_generate = True
autodoc_typehints = "none"  # the numpydoc sections give the types
autodoc_class_signature = "separated"  # MemMap has no constructor to show
numpydoc_show_class_members = False  # reference.rst lists them by subject

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": "/plot_",
    "ignore_pattern": r"(?<!\w)(?!plot_)\w+\.py$",  # other pages show these
    "show_memory": False,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = "scikitplot.memmap"
WIDE = ["how_to/from_numpy_memmap", "how_to/from_mmap", "how_to/from_memorymap"]  # pages with tables of calls
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 5,
    "navbar_persistent": ["search-button"],
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], **{name: [] for name in WIDE}},
}
html_sidebars = {name: [] for name in ("index", "getting_started", "gallery", "release_notes")}
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sourcelink = False


# the test runs (tools/ci) recorded on this machine
lanes = subprocess.run([sys.executable, ROOT / "tools" / "ci" / "report.py", "table"], capture_output=True, check=True)
(ROOT / "doc" / "_lanes.rst").write_bytes(lanes.stdout)
(ROOT / "doc" / "_architecture.svg").write_text(architecture.svg(architecture.graph()), encoding="utf-8")

# the names that stand together on the page Reference
reference = (ROOT / "doc" / "reference.rst").read_text(encoding="utf-8")
together = [re.findall(r"^   ([\w.]+)$", part, re.MULTILINE) for part in reference.split(".. autosummary::")[1:]]


def see_also(app, what, name, obj, options, lines):
    """End the page of a name with the names that stand beside it."""
    short = name.removeprefix("scikitplot.memmap.")
    for names in together:
        if short in names:
            others = ", ".join(f":py:obj:`~scikitplot.memmap.{other}`" for other in names if other != short)
            if others:
                lines += ["", ".. seealso::", "", f"   {others}", ""]


def setup(app):
    app.connect("autodoc-process-docstring", see_also, priority=900)  # after numpydoc
