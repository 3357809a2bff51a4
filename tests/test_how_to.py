"""What the how-to pages say: their tables of calls run, and the messages that they explain exist."""

import mmap
import pickle
import re
import struct
from pathlib import Path

import numpy as np
import pytest

from scikitplot.memmap import MemMap, open_npy

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "doc" / "how_to"
PACKAGE = ROOT / "scikitplot" / "memmap"


def rows_of(page):
    """The rows of the page's table of calls: the code that stands in the first two columns."""
    table = (PAGES / page).read_text(encoding="utf-8").partition(":class: calls")[2]
    rows = re.findall(r"^   \* - (.*)\n     - (.*)$", table, re.MULTILINE)
    return [tuple("; ".join(re.findall("``(.+?)``", cell)) for cell in row) for row in rows if "``" in row[1]]


@pytest.fixture
def names(tmp_path):
    """What the tables speak of. Arrays and maps are closed by whoever makes them."""
    path = tmp_path / "forty.f32"
    np.arange(2048, dtype="<f4").tofile(path)
    npy = tmp_path / "table.npy"
    np.save(npy, np.zeros((10, 4), "<f4"))
    return {
        "path": path, "npy": npy, "new": tmp_path / "new.f32", "np": np, "mmap": mmap, "pickle": pickle,
        "struct": struct, "MemMap": MemMap, "open_npy": open_npy,
    }  # fmt: skip


def run(code, names):
    """Run the code of a cell; close what it opened."""
    try:
        found = eval(code, names)
    except SyntaxError:
        found = exec(code, names)
    if isinstance(found, (MemMap, mmap.mmap)):
        found.close()


@pytest.mark.parametrize(("theirs", "ours"), rows_of("from_numpy_memmap.rst"))
def test_the_calls_of_numpy_memmap_and_their_counterparts_run(theirs, ours, names):
    names["array"] = np.memmap(names["path"], "<f4", "r+", shape=(10, 4))
    run(theirs, names)
    names.pop("array", None)
    names["array"] = array = np.memmap(names["path"], "<f4", "r+", shape=(10, 4))
    with MemMap.open(names["path"], "r+", dtype="<f4", shape=(10, 4)) as names["mm"]:
        run(ours, names)
    del array


@pytest.mark.linux  # madvise, and resize
@pytest.mark.parametrize(("theirs", "ours"), rows_of("from_mmap.rst"))
def test_the_calls_of_mmap_and_their_counterparts_run(theirs, ours, names):
    names["path"].write_bytes(bytes(160))
    with open(names["path"], "r+b") as names["file"]:
        names["m"] = mmap.mmap(names["file"].fileno(), 0)
        run(theirs, names)
    names.pop("m").close()
    with MemMap.open(names["path"], "r+") as names["mm"]:
        run(ours, names)


@pytest.mark.parametrize(("theirs", "ours"), rows_of("from_memorymap.rst"))
def test_the_counterparts_of_calls_of_memorymap_run(theirs, ours, names):
    with MemMap.open(names["path"], "r+") as names["mm"]:
        run(ours, names)


def test_the_tables_have_their_rows():
    assert len(rows_of("from_numpy_memmap.rst")) >= 20
    assert len(rows_of("from_mmap.rst")) >= 15
    assert len(rows_of("from_memorymap.rst")) >= 15


def source():
    """All texts of the package; a text over several lines is one, and what is formatted into it is ``...``."""
    files = sorted(path for end in ("py", "pyx") for path in PACKAGE.glob(f"*.{end}"))
    text = "\n".join(path.read_text(encoding="utf-8") for path in files)
    return re.sub(r"""["']\s*\n\s*f?["']""", "", text)


MESSAGES = re.findall(r"^``(.+)``$", (PAGES / "troubleshooting.rst").read_text(encoding="utf-8"), re.MULTILINE)
NOT_OURS = {"assignment destination is read-only"}


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message_that_is_explained_exists(message):
    if message in NOT_OURS:
        with pytest.raises(ValueError, match=message):
            np.frombuffer(bytes(8))[:] = 1
        return
    text = source()
    pieces = [piece.strip() for piece in message.replace("(...)", "(\0)").split("...")]
    for piece in pieces:
        assert piece.replace("\0", "...") in text


def test_many_messages_are_explained():
    assert len(MESSAGES) >= 35
