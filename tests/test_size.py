"""resize, append and flush: sizes change completely or not at all, and stores reach the file."""

import contextlib
import errno
import mmap
import os
import re
from pathlib import Path

import numpy as np
import pytest
from in_threads import in_threads

from scikitplot.memmap import MemMap

PAGE = mmap.PAGESIZE


@pytest.fixture
def path(make_file):
    return make_file(np.arange(24, dtype="<i4"))


def table(path, mode="r+", **how):
    return MemMap.open(path, mode, dtype="<i4", shape=(-1, 4), **how)


# --------------------------------------------------------------------------------------------------------- resize


@pytest.mark.parametrize("make", ["r+", "w+", "x+", "anonymous"])
@pytest.mark.parametrize("rows", [0, 1, 5, 6, 7, 1024, 1025, 100_000])
def test_resize_keeps_the_common_part_and_makes_new_rows_zero(tmp_path, make, rows):
    path = tmp_path / "table.i4"
    old = np.arange(24, dtype="<i4").reshape(6, 4)
    if make == "r+":
        old.tofile(path)
        mm = table(path)
    elif make == "anonymous":
        mm = MemMap.anonymous((6, 4), "<i4")
    else:
        mm = MemMap.open(path, make, dtype="<i4", shape=(6, 4))
    with mm:
        mm[:] = old
        mm.resize(rows)
        assert (mm.shape, len(mm), mm.size, mm.nbytes) == ((rows, 4), rows, rows * 4, rows * 16)
        expected = np.zeros((rows, 4), "<i4")
        expected[:6] = old[:rows]
        np.testing.assert_array_equal(mm[...], expected)
        mm[-1:] = 9
        expected[-1:] = 9
        mm.flush()
        if make != "anonymous":
            assert path.read_bytes() == expected.tobytes()


@pytest.mark.parametrize("make", ["file", "anonymous"])
def test_rows_that_were_cut_off_come_back_as_zeros(path, make):
    with table(path) if make == "file" else MemMap.anonymous((6, 4), "<i4") as mm:
        mm[:] = 7
        mm.resize(2)
        mm.resize(0)
        mm.resize(6)
        assert not mm[...].any()
        mm[:] = 7
        mm.resize(3)
        mm.resize(6)
        assert mm[:, 0].tolist() == [7, 7, 7, 0, 0, 0]


def test_resize_takes_rows_or_a_whole_shape(path):
    with table(path) as mm:
        mm.resize(np.int64(7))
        assert mm.shape == (7, 4)
        mm.resize((8, 4))
        assert mm.shape == (8, 4)
        for shape in ((8, 5), (8,), (8, 4, 1), (4, 8)):
            with pytest.raises(ValueError, match=re.escape("in the first dimension, not " + str(shape))):
                mm.resize(shape)
        assert mm.shape == (8, 4)


@pytest.mark.parametrize(
    ("shape", "error", "message"),
    [
        (-1, ValueError, "full shape|negative"),
        (-2, ValueError, "negative"),
        (2.5, TypeError, "integer"),
        (None, (TypeError, ValueError), r"."),
        (1 << 62, ValueError, "larger than the address space"),
    ],
)
def test_resize_refuses_sizes_that_are_none(path, shape, error, message):
    before = path.read_bytes()
    with table(path) as mm:
        with pytest.raises(error, match=message):
            mm.resize(shape)
        assert mm.shape == (6, 4)
    assert path.read_bytes() == before


def test_resize_works_behind_an_odd_offset(make_file):
    path = make_file(b"header!" + bytes(range(10)))
    with MemMap.open(path, "r+", offset=7) as mm:
        mm.resize(3 * PAGE)
        mm[-1] = 5
        mm.resize(12)
        assert mm[...].tolist() == [*range(10), 0, 0]
    assert path.read_bytes() == b"header!" + bytes(range(10)) + b"\0\0"


def test_resize_of_1d_fortran_order_works():
    with MemMap.anonymous(3, order="F") as mm:
        mm.resize(5)
        assert mm.shape == (5,)


VIEWS = {
    "slice": lambda mm: mm[1:],
    "array": np.asarray,
    "memoryview": lambda mm: mm.memoryview(),
    "window": lambda mm: mm.window(0, 2),
}


