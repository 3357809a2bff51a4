"""What is raised when pages were lost, and what it says."""

from __future__ import annotations

import errno
from collections.abc import Callable

# as in fault.h
TRUNCATED, NO_SPACE, IO, UNKNOWN, STORED = 1, 2, 4, 8, 16

REASONS = {
    TRUNCATED: (errno.EIO, "the file was truncated while it was mapped"),
    NO_SPACE: (errno.ENOSPC, "a store found no room on the disk"),
    IO: (errno.EIO, "the device failed to read"),
    UNKNOWN: (errno.EIO, "the file can neither be read nor found any more"),
}
WAY_OUT = "What was read from there is not the file's: make the file whole again, and call recover()"


def nothing_known() -> tuple[int, str | None, int, int]:
    return UNKNOWN, None, 0, 0


class DamagedError(OSError):
    """Pages of a map were lost: the file was truncated, the disk is full, or the device failed.

    Raised by the call that met them, and by every later call that needs data, until `MemMap.recover` succeeds.

    Attributes
    ----------
    filename : str or None
        The file.
    errno, strerror
        What happened, and which bytes are affected.

    Examples
    --------
    >>> from scikitplot.memmap import DamagedError, MemMap
    >>> with MemMap.anonymous(8) as mm:
    ...     try:
    ...         total = int(mm[...].sum())
    ...     except DamagedError:
    ...         mm.recover()
    >>> total
    0
    """

    # (damage, path, start, stop) of the last loss, for exceptions that the interpreter makes without arguments
    _last: Callable[[], tuple[int, str | None, int, int]] = staticmethod(nothing_known)

    def __new__(cls, *args: object) -> DamagedError:
        return super().__new__(cls, *(args or explain(*cls._last())))


def explain(damage: int, path: str | None, start: int, stop: int) -> tuple[int, str, str | None]:
    known = [reason for bit, reason in REASONS.items() if damage & bit] or [REASONS[UNKNOWN]]
    text = " and ".join(reason for _, reason in known)
    kept = damage & NO_SPACE and not damage & ~(NO_SPACE | STORED)
    stored = ""
    if damage & STORED:
        stored = " Stores are kept in memory for recover()." if kept else " Stores went there, and may be lost."
    return known[0][0], f"Bytes {start}:{stop} of the map are damaged: {text}.{stored} {WAY_OUT}", path
