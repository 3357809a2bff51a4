"""What is refused, with which words; and that nothing is left behind by a call that failed."""

import io
import operator
import os
import re
import socket
import sys

import numpy as np
import pytest

from scikitplot.memmap import MemMap, batches

posix = pytest.mark.posix


def case(name, error, match, call, *marks):
    return pytest.param(error, match, call, id=name, marks=marks)


def opener(name="ten.bin", mode="r", **layout):
    """Open a file of the folder that the test made."""
    return lambda folder: MemMap.open(folder / name, mode, **layout)


def open_socket(folder):
    os.chdir(folder)  # the name of a socket must be short; monkeypatch brings us back
    with socket.socket(socket.AF_UNIX) as made:
        made.bind("socket")
    try:
        MemMap.open(folder / "socket")
    finally:
        os.unlink("socket")


def open_file_object(how, mode, **layout):
    def call(folder):
        with open(folder / "ten.bin", how) as file:
            MemMap.open(file, mode, **layout)

    return call


def open_closed_file(folder):
    with open(folder / "ten.bin", "rb") as file:
        pass
    MemMap.open(file)


HUGE = 1 << 70
RECORD = np.dtype([("x", "<f4"), ("anything", "O")])

FILES = [
    case("missing file", FileNotFoundError, "nowhere", opener("nowhere")),
    case("missing file, r+", FileNotFoundError, "nowhere", opener("nowhere", "r+")),
    case("missing folder", FileNotFoundError, "new.bin", opener("nowhere/new.bin", "w+", shape=3)),
    case("missing folder, x+", FileNotFoundError, "new.bin", opener("nowhere/new.bin", "x+", shape=3)),
    case("file as folder", (NotADirectoryError, FileNotFoundError), "ten", opener("ten.bin/a", "w+", shape=3)),
    case("existing file, x+", FileExistsError, "ten.bin", opener(mode="x+", shape=3)),
    *[
        case(f"directory, {mode}", IsADirectoryError, "not a directory.*folder", opener("folder", mode, shape=3))
        for mode in ("r", "r+", "c", "w+")
    ],
    case("directory, x+", FileExistsError, "folder", opener("folder", "x+", shape=3)),
    *[
        case(f"device, {mode}", OSError, "not a device.*/dev/zero", opener("/dev/zero", mode, shape=3), posix)
        for mode in ("r", "r+", "c", "w+")
    ],
    case("socket", OSError, "not a socket.*socket", open_socket, posix),
    case("symlink to nothing", FileNotFoundError, "broken", opener("broken"), posix),
    case("symlink to itself", OSError, "loop", opener("loop"), posix),
    case("symlink to a directory", IsADirectoryError, "linked", opener("linked"), posix),
    case("name too long", OSError, "xxxxx", opener("x" * 300, "w+", shape=3)),
    case("path is empty", FileNotFoundError, "empty", lambda _: MemMap.open("")),
    *[
        case(f"path with a null, {mode}", ValueError, "null", opener("a\0b", mode, shape=3))
        for mode in ("r", "r+", "c", "w+", "x+")
    ],
    case("path is None", TypeError, r"path is None.*MemMap\.anonymous", lambda _: MemMap.open(None)),
    case("path is None, shape", TypeError, r"path is None.*MemMap\.anonymous", lambda _: MemMap.open(None, shape=3)),
    case("path is a number", TypeError, "str, bytes, os.PathLike or a binary file, not int", lambda _: MemMap.open(3)),
    case("file object in memory", TypeError, "binary mode, not BytesIO$", lambda _: MemMap.open(io.BytesIO(b"abc"))),
    case("file object in memory, text", TypeError, "not StringIO$", lambda _: MemMap.open(io.StringIO("abc"))),
    case("file object in text mode", TypeError, "opened in binary mode", open_file_object("r", "r")),
    case("file object, closed", ValueError, "closed file", open_closed_file),
    case("file object, read-only, r+", PermissionError, r'"r\+b".*ten.bin', open_file_object("rb", "r+")),
    case("file object, read-only, w+", PermissionError, r'"r\+b".*ten.bin', open_file_object("rb", "w+", shape=3)),
    case("file object, write-only", PermissionError, 'opened with "rb".*ten.bin', open_file_object("ab", "r")),
    case("file object, x+", FileExistsError, "ten.bin", open_file_object("r+b", "x+", shape=3)),
]  # fmt: skip