@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_resize_and_append_refuse_while_views_are_alive(path, make):
    before = path.read_bytes()
    with table(path) as mm:
        view = make(mm)
        with pytest.raises(BufferError, match="Cannot resize .* 1 (view|window) is alive"):
            mm.resize(100)
        with pytest.raises(BufferError, match="Cannot append to .* 1 (view|window) is alive"):
            mm.append([1, 2, 3, 4])
        assert mm.shape == (6, 4)
        assert path.read_bytes() == before
        del view
        mm.resize(7)


def test_resize_collects_views_that_only_a_cycle_keeps(path):
    with table(path) as mm:
        cycle = [mm[1:]]
        cycle.append(cycle)
        del cycle
        mm.resize(7)
        assert len(mm) == 7


@pytest.mark.parametrize("mode", ["r", "c"])
def test_maps_that_do_not_write_the_file_refuse(path, mode):
    with table(path, mode) as mm:
        row = np.ones(4, "<i4")
        for call in (lambda: mm.resize(7), lambda: mm.append([1, 2, 3, 4]), lambda: mm.append(row)):
            with pytest.raises(ValueError, match=f"'{mode}' cannot change its size.*r\\+"):
                call()


def test_nd_fortran_order_refuses():
    with MemMap.anonymous((3, 4), order="F") as mm:
        for call in (lambda: mm.resize(7), lambda: mm.append([1, 2, 3, 4])):
            with pytest.raises(ValueError, match="Fortran"):
                call()


def test_maps_that_end_before_their_file_refuse(path):
    with MemMap.open(path, "r+", dtype="<i4", shape=(5, 4)) as mm:
        for call in (lambda: mm.resize(7), lambda: mm.append([1, 2, 3, 4]), lambda: mm.resize(2)):
            with pytest.raises(ValueError, match=r"ends at byte 80 of .*, which has 96 bytes"):
                call()
    assert path.stat().st_size == 96


def test_maps_without_dimensions_windows_and_shared_memory_refuse(path):
    with MemMap.anonymous(()) as scalar, pytest.raises(ValueError, match="of no dimensions"):
        scalar.resize(2)
    for row in (1, np.array(1, "<i4"), np.ones(2, "<i4")):
        with MemMap.open(path, "r+", dtype="<i4", shape=()) as scalar, pytest.raises(ValueError, match="no dimensions"):
            scalar.append(row)
    with table(path) as mm, mm.window(2, 6) as part, pytest.raises(ValueError, match="window"):
        part.resize(9)
    with MemMap.anonymous(3, shared=True) as shared:
        for call in (lambda: shared.resize(7), lambda: shared.append([1])):
            with pytest.raises(ValueError, match=r"[Ss]hared anonymous"):
                call()


def test_a_map_of_a_file_object_changes_its_size(path):
    with open(path, "r+b") as file, MemMap.open(file, "r+") as mm:
        mm.resize(100)
        mm.append([1])
        assert len(mm) == 101
    assert path.read_bytes()[96:] == b"\0" * 4 + b"\1"


def test_a_file_that_changed_its_size_elsewhere_is_refused(path):
    with table(path) as mm:
        with open(path, "ab") as file:
            file.write(b"more")
        with pytest.raises(ValueError, match=r"ends at byte 96 of .*, which has 100 bytes"):
            mm.resize(7)
    assert path.read_bytes().endswith(b"more")


LIMITED = """if True:
    import resource, signal, sys
    import numpy as np
    from scikitplot.memmap import MemMap
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    path = sys.argv[1]
    mm = MemMap.open(path, "r+", dtype="<i4", shape=(-1, 4), sparse=sys.argv[2] == "sparse")
    before = mm[...].copy()
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
    for call in (lambda: mm.resize(100_000), lambda: mm.append(np.ones((1000, 4), "<i4"))):
        try:
            call()
        except OSError as error:
            print(error.errno, error.filename == path, error.strerror)
        assert mm.shape == (6, 4)
        assert (mm[...] == before).all()
        assert open(path, "rb").read() == before.tobytes()
    mm.append([1, 2, 3, 4])
    print(len(mm))
    mm.close()
"""


