"""Make every call of the system that a public call makes fail, one at a time, and look at what is left.

    failing_calls.py [NAME ...]     all cases, or those whose name contains one of the words

Afterwards the call has raised an error that names the file, or has succeeded; shape, size and contents of the map
agree, or it is closed; and no file, mapping, descriptor or locked page is left once it is closed. Linux only; needs a C
compiler.
"""

import contextlib
import ctypes
import errno
import gc
import importlib.util
import os
import pickle
import re
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scikitplot.memmap import MemMap

SOURCE = Path(__file__).with_suffix(".c")
PAGE = os.sysconf("SC_PAGESIZE")
ROWS = 3 * PAGE // 8
BEFORE = np.arange(ROWS, dtype="<i8")
MOST = 120  # calls of one function, or allocations of Python, of which each is made to fail

FAULTS = {
    "mmap": [errno.ENOMEM, errno.EACCES],
    "munmap": [errno.ENOMEM],
    "mremap": [errno.ENOMEM],
    "ftruncate": [errno.EIO, errno.ENOSPC, errno.EINTR],
    "fallocate": [errno.EIO, errno.ENOSPC, errno.EINTR],
    "open": [errno.EMFILE, errno.EACCES, errno.EINTR],
    "openat": [errno.EMFILE, errno.EINTR],
    "fstat": [errno.EIO, errno.ENOMEM],
    "statx": [errno.EIO, errno.ENOMEM, errno.EPERM],
    "msync": [errno.EIO, errno.ENOSPC, errno.EINTR],
    "fsync": [errno.EIO, errno.EINTR],
    "sync_file_range": [errno.EIO, errno.ENOSPC, errno.EINTR],
    "madvise": [errno.ENOMEM],
    "mlock": [errno.ENOMEM],
    "munlock": [errno.ENOMEM],
    "mincore": [errno.ENOMEM],
    "rename": [errno.EACCES, errno.EIO],
    "linkat": [errno.EACCES, errno.EIO],
    "pread": [errno.EIO],
    "lseek": [errno.EIO],
    "pwrite": [errno.EIO, errno.ENOSPC, errno.EINTR],
    "memfd_create": [errno.EMFILE],
}
# CPython 3.13.0 itself crashes without memory (initialize_locals); Debian has the module in a package of its own
if sys.version_info < (3, 12) and importlib.util.find_spec("_testcapi"):
    FAULTS["memory of Python"] = [errno.ENOMEM]
GOES_ON = {"ftruncate", "fallocate", "open", "openat", "msync", "fsync", "sync_file_range", "pwrite"}  # after EINTR


def make_table(folder: str) -> str:
    path = os.path.join(folder, "table")
    BEFORE.tofile(path)
    return path


def opened(mode: str) -> Callable[[str], MemMap]:
    def prepare(folder: str) -> MemMap:
        if mode == "anonymous":
            mm = MemMap.anonymous(ROWS, "<i8")
        elif mode == "shared":
            mm = MemMap.anonymous(ROWS, "<i8", shared=True)
        else:
            return MemMap.open(make_table(folder), mode, dtype="<i8")
        mm[:] = BEFORE
        return mm

    return prepare


def locked(mode: str) -> Callable[[str], MemMap]:
    def prepare(folder: str) -> MemMap:
        mm = opened(mode)(folder)
        mm.lock()
        return mm

    return prepare


def appended_to(prepare: Callable[[str], MemMap]) -> Callable[[str], MemMap]:
    def append(folder: str) -> MemMap:
        mm = prepare(folder)
        with MemMap.open(os.path.join(folder, "table"), "r+", dtype="<i8") as other:
            other.append(np.arange(ROWS))
        return mm

    return append


def pickled(mode: str) -> Callable[[str], tuple[MemMap, bytes]]:
    def prepare(folder: str) -> tuple[MemMap, bytes]:
        mm = opened(mode)(folder)
        return mm, pickle.dumps(mm)

    return prepare


class Case(NamedTuple):
    name: str
    prepare: Callable[[str], Any]
    call: Callable[[Any], Any]  # returns a map that it has opened, or something else
    after: list[int]  # numbers of rows that the map or the file may have afterwards


def open_again(mode: str, rows: int) -> Callable[[str], MemMap]:
    return lambda path: MemMap.open(path, mode, dtype="<i8", shape=rows)


def open_object(rows: int) -> Callable[[str], MemMap]:
    def call(path: str) -> MemMap:
        with open(path, "r+b") as file:
            return MemMap.open(file, "w+", dtype="<i8", shape=rows)

    return call


def nothing_there(folder: str) -> str:
    return os.path.join(folder, "table")


def revoke(mm: MemMap) -> None:
    view = mm[:]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            mm.close(views="revoke")
        except OSError:
            assert not mm.closed, "the call has failed, but the map is closed"
            raise
    assert not view.any(), "a revoked view still reads the file"


