"""A map in a notebook."""

import re

import pytest

pytestmark = pytest.mark.libraries


def run_cells(folder, *cells):
    """Run the cells of a notebook in a folder, and return the outputs of each."""
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": folder}}).execute()
    return [cell.outputs for cell in notebook.cells]


def printed(outputs):
    return "".join(output.get("text", "") for output in outputs)


def test_close_in_a_notebook_names_what_its_outputs_keep(make_file):
    path = make_file(bytes(100))
    outputs = run_cells(
        path.parent,
        "from scikitplot.memmap import MemMap",
        f"mm = MemMap.open({str(path)!r})",
        "mm[3:5]",
        "for chunk in mm.iter_chunks(nbytes=50): pass",
        "try:\n    mm.close()\nexcept BufferError as error:\n    print(error)",
        "%xdel _3\ndel chunk",
        "mm.close()\nprint(mm.closed)",
    )
    *_, refused, _, closed = map(printed, outputs)
    assert set(re.search(r"2 views are alive, held by (.*?)\. Drop", refused)[1].split(", ")) == {
        "chunk",
        "Out[3]",
        "_3",
        "_",
    }
    assert "%xdel _3" in refused
    assert closed == "True\n"


def test_a_notebook_shows_the_map_its_residency_and_bars_without_a_warning(make_file):
    path = make_file(bytes(1 << 16))
    shown, picture, bars, completed = run_cells(
        path.parent,
        f"from scikitplot.memmap import *\nmm = MemMap.open({str(path)!r}, dtype='u1,u1')\nmm",
        "import matplotlib\n%matplotlib inline\nax = plot_residency(mm)",
        "import sys\nsys.modules['ipywidgets'] = None\nfor _ in batches(mm, batch_size=1 << 13, progress=True): pass",
        "print(get_ipython().Completer.complete(line_buffer='mm[\"f', cursor_pos=5)[1])\nmm.close()",
    )
    assert "class='memmap'" in shown[-1].data["text/html"]
    assert "<td>f1</td>" in shown[-1].data["text/html"]
    assert any("image/png" in output.get("data", {}) for output in picture)
    assert "4/4" in printed(bars)
    assert "Warning" not in printed(bars)
    assert "f0" in printed(completed)
    assert "f1" in printed(completed)
