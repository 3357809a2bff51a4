"""Sphinx configuration. It documents the installed package and fetches nothing from the network."""

import re
import subprocess
import sys
from importlib.metadata import version as installed_version
from pathlib import Path

ROOT = Path(__file__).parents[1]

project = "scikit-plots-memmap"
author = "scikit-plots developers"
copyright = author
release = version = installed_version(project)

extensions = ["sphinx.ext.autodoc", "sphinx.ext.autosummary", "numpydoc"]
exclude_patterns = ["_build", "_lanes.rst", "user_guide/_scenarios.rst"]
default_role = "py:obj"
nitpicky = True
# NumPy, parameters and attributes have no page here; names that should have one (MemMap.close) are still checked
nitpick_ignore_regex = [("py:obj", r"(numpy\.)?[a-z_]+")]

autosummary_generate = True
autodoc_typehints = "none"  # the numpydoc sections give the types
autodoc_class_signature = "separated"  # MemMap has no constructor to show
numpydoc_show_class_members = False  # reference.rst lists them by subject

html_theme = "pydata_sphinx_theme"
html_title = "scikitplot.memmap"
html_theme_options = {"navbar_align": "left", "show_toc_level": 2, "secondary_sidebar_items": ["page-toc"]}
html_sidebars = {"release_notes": [], "reference": []}


# the test runs (tools/ci) recorded on this machine
lanes = subprocess.run([sys.executable, ROOT / "tools" / "ci" / "report.py", "table"], capture_output=True, check=True)
(ROOT / "doc" / "_lanes.rst").write_bytes(lanes.stdout)


def markdown_to_rst(app, path, docname, content):
    """Convert the subset of Markdown in CHANGELOG.md to reStructuredText."""
    if path.suffix == ".md":
        text = re.sub(r"`([^`]+)`", r"``\1``", content[0])
        text = re.sub(r"\[([^]]+)\]\((\S+)\)", r"`\1 <\2>`__", text)
        content[0] = re.sub(r"^(#+) (.+)$", lambda m: f"{m[2]}\n{'=-~'[len(m[1]) - 1] * len(m[2])}", text, flags=re.M)


def setup(app):
    app.connect("include-read", markdown_to_rst)