LAYOUTS = [
    case("object dtype", TypeError, "Python objects", opener(dtype="O")),
    case("object dtype, w+", TypeError, "Python objects", opener(mode="w+", shape=1, dtype="O")),
    case("object field", TypeError, "Python objects", opener(dtype=RECORD)),
    case("item size 0", ValueError, "item size 0", opener(dtype="S0")),
    case("item size 0, void", ValueError, "item size 0", opener(dtype=np.dtype([]))),
    case("unknown dtype", TypeError, "nonsense", opener(dtype="nonsense")),
    case("shape too large", ValueError, "needs 11 bytes.*has 10 bytes", opener(shape=11)),
    case("shape too large, r+", ValueError, "needs 44 bytes.*has 10 bytes", opener(mode="r+", shape=11, dtype="i4")),
    case("shape too large, c", ValueError, r"needs 11 bytes.*has 10 bytes", opener(mode="c", shape=11)),
    case("shape too large from the offset", ValueError, "needs 8 bytes from offset 3", opener(shape=8, offset=3)),
    case("two -1", ValueError, r"\(-1, -1\).*-1 once", opener(shape=(-1, -1))),
    case("-1 beside a zero", ValueError, r"\(-1, 0\) of .*ten\.bin cannot be inferred", opener(shape=(-1, 0))),
    case("-1 beside a zero, w+", ValueError, r"\(-1, 0\)", opener(mode="w+", shape=(-1, 0))),
    case("negative dimension", ValueError, r"\(-2, 3\) has a negative", opener(shape=(-2, 3))),
    case("negative dimension, w+", ValueError, r"\(-7,\) has a negative", opener(mode="w+", shape=-7)),
    case("negative dimension, anonymous", ValueError, "negative", lambda _: MemMap.anonymous(-2)),
    case("no shape, w+", ValueError, "full shape", opener(mode="w+")),
    case("no shape, x+", ValueError, "full shape", opener("new.bin", "x+")),
    case("-1, w+", ValueError, "full shape", opener(mode="w+", shape=(-1, 2))),
    case("-1, anonymous", ValueError, "full shape", lambda _: MemMap.anonymous(-1)),
    case("fractional shape", TypeError, "float", opener(shape=2.0)),
    case("shape of a word", TypeError, "str", opener(shape="10")),
    case("offset negative", ValueError, "offset -1 is negative", opener(offset=-1)),
    case("offset negative, w+", ValueError, "offset -1 is negative", opener(mode="w+", offset=-1, shape=3)),
    case("offset past the end", ValueError, "offset 11 is past the end.*10 bytes", opener(offset=11)),
    case("offset past the end, no rows", ValueError, "offset 11 is past the end", opener(offset=11, shape=0)),
    case("fractional offset", TypeError, "float", opener(offset=1.0)),
    case("indivisible file", ValueError, "has 10 bytes.*item size 4.*2 bytes left over", opener(dtype="i4")),
    case("indivisible rows", ValueError, "has 10 bytes.*1 bytes left over", opener(shape=(-1, 3))),
    case("indivisible from the offset", ValueError, "7 .*offset 3.*3 bytes left over", opener(dtype="i4", offset=3)),
    case("shape overflows", ValueError, "address space", opener(shape=HUGE)),
    case("product overflows", ValueError, "address space", opener(shape=(1 << 32, 1 << 32), dtype="i8")),
    case("product overflows, w+", ValueError, "address space", opener(mode="w+", shape=(1 << 62, 4))),
    case("product overflows, anonymous", ValueError, "address space", lambda _: MemMap.anonymous((1 << 62, 4))),
    case("strides overflow beside a zero", ValueError, "address space", opener(shape=(0, HUGE))),
    case("offset overflows", ValueError, "past the end|address space", opener(offset=HUGE)),
    case("offset overflows, w+", ValueError, "address space", opener(mode="w+", shape=0, offset=HUGE)),
    case("sum overflows, w+", ValueError, "address space", opener(mode="w+", shape=9, offset=(1 << 63) - 9)),
    case("too many dimensions", ValueError, "at most 64 dimensions, not 65", opener(shape=(1,) * 65)),
    case("unknown mode", ValueError, "'r', 'r\\+', 'c', 'w\\+', 'x\\+', not 'rw'", opener(mode="rw")),
    case("mode of another kind", ValueError, "not None", opener(mode=None)),
    case("unknown order", ValueError, "'C', 'F', not 'A'", opener(order="A")),
    case("unknown access", ValueError, "'normal', 'random', 'sequential', not 'fast'", opener(access="fast")),
    case("unknown access, w+", ValueError, "not 'fast'", opener(mode="w+", shape=3, access="fast")),
    case("unknown order, anonymous", ValueError, "'C', 'F', not 'K'", lambda _: MemMap.anonymous(3, order="K")),
    case("unknown access, anonymous", ValueError, "not 'fast'", lambda _: MemMap.open(shape=3, access="fast")),
]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file of ten bytes, a folder, and links."""
    (tmp_path / "ten.bin").write_bytes(b"0123456789")
    (tmp_path / "folder").mkdir()
    if sys.platform != "win32":
        (tmp_path / "broken").symlink_to("nowhere")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "linked").symlink_to("folder")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(("error", "match", "call"), FILES + LAYOUTS)
def test_open_is_refused_and_leaves_nothing_behind(folder, leftovers, error, match, call):
    before, old = leftovers(), (folder / "ten.bin").stat()
    with pytest.raises(error, match=match) as caught:
        call(folder)
    if isinstance(caught.value, OSError):
        assert caught.value.errno is not None
        assert caught.value.filename is not None
    assert leftovers() == before  # while the traceback is alive
    new = (folder / "ten.bin").stat()
    assert (new.st_ino, new.st_mtime_ns) == (old.st_ino, old.st_mtime_ns)
    assert (folder / "ten.bin").read_bytes() == b"0123456789"


@posix
@pytest.mark.parametrize("mode", ["r", "r+", "c", "w+", "x+"])
def test_fifo_is_refused_at_once(tmp_path, run_python, leftovers, mode):
    os.mkfifo(tmp_path / "fifo")
    before = leftovers()
    said = run_python(
        """