@pytest.mark.linux
@pytest.mark.parametrize("how", ["sparse", "reserved"])
def test_a_resize_that_the_system_refuses_changes_nothing(path, run_python, how):
    *refused, length = run_python(LIMITED, path, how).splitlines()
    for line, nbytes in zip(refused, (1_600_000, 16_096), strict=True):
        assert re.fullmatch(rf"{errno.EFBIG} True .*{nbytes} bytes.*", line)
    assert length == "7"


@pytest.mark.linux
@pytest.mark.parametrize(("kind", "size"), [("tmpfs", "1m"), ("ext4", "1200k"), ("ext2", "1200k")])
def test_a_full_disk_is_an_error_at_once_and_changes_nothing(small_disk_of, kind, size):
    small_disk = small_disk_of(kind, size)  # with room for a little more than 1 MiB; ext2 cannot reserve
    before = sorted(os.listdir(small_disk))
    free = os.statvfs(small_disk).f_bfree
    path = small_disk / "data.bin"
    with MemMap.open(path, "w+", shape=(1 << 19,)) as mm:
        mm[:] = 7
        for call in (lambda: mm.resize(1 << 21), lambda: mm.append(np.zeros(1 << 20, "u1"))):
            with pytest.raises(OSError, match=r"[Ss]pace.* bytes") as caught:
                call()
            assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(path))
            assert path.stat().st_size == mm.nbytes == 1 << 19
            assert path.read_bytes() == b"\7" * (1 << 19)
        with pytest.raises(OSError, match=r"[Ss]pace.* bytes"):
            MemMap.open(small_disk / "other.bin", "w+", shape=1 << 20)
        assert sorted(os.listdir(small_disk)) == sorted([*before, "data.bin"])
        mm.resize(1 << 20)  # what a refused call had reserved is free again
        assert mm[[0, 1 << 19]].tolist() == [7, 0]
    path.unlink()
    assert os.statvfs(small_disk).f_bfree == free


# a filter of system calls answers as a file system does where somebody's quota is used up
QUOTA = """if True:
    import ctypes, errno, os, platform, struct, sys
    from scikitplot.memmap import MemMap
    path = sys.argv[1]
    mm = MemMap.open(path, "r+", dtype="<i4", shape=(-1, 4))
    before = open(path, "rb").read()

    on_64_bits = {"x86_64": (285, 18), "aarch64": (47, 67)}
    is_32 = ctypes.sizeof(ctypes.c_void_p) == 4
    fallocate, pwrite = (324, 181) if is_32 else on_64_bits[platform.machine()]
    lines = [(0x20, 0, 0, 0), (0x15, 1, 0, fallocate), (0x15, 0, 1, pwrite)]
    lines += [(0x06, 0, 0, 0x50000 | errno.EDQUOT), (0x06, 0, 0, 0x7FFF0000)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in lines))
    filter = ctypes.create_string_buffer(struct.pack("HP", len(lines), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, filter, 0, 0) == 0, os.strerror(ctypes.get_errno())

    calls = [lambda: mm.resize(100_000), lambda: mm.append([1, 2, 3, 4])]
    calls += [lambda mode=mode: MemMap.open(path + mode, mode, shape=4096) for mode in ("w+", "x+")]
    for call in calls:
        try:
            call()
        except OSError as error:
            print(error.errno == errno.EDQUOT, error.filename, error.strerror)
        assert mm.shape == (6, 4) and open(path, "rb").read() == before
        assert os.listdir(os.path.dirname(path)) == [os.path.basename(path)]
    mm[:] = 1
    mm.close()
"""


@pytest.mark.linux
@pytest.mark.native
def test_a_quota_that_is_used_up_is_an_error_at_once_and_changes_nothing(path, run_python):
    lines = run_python(QUOTA, path).splitlines()
    assert len(lines) == 4
    for line, name, nbytes in zip(lines, ("", "", "w+", "x+"), (1_600_000, 112, 4096, 4096), strict=True):
        assert re.fullmatch(rf"True {re.escape(str(path))}{re.escape(name)} .*[Qq]uota.* {nbytes} bytes.*", line)


@pytest.mark.posix
def test_space_is_reserved_unless_the_map_is_sparse_and_resize_remembers(tmp_path):
    for sparse in (False, True):
        path = tmp_path / f"{sparse}.bin"
        with MemMap.open(path, "w+", shape=1 << 20, sparse=sparse) as mm:
            assert (path.stat().st_blocks * 512 < 1 << 20) == sparse
            mm.resize(1 << 22)
            assert (path.stat().st_blocks * 512 < 1 << 22) == sparse
            assert not mm[...].any()


