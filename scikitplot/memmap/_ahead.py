"""Reading ahead of who goes through a file from one place to another."""

from __future__ import annotations

import contextlib
import os
import sys

from ._region import File

LEAST_WINDOW, MOST_WINDOW = 1 << 21, 1 << 25  # bytes: with less, requests are larger where all is asked for at once
BUFFER = 1 << 16  # bytes


def window_of(device: int) -> int:
    """How many bytes Linux reads ahead from a device; 0 if it does not say."""
    try:
        with open(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb") as setting:
            return int(setting.read()) << 10
    except OSError:
        return 0


class ReadAhead:
    """Has a file read from `start` to where it is told, but not beyond `end`, and waits for nothing.

    Linux reads what it is advised to read in single pages, of which a request to a disk holds a few hundred. For a
    reader that goes on and on it takes larger and larger folios, up to 2 MiB (page_cache_async_ra() in
    mm/readahead.c of Linux 6.18): when the reader comes to a mark, at the half of the first window and then at the
    start of each, the window after the last one is read. Who looks at one byte at each mark, without waiting for it,
    is such a reader.

    For who evicts what was read: the memory of large folios is slow in virtual machines the first time, and fast when
    it is used again. Where it does nothing (other systems, small windows, other marks), advice has to do.
    """

    def __init__(self, file: File | None, start: int, end: int) -> None:
        self._file, self._start, self._end, self._reached = file, start, end, start
        self._window = 0
        largest = min(MOST_WINDOW, (end - start) // 4)
        if file is not None and largest >= LEAST_WINDOW and sys.platform == "linux":
            window = window_of(file.info.identity[0])
            self._window = window if LEAST_WINDOW <= window <= largest else 0

    def until(self, stop: int) -> None:
        """Have it read up to there and a window further, whose mark nobody who goes up to there can take away."""
        window = self._window
        while window and self._reached < min(stop + window, self._end - window):
            if self._reached == self._start:
                self._look(self._start, window)  # and a byte: whoever wants more than a window is a reader
            elif self._reached == self._start + window:
                self._look(self._start + window // 2)
            else:
                self._look(self._reached - window)
            self._reached += window

    def _look(self, place: int, nbytes: int = 0) -> None:
        if self._file is not None and sys.platform == "linux":
            buffer = memoryview(bytearray(BUFFER))
            buffers = [buffer] * -(-nbytes // BUFFER) + [buffer[:1]]
            with contextlib.suppress(OSError):  # that it would have to wait
                os.preadv(self._file.fileno(), buffers, place, os.RWF_NOWAIT)
