"""Where the memory of an array comes from: the file, and the place in it, that `numpy.memmap` or `mmap` mapped."""

from __future__ import annotations

import errno
import mmap
import os
from typing import Any

import numpy as np

SHARED_MEMORY = "/dev/zero (deleted)"  # what Linux says that mmap.mmap(-1, n) maps


def origin_of(array: np.ndarray[Any, Any]) -> tuple[str, int, str]:
    """Return what an array is mapped from: the path, the offset of its first byte in the file, and the mode.

    Raises
    ------
    TypeError
        If it is no array over a mapped file.
    ValueError
        If its elements are not contiguous, or the file has no name.
    OSError
        If the file was removed or replaced.
    """
    if not isinstance(array, np.ndarray):
        raise TypeError(f"Expected an array over a numpy.memmap, not {type(array).__name__}")
    root, owner = array, array.base
    while isinstance(owner, (np.ndarray, memoryview)):
        if isinstance(owner, memoryview):
            owner = owner.obj
        else:
            root, owner = owner, owner.base
    if not isinstance(owner, mmap.mmap):
        raise TypeError("The array is not over a numpy.memmap: it is in memory of its own, perhaps as a copy of one")
    if not (array.flags.c_contiguous or array.flags.f_contiguous):
        raise ValueError(
            f"Expected a contiguous array, not the strides {array.strides} of shape {array.shape} and dtype "
            f"{array.dtype}: map the whole array that it is a part of, and index the map"
        )
    start = np.frombuffer(owner, np.uint8).__array_interface__["data"][0]
    skip = array.__array_interface__["data"][0] - start
    if not 0 <= skip <= skip + array.nbytes <= len(owner):
        raise ValueError(f"The array leaves the {len(owner)} bytes that are mapped: it was made by other means")
    found = _mapping_at(start)
    if isinstance(root, np.memmap):  # made by its constructor: the attributes of slices are those of the whole
        if root.filename is None:
            raise ValueError("The numpy.memmap is of a file object without a name: pass the file object to MemMap.open")
        path = os.fspath(root.filename)
        offset = root.offset - root.offset % mmap.ALLOCATIONGRANULARITY
        mode = "r+" if root.mode == "w+" else root.mode
    elif found is None:
        raise TypeError("The array is over an mmap.mmap, of which this system does not say what it maps")
    else:
        path, offset, mode = found
        if not os.path.isabs(path) or path == SHARED_MEMORY:
            raise TypeError("The array is over an mmap.mmap that maps no file")
    if (found is not None and not _is_same(path, found[0])) or owner.size() != os.stat(path).st_size:
        raise OSError(errno.ESTALE, "The file that the array is mapped from was removed or replaced", path)
    return path, offset + skip, mode if array.flags.writeable else "r"


def _is_same(path: str, mapped: str) -> bool:
    try:
        return os.path.samefile(path, mapped)
    except FileNotFoundError:
        return False


def _mapping_at(address: int) -> tuple[str, int, str] | None:
    """Return the path, the offset and the mode of what is mapped at an address; None if the system does not say."""
    try:
        lines = open("/proc/self/maps", "rb")  # noqa: SIM115, closed below
    except OSError:  # not Linux
        return None
    with lines:
        for line in lines:
            span, permissions, offset, _, _, *path = line.rstrip(b"\n").split(maxsplit=5)
            first, last = (int(end, 16) for end in span.split(b"-"))
            if first <= address < last:
                name = os.fsdecode(b"".join(path))
                if not os.path.exists(name):
                    name = name.replace("\\012", "\n")  # as Linux shows a line feed, and so it may be either
                mode = "r" if b"w" not in permissions else "r+" if b"s" in permissions else "c"
                return name, int(offset, 16) + address - first, mode
    return None