# --------------------------------------------------------------------------------------------------------- append


@pytest.mark.parametrize(
    ("rows", "added"),
    [
        ([1, 2, 3, 4], 1),
        ([[1, 2, 3, 4]], 1),
        (((1, 2, 3, 4), (5, 6, 7, 8)), 2),
        (np.ones((3, 4), "<i4"), 3),
        (np.ones((3, 4), ">i2"), 3),
        (np.ones((3, 4), bool), 3),
        (np.ones((3, 4), "<i8"), 3),
        (np.arange(8, dtype="<i4").reshape(4, 2).T, 2),
        (np.empty((0, 4), "<i4"), 0),
    ],
)
def test_append_adds_a_row_or_an_array_of_rows(path, rows, added):
    with table(path) as mm:
        before = mm[...].copy()
        mm.append(rows)
        expected = np.concatenate([before, np.asarray(rows).reshape(-1, 4)], dtype="<i4")
        assert mm.shape == (6 + added, 4)
        np.testing.assert_array_equal(mm[...], expected)
    assert path.read_bytes() == expected.tobytes()


def test_append_to_an_empty_file_makes_it_grow_row_by_row(tmp_path):
    path = tmp_path / "log.f4"
    with MemMap.open(path, "x+", dtype="<f4", shape=(0, 2)) as mm:
        for i in range(1000):
            mm.append([i, -i])
    with MemMap.open(path, dtype="<f4", shape=(-1, 2)) as mm:
        assert mm.shape == (1000, 2)
        assert mm[:, 1].tolist() == [-float(i) for i in range(1000)]


def test_append_to_one_dimension_takes_a_scalar_or_an_array():
    with MemMap.anonymous(0, "u1") as mm:
        mm.append(7)
        mm.append([8, 9])
        mm.append(np.uint8(10))
        mm.append(True)
        mm.append([])
        assert mm[...].tolist() == [7, 8, 9, 10, 1]


CASTS = [  # dtype, rows, the error or the values that are read back
    ("u1", [1, 255], [1, 255]),
    ("u1", np.array([1, 2], "u4"), [1, 2]),
    ("u1", [256], OverflowError),
    ("u1", [-1], OverflowError),
    ("u1", np.array([1], "i8"), TypeError),
    ("u1", [1.0], TypeError),
    ("i4", [1.5], TypeError),
    ("i4", np.array([1.0]), TypeError),
    ("i4", ["1"], TypeError),
    ("f4", [1, 2], [1, 2]),
    ("f4", np.array([1.5], "f8"), [1.5]),
    ("f4", [1j], TypeError),
    ("c8", [1.5, 2j], [1.5, 2j]),
    ("?", [True, False], [True, False]),
    ("?", [2], TypeError),
    ("S3", [b"abc", b"d"], [b"abc", b"d"]),
    ("M8[s]", np.array(["2020-01-01"], "M8[D]"), [np.datetime64("2020-01-01", "s").item()]),
    ("M8[s]", [1], TypeError),
]


@pytest.mark.parametrize(("dtype", "rows", "outcome"), CASTS, ids=str)
def test_append_casts_by_same_kind(dtype, rows, outcome):
    with MemMap.anonymous(0, dtype) as mm:
        if isinstance(outcome, list):
            mm.append(rows)
            assert mm[...].tolist() == outcome
        else:
            with pytest.raises(outcome, match=r"same_kind|out of bounds"):
                mm.append(rows)
            assert len(mm) == 0


def test_append_takes_structured_rows_from_tuples_and_arrays():
    dtype = np.dtype([("name", "S4"), ("place", "<f8", 2)])
    with MemMap.anonymous(0, dtype) as mm:
        mm.append((b"a", (1, 2)))
        mm.append([(b"b", (3, 4)), (b"c", (5, 6))])
        mm.append(np.zeros(1, dtype))
        mm.append(mm[1].copy())
        assert mm["name"].tolist() == [b"a", b"b", b"c", b"", b"b"]
        assert mm["place"][:, 1].tolist() == [2, 4, 6, 0, 4]
        with pytest.raises(ValueError, match="tuple of length 4 to structure with 2 fields"):
            mm.append((b"a", 1, 2, 3))
        assert len(mm) == 5


