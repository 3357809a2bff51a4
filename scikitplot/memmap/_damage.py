"""DamagedError, its message, and the policy for lost pages."""

from __future__ import annotations

import errno
import os

from ._guard import IO, NO_SPACE, REVOKED, STORED, TRUNCATED, UNKNOWN, WRITTEN, last_damage, set_error_class, set_policy
from ._modes import POLICIES, Policy, refuse

REASONS = {
    TRUNCATED: (errno.EIO, "the file was truncated while it was mapped"),
    NO_SPACE: (errno.ENOSPC, "a write found no room on the disk"),
    IO: (errno.EIO, "the device failed to read"),
    UNKNOWN: (errno.EIO, "the file can no longer be found or read"),
    WRITTEN: (errno.EACCES, 'something wrote to a map opened with "r", whose file is unchanged'),
}
WAY_OUT = "Bytes read from there are not those of the file: restore the file, then call recover()"
WRITTEN_WAY_OUT = 'The file is unchanged: open it with mode="c" or hand out a copy. recover() drops what was written'


class DamagedError(OSError):
    """Pages of a map were lost: the file was truncated, the disk is full, or the device failed.

    Or C code, which does not know that an array is read-only, wrote to a map opened with ``"r"``.

    The call that touches a lost page or writes raises it, and so does every later call that needs data, until
    `MemMap.recover` succeeds.

    Attributes
    ----------
    filename : str or None
        Path of the file.
    errno : int
        ``ENOSPC`` if the disk was full, ``EACCES`` if only a read-only map was written to, else ``EIO``.
    strerror : str
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

    def __new__(cls, *args: object) -> DamagedError:
        return super().__new__(cls, *(args or explain(*last_damage())))  # the interpreter raises it without arguments


set_error_class(DamagedError)


def explain(damage: int, path: str | None, start: int, stop: int) -> tuple[int, str, str | None]:
    """Return the arguments of a `DamagedError`: (errno, strerror, filename)."""
    if damage & ~REVOKED == WRITTEN:
        text = f'Something wrote to bytes {start}:{stop} of a map opened with "r". {WRITTEN_WAY_OUT}'
        return errno.EACCES, text, path
    known = [reason for bit, reason in REASONS.items() if damage & bit] or [REASONS[UNKNOWN]]
    text = " and ".join(reason for _, reason in known)
    kept = damage & NO_SPACE and not damage & ~(NO_SPACE | STORED)
    written = ""
    if damage & STORED:
        written = " What was written is kept in memory for recover()." if kept else " What was written may be lost."
    return known[0][0], f"Bytes {start}:{stop} of the map are damaged: {text}.{written} {WAY_OUT}", path


def set_fault_policy(policy: Policy) -> None:
    """Set what happens when a page of a mapped file vanishes, or C code writes to a read-only map.

    A page vanishes when the file is truncated, the disk full, or the device fails.

    Parameters
    ----------
    policy : {"raise", "flag", "off"}
        ``"raise"``: the process goes on. The thread that touched the page gets a `DamagedError`, and so does every
        later call on the map. ``"flag"``: no thread is interrupted; the next call on the map raises. ``"off"``:
        maps are not guarded, and maps opened meanwhile never will be: for programs that handle SIGBUS and SIGSEGV
        themselves.
        The environment variable ``SCIKITPLOT_MEMMAP_FAULTS`` sets the policy at import; the default is ``"raise"``.

    Raises
    ------
    ValueError
        If the policy is unknown.

    Examples
    --------
    >>> from scikitplot.memmap import set_fault_policy
    >>> set_fault_policy("flag")
    >>> set_fault_policy("raise")
    """
    if policy not in POLICIES:
        refuse("policy", POLICIES, policy)
    set_policy(policy != "off", policy == "raise")


if _policy := os.environ.get("SCIKITPLOT_MEMMAP_FAULTS"):
    if _policy not in POLICIES:
        refuse("the environment variable SCIKITPLOT_MEMMAP_FAULTS", POLICIES, _policy)
    set_fault_policy(_policy)
