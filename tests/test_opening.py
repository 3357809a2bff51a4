"""The contract's promises about opening."""

import gzip
import io
import mmap
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from strategies import DTYPE_CASES, as_ndarray, random_bytes, random_items, same, same_values

from scikitplot.memmap import MemMap

PAGE = mmap.PAGESIZE
EXISTING = ["r", "r+", "c"]
CREATING = ["w+", "x+"]


def test_calling_the_class_names_the_two_ways_in():
    with pytest.raises(TypeError, match=r"MemMap\.open\(.*MemMap\.anonymous\("):
        MemMap("data.bin")


# ---- paths


@pytest.mark.parametrize("kind", [str, os.fsencode, Path], ids=["str", "bytes", "PathLike"])
def test_path_may_be_str_bytes_or_pathlike(make_file, kind):
    path = make_file(b"abc")
    with MemMap.open(kind(path)) as mm:
        assert mm.read_at(0, 3) == b"abc"
        assert mm.path == str(path)


def test_path_may_be_an_object_with_fspath_that_gives_bytes(make_file):
    path = make_file(b"abc")

    class Named:
        def __fspath__(self):
            return os.fsencode(path)

    with MemMap.open(Named()) as mm:
        assert mm.path == str(path)


@pytest.mark.parametrize("mode", EXISTING)
def test_path_may_be_an_open_binary_file_object(make_file, mode):
    path = make_file(b"0123456789")
    with open(path, "rb" if mode != "r+" else "r+b") as file:
        file.seek(5)
        with MemMap.open(file, mode, offset=2) as mm:
            assert mm.read_at(0, 8) == b"23456789"
            assert (mm.path, mm.mode) == (str(path), mode)
        assert file.tell() == 5


def test_relative_path_becomes_absolute(make_file, monkeypatch):
    path = make_file(b"abc", "here.bin")
    monkeypatch.chdir(path.parent)
    with MemMap.open("here.bin") as mm:
        monkeypatch.chdir(path.parent.parent)
        assert os.path.isabs(mm.path)
        assert os.path.samefile(mm.path, path)


@pytest.mark.parametrize("name", ["blank name", "Ärger-漢字-🗺", "x" * 200])
def test_path_may_have_any_name(make_file, name):
    with MemMap.open(make_file(b"abc", name)) as mm:
        assert mm.path.endswith(name)
        assert mm.read_at(0, 3) == b"abc"


# ---- modes


def test_mode_defaults_to_r_and_the_rest_to_what_the_signature_says(make_file):
    with MemMap.open(make_file(b"abc")) as mm:
        found = mm.mode, mm.dtype, mm.shape, mm.offset, mm.order, mm.access
        assert found == ("r", np.dtype("u1"), (3,), 0, "C", "normal")


@pytest.mark.parametrize("mode", CREATING)
def test_mode_creates_the_file_at_its_full_size_and_zeroed(tmp_path, mode):
    path = tmp_path / "new.bin"
    with MemMap.open(path, mode, dtype="<i4", shape=(5, 7), offset=11) as mm:
        assert path.stat().st_size == 11 + 5 * 7 * 4
        assert not mm[...].any()
        assert mm.mode == mode
        mm[:] = 3
    assert path.read_bytes() == bytes(11) + np.full(35, 3, "<i4").tobytes()


def test_mode_w_replaces_a_file_that_exists(make_file):
    path = make_file(b"old and longer")
    with MemMap.open(path, "w+", shape=3) as mm:
        assert mm.read_at(0, 3) == bytes(3)
    assert path.read_bytes() == bytes(3)


@pytest.mark.parametrize("mode", EXISTING + CREATING)
def test_mode_decides_whether_and_where_writes_go(make_file, tmp_path, mode):
    path = make_file(b"0123") if mode != "x+" else tmp_path / "new.bin"
    with MemMap.open(path, mode, shape=4) as mm:
        assert mm.writable == (mode != "r")
        assert mm.shared == (mode != "c")
        if mode == "r":
            for write in (lambda: mm.write_at(0, b"x"), lambda: mm.__setitem__(0, 1)):
                with pytest.raises(ValueError, match="read-only"):
                    write()
        else:
            mm[1] = ord("x")
            assert mm.read_at(1, 1) == b"x"
    expected = {"r": b"0123", "c": b"0123", "r+": b"0x23"}.get(mode, b"\0x\0\0")
    assert path.read_bytes() == expected