@pytest.mark.parametrize(
    "rows", [[1, 2, 3], [[1, 2, 3]], 5, np.ones((2, 2, 4), "<i4"), np.ones((4, 1), "<i4"), [[1, 2, 3, 4], [5]]]
)
def test_append_of_another_shape_is_refused_and_changes_nothing(path, rows):
    before = path.read_bytes()
    with table(path) as mm:
        with pytest.raises(ValueError, match="shape"):
            mm.append(rows)
        assert mm.shape == (6, 4)
        mm.resize(6)  # no view of the rows is left behind
    assert path.read_bytes() == before


def test_append_of_its_own_view_says_that_a_view_is_alive(path):
    with table(path) as mm:
        for rows in (lambda: mm[:2], lambda: mm[0]):
            with pytest.raises(BufferError, match="alive"):
                mm.append(rows())
            assert mm.shape == (6, 4)
        mm.append(mm[:2].copy())
        assert mm[6:].tolist() == mm[:2].tolist()


def test_append_of_the_map_itself_doubles_it(path):
    with table(path) as mm:
        rows = mm[...].tolist()
        mm.append(mm)
        assert mm[...].tolist() == rows + rows


def test_append_of_another_map_copies_it(path):
    with table(path) as mm, MemMap.anonymous((2, 4), "<i4") as other:
        other[:] = 3
        mm.append(other)
        assert (mm[6:] == 3).all()


# ---------------------------------------------------------------------------------------------------------- flush


@pytest.mark.parametrize("mode", ["r+", "w+"])
@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("rows", [None, slice(1, 3), [0, -1], slice(4, 4), []], ids=str)
def test_flush_writes_stores_to_the_file(path, mode, wait, rows):
    with MemMap.open(path, mode, dtype="<i4", shape=(6, 4)) as mm:
        mm[:] = 7
        mm.flush(rows, wait=wait)
        assert path.read_bytes() == b"\7\0\0\0" * 24


def dirty_bytes(path):
    """How much of the mapping of a file waits to be written back."""
    text = Path("/proc/self/smaps").read_text(errors="replace")
    (entry,) = re.findall(rf"^\S+ .*{re.escape(str(path))}\n((?:[A-Z].*\n)+)", text, re.MULTILINE)
    return 1024 * sum(int(size) for size in re.findall(r"^(?:Shared|Private)_Dirty:\s*(\d+) kB", entry, re.MULTILINE))


@pytest.mark.maps_shared
@pytest.mark.linux
def test_flush_returns_when_nothing_waits_to_be_written_back(make_file):
    path = make_file(bytes(64 * PAGE))
    with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0) as control:
        control[0] = 1
        control.flush()
        if dirty_bytes(path):
            pytest.skip("the temporary folder is in memory, where nothing is written back: set TMPDIR to a disk")
    with MemMap.open(path, "r+", shape=(64, PAGE)) as mm:
        mm[:] = 7
        assert dirty_bytes(path) == 64 * PAGE
        mm.flush()
        assert dirty_bytes(path) == 0
        with mm.window(3, 9) as part:
            part[:] = 8
            part.flush()
        assert dirty_bytes(path) == 0


@pytest.mark.posix
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_flush_shows_the_file_what_may_be_shown(path, mode):
    file = os.open(path, os.O_RDONLY)
    try:
        with MemMap.open(path, mode) as mm:
            if mm.writable:
                mm[:3] = 9
            mm.flush()
            mm.flush(wait=False)
            assert os.pread(file, 4, 0) == (b"\x09\x09\x09\0" if mode == "r+" else b"\0\0\0\0")
            assert mm.read_at(0, 4) == (b"\0\0\0\0" if mode == "r" else b"\x09\x09\x09\0")
    finally:
        os.close(file)


def test_flush_of_a_window_at_an_odd_offset_writes_its_rows(make_file):
    path = make_file(bytes(5 * PAGE))
    with MemMap.open(path, "r+", offset=11) as mm, mm.window(PAGE - 5, 2 * PAGE + 3) as part:
        part[:] = 1
        part.flush()
        part.flush([0, -1], wait=False)
    data = path.read_bytes()
    assert data.strip(b"\0") == b"\1" * (PAGE + 8)
    assert data.index(b"\1") == 11 + PAGE - 5


