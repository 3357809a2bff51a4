"""What the file system of the temporary folder can do, asked by doing it. To test another one, set TMPDIR."""

import errno
import functools
import mmap
import os
import sys
import tempfile
from collections.abc import Callable

REFUSED = (errno.ENODEV, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


def asked_once(ask: Callable[[int, str], object]) -> Callable[[], bool]:
    """Call with the descriptor and the name of a new file of a page; an error that says so, or False, means no.

    The calls are those of Linux; elsewhere the answer is yes.
    """

    @functools.cache
    def answer() -> bool:
        if sys.platform != "linux":
            return True
        with tempfile.NamedTemporaryFile() as file:
            file.write(bytes(mmap.PAGESIZE))
            file.flush()
            os.fsync(file.fileno())
            try:
                return ask(file.fileno(), file.name) is not False
            except OSError as error:
                if error.errno not in REFUSED:
                    raise
                return False

    return answer


@asked_once
def maps_shared(fd: int, name: str) -> None:
    mmap.mmap(fd, 0).close()


@asked_once
def reserves(fd: int, name: str) -> None:
    """Python's own call would write zeros instead."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    call = libc.fallocate64 if hasattr(libc, "fallocate64") else libc.fallocate  # musl's has 64 bits
    if call(fd, 0, ctypes.c_int64(0), ctypes.c_int64(2 * mmap.PAGESIZE)):
        raise OSError(ctypes.get_errno(), "fallocate")


@asked_once
def reads_without_waiting(fd: int, name: str) -> None:
    os.preadv(fd, [bytearray(1)], 0, os.RWF_NOWAIT)


@asked_once
def keeps_pages(fd: int, name: str) -> bool:
    from page_cache import cached  # opens the file

    os.pread(fd, 1, 0)
    return cached(name) == [0]


@asked_once
def knows_replaced_files(fd: int, name: str) -> bool:
    """Whether a file that lost its name to another one can still be looked at by whoever has found it before."""
    other = f"{name}.other"
    with open(other, "xb"):
        pass
    old = os.open(other, os.O_PATH)
    try:
        os.rename(name, other)
        os.fstat(old)
    except FileNotFoundError:
        return False
    else:
        return True
    finally:
        os.close(old)
        os.rename(other, name)