def test_mode_c_never_changes_the_file_nor_another_map_of_it(make_file):
    path = make_file(bytes(3 * PAGE))
    with MemMap.open(path, "c") as mine, MemMap.open(path, "c") as other, MemMap.open(path) as reader:
        mine[:] = 7
        mine.flush()
        assert not other[...].any()
        assert not reader[...].any()
        assert (mine[...] == 7).all()
    assert path.read_bytes() == bytes(3 * PAGE)


def test_writes_of_one_map_are_seen_by_another_of_the_same_file(make_file):
    path = make_file(bytes(10))
    with MemMap.open(path, "r+") as writer, MemMap.open(path) as reader:
        writer[4] = 9
        assert reader[4] == 9


@pytest.mark.parametrize("access", ["normal", "random", "sequential"])
@pytest.mark.parametrize("mode", EXISTING)
def test_access_is_an_intent_and_changes_no_byte(make_file, mode, access):
    data = random_bytes(5 * PAGE)
    with MemMap.open(make_file(data), mode, access=access) as mm:
        assert mm.access == access
        assert mm.read_at(0, len(data)) == data


# ---- dtypes


@pytest.mark.parametrize("offset", [0, 3])
@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_dtype_may_be_any_of_fixed_size(make_file, dtype, offset):
    data = random_items(4, dtype, offset)
    with MemMap.open(make_file(data), dtype=dtype, offset=offset) as mm:
        expected = as_ndarray(data, dtype, (4,), offset)
        assert mm.dtype == expected.dtype
        assert (mm.shape, mm.ndim, mm.itemsize) == (expected.shape, expected.ndim, expected.itemsize)
        assert same(mm, expected)
        assert same_values(mm[2], expected[2])


@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_dtype_is_written_as_ndarray_would(tmp_path, dtype):
    values = as_ndarray(random_items(3, dtype), dtype, (3,))
    path = tmp_path / "new.bin"
    with MemMap.open(path, "w+", dtype=dtype, shape=3) as mm:
        mm[:] = values
        expected = np.zeros(values.shape, values.dtype)
        expected[:] = values
        assert same_values(mm[...], expected)
    assert same_values(as_ndarray(path.read_bytes(), dtype, (3,)), expected)


def test_dtype_may_be_spelled_as_numpy_allows(make_file):
    path = make_file(bytes(24))
    for spelled in (float, "f8", np.float64, np.dtype("f8"), None):
        with MemMap.open(path, dtype=spelled) as mm:
            assert (mm.dtype, mm.shape) == (np.dtype("f8"), (3,))


def test_sub_array_dtype_adds_its_dimensions(make_file):
    path = make_file(np.arange(24, dtype="<i2"))
    with MemMap.open(path, dtype=("<i2", (2, 3))) as mm:
        assert (mm.dtype, mm.shape, mm.itemsize) == (np.dtype("<i2"), (4, 2, 3), 2)
    with MemMap.open(path, dtype=("<i2", (3,)), shape=(2, -1)) as mm:
        assert mm[...].tolist() == np.arange(24).reshape(2, 4, 3).tolist()


# ---- shape, offset, order


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (None, (24,)),
        (24, (24,)),
        (-1, (24,)),
        ((-1, 6), (4, 6)),
        ((4, -1), (4, 6)),
        ((2, -1, 3), (2, 4, 3)),
        ((2, 3), (2, 3)),
        (5, (5,)),
        ((), ()),
        (0, (0,)),
        ((3, 0), (3, 0)),
        ([4, 6], (4, 6)),
        (np.int64(7), (7,)),
        ((np.uint8(4), np.int32(-1)), (4, 6)),
    ],
)
@pytest.mark.parametrize("mode", EXISTING)
def test_shape_is_given_or_inferred(make_file, mode, shape, expected):
    path = make_file(np.arange(24, dtype="<i2"))
    with MemMap.open(path, mode, dtype="<i2", shape=shape) as mm:
        assert mm.shape == expected
        assert all(type(n) is int for n in mm.shape)
        assert mm[...].ravel().tolist() == list(range(mm.size))


def test_shape_is_inferred_from_the_offset_on(make_file):
    with MemMap.open(make_file(bytes(100)), dtype="<f8", offset=20, shape=(-1, 2)) as mm:
        assert (mm.shape, mm.offset, mm.nbytes) == ((5, 2), 20, 80)


