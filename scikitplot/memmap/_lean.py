"""Rows by index, of which hardly a page stays resident in this process."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import MapCore
from ._paging import PAGE_SIZE, pages_of
from ._reading import FOLIO, FOLIO_NBYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._concat import ConcatMap
    from ._file import File

    _Rows = npt.NDArray[np.int64]

RESIDENT_NBYTES = 1 << 25  # of the maps, that batches(evict=True) lets this process have
MOST_FILES = 64  # open at once; some systems allow a process 256
AROUND = (1 << 16) // PAGE_SIZE  # pages that Linux maps around one that is touched (fault_around_bytes)


class LeanRows:
    """Gathers rows of maps without mapping their pages: to touch one may make a huge page resident.

    Rows are read from the file. If it does not show what the map shows (mode "c"), if it is not cached in huge pages
    (and FUSE would empty its cache when it is opened), or if too many files are open, rows are gathered from the map,
    and their pages evicted, a few at a time.
    """

    def __init__(self) -> None:
        self._files: dict[MapCore, File | None] = {}

    def gather(self, table: MapCore | ConcatMap, starts: _Rows, length: int | None) -> npt.NDArray[Any]:
        """Do as `table.gather` does, with row numbers that are not negative."""
        run = 1 if length is None else length
        shape = (len(starts), *(() if length is None else (length,)), *table.shape[1:])
        taken = np.empty((len(starts), run, *table.shape[1:]), table.dtype)
        if isinstance(table, MapCore):
            self._gather(table, starts, run, taken)
        else:
            flat = taken.reshape(len(starts) * run, 1, *table.shape[1:])
            for mm, local, places in table._scattered(np.add.outer(starts, np.arange(run)).ravel()):
                part = np.empty((len(local), *flat.shape[1:]), table.dtype)
                self._gather(mm, local, 1, part)
                flat[places] = part
        return taken.reshape(shape)

    def _gather(self, mm: MapCore, starts: _Rows, run: int, out: npt.NDArray[Any]) -> None:
        file = self._file_of(mm)
        if file is not None:
            mm._read_rows(file, starts, run, out)
            return
        folios = run * mm._row_nbytes // FOLIO_NBYTES + 2  # that one run may lie in
        few = max(RESIDENT_NBYTES // (FOLIO_NBYTES * folios), 1)
        for at in range(0, len(starts), few):
            mm.gather(starts[at : at + few], out[at : at + few], length=run)
            evict_around(mm, starts[at : at + few], run)

    def _file_of(self, mm: MapCore) -> File | None:
        """Return the file of a map, if its rows can be read there."""
        if mm not in self._files and len(self._files) < MOST_FILES:
            reads = mm._region.shared and mm._region.reads_huge_pages
            self._files[mm] = mm._region.reopen_file() if reads else None
        return self._files.get(mm)


def evict_around(mm: MapCore, starts: _Rows, run: int) -> None:
    """Drop runs of rows from this process, and what was mapped together with them; they stay in the page cache."""
    row = mm._row_nbytes
    pages = pages_of([(at * row, (at + run) * row) for at in starts.tolist()], mm._region.offset)
    around = [(first // FOLIO * FOLIO - AROUND, -(-last // FOLIO) * FOLIO + AROUND) for first, last in pages]
    mm._region.evict_pages(around, None)