@pytest.mark.parametrize("through", [lambda mm: mm, lambda mm: mm.window(1, 3)], ids=["map", "window"])
def test_the_first_flush_of_a_new_file_makes_its_name_survive_as_well(tmp_path, monkeypatch, through):
    folders = []
    monkeypatch.setattr("scikitplot.memmap._region.sync_directory", folders.append)
    with MemMap.open(tmp_path / "new", "x+", shape=4) as mm:
        part = through(mm)
        for _ in range(2):
            part.flush()
        part.close()
    assert folders == [os.path.realpath(tmp_path)]


def test_flush_of_a_new_file_survives_that_its_folder_is_renamed(tmp_path):
    folder = tmp_path / "old"
    folder.mkdir()
    with MemMap.open(folder / "x", "w+", shape=4) as mm:
        mm[:] = 5
        mm.flush()
        folder.rename(tmp_path / "new")
        mm[:] = 6
        mm.flush()
    assert (tmp_path / "new" / "x").read_bytes() == b"\6" * 4


@pytest.mark.parametrize("shared", [False, True])
def test_flush_of_anonymous_memory_does_nothing(shared):
    with MemMap.anonymous(5, shared=shared) as mm:
        mm[:] = 3
        mm.flush()
        mm.flush([1], wait=False)
        assert mm[...].tolist() == [3] * 5


def test_stores_reach_the_file_by_close_alone(path):
    with table(path) as mm:
        mm[2] = -1
    assert np.fromfile(path, "<i4").reshape(6, 4)[2].tolist() == [-1] * 4


class Resizing:
    """An argument that shrinks the map when it is asked for its value."""

    def __init__(self, mm, value):
        self.mm, self.value = mm, value

    def __index__(self):
        self.mm.resize(1)
        return self.value

    def __array__(self, dtype=None, copy=None):
        self.mm.resize(1)
        return np.arange(0, self.value, 4096)


BIG = 1 << 22


@pytest.mark.parametrize(
    "call",
    [
        lambda mm, n: mm.view("u1", shape=n),
        lambda mm, n: mm.view(offset=n),
        lambda mm, n: mm.window(n, None)[-1],
        lambda mm, n: mm.residency(n),
        lambda mm, n: mm.lock(n),
        lambda mm, n: mm.flush(n),
    ],
    ids=["view shape", "view offset", "window", "residency", "lock", "flush"],
)
def test_an_argument_that_shrinks_the_map_reaches_nothing_beyond_it(tmp_path, call):
    with MemMap.open(tmp_path / "big", "w+", shape=BIG) as mm:
        with pytest.raises((ValueError, IndexError), match="resized while the call was under way|axis 0 with size 0"):
            call(mm, Resizing(mm, BIG))
        assert mm.shape == (1,)


def test_evict_reaches_nothing_beyond_a_map_that_its_argument_shrinks(tmp_path):
    with MemMap.open(tmp_path / "big", "w+", shape=BIG) as mm, MemMap.anonymous(BIG) as other:
        mm.evict(Resizing(mm, BIG))
        other.evict(Resizing(other, BIG))
        assert mm.shape == other.shape == (1,)


def test_readers_see_a_map_before_or_after_a_resize_never_between(tmp_path):
    with MemMap.open(tmp_path / "big", "w+", shape=BIG) as mm:
        mm[:] = 7
        sizes = set()

        def work(k):
            for i in range(300):
                with contextlib.suppress(BufferError):
                    if k == 0:
                        mm.resize(1 if i % 2 else BIG)
                        continue
                    view = mm[:]
                    sizes.add(view.size)
                    assert view[0] == 7
                    assert not view[1:].any() or view.all()

        in_threads(work, 4)
    assert sizes <= {1, BIG}


@pytest.mark.linux
def test_a_map_that_shrinks_stays_where_it_is(path):
    for make in (table, lambda _: MemMap.anonymous(6 * PAGE)):
        with make(path) as mm:
            mm.resize(100 * PAGE)
            before = mm[...].ctypes.data
            mm.resize(10)
            assert mm[...].ctypes.data == before