@pytest.mark.parametrize("offset", [1, 7, PAGE - 1, PAGE, PAGE + 1, 65535, 65536, 65537, np.int64(5)])
@pytest.mark.parametrize("mode", EXISTING)
def test_offset_may_have_any_value(make_file, mode, offset):
    data = random_bytes(70_000)
    with MemMap.open(make_file(data), mode, offset=offset) as mm:
        assert mm.offset == offset
        assert mm.read_at(0, mm.nbytes) == data[offset:]
        if mode == "r+":
            mm[0] = data[0]
            assert Path(mm.path).read_bytes()[offset] == data[0]


@pytest.mark.parametrize("mode", EXISTING)
def test_order_f_lays_the_first_dimension_out_first(make_file, mode):
    expected = np.asfortranarray(np.arange(24, dtype="<i4").reshape(2, 3, 4))
    with MemMap.open(make_file(expected), mode, dtype="<i4", shape=(2, -1, 4), order="F") as mm:
        assert (mm.order, mm.strides, mm.shape) == ("F", expected.strides, (2, 3, 4))
        assert same(mm, expected)
        assert mm[...].flags.f_contiguous


# ---- sizes


@pytest.mark.parametrize("mode", EXISTING + CREATING)
@pytest.mark.parametrize("shape", [0, (0,), (0, 3), (3, 0), (2, 0, 5)], ids=str)
def test_zero_length_shapes_work_in_every_mode(make_file, tmp_path, mode, shape):
    path = make_file() if mode != "x+" else tmp_path / "new.bin"
    with MemMap.open(path, mode, dtype="<f8", shape=shape) as mm:
        assert mm[...].shape == mm.shape == np.empty(shape).shape
        assert (mm.nbytes, mm.size, mm.read_at(0, 0)) == (0, 0, b"")
        assert np.sum(mm) == 0
        mm.flush()
    assert path.read_bytes() == b""


@pytest.mark.parametrize("mode", EXISTING)
@pytest.mark.parametrize(("shape", "expected"), [(None, (0,)), ((-1, 3), (0, 3))])
def test_empty_file_is_an_empty_map(make_file, mode, shape, expected):
    with MemMap.open(make_file(), mode, dtype="<f8", shape=shape) as mm:
        assert mm.shape == expected
        assert list(mm) == []
        with pytest.raises(IndexError):
            mm[0]


@pytest.mark.parametrize("mode", EXISTING)
def test_offset_may_be_the_end_of_the_file(make_file, mode):
    with MemMap.open(make_file(b"abc"), mode, offset=3) as mm:
        assert mm.shape == (0,)


@pytest.mark.parametrize("mode", EXISTING + CREATING)
@pytest.mark.parametrize("size", [1, PAGE - 1, PAGE, PAGE + 1, 65535, 65536, 65537])
def test_sizes_around_a_page_work_in_every_mode(make_file, tmp_path, mode, size):
    data = random_bytes(size)
    path = make_file(data) if mode != "x+" else tmp_path / "new.bin"
    with MemMap.open(path, mode, shape=size) as mm:
        assert (mm.nbytes, len(mm)) == (size, size)
        if mode in CREATING:
            mm.write_at(0, data)
        assert mm.read_at(0, size) == data
        assert mm[-1] == data[-1]
        with pytest.raises(IndexError):
            mm[size]
    assert path.read_bytes() == data