def leave(mm: MemMap) -> None:
    with mm:
        pass


def run_through(mm: MemMap) -> None:
    for _ in mm.iter_chunks(nbytes=PAGE, evict=True):
        pass


def cases() -> Iterator[Case]:
    same = [ROWS]
    for mode in ("r", "r+", "c"):
        yield Case(f"open {mode}", make_table, open_again(mode, ROWS), same)
    yield Case("open w+", make_table, open_again("w+", 10), [ROWS, 10])
    yield Case("open w+ new", nothing_there, open_again("w+", 10), [10])
    yield Case("open x+", nothing_there, open_again("x+", 10), [10])
    yield Case("open w+ of a file object, shorter", make_table, open_object(10), [ROWS, 10])
    yield Case("open w+ of a file object, longer", make_table, open_object(2 * ROWS), [ROWS, 2 * ROWS])
    yield Case("anonymous", nothing_there, lambda _: MemMap.anonymous(ROWS, "<i8"), same)
    yield Case("anonymous shared", nothing_there, lambda _: MemMap.anonymous(ROWS, "<i8", shared=True), same)
    for mode in ("r", "r+", "shared"):
        yield Case(f"pickle {mode}", opened(mode), pickle.dumps, same)
        yield Case(f"unpickle {mode}", pickled(mode), lambda pair: pickle.loads(pair[1]), same)
    for mode in ("r", "r+", "c", "anonymous", "shared"):
        for name, call in {
            "read": lambda mm: mm.read_at(0, 8),
            "gather": lambda mm: mm.gather([0, 5, -1]),
            "window": lambda mm: mm.window(0, 2).close(),
            "slice": lambda mm: mm[1:5].sum(),
            "flush": lambda mm: mm.flush(),
            "flush later": lambda mm: mm.flush(wait=False),
            "evict": lambda mm: mm.evict(),
            "chunks": run_through,
            "prefetch": lambda mm: mm.prefetch(wait=True),
            "residency": lambda mm: mm.residency(),
            "advise": lambda mm: mm.advise("random"),
            "lock": lambda mm: mm.lock(),
            "verify": lambda mm: mm.verify(),
            "recover": lambda mm: mm.recover(),
            "close": lambda mm: mm.close(),
            "leave": leave,
            "revoke": revoke,
            "detach": lambda mm: np.array(mm.detach()),
        }.items():
            yield Case(f"{name} {mode}", opened(mode), call, same)
        yield Case(f"unlock {mode}", locked(mode), lambda mm: mm.unlock(), same)
    for mode in ("r+", "anonymous"):
        for name, prepare in {"": opened(mode), " locked": locked(mode)}.items():
            grown, cut = 5 * ROWS, ROWS // 4
            yield Case(f"grow {mode}{name}", prepare, lambda mm, grown=grown: mm.resize(grown), [ROWS, grown])
            yield Case(f"cut {mode}{name}", prepare, lambda mm, cut=cut: mm.resize(cut), [ROWS, cut])
            if mode == "r+":
                yield Case(f"refresh {mode}{name}", appended_to(prepare), lambda mm: mm.refresh(), [ROWS, 2 * ROWS])
            yield Case(f"append {mode}{name}", prepare, lambda mm: mm.append(np.arange(ROWS)), [ROWS, 2 * ROWS])


class Held(NamedTuple):
    files: list[str]
    mappings: list[str]
    descriptors: int
    locked: str


def held(folder: str) -> Held:
    gc.collect()
    files = sorted(os.listdir(folder))
    maps = Path("/proc/self/maps").read_text()
    status = Path("/proc/self/status").read_text()
    kept = re.findall(rf".*{re.escape(folder)}.*|.*memfd:memmap-.*", maps)
    return Held(files, kept, len(os.listdir("/proc/self/fd")), re.findall(r"VmLck:\s*(\d+)", status)[0])


def check_map(mm: MemMap, case: Case) -> None:
    assert mm.nbytes == len(mm) * 8, f"{len(mm)} rows in {mm.nbytes} bytes"
    assert len(mm) in case.after, f"{len(mm)} rows"
    assert mm.read_at(mm.nbytes - 8, 8) == mm[-1].tobytes()
    common = min(len(mm), ROWS)
    if case.name.startswith(("anonymous", "open w+ new", "open x+")) or (case.name == "open w+" and len(mm) == 10):
        assert not mm[:].any(), "a new map is not zero-filled"
    else:
        assert np.array_equal(mm[:common], BEFORE[:common]), "the contents have changed"
    if case.name.startswith("append") and len(mm) > ROWS:
        assert np.array_equal(mm[ROWS:], np.arange(ROWS)), "half a row"


def check_file(folder: str, case: Case) -> None:
    names = os.listdir(folder)
    assert names in ([], ["table"]), f"files left: {names}"
    if names:
        rows = np.fromfile(os.path.join(folder, "table"), dtype="<i8")
        common = min(len(rows), ROWS)
        assert len(rows) in case.after, f"the file has {len(rows)} rows"
        if common > 10 or "object" in case.name:
            assert np.array_equal(rows[:common], BEFORE[:common]), "the contents of the file have changed"


