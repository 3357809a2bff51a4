"""read_at, readinto_at and write_at."""

import array
import mmap

import numpy as np
import pytest
from in_threads import in_threads
from strategies import random_bytes

from scikitplot.memmap import MemMap

SIZE = 100_000  # more than a copy that keeps the interpreter lock
DATA = random_bytes(SIZE)


@pytest.fixture(params=["r", "r+", "c", "anonymous"])
def mm(request, make_file):
    """A map of DATA, whatever its mode."""
    made = MemMap.anonymous(SIZE) if request.param == "anonymous" else MemMap.open(make_file(DATA), request.param)
    with made:
        if request.param == "anonymous":
            made.write_at(0, DATA)
        yield made


@pytest.fixture
def small():
    """Sixteen bytes: 0, 1, 2, ..."""
    with MemMap.anonymous(16) as made:
        made[:] = np.arange(16)
        yield made


PAGE = mmap.PAGESIZE
RANGES = [(0, 0), (0, 1), (0, SIZE), (SIZE, 0), (SIZE - 1, 1), (PAGE - 1, 2), (1, 32767), (1, 32768), (1, 65537)]


@pytest.mark.parametrize(("offset", "size"), RANGES)
def test_read_at_copies_the_bytes_of_the_range(mm, offset, size):
    found = mm.read_at(offset, size)
    assert type(found) is bytes
    assert found == DATA[offset : offset + size]
    assert mm.read_at(offset=offset, size=size) == found


@pytest.mark.parametrize(("offset", "size"), RANGES)
def test_readinto_at_fills_the_buffer_and_returns_its_length(mm, offset, size):
    target = bytearray(size)
    assert mm.readinto_at(offset, target) == size
    assert target == DATA[offset : offset + size]


@pytest.mark.parametrize(("offset", "size"), RANGES)
def test_write_at_copies_the_data_and_returns_its_length(make_file, offset, size):
    path = make_file(DATA)
    data = bytes(size)
    with MemMap.open(path, "r+") as mm:
        assert mm.write_at(offset, data) == size
    assert path.read_bytes() == DATA[:offset] + data + DATA[offset + size :]


def test_offset_counts_from_the_start_of_the_map_not_of_the_file(make_file):
    path = make_file(DATA)
    with MemMap.open(path, "r+", offset=5000, shape=(10, 10), dtype="<f4") as mm:
        assert mm.read_at(7, 9) == DATA[5007:5016]
        mm.write_at(399, b"x")
        with pytest.raises(ValueError, match="0:400"):
            mm.read_at(399, 2)
    assert path.read_bytes()[5399:5400] == b"x"


def test_offset_counts_bytes_of_memory_in_fortran_order_too(make_file):
    expected = np.asfortranarray(np.arange(12, dtype="<i4").reshape(3, 4))
    with MemMap.open(make_file(expected), dtype="<i4", shape=(3, 4), order="F") as mm:
        assert mm.read_at(4, 4) == expected[1:2, 0].tobytes()


@pytest.mark.thread_unsafe(reason="changes what all would share")
@pytest.mark.parametrize("integer", [np.int8, np.uint8, np.int64, np.uint64, bool], ids=str)
def test_any_integer_will_do(small, integer):
    assert small.read_at(integer(1), integer(1)) == b"\1"
    assert small.write_at(integer(1), b"x") == 1


def test_anything_with_an_index_will_do(small):
    class Three:
        def __index__(self):
            return 3

    assert small.read_at(Three(), Three()) == b"\3\4\5"


BUFFERS = {
    "bytearray": lambda: bytearray(8),
    "memoryview": lambda: memoryview(bytearray(8)),
    "part of a memoryview": lambda: memoryview(bytearray(12))[2:10],
    "array": lambda: array.array("H", [0] * 4),
    "ndarray": lambda: np.zeros(4, "u2"),
    "ndarray, two dimensions": lambda: np.zeros((2, 4), "u1"),
    "ndarray, Fortran order": lambda: np.zeros((2, 2), "u2", order="F"),
    "ndarray, no dimensions": lambda: np.zeros((), "u8"),
    "ndarray, structured": lambda: np.zeros(1, [("a", "u4"), ("b", "u4")]),
    "another map": lambda: MemMap.anonymous(8).detach(),
}


@pytest.mark.thread_unsafe(reason="changes what all would share")
@pytest.mark.parametrize("make", [pytest.param(make, id=name) for name, make in BUFFERS.items()])
def test_any_contiguous_buffer_can_be_read_into_and_written_from(small, make):
    target = make()
    assert small.readinto_at(3, target) == 8
    found = target if isinstance(target, np.ndarray) else np.frombuffer(target, "u1")
    assert found.tobytes("A") == bytes(range(3, 11))
    assert small.write_at(0, target) == 8
    assert small.read_at(0, 16) == bytes([*range(3, 11), *range(8, 16)])