@pytest.mark.parametrize(
    "size",
    [
        pytest.param((5 << 30) + 3, id="5 GiB"),
        pytest.param(1 << 40, id="1 TiB", marks=[pytest.mark.more_than_wine, pytest.mark.native]),
    ],
)
@pytest.mark.skipif(sys.maxsize < 1 << 40, reason="needs a 64-bit address space")
def test_sparse_files_beyond_4_gib_are_mapped_whole(tmp_path, size):
    path = tmp_path / "big.bin"
    with MemMap.open(path, "w+", shape=size, sparse=True) as mm:
        assert mm.nbytes == size
        mm[-1] = 5
        mm.write_at((1 << 32) + 1, b"beyond")
        assert mm.gather([-1, (1 << 32) + 1, 0]).tolist() == [5, ord("b"), 0]
    try:
        with MemMap.open(path, dtype="<u2", shape=size // 2) as mm:
            assert mm.read_at((1 << 32) + 1, 6) == b"beyond"
            assert mm[1 << 31] == ord("b") << 8
    finally:
        path.unlink()  # for tools that copy a failed test's folder


@pytest.mark.parametrize("size", [(5 << 30) + 3, 1 << 40], ids=["5 GiB", "1 TiB"])
def test_part_of_a_sparse_file_beyond_4_gib_is_mapped(tmp_path, size):
    path, offset = tmp_path / "big.bin", size - 10
    with MemMap.open(path, "w+", offset=offset, shape=10, sparse=True) as mm:
        mm.write_at(0, b"beyond4GiB")
        assert mm.residency().all()
        mm.flush()
        mm.evict()
    try:
        assert path.stat().st_size == size
        with MemMap.open(path, "r+", offset=offset, shape=6) as mm:
            assert mm.read_at(0, 6) == b"beyond"
            assert mm.offset == offset
            mm[0] = ord("B")
        with MemMap.open(path, "c", offset=size - 1) as mm:
            assert mm[...].tolist() == [ord("B")]
        with MemMap.open(path, "r+", dtype="<u2", offset=offset) as mm:
            mm.append([7])
            assert path.stat().st_size == size + 2
        with MemMap.open(path, offset=offset) as mm:
            assert mm.read_at(0, 12) == b"Beyond4GiB" + bytes([7, 0])
    finally:
        path.unlink()


# ---- space on disk


@pytest.mark.posix
@pytest.mark.parametrize("mode", CREATING)
def test_space_is_reserved_when_the_file_is_made(tmp_path, mode):
    size = 1 << 20
    with MemMap.open(tmp_path / "new.bin", mode, shape=size):
        assert os.stat(tmp_path / "new.bin").st_blocks * 512 >= size


@pytest.mark.posix
@pytest.mark.parametrize("mode", CREATING)
def test_sparse_skips_the_reservation(tmp_path, mode):
    with MemMap.open(tmp_path / "new.bin", mode, shape=1 << 20, sparse=True) as mm:
        assert os.stat(mm.path).st_blocks * 512 < 1 << 16
        assert os.stat(mm.path).st_size == 1 << 20


@pytest.mark.posix
@pytest.mark.parametrize("sparse", [False, True])
@pytest.mark.parametrize("mode", CREATING)
def test_no_room_for_the_file_is_an_oserror_that_leaves_nothing(tmp_path, run_python, leftovers, mode, sparse):
    before = leftovers()
    said = run_python(
        f"""
import os, resource
from scikitplot.memmap import MemMap
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
descriptors = len(os.listdir("/dev/fd"))
try:
    MemMap.open("new.bin", {mode!r}, shape=1 << 20, sparse={sparse})
except OSError as error:
    print(error.errno, os.path.basename(error.filename), error.strerror)
assert len(os.listdir("/dev/fd")) == descriptors
assert os.listdir(".") == []
MemMap.open("small.bin", {mode!r}, shape=1 << 10, sparse={sparse}).close()
os.unlink("small.bin")
"""
    )
    assert "new.bin" in said
    assert str(1 << 20) in said
    assert leftovers() == before


@pytest.mark.posix
def test_no_room_for_the_new_file_leaves_the_old_one(make_file, run_python):
    path = make_file(b"old")
    run_python(
        """
import resource, sys
from scikitplot.memmap import MemMap
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, 1 << 16))
try:
    MemMap.open(sys.argv[1], "w+", shape=1 << 20)
except OSError:
    pass
else:
    sys.exit("no error")
""",
        path,
    )
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


# ---- descriptors


@pytest.mark.linux
@pytest.mark.parametrize("mode", ["r+", "c", "w+"])
def test_files_are_close_on_exec(make_file, run_python, mode):
    said = run_python(
        """
import subprocess, sys
from scikitplot.memmap import MemMap
with MemMap.open(sys.argv[1], sys.argv[2], shape=3), open(sys.argv[1], "rb") as file:
    with MemMap.open(file):
        child = "import os; print([p for p in map(os.path.realpath, os.scandir('/proc/self/fd')) if 'data.bin' in p])"
        subprocess.run([sys.executable, "-c", child], close_fds=False, check=True)
""",
        make_file(b"abc"),
        mode,
    )
    assert said == "[]"


@pytest.mark.linux
def test_map_of_mode_r_keeps_no_file_open(make_file, leftovers):
    path = make_file(b"abc")
    before = leftovers().descriptors
    with MemMap.open(path), MemMap.open(path, offset=1):
        assert leftovers().descriptors == before


@pytest.mark.linux
def test_map_of_a_file_object_keeps_one_file_open(make_file, leftovers):
    with open(make_file(b"abc"), "rb") as file:
        before = leftovers().descriptors
        with MemMap.open(file):
            assert leftovers().descriptors == before + 1
        assert leftovers().descriptors == before


@pytest.mark.posix
def test_10_000_maps_are_open_under_a_limit_of_1024_files(make_file, run_python):
    said = run_python(
        """
import resource, sys
from scikitplot.memmap import MemMap, open_maps
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
maps = [MemMap.open(sys.argv[1], offset=i) for i in range(10_000)]
assert all(mm[0] == i % 251 for i, mm in enumerate(maps))
assert len(open_maps()) == 10_000
for mm in maps:
    mm.close()
print(len(open_maps()))
""",
        make_file(bytes(i % 251 for i in range(10_001))),
    )
    assert said == "0"


@pytest.mark.posix
@pytest.mark.native
def test_running_out_of_descriptors_names_the_limit_and_the_way_out(make_file, run_python):
    said = run_python(
        """
import errno, resource, sys
from scikitplot.memmap import MemMap
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
maps, file = [], open(sys.argv[1], "r+b")
try:
    while True:
        maps.append(MemMap.open(sys.argv[1], "r+"))
except OSError as error:
    assert error.errno == errno.EMFILE and error.filename == sys.argv[1]
    print(error.strerror)
for call in (lambda: MemMap.open(file), lambda: MemMap.open("new", "x+", shape=1), lambda: MemMap.open(sys.argv[1])):
    try:
        call()
    except OSError as error:
        assert "64 files open (ulimit -n)" in str(error)
    else:
        raise SystemExit(f"no error from {call}")
""",
        make_file(bytes(8)),
    )
    assert said == (
        "Too many open files: this process may have 64 files open (ulimit -n). Way out: close files, raise the limit, "
        'or open by path with mode "r" or "c": such maps keep no file open'
    )


TOO_LARGE = {"shape": sys.maxsize, "dtype": "<i8"}


@pytest.mark.parametrize("through", ["path", "file object"])
@pytest.mark.parametrize(
    ("modes", "layout"),
    [
        (EXISTING, {"dtype": "<i4"}),
        (EXISTING, {"shape": 11}),
        (EXISTING, {"shape": (-1, 3)}),
        (EXISTING, {"offset": 11}),
        ([*EXISTING, "w+"], {"shape": (-1, 0)}),
        ([*EXISTING, "w+"], {"shape": 1, "offset": -1}),
        ([*EXISTING, "w+"], TOO_LARGE),
        (["w+"], {"shape": (-1, 3)}),
        (["w+"], {}),
    ],
    ids=str,
)
def test_an_error_about_a_layout_names_the_file(make_file, modes, layout, through):
    path = make_file(bytes(10))
    for mode in modes:
        with open(path, "r+b") as file, pytest.raises(ValueError, match=re.escape(str(path))):
            MemMap.open(path if through == "path" else file, mode, **layout)
    assert path.read_bytes() == bytes(10)


def test_map_of_a_file_object_outlives_the_file_object(make_file):
    with open(make_file(b"abc"), "rb") as file:
        mm = MemMap.open(file)
    with mm:
        assert mm.read_at(0, 3) == b"abc"


def test_file_object_may_be_unbuffered(make_file):
    with open(make_file(b"abc"), "rb", buffering=0) as file, MemMap.open(file) as mm:
        assert isinstance(file, io.RawIOBase)
        assert mm.read_at(0, 3) == b"abc"


# ---- memory without a file


def test_open_without_a_path_is_anonymous():
    with MemMap.open(shape=(2, 3), dtype="<i4", order="F", access="random") as mm:
        found = mm.path, mm.mode, mm.shape, mm.dtype, mm.order, mm.access, mm.offset, mm.shared, mm.writable
        assert found == (None, "r+", (2, 3), np.dtype("<i4"), "F", "random", 0, False, True)
        assert not mm[...].any()
        mm[1] = 5
        assert mm[...].tolist() == [[0, 0, 0], [5, 5, 5]]


@pytest.mark.parametrize("mode", ["r+", "w+", "readwrite", "write"])
def test_open_without_a_path_reads_mode_r_plus(mode):
    with MemMap.open(mode=mode, shape=3) as mm:
        assert mm.mode == "r+"


@pytest.mark.parametrize("mode", ["r", "readonly", "c", "copyonwrite", "x+"])
def test_open_without_a_path_refuses_other_modes(mode):
    with pytest.raises(ValueError, match=r"mode .* needs a path"):
        MemMap.open(mode=mode, shape=3)


def test_open_without_a_path_refuses_an_offset():
    with pytest.raises(ValueError, match="offset 4 needs a path"):
        MemMap.open(shape=3, offset=4)


def test_open_without_a_path_needs_a_shape():
    with pytest.raises(TypeError, match=r"path.*shape"):
        MemMap.open()


def test_anonymous_is_zero_filled_private_memory():
    with MemMap.anonymous((3, 4), "<f8") as mm:
        found = mm.path, mm.mode, mm.shape, mm.dtype, mm.order, mm.access, mm.shared, mm.writable
        assert found == (None, "r+", (3, 4), np.dtype("<f8"), "C", "normal", False, True)
        assert not mm[...].any()
    with MemMap.anonymous(5) as mm:
        assert mm.dtype == np.dtype("u1")


@pytest.mark.parametrize("shape", [0, (0, 3), (), 1, PAGE + 1, np.int64(3)], ids=str)
def test_anonymous_may_have_any_shape(shape):
    with MemMap.anonymous(shape, "<i2") as mm:
        assert mm[...].shape == np.empty(shape).shape


@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_anonymous_may_have_any_dtype(dtype):
    with MemMap.anonymous((2, 3), dtype, order="F") as mm:
        assert same(mm, as_ndarray(bytes(6 * dtype.itemsize), dtype, (2, 3), order="F"))


@pytest.mark.posix
@pytest.mark.parametrize("shared", [False, True])
def test_anonymous_memory_is_shared_with_a_fork_only_if_asked(run_python, shared):
    said = run_python(
        f"""
import os
from scikitplot.memmap import MemMap
with MemMap.anonymous(10, shared={shared}) as mm:
    assert mm.shared is {shared}
    pid = os.fork()
    if not pid:
        mm[3] = 7
        os._exit(0)
    os.waitpid(pid, 0)
    print(mm[3])
"""
    )
    assert said == ("7" if shared else "0")


@pytest.mark.skipif(sys.maxsize < 1 << 40, reason="needs a 64-bit address space")
@pytest.mark.skipif(sys.platform == "win32", reason="Windows promises no more memory than it has")
def test_anonymous_memory_is_taken_as_it_is_written():
    with MemMap.anonymous(1 << 36) as mm:  # more than most machines have
        mm[-1] = 1
        assert mm[-1] == 1


class Name(str):
    """A str that is not exactly one, as numpy.str_ and enumerations are."""

    __slots__ = ()


def test_arguments_may_be_of_a_subclass_of_str(make_file):
    path = make_file(b"abcd")
    with MemMap.open(Name(path), Name("r"), access=Name("random"), order=Name("C"), dtype=Name("u2")) as mm:
        assert (mm.path, mm.mode, mm.access, mm.order, mm.shape) == (str(path), "r", "random", "C", (2,))
        mm.advise(Name("normal"))


def test_bytes_that_are_not_those_of_the_file_are_refused(tmp_path):
    path = tmp_path / "data.gz"
    with gzip.open(path, "wb") as file:
        file.write(b"abc")
    with gzip.open(path) as file, pytest.raises(TypeError, match="binary mode"):
        MemMap.open(file)
    with tempfile.NamedTemporaryFile("w+") as file, pytest.raises(TypeError, match="binary mode"):
        MemMap.open(file)


def test_shape_may_be_an_array_without_dimensions(make_file):
    with MemMap.open(make_file(b"abcd"), shape=np.array(3)) as mm:
        assert mm.shape == (3,)


def test_renaming_the_fields_of_one_map_leaves_others_alone(make_file):
    path = make_file(b"abcd")
    with MemMap.open(path, dtype="u1,u1") as mm:
        mm.dtype.names = ("x", "y")
    with MemMap.open(path, dtype="u1,u1") as mm:
        assert mm.dtype.names == ("f0", "f1")


@pytest.mark.linux
def test_no_error_shows_the_descriptor_of_a_file_without_a_name():
    with tempfile.TemporaryFile() as file, pytest.raises(FileExistsError) as caught:
        MemMap.open(file, "x+", shape=3)
    assert caught.value.filename is None


# ---------------------------------------------------------------------------------------------------------- import


def test_the_import_brings_in_little_that_numpy_does_not(run_python):
    added = run_python("""if True:
        import sys, numpy
        before = set(sys.modules)
        import scikitplot.memmap
        print(*sorted({name.partition(".")[0] for name in set(sys.modules) - before}))
    """)
    assert set(added.split()) <= {"scikitplot", "gc", "errno", "mmap", "importlib", "__future__", "cython_runtime"}