import sys
from scikitplot.memmap import MemMap, batches
try:
    MemMap.open("fifo", sys.argv[1], shape=3)
except OSError as error:
    print(f"{type(error).__name__}: {error}")
""",
        mode,
    )  # would time out
    assert said.startswith("FileExistsError" if mode == "x+" else "OSError")
    assert ("fifo" if mode == "x+" else "Expected a regular file, not a FIFO") in said
    assert leftovers() == before


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("path", ["/proc/cpuinfo", "/proc/self/maps", "/proc/kmsg", "/sys/kernel/uevent_seqnum"])
@pytest.mark.parametrize("how", [{}, {"shape": 0}, {"mode": "c"}, {"mode": "w+", "shape": 3}], ids=str)
def test_a_file_of_proc_or_sys_is_refused_at_once_by_name_and_kind(path, how):
    if not os.path.exists(path):
        pytest.skip(f"no {path} in this system")
    with pytest.raises(OSError, match=r"not a generated one, whose size says nothing|Permission denied") as caught:
        MemMap.open(path, **how)
    assert caught.value.filename == path
    assert os.geteuid() or "generated" in str(caught.value)


@pytest.mark.linux
def test_an_open_file_of_proc_is_refused_too_and_not_read():
    with open("/proc/self/status", "rb") as file:
        with pytest.raises(OSError, match="not a generated one"):
            MemMap.open(file)
        assert file.tell() == 0


# ---- permissions


@posix
@pytest.mark.parametrize(
    ("permissions", "mode", "match"),
    [
        (0o000, "r", "Permission denied"),
        (0o000, "c", "Permission denied"),
        (0o000, "r+", "Permission denied"),
        (0o200, "r", "Permission denied"),
        (0o444, "r+", 'mode "r" or "c" may do'),
        (0o444, "w+", "remove the file first"),
        (0o444, "x+", "exists"),
    ],
)
def test_permissions_of_a_file_are_respected(run_unprivileged, permissions, mode, match):
    said = run_unprivileged(
        """
with open("file.bin", "wb") as file:
    file.write(b"0123")
os.chmod("file.bin", int(sys.argv[2]))
print(error_of(MemMap.open, "file.bin", sys.argv[3], shape=4))
os.chmod("file.bin", 0o600)
with open("file.bin", "rb") as file:
    assert file.read() == b"0123"
