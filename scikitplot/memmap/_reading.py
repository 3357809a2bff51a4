"""Reading ahead of those who will touch the pages."""

from __future__ import annotations

from collections.abc import Iterator
from threading import Thread
from typing import TYPE_CHECKING

from ._kernels import read_file

if TYPE_CHECKING:
    from ._paging import Runs
    from ._region import Region

FOLIO_NBYTES = 1 << 21  # what Linux caches, maps and drops as one at most
WINDOW_NBYTES = 1 << 25  # what is read ahead at a time,
SMALL_WINDOW_NBYTES = 1 << 23  # and where memory is to be saved


class ReadAhead:
    """Reads the bytes [start, stop) of a region, in a thread, a window ahead of those that are used. Advisory."""

    def __init__(self, region: Region, start: int, stop: int, window: int) -> None:
        self._region = region
        self._file = region.reopen_file() if stop - start >= FOLIO_NBYTES and region.reads_huge_pages else None
        self._stop = stop
        self._window = window
        self._ready = start  # the bytes before it have been read
        self._thread = self._begin()

    def advance(self, position: int) -> None:
        """Wait until the bytes before `position` have been read, and begin to read the next ones."""
        while self._ready < min(position, self._stop):
            if self._thread is not None:
                self._thread.join()
            self._ready += self._window
            self._thread = self._begin()

    def _begin(self) -> Thread | None:
        start, stop = self._ready, min(self._ready + self._window, self._stop)
        if start >= stop:
            return None
        if self._file is None:
            self._region.request(start, stop)
            return None
        part = self._region.offset + start, stop - start, self._stop - stop
        thread = Thread(target=read_file, args=(self._file, *part))
        try:
            thread.start()
        except RuntimeError:  # the system starts no more threads: the pages are read when they are touched
            return None
        return thread


def read_runs(region: Region, runs: Runs, wait: bool) -> Iterator[int]:
    """Start to read runs of bytes. With `wait`, wait until they are resident, and yield the sizes of parts that are."""
    for start, stop in runs:
        if not wait or stop - start < FOLIO_NBYTES:
            for at, end in windows(start, stop):
                region.request(at, end)
    for start, stop in runs if wait else ():
        ahead = ReadAhead(region, start, stop, WINDOW_NBYTES) if stop - start >= FOLIO_NBYTES else None
        for at, end in windows(start, stop):
            if ahead is not None:
                ahead.advance(end)
            region.touch(at, end)
            yield end - at


def windows(start: int, stop: int) -> Iterator[tuple[int, int]]:
    """Cut a run into windows: short enough for a progress bar, and for an interrupt."""
    return ((at, min(at + WINDOW_NBYTES, stop)) for at in range(start, stop, WINDOW_NBYTES))
