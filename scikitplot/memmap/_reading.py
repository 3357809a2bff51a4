"""Reading ahead of those who will touch the pages."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from threading import Thread
from typing import TYPE_CHECKING

from ._kernels import read_file
from ._paging import PAGE_SIZE

if TYPE_CHECKING:
    from ._paging import Runs
    from ._region import Region

FOLIO_NBYTES = 1 << 21  # what Linux caches, maps and drops as one at most,
FOLIO = FOLIO_NBYTES // PAGE_SIZE  # and in pages
WINDOW_NBYTES = 1 << 25  # what is read ahead at a time,
SMALL_WINDOW_NBYTES = 1 << 23  # and where memory is to be saved


class ReadAhead:
    """Reads the bytes [start, stop) of a region, in threads, a window ahead of those that are used. Advisory."""

    def __init__(self, region: Region, start: int, stop: int, window: int) -> None:
        self._region = region
        self._file = region.reopen_file() if stop - start >= FOLIO_NBYTES and region.reads_huge_pages else None
        self._stop = stop
        self._half = -(-window // 2)
        self._ready = start  # the bytes before it have been read,
        self._next = start  # and those before it are asked for
        self._parts: deque[tuple[int, Thread | None]] = deque()  # under way: where each ends, and who reads it
        self._begin()
        self._begin()  # the disk has work while one half comes to its end

    def advance(self, position: int) -> None:
        """Wait until the bytes before `position` have been read, and begin to read the next ones."""
        while self._parts and self._ready < position:
            self._ready, thread = self._parts.popleft()
            if thread is not None:
                thread.join()
            self._begin()

    def _begin(self) -> None:
        start, stop = self._next, min(self._next + self._half, self._stop)
        if start >= stop:
            return
        thread = None
        if self._file is None:
            self._region.request(start, stop)
        else:
            part = self._region.offset + start, stop - start, self._stop - stop
            thread = Thread(target=read_file, args=(self._file, *part))
            try:
                thread.start()
            except RuntimeError:  # the system starts no more threads: the pages are read when they are touched
                thread = None
        self._parts.append((stop, thread))
        self._next = stop


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
