"""The pages of a file and of this process, asked about and changed without the package."""

import ctypes
import mmap
import os
import re
from pathlib import Path

import numpy as np
import pytest

PAGE = mmap.PAGESIZE


def cached(path):
    """The numbers of the pages of a file that are in the page cache, asked without the package."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as mapped:
        array = np.frombuffer(mapped, "u1")
        flags = np.zeros(-(-array.size // PAGE), "u1")
        failed = ctypes.CDLL(None, use_errno=True).mincore(
            ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.size), ctypes.c_void_p(flags.ctypes.data)
        )
        assert not failed, os.strerror(ctypes.get_errno())
        del array
    return np.flatnonzero(flags & 1).tolist()


def cool(path):
    """Write the pages of a file back and drop them from the page cache, if the file system allows that."""
    with open(path, "r+b") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def warm(path, pages):
    """Read just these pages into the page cache, one by one: neighbours then leave it one by one, too."""
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for page in pages:
            os.pread(file.fileno(), PAGE, page * PAGE)


def cold(path):
    """Return the path of a file after its pages were dropped from the page cache; skip the test where they stay."""
    cool(path)
    if cached(path):
        pytest.skip("the temporary folder is in memory, where nothing can be evicted: set TMPDIR to a disk")
    return path


def mapping_field(path, name):
    """A line of /proc/self/smaps about the mapping of a file; what is set aside behind it does not count.

    FUSE leaves a mapping split that was once advised or locked in parts: sizes are summed.
    """
    text = Path("/proc/self/smaps").read_text(errors="replace")
    entries = re.findall(rf"^\S+ (?!---).*{re.escape(str(path))}\n((?:[A-Z].*\n)+)", text, re.MULTILINE)
    values = [re.search(rf"^{name}:\s*(.*)$", entry, re.MULTILINE)[1] for entry in entries]
    if len(values) > 1 and values[0].endswith(" kB"):
        return f"{sum(int(value.split()[0]) for value in values)} kB"
    (value,) = values
    return value


def locked_bytes():
    """How much memory this process has locked."""
    return int(re.search(r"VmLck:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024