def look(case: Case, function: str, code: int, prepared: Any, result: Any, error: BaseException | None) -> None:
    mm = prepared[0] if isinstance(prepared, tuple) else prepared
    if code == errno.EINTR and function in GOES_ON:
        assert error is None, f"ended by a signal: {error!r}"
    if isinstance(error, OSError):
        path = mm.path if isinstance(mm, MemMap) else mm
        unnamed = case.name.startswith("anonymous") or "shared" in case.name or path is None
        assert unnamed or error.filename == path, f"the error does not name the file: {error!r}"
    else:
        # without memory, CPython and NumPy raise two more
        assert error is None or isinstance(error, MemoryError | RuntimeError | SystemError), repr(error)
    for each in (mm, result):
        if isinstance(each, MemMap) and not each.closed:
            check_map(each, case)


def close(each: Any) -> None:
    if isinstance(each, MemMap) and not each.closed:
        with contextlib.suppress(OSError):
            each.unlock()
        each.close()


@contextlib.contextmanager
def failing(lib: ctypes.CDLL, function: str, nth: int, code: int) -> Iterator[None]:
    if function == "memory of Python":
        import _testcapi

        if nth:
            _testcapi.set_nomemory(nth, nth + 1)
        try:
            yield
        finally:
            _testcapi.remove_mem_hooks()
    else:
        lib.failing_calls_start(function.encode(), nth, code)
        try:
            yield
        finally:
            lib.failing_calls_stop()


def run(lib: ctypes.CDLL, case: Case, function: str, nth: int, code: int) -> tuple[int, str]:
    """Return how often the function was called, and what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        before = held(folder)
        prepared, result, error, wrong = case.prepare(folder), None, None, ""
        try:
            with failing(lib, function, nth, code):
                result = case.call(prepared)
        except BaseException as raised:
            error = raised.with_traceback(None)
            error.__context__ = None
        made = lib.failing_calls_made(function.encode())
        try:
            if isinstance(error, AssertionError):
                raise error
            look(case, function, code, prepared, result, error)
            check_file(folder, case)
            close(result)
            close(prepared[0] if isinstance(prepared, tuple) else prepared)
            check_file(folder, case)
            prepared = result = error = None
            after = held(folder)
            if "open w+ new" in case.name or "open x+" in case.name or after.files == ["table"]:
                before = before._replace(files=after.files)
            assert after == before, f"left: {after}, there was: {before}"
        except BaseException as found:
            wrong = f"{type(found).__name__}: {found}"
            result = prepared = None
        return made, wrong


def main(words: list[str]) -> int:
    lib = ctypes.CDLL(None)
    injected, bad = 0, []
    MemMap.open(__file__).close()  # from the first map on, the guard holds a descriptor
    warnings.simplefilter("ignore", ResourceWarning)
    gc.collect()
    gc.freeze()  # what was imported need not be looked at each time
    for case in cases():
        if words and not any(word in case.name for word in words):
            continue
        here = 0
        for function, codes in FAULTS.items():
            if function == "munmap" and ("cut" in case.name or "shorter" in case.name):
                continue  # to shorten a mapping takes nothing that could run out, and its file is shorter by then
            if function == "memory of Python" and case.name.startswith("pickle"):
                continue  # without memory, CPython 3.11 itself crashes in pickle.dumps
            made, wrong = run(lib, case, function, 0, 0)
            assert not wrong, f"{case.name}, with no failure: {wrong}"
            if function == "memory of Python":
                made = MOST
            for code in codes:
                for nth in range(1, min(made, MOST) + 1):
                    _, wrong = run(lib, case, function, nth, code)
                    here += 1
                    if wrong:
                        bad.append(f"{case.name}: {function} {nth} {errno.errorcode[code]}: {wrong}")
        injected += here
    for line in bad:
        print(line)
    print(f"injected {injected}, bad {len(bad)}")
    return 1 if bad else 0


def preload(program: str) -> None:
    """Start a program again with the library, unless this is that second start."""
    if "FAILING_CALLS" in os.environ:
        return
    with tempfile.TemporaryDirectory() as folder:
        library = os.path.join(folder, "failing_calls.so")
        compiler = [os.environ.get("CC", "cc"), "-std=gnu11", "-O1", "-shared", "-fPIC"]
        subprocess.run([*compiler, str(SOURCE), "-o", library, "-ldl"], check=True)
        environment = {**os.environ, "LD_PRELOAD": library, "FAILING_CALLS": "1"}
        done = subprocess.run([sys.executable, program, *sys.argv[1:]], env=environment, check=False)
    sys.exit(done.returncode)


if __name__ == "__main__":
    preload(__file__)
    sys.exit(main(sys.argv[1:]))
