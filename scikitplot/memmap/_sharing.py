"""Pickling by reference: a pickle has the name of a file and a fingerprint of it, or the name of shared memory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from ._core import MapCore
from ._file import FileInfo
from ._layout import end_of, resolve
from ._modes import MODES, Access, Order
from ._region import map_token

_Map = TypeVar("_Map", bound=MapCore)

PATH_MAP = "SCIKITPLOT_MEMMAP_PATH_MAP"
TOKEN = re.compile(r"\d{1,10}:memmap-[0-9a-f]{32}")  # of shared memory that `MemMap.anonymous` made


def host() -> str:
    """Return an identifier of this host since it was started: file identities are comparable only within it."""
    try:
        with open("/proc/sys/kernel/random/boot_id") as boot_id:
            return boot_id.read().strip()
    except OSError:  # not Linux
        import platform

        return platform.node()


class Fingerprint:
    """The properties by which a file is recognised."""

    def __init__(self, info: FileInfo, *, constant: bool) -> None:
        self.size = info.size
        self.mtime_ns = info.mtime_ns if constant else None  # None: the file may be written to
        self.host = sys.intern(host())  # one object: a pickle of many maps has it once
        self.identity = info.identity

    def check(self, info: FileInfo, path: str, *, moved: bool) -> None:
        """Raise OSError if a file is another one. If its path was `moved` to another mount, its identity may differ."""
        if info.size != self.size:
            changed = f"its size was {self.size} bytes and is {info.size}"
        elif not moved and self.host == host() and self.identity != info.identity:
            changed = "another file has taken its name"
        elif self.mtime_ns is not None and self.mtime_ns != info.mtime_ns:
            changed = f"it was modified at {np.datetime64(info.mtime_ns, 'ns')} UTC"
        else:
            return
        raise OSError(errno.ESTALE, f"The file is not the one that was pickled: {changed}", path)


def mapped_path(path: str) -> str:
    """Return the path under this machine's mounts, by "/there=/here" pairs in the environment; the longest wins."""
    pairs = os.environ.get(PATH_MAP)
    if not pairs:
        return path
    import ntpath
    import posixpath

    flavour = posixpath if path.startswith("/") else ntpath  # of the system that pickled it
    plain = flavour.normpath(path)  # ".." must not lead out of "/here"
    found: dict[str, str] = {}
    for pair in pairs.split(os.pathsep):
        there, separator, here = pair.partition("=")
        if separator and not there:
            raise ValueError(f"{PATH_MAP}={pairs!r}: nothing stands before the = of {pair!r}")
        there = flavour.normpath(there).rstrip("/\\")
        rest = plain[len(there) :]
        if separator and plain.startswith(there) and (not rest or rest[0] in (flavour.sep, flavour.altsep)):
            found.setdefault(there, here.rstrip("/\\") + rest)
    return found[max(found, key=len)] if found else path


def info_by_name(mm: MapCore) -> FileInfo | None:
    """Return the `FileInfo` of now; None if the map has no file, or its name leads to another one."""
    if mm.path is not None:
        with contextlib.suppress(OSError):
            return mm._region.info_by_name()
    return None


def reference(mm: MapCore, opener: Callable[..., MapCore]) -> tuple[Any, ...]:
    """Return what pickle needs to call `reopen` elsewhere, which calls `opener` as `MemMap.open` is called."""
    mm._check_open()
    info = mm._region.info
    if mm.mode == "c":
        raise TypeError(
            'A map of mode "c" cannot be pickled, its changes are private: pickle one of mode "r", or mm[...]'
        )
    if info is None:
        token = mm._region.token
        if token is None:
            why = "the system refused to make shared memory with a name" if mm.shared else "it is private"
            raise TypeError(
                f"This anonymous memory cannot be pickled by reference, {why}: "
                "use MemMap.anonymous(shape, shared=True), or a file, or pickle mm[...]"
            )
        return reopen_memory, (type(mm), token, mm.dtype, mm.shape, mm.offset, mm.order, mm.access)
    if mm.path is None:
        raise TypeError("A map of a file object without a name cannot be pickled: open the file by its path")
    mode = "r" if mm.mode == "r" else "r+"
    fingerprint = Fingerprint(info_by_name(mm) or info, constant=mode == "r")
    path = os.path.realpath(mm.path) if ".." in mm.path.split(os.sep) else mm.path  # only here links lead where they do
    layout = mm.dtype, mm.shape, mm.offset, mm.order
    return reopen, (opener, path, mode, *layout, mm.access, fingerprint, mm._is_inferred)


def reopen(
    opener: Callable[..., _Map],
    path: str,
    mode: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    offset: int,
    order: Order,
    access: Access,
    fingerprint: Fingerprint,
    is_inferred: bool = False,
) -> _Map:
    """Open the file of a pickled map, if it is still the same one."""
    if mode not in ("r", "r+"):
        raise ValueError(f'A pickled map is opened with mode "r" or "r+", not {mode!r}')
    here = mapped_path(path)
    fingerprint.check(FileInfo.at(here), here, moved=here != path)
    mm = opener(here, mode, dtype=dtype, shape=shape, offset=offset, order=order, access=access)
    info = mm._region.info
    try:
        assert info is not None
        fingerprint.check(info, here, moved=here != path)  # again: of the file that was opened
    except BaseException:
        mm._close()
        raise
    mm._is_inferred = is_inferred
    mm._was_unpickled = True
    return mm


def reopen_memory(
    cls: type[_Map],
    token: str,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    offset: int,
    order: Order,
    access: Access,
) -> _Map:
    """Map anonymous memory of another process."""
    if not TOKEN.fullmatch(token):
        raise ValueError(f"{token!r} is not the name of memory that MemMap.anonymous has shared")
    layout = resolve(dtype, shape, order, offset, None)
    try:
        region = map_token(token, offset, end_of(layout) - offset)
    except FileNotFoundError:
        text = (
            "The shared memory is gone: the process that made it has closed it, or has ended, "
            "or is in another container (PID namespace)"
        )
        raise FileNotFoundError(errno.ENOENT, text) from None
    except PermissionError as error:
        text = "The shared memory is out of reach: the process that made it has ended, is another user's, or was once"
        raise PermissionError(error.errno, f"{text} ({error.strerror})") from None
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        text = f"The shared memory has fewer bytes than the {end_of(layout)} of the pickled map"
        raise OSError(error.errno, text) from None
    mm: _Map = MapCore._over(cls, region, layout, MODES["r+"], access)
    mm._was_unpickled = True
    return mm