@pytest.mark.parametrize("buffer", [np.zeros(8, "u1")[::2], np.zeros((4, 4))[:, 1], memoryview(bytearray(8))[::-1]])
def test_buffer_that_is_not_contiguous_is_refused(small, buffer):
    with pytest.raises((ValueError, BufferError), match="contiguous"):
        small.readinto_at(0, buffer)
    with pytest.raises((ValueError, BufferError), match="contiguous"):
        small.write_at(0, buffer)
    assert small.read_at(0, 16) == bytes(range(16))
    assert not np.asarray(buffer).any()


@pytest.mark.parametrize("wrap", [np.asarray, memoryview])
def test_buffer_of_objects_is_refused(small, wrap):
    objects = np.array(["addresses", None], object)
    with pytest.raises(TypeError, match="Python objects"):
        small.readinto_at(0, wrap(objects))
    with pytest.raises(TypeError, match="Python objects"):
        small.write_at(0, wrap(objects))
    assert objects.tolist() == ["addresses", None]
    assert small.read_at(0, 16) == bytes(range(16))


def test_nothing_is_copied_in_part(small):
    target = bytearray(b"untouched")
    with pytest.raises(ValueError, match="offset 10 and size 9"):
        small.readinto_at(10, target)
    with pytest.raises(ValueError, match="offset 10 and size 9"):
        small.write_at(10, b"123456789")
    assert target == b"untouched"
    assert small.read_at(0, 16) == bytes(range(16))


@pytest.mark.parametrize(("source", "target"), [(0, 4), (4, 0), (0, 0)])
@pytest.mark.parametrize("size", [12, 50_000])
def test_own_view_may_overlap(source, target, size):
    values = np.arange(size + 4, dtype="u1")
    with MemMap.anonymous(size + 4) as mm:
        for copy in ("write_at", "readinto_at"):
            mm[:] = expected = values.copy()
            if copy == "write_at":
                mm.write_at(target, mm[source : source + size])
            else:
                mm.readinto_at(source, mm[target : target + size])
            expected[target : target + size] = values[source : source + size]
            assert mm.read_at(0, size + 4) == expected.tobytes()


def test_buffer_is_let_go(small):
    target = bytearray(4)
    small.readinto_at(0, target)
    small.write_at(0, target)
    for call in (small.readinto_at, small.write_at):
        with pytest.raises(ValueError, match="not offset 99"):
            call(99, target)
    target.clear()  # refused as long as anybody has its buffer


def test_map_of_another_dtype_is_still_bytes():
    with MemMap.anonymous((2, 3), "<u4") as mm:
        mm[:] = [[1, 2, 3], [4, 5, 6]]
        assert mm.read_at(4, 8) == np.array([2, 3], "<u4").tobytes()
        mm.write_at(20, np.array([7], "<u4"))
        assert mm[1, 2] == 7


def test_empty_map_has_an_empty_range():
    with MemMap.anonymous(0) as mm:
        assert mm.read_at(0, 0) == b""
        assert mm.write_at(0, b"") == mm.readinto_at(0, bytearray()) == 0
        with pytest.raises(ValueError, match="0:0, not offset 0 and size 1"):
            mm.read_at(0, 1)


def test_threads_read_and_write_their_own_parts(make_file):
    path = make_file(bytes(8 * SIZE))

    def work(k):
        data = bytes([k + 1]) * SIZE
        for _ in range(5):
            mm.write_at(k * SIZE, data)
            assert mm.read_at(k * SIZE, SIZE) == data

    with MemMap.open(path, "r+") as mm:
        in_threads(work, 8)
    assert path.read_bytes() == b"".join(bytes([k + 1]) * SIZE for k in range(8))


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "?", "<i2", ">f8", "S3", "<M8[s]", [("a", "u1"), ("b", ">f4")]], ids=str)
def test_bytes_of_a_map_are_those_of_its_file(make_file, dtype, order):
    dtype = np.dtype(dtype)
    data = bytes(i % 2 for i in range(6 * dtype.itemsize))
    path = make_file(data)
    for shape in (-1, (2, 3), (1, 2, 3)):
        with MemMap.open(path, dtype=dtype, shape=shape, order=order) as mm:
            assert bytes(mm) == data
        with pytest.raises(ValueError, match="MemMap is closed"):
            bytes(mm)
    with MemMap.open(path, dtype=dtype, shape=(), order=order) as mm:
        assert bytes(mm) == data[: dtype.itemsize]


@pytest.mark.parametrize("dtype", ["<u2", "<i4", ">i8", "<M8[s]", "<f4"])
def test_bytearray_of_a_map_never_takes_numbers_for_bytes(make_file, dtype):
    path = make_file(bytes(24))
    with MemMap.open(path, dtype=dtype) as mm, pytest.raises(ValueError, match=r"its bytes are bytes\(mm\)"):
        bytearray(mm)
    with MemMap.open(make_file(b"abc")) as mm:
        assert bytearray(mm) == b"abc"
