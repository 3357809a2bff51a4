"""A map in a notebook."""

import re

import pytest

pytestmark = pytest.mark.libraries


def run_cells(folder, *cells):
    """Run the cells of a notebook in a folder, and return what each prints."""
    import nbclient
    import nbformat

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    nbclient.NotebookClient(notebook, timeout=60, resources={"metadata": {"path": folder}}).execute()
    return ["".join(output.get("text", "") for output in cell.outputs) for cell in notebook.cells]


def test_close_in_a_notebook_names_what_its_outputs_keep(make_file):
    path = make_file(bytes(100))
    *_, refused, _, closed = run_cells(
        path.parent,
        "from scikitplot.memmap import MemMap",
        f"mm = MemMap.open({str(path)!r})",
        "mm[3:5]",
        "for chunk in mm.iter_chunks(nbytes=50): pass",
        "try:\n    mm.close()\nexcept BufferError as error:\n    print(error)",
        "%xdel _3\ndel chunk",
        "mm.close()\nprint(mm.closed)",
    )
    assert set(re.search(r"2 views are alive, held by (.*?)\. Drop", refused)[1].split(", ")) == {
        "chunk",
        "Out[3]",
        "_3",
        "_",
    }
    assert "%xdel _3" in refused
    assert closed == "True\n"