""",
        permissions,
        mode,
    )
    assert said.startswith("FileExistsError" if mode == "x+" else "PermissionError")
    assert match in said
    assert "file.bin" in said


@posix
@pytest.mark.parametrize(("name", "mode"), [("new.bin", "w+"), ("new.bin", "x+"), ("old.bin", "w+")])
def test_folder_that_cannot_be_written_is_refused(run_unprivileged, name, mode):
    said = run_unprivileged(
        """
os.mkdir("folder")
os.chdir("folder")
with open("old.bin", "wb") as file:
    file.write(b"0123")
os.chmod(".", 0o555)
print(error_of(MemMap.open, sys.argv[2], sys.argv[3], shape=4))
os.chmod(".", 0o755)
with open("old.bin", "rb") as file:
    assert file.read() == b"0123"
""",
        name,
        mode,
    )
    assert said.startswith("PermissionError: ")
    assert name in said
    assert ("remove the file first" in said and '"r+"' in said) == (name == "old.bin")


@posix
def test_folder_that_cannot_be_entered_is_refused(run_unprivileged):
    said = run_unprivileged(
        """
os.mkdir("folder")
with open("folder/old.bin", "wb") as file:
    file.write(b"0123")
os.chmod("folder", 0)
print(error_of(MemMap.open, "folder/old.bin"))
os.chmod("folder", 0o755)
"""
    )
    assert said.startswith("PermissionError: ")
    assert "old.bin" in said


# ---- calls on a map

READ_ONLY = [
    ("mm[0] = 1", lambda mm: mm.__setitem__(0, 1)),
    ("mm[...] = 1", lambda mm: mm.__setitem__(..., 1)),
    ("mm[[0]] = 1", lambda mm: mm.__setitem__([0], 1)),
    ("mm[0:0] = 1", lambda mm: mm.__setitem__(slice(0, 0), 1)),
    ("write_at", lambda mm: mm.write_at(0, b"x")),
    ("write_at of nothing", lambda mm: mm.write_at(0, b"")),
]


@pytest.mark.parametrize("write", [pytest.param(call, id=name) for name, call in READ_ONLY])
def test_writing_to_a_read_only_map_is_refused(folder, write):
    with MemMap.open(folder / "ten.bin") as mm:
        with pytest.raises(ValueError, match=r'read-only.*"r\+".*"c"'):
            write(mm)
        with pytest.raises(ValueError, match="read-only"):
            mm[...][0] = 1
    assert (folder / "ten.bin").read_bytes() == b"0123456789"


@pytest.mark.parametrize("call", ["resize", "append"])
@pytest.mark.parametrize("mode", ["r", "c"])
def test_changing_the_size_of_a_map_that_does_not_write_is_refused(folder, mode, call):
    with MemMap.open(folder / "ten.bin", mode) as mm, pytest.raises(ValueError, match=f"'{mode}'.*\"r\\+\""):
        getattr(mm, call)(3)


INDICES = [
    ("past the end", IndexError, "10", lambda mm: mm[10]),
    ("before the start", IndexError, "-11", lambda mm: mm[-11]),
    ("beyond 64 bits", IndexError, "valid indices", lambda mm: mm[HUGE]),
    ("far below 0", IndexError, "valid indices", lambda mm: mm[-HUGE]),
    ("in an array", IndexError, "10", lambda mm: mm[[0, 10]]),
    ("too many", IndexError, "too many indices", lambda mm: mm[0, 0]),
    ("fraction", IndexError, "only integers", lambda mm: mm[1.0]),
    ("field", IndexError, "only integers", lambda mm: mm["x"]),
    ("mask of another length", IndexError, "boolean index", lambda mm: mm[np.ones(3, bool)]),
    ("step 0", ValueError, "zero", lambda mm: mm[::0]),
    ("deletion", ValueError, "cannot delete array elements", lambda mm: mm.__delitem__(0)),
    ("gather past the end", IndexError, "10", lambda mm: mm.gather([0, 10])),
    ("gather before the start", IndexError, "-11", lambda mm: mm.gather([-11])),
    ("gather fractions", TypeError, "float", lambda mm: mm.gather([0.5])),
    ("gather into another shape", ValueError, "shape|dimension|match", lambda mm: mm.gather([0, 1], np.empty(3, "u1"))),
    (
        "gather into another dtype",
        TypeError,
        "Expected out to have the dtype uint8, not float32",
        lambda mm: mm.gather([0, 1], out=np.empty(2, "f4")),
    ),
    ("set past the end", IndexError, "10", lambda mm: mm.__setitem__(10, 0)),
    ("set another shape", ValueError, "broadcast", lambda mm: mm.__setitem__(slice(0, 3), [1, 2])),
]

BYTES = [
    ("read", lambda mm, offset, size: mm.read_at(offset, size)),
    ("readinto", lambda mm, offset, size: mm.readinto_at(offset, bytearray(size))),
    ("write", lambda mm, offset, size: mm.write_at(offset, b"x" * size)),
]
RANGES = [(-1, 1), (0, 11), (10, 1), (11, 0), (5, 6), (-HUGE, 1), (HUGE, 0), (sys.maxsize, 1), (-sys.maxsize - 1, 1)]
HUGE_SIZES = [(0, -1), (0, HUGE), (10, sys.maxsize), (1, -HUGE), (HUGE, HUGE), (5, -5)]

VIEWS = [
    ("too large", "needs 12 bytes.*the map has 10", lambda mm: mm.view("u4", shape=3)),
    ("indivisible", "left over", lambda mm: mm.view("u4")),
    ("offset past the end", "offset 11 is past the end of the map", lambda mm: mm.view(offset=11)),
    ("offset negative", "offset -1 is negative", lambda mm: mm.view(offset=-1)),
    ("two -1", "-1 once", lambda mm: mm.view(shape=(-1, -1))),
    ("unknown order", "'C', 'F', not 'A'", lambda mm: mm.view(order="A")),
    ("overflow", "address space", lambda mm: mm.view(shape=HUGE)),
    ("item size 0", "item size 0", lambda mm: mm.view("V0")),
]

CALLS = [
    *[case(name, error, match, call) for name, error, match, call in INDICES],
    *[
        case(f"{name} {at} {n}", ValueError, f"offset {at} and size {n}$", lambda mm, c=call, at=at, n=n: c(mm, at, n))
        for name, call in BYTES
        for at, n in RANGES + (HUGE_SIZES if name == "read" else [])
    ],
    *[case(f"view {name}", ValueError, match, call) for name, match, call in VIEWS],
    case("view of objects", TypeError, "Python objects", lambda mm: mm.view("O")),
    case("read_at a fraction", TypeError, "float", lambda mm: mm.read_at(1.0, 1)),
    case("read_at a word", TypeError, "str", lambda mm: mm.read_at("1", 1)),
    case("readinto_at bytes", TypeError, "writable", lambda mm: mm.readinto_at(0, b"12")),
    case("readinto_at a number", TypeError, "bytes-like", lambda mm: mm.readinto_at(0, 12)),
    case("write_at a word", TypeError, "bytes-like", lambda mm: mm.write_at(0, "ab")),
    case("window of fractions", TypeError, "slice indices|float", lambda mm: mm.window(0.5, 2)),
    case("unknown close", ValueError, "'refuse', 'revoke', not 'drop'", lambda mm: mm.close(views="drop")),
    case("unknown access", ValueError, "not 'fast'", lambda mm: mm.advise("fast")),
    case("truth", ValueError, "ambiguous", bool),
]  # fmt: skip


@pytest.mark.parametrize(("error", "match", "call"), CALLS)
def test_call_is_refused_and_leaves_nothing_behind(folder, leftovers, error, match, call):
    before = leftovers()
    mm = MemMap.open(folder / "ten.bin", "r+")
    with pytest.raises(error, match=match) as caught:
        call(mm)
    assert mm.read_at(0, 10) == b"0123456789"
    mm.close()  # nothing holds a view, though the traceback is alive
    assert caught.value.__traceback__ is not None
    assert leftovers() == before


@pytest.mark.parametrize(
    "call",
    [
        lambda mm: operator.setitem(mm, 0, 1), lambda mm: mm.write_at(0, b"1"), lambda mm: mm.append([1, 2, 3, 4]),
        lambda mm: mm.resize(2), lambda mm: mm.T.iter_chunks(), lambda mm: mm.T.refresh(),
        lambda mm: batches(mm.T, batch_size=2), lambda mm: mm.T.prefetch([0]),
    ],
)  # fmt: skip
def test_what_a_mode_or_a_layout_forbids_is_refused_by_an_error_that_names_the_file(make_file, call):
    path = make_file(bytes(64))
    with (
        MemMap.open(path, dtype="<i4", shape=(-1, 4)) as mm,
        pytest.raises(ValueError, match=re.escape(str(path))),
    ):
        call(mm)
