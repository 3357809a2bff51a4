"""Indexing, conversion, views, windows and gather: what a map gives is what an ndarray would give."""

import os
import pickle
import re

import numpy as np
import pytest
from strategies import DTYPE_CASES, as_ndarray, random_items, same_values

from scikitplot.memmap import DamagedError, MemMap, batches, open_maps, open_npy

SHAPE = (6, 4, 5)
CUBE = np.arange(120, dtype="<i4").reshape(SHAPE)
MASK = CUBE % 7 == 0


@pytest.fixture(params=["C", "F"])
def cube(request, make_file):
    """CUBE in a file, mapped for reading, in both orders."""
    path = make_file(np.asarray(CUBE, order=request.param))
    with MemMap.open(path, dtype="<i4", shape=SHAPE, order=request.param) as mm:
        yield mm


@pytest.fixture
def line(make_file):
    """The numbers 0 to 9 in a file, mapped for writing."""
    with MemMap.open(make_file(np.arange(10, dtype="<i8")), "r+", dtype="<i8") as mm:
        yield mm


KEYS = [
    0,
    -1,
    5,
    np.int64(2),
    np.uint8(3),
    True,
    (),
    ...,
    None,
    slice(None),
    slice(1, 3),
    slice(-2, None),
    slice(None, None, -1),
    slice(4, 1, -2),
    slice(7, 99),
    slice(-99, 2),
    slice(3, 3),
    slice(np.int64(1), np.int64(5), np.int64(2)),
    (1, 2, 3),
    (-1, -1, -1),
    (1, slice(None), 2),
    (slice(None), 1),
    (..., 0),
    (0, ..., 0),
    (None, 2),
    (slice(1, 4), None, ..., None, slice(None, None, 2)),
    [0, 2, -1],
    ([0, 1], [1, 2]),
    ([0, 1], slice(None), [[0], [1]]),
    (slice(None), [3, 0]),
    np.array([[0, 1], [5, -6]]),
    [],
    MASK,
    MASK[:, 0, 0],
    (MASK[:, 0, 0], 1),
    (slice(None), MASK[0]),
    np.bool_(True),
    (0, 1, 2, ...),
    (np.int8(-1), np.uint64(1), slice(np.int32(1), None)),
    (None, 1, None, ..., None),
    (slice(5, 1), slice(None, None, -2), -1),
    (None,) * 20 + (1,),
]


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key).replace("\n", "")[:60])
def test_indexing_is_that_of_ndarray(cube, key):
    expected = CUBE[key]
    found = cube[key]
    assert same_values(found, expected)
    assert np.may_share_memory(found, cube[...]) == np.may_share_memory(expected, CUBE)
    if isinstance(found, np.ndarray) and found.base is not None and np.may_share_memory(found, cube[...]):
        assert not found.flags.writeable


@pytest.mark.parametrize("key", KEYS, ids=lambda key: repr(key).replace("\n", "")[:60])
def test_assignment_is_that_of_ndarray(tmp_path, key):
    expected = CUBE.copy()
    with MemMap.open(tmp_path / "new.bin", "w+", dtype="<i4", shape=SHAPE) as mm:
        mm[:] = CUBE
        mm[key] = expected[key] = -5
        assert np.array_equal(mm, expected)
        values = np.arange(expected[key].size).reshape(expected[key].shape)
        mm[key] = expected[key] = values
        assert np.array_equal(mm, expected)
    assert (tmp_path / "new.bin").read_bytes() == expected.tobytes()


BAD_KEYS = [(9, 0, 0), (0, -9, 0), (0, 0, 0, 0), (..., 0, ...), (slice(None),) * 4, (None,) * 62, "x", 1.5, (0, "x")]
BAD_KEYS += [np.timedelta64(1, "s"), (0, 1 << 70), slice("x"), (slice(None, None, 0),), (0, object())]


@pytest.mark.parametrize("key", BAD_KEYS, ids=lambda key: repr(key)[:40])
def test_indices_that_do_not_fit_are_refused_as_by_ndarray(make_file, key):
    copy = CUBE.copy()
    with MemMap.open(make_file(CUBE), "r+", dtype="<i4", shape=SHAPE) as mm:
        for call in (lambda array: array[key], lambda array: array.__setitem__(key, 1)):
            with pytest.raises(Exception) as expected:  # noqa: PT011
                call(copy)
            with pytest.raises(expected.type, match=re.escape(str(expected.value))):
                call(mm)
        assert np.array_equal(mm, copy)


@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_single_items_are_those_of_ndarray(make_file, dtype):
    data = random_items(6, dtype)
    expected = as_ndarray(data, dtype, (6,))
    with MemMap.open(make_file(data), dtype=dtype) as mm:
        for i in (0, 5, -1, -6, np.int32(2)):
            assert same_values(mm[i], expected[i])
        for i in (6, -7):
            with pytest.raises(IndexError):
                mm[i]
        assert same_values(mm[1:5:2], expected[1:5:2])
        assert same_values(mm[[3, 0]], expected[[3, 0]])


@pytest.mark.thread_unsafe(reason="changes what all would share")
def test_single_item_of_a_simple_dtype_is_a_copy(line):
    item = line[3]
    line[3] = 99
    assert item == 3


def test_single_record_is_a_view_as_in_ndarray(make_file):
    records = np.array([(1, 2.5), (3, 4.5)], dtype=[("n", "<i4"), ("x", "<f8")])
    with MemMap.open(make_file(records), "r+", dtype=records.dtype) as mm:
        record = mm[1]
        record["n"] = 7
        assert mm[1]["n"] == 7
        assert mm["n"].tolist() == [1, 7]
        assert mm[["x", "n"]].tolist() == [(2.5, 1), (4.5, 7)]
        mm["x"] = [0.5, 1.5]
        assert mm[...].tolist() == [(1, 0.5), (7, 1.5)]
        with pytest.raises(ValueError, match="no field of name y"):
            mm["y"]
        del record


@pytest.mark.thread_unsafe(reason="changes what all would share")
def test_basic_indexing_writes_through(line):
    line[2:5][1] = 30
    line[...][0] = -1
    assert line[...].tolist() == [-1, 1, 2, 30, 4, 5, 6, 7, 8, 9]
    line[2:4] += 5
    assert line[2:4].tolist() == [7, 35]


def test_map_without_dimensions_is_indexed_as_ndarray(make_file):
    with MemMap.open(make_file(np.array(7, "<i4")), dtype="<i4", shape=()) as mm:
        assert mm[()] == 7
        assert mm[...].shape == ()
        assert mm[None].tolist() == [7]
        for key in (0, slice(None)):
            with pytest.raises(IndexError):
                mm[key]
        with pytest.raises(TypeError):
            iter(mm)


def test_views_are_plain_ndarrays(cube):
    for view in (cube[...], cube[1:], cube[0], cube.view(), np.asarray(cube), cube.to_numpy(), *cube):
        assert type(view) is np.ndarray


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_views_are_read_only_where_the_map_is(make_file, mode):
    with MemMap.open(make_file(bytes(24)), mode, shape=(2, 12)) as mm:
        for make in (
            lambda mm: mm[...],
            lambda mm: mm[1:],
            lambda mm: mm[0],
            lambda mm: mm[:, ::2],
            lambda mm: mm.view("<f4"),
            lambda mm: np.asarray(mm),
            lambda mm: mm.to_numpy(),
            lambda mm: next(iter(mm)),
            lambda mm: mm.window(0, 1)[...],
            lambda mm: np.asarray(mm.memoryview()),
        ):
            assert make(mm).flags.writeable == (mode != "r")
        assert mm.memoryview().readonly == (mode == "r")
        if mode == "r":
            with pytest.raises(ValueError, match="cannot set WRITEABLE"):
                mm[...].flags.writeable = True


def test_copies_are_writable_whatever_the_map(cube):
    for copied in (cube[[0]], cube[MASK], cube.gather([0]), np.array(cube), cube.to_numpy(copy=True), cube[...].copy()):
        assert copied.flags.writeable


# ---- conversion

CONVERSIONS = [
    (None, None, True),
    (None, False, True),
    (None, True, False),
    ("<i4", None, True),
    ("<i4", False, True),
    ("<f8", None, False),
    ("<f8", True, False),
    (">i4", None, False),
]


@pytest.mark.parametrize(("dtype", "copy", "is_view"), CONVERSIONS)
def test_conversion_copies_only_where_numpy_would(cube, dtype, copy, is_view):
    for convert in (cube.to_numpy, lambda dtype, copy: np.asarray(cube, dtype, copy=copy)):
        found = convert(dtype, copy)
        assert same_values(found, np.asarray(CUBE, dtype))
        assert np.shares_memory(found, cube[...]) == is_view


def test_conversion_that_must_not_copy_but_would_have_to_is_refused(cube):
    for convert in (cube.to_numpy, lambda dtype, copy: np.asarray(cube, dtype, copy=copy)):
        with pytest.raises(ValueError, match="copy"):
            convert("<f8", copy=False)


def test_np_array_copies(cube):
    assert not np.shares_memory(np.array(cube), cube[...])
    assert np.shares_memory(np.array(cube, copy=None), cube[...])


@pytest.mark.parametrize("values", [CUBE, CUBE[:0], CUBE[0, 0]], ids=["3-d", "empty", "1-d"])
def test_iteration_gives_the_rows(make_file, values):
    with MemMap.open(make_file(values), dtype="<i4", shape=values.shape) as mm:
        rows = list(mm)
        assert len(rows) == len(values)
        assert all(same_values(row, expected) for row, expected in zip(rows, values, strict=True))
        assert [row.tolist() for row in reversed(mm)] == values[::-1].tolist()
        del rows


def test_membership_is_that_of_ndarray(line):
    assert 3 in line
    assert 99 not in line


def test_numpy_functions_and_ufuncs_take_a_map(cube):
    assert np.sum(cube) == CUBE.sum()
    assert np.array_equal(np.add(cube, 1), CUBE + 1)
    assert np.array_equal(np.sin(cube), np.sin(CUBE))
    assert np.array_equal(np.concatenate([cube, cube]), np.concatenate([CUBE, CUBE]))
    assert np.array_equal(CUBE + cube, CUBE + CUBE)
    assert np.array_equal(np.mean(cube, axis=1), CUBE.mean(axis=1))
    assert np.array_equal(np.take(cube, [1, 0], axis=2), CUBE.take([1, 0], axis=2))
    assert np.array_equal(np.where(cube, 1, 0), np.where(CUBE, 1, 0))
    assert np.shape(cube) == SHAPE
    target = np.empty(SHAPE, "<i4")
    np.copyto(target, cube)
    assert np.array_equal(target, CUBE)


@pytest.mark.thread_unsafe(reason="changes what all would share")
def test_ufuncs_write_into_a_view(line):
    np.multiply(line, 2, out=line[...])
    assert line[...].tolist() == list(range(0, 20, 2))


# ---- view


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, CUBE),
        ({"shape": -1}, CUBE.ravel()),
        ({"shape": (2, -1)}, CUBE.reshape(2, -1)),
        ({"shape": 7}, CUBE.ravel()[:7]),
        ({"offset": 8}, CUBE.ravel()[2:]),
        ({"offset": 8, "shape": (2, 3)}, CUBE.ravel()[2:8].reshape(2, 3)),
        ({"offset": 480}, CUBE.ravel()[:0]),
        ({"dtype": "u1"}, CUBE.view("u1").ravel()),
        ({"dtype": "<i4"}, CUBE.ravel()),
        ({"dtype": "<i8", "shape": (6, 10)}, np.frombuffer(CUBE.tobytes(), "<i8").reshape(6, 10)),
        ({"dtype": ">u2", "offset": 1, "shape": 100}, np.frombuffer(CUBE.tobytes(), ">u2", 100, 1)),
        ({"dtype": ("<i4", (4, 5))}, CUBE),
        ({"shape": SHAPE, "order": "F"}, CUBE.ravel().reshape(SHAPE, order="F")),
        ({"order": "F"}, CUBE.ravel().reshape(SHAPE, order="F")),
        ({"shape": ()}, CUBE[0, 0, 0, ...]),
    ],
)
def test_view_is_the_same_bytes_under_another_layout(make_file, given, expected):
    with MemMap.open(make_file(CUBE), dtype="<i4", shape=SHAPE) as mm:
        found = mm.view(**given)
        assert same_values(found, expected)
        assert found.size == 0 or np.shares_memory(found, mm[...])
        assert not found.flags.writeable
        del found


def test_view_of_a_fortran_map_is_its_memory(make_file):
    with MemMap.open(make_file(np.asfortranarray(CUBE)), dtype="<i4", shape=SHAPE, order="F") as mm:
        assert np.array_equal(mm.view("<i4"), CUBE.ravel(order="F"))
        assert np.array_equal(mm.view(shape=SHAPE, order="F"), CUBE)


def test_view_writes_through(line):
    line.view("<u4", offset=8, shape=(-1, 2))[0, 0] = 77
    assert line[1] == 77


# ---- memoryview


@pytest.mark.parametrize("dtype", ["?", "u1", "<i2", "<i4", "<f4", "<f8", "<c16", "S5", ">i4", "<f2"])
def test_memoryview_is_typed(make_file, dtype):
    values = np.asfortranarray(np.zeros((3, 4), dtype))
    with MemMap.open(make_file(values), "r+", dtype=dtype, shape=(3, 4), order="F") as mm:
        view, expected = mm.memoryview(), memoryview(values)
        assert type(view) is memoryview
        assert view.format == expected.format
        assert (view.shape, view.strides, view.itemsize) == (expected.shape, expected.strides, expected.itemsize)
        assert (view.nbytes, view.ndim, view.readonly) == (mm.nbytes, 2, False)
        with pytest.raises(BufferError, match="1 view is alive"):
            mm.close()
        view.release()


def test_memoryview_reads_and_writes_items_of_native_byte_order():
    with MemMap.anonymous(5, "i4") as mm:
        with mm.memoryview() as view:
            view[3] = -5
            assert view.tolist() == [0, 0, 0, -5, 0]
        assert mm[3] == -5


@pytest.mark.parametrize("dtype", ["<M8[ns]", "<m8[s]"])
def test_memoryview_of_a_dtype_without_a_format_is_a_type_error(make_file, leftovers, dtype):
    path = make_file(bytes(16))
    before = leftovers()
    mm = MemMap.open(path, dtype=dtype)
    with pytest.raises(TypeError, match=r"no format for dtype .*view\("):
        mm.memoryview()
    mm.close()
    assert leftovers() == before


# ---- window

BOUNDS = [(0, 3), (2, 5), (-2, None), (None, None), (None, -1), (4, 99), (-99, 2), (3, 3), (5, 2), (np.int8(1), 3)]


@pytest.mark.parametrize(("start", "stop"), BOUNDS)
def test_window_is_the_rows_that_a_slice_would_give(make_file, start, stop):
    with MemMap.open(make_file(b"head" + CUBE.tobytes()), dtype="<i4", shape=SHAPE, offset=4, access="random") as mm:
        with mm.window(start, stop) as part:
            assert type(part) is MemMap
            assert same_values(part[...], CUBE[start:stop])
            assert np.may_share_memory(part[...], mm[...]) == bool(part.size)
            assert part.read_at(0, part.nbytes) == CUBE[start:stop].tobytes()
            found = part.mode, part.dtype, part.order, part.path, part.access, part.strides
            assert found == (mm.mode, mm.dtype, mm.order, mm.path, mm.access, mm.strides)
            if part.size:
                assert part.offset == 4 + 80 * slice(start, stop).indices(6)[0]
                with MemMap.open(part.path, dtype="<i4", shape=part.shape, offset=part.offset) as again:
                    assert np.array_equal(again, part)
        assert part.closed
        assert not mm.closed


def test_window_writes_to_the_same_memory(line):
    with line.window(2, 5) as part:
        part[:] = -1
        part.write_at(0, np.array([-2], "<i8"))
        assert line[1:6].tolist() == [1, -2, -1, -1, 5]
        with pytest.raises(ValueError, match="0:24"):
            part.read_at(24, 1)
        with pytest.raises(IndexError):
            part[3]


def test_window_of_a_window_counts_from_there(line):
    with line.window(2, 8) as part, part.window(1, 3) as inner:
        assert inner[...].tolist() == [3, 4]
        assert inner.offset == 24


def test_window_of_a_fortran_map_of_one_dimension_works(make_file):
    with MemMap.open(make_file(bytes(range(10))), order="F") as mm, mm.window(3, 5) as part:
        assert part[...].tolist() == [3, 4]


def test_window_of_a_fortran_map_of_more_is_refused(make_file):
    path = make_file(bytes(12))
    with MemMap.open(path, shape=(3, 4), order="F") as mm, pytest.raises(ValueError, match=r"Fortran.*mm\[a:b\]"):
        mm.window(0, 2)


# --------------------------------------------------------------------------------------------------------------- T


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("shape", [(), (6,), (3, 4), (2, 3, 4), (0, 3)])
def test_t_is_the_same_memory_with_the_axes_reversed(make_file, shape, order):
    data = np.arange(np.prod(shape, dtype=int), dtype="<i4")
    expected = data.reshape(shape, order=order).T
    with MemMap.open(make_file(data), "r+", dtype="<i4", shape=shape, order=order) as mm, mm.T as turned:
        assert (turned.shape, turned.strides, turned.nbytes) == (expected.shape, mm.strides[::-1], mm.nbytes)
        assert np.array_equal(turned[...], expected)
        assert len(shape) < 2 or {mm.order, turned.order} == {"C", "F"}
        turned[...] = turned[...] * 2
        assert np.array_equal(mm[...], expected.T * 2)
        assert (turned.T.shape, turned.T.order) == (mm.shape, mm.order)
        again = pickle.loads(pickle.dumps(turned))
        assert np.array_equal(again[...], turned[...])
        again.close()


def test_t_is_a_window_that_keeps_its_map_open():
    mm = MemMap.anonymous((3, 4), order="F")
    turned = mm.T
    assert turned not in open_maps()
    with pytest.raises(BufferError, match="1 window is alive"):
        mm.close()
    turned.close()
    mm.close()


def test_t_is_an_attribute_that_still_works_when_the_map_is_closed():
    mm = MemMap.anonymous((3, 4), order="F")
    mm.close()
    turned = mm.T
    assert turned.closed
    assert (turned.shape, turned.order, turned.access) == ((4, 3), "C", "normal")
    turned.close()
    with pytest.raises(ValueError, match="MemMap is closed"):
        turned[0]
    with pytest.raises(ValueError, match="MemMap is closed"):
        MemMap.window(turned, 0, 1)


def test_everything_about_rows_works_on_the_t_of_a_fortran_order_map(make_file):
    data = np.arange(12, dtype="<i4").reshape(4, 3)
    with MemMap.open(make_file(data), "r+", dtype="<i4", shape=(3, 4), order="F") as mm, mm.T as turned:
        assert np.array_equal(np.concatenate(list(turned.iter_chunks(nbytes=12))), data)
        assert np.array_equal(np.concatenate(list(batches(turned, batch_size=3))), data)
        assert np.array_equal(turned.window(1, 3)[...], data[1:3])
        assert np.array_equal(turned.gather([3, 0]), data[[3, 0]])
        rows = slice(1, 3)
        turned.prefetch(rows)
        turned.lock(rows)
        turned.unlock(rows)
        turned.evict(rows)
        turned.flush(rows)
        assert turned.residency(rows).size == 1


@pytest.mark.parametrize("call", [
    lambda mm: mm.window(0, 1), lambda mm: mm.iter_chunks(), lambda mm: batches(mm, batch_size=1),
    lambda mm: mm.prefetch([0]), lambda mm: mm.evict([0]), lambda mm: mm.residency([0]), lambda mm: mm.lock([0]),
    lambda mm: mm.unlock([0]), lambda mm: mm.flush([0]),
])  # fmt: skip
def test_what_a_fortran_order_map_refuses_names_t(call):
    with MemMap.anonymous((3, 4), order="F") as mm:
        with pytest.raises(ValueError, match=r"not contiguous: .*mm\.T"):
            call(mm)
        with pytest.raises(ValueError, match='not contiguous: to append rows, open the file with order="C"'):
            mm.resize(5)


# ---- gather

ROWS = [[0, 2], [5, 1, 3, -1, -6], [], [[0, 1], [2, 3]], 4, np.array([3, 3], "u1"), np.array([], "i4"), range(3)]


@pytest.mark.parametrize("rows", ROWS, ids=repr)
def test_gather_is_take_along_the_first_axis(cube, rows):
    expected = np.take(CUBE, np.asarray(rows, dtype=np.intp), axis=0)
    found = cube.gather(rows)
    assert same_values(found, expected)
    assert not np.may_share_memory(found, cube[...])
    out = np.empty(expected.shape, "<i4")
    assert cube.gather(rows, out=out) is out
    assert np.array_equal(out, expected)


@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_gather_takes_any_dtype(make_file, dtype):
    data = random_items(6, dtype)
    expected = as_ndarray(data, dtype, (6,))
    with MemMap.open(make_file(data), dtype=dtype) as mm:
        assert same_values(mm.gather([4, 0, -1]), np.take(expected, [4, 0, -1], axis=0))


def test_gather_that_fails_leaves_out_as_it_was(line):
    out = np.full(3, -1, "<i8")
    with pytest.raises(IndexError, match="index 10 is out of bounds"):
        line.gather([0, 1, 10], out=out)
    assert out.tolist() == [-1, -1, -1]


def test_gather_from_no_rows(make_file):
    with MemMap.open(make_file(), dtype="<i4", shape=(0, 3)) as mm:
        assert mm.gather([]).shape == (0, 3)
        with pytest.raises(IndexError, match="index 0 is out of bounds"):
            mm.gather([0])


def test_gather_into_more_dimensions_than_numpy_has_is_refused():
    rows = np.zeros((1,) * 30, int)
    with MemMap.anonymous((3,) + (1,) * 34) as mm:
        assert mm.gather(rows).ndim == 64
    with MemMap.anonymous((3,) + (1,) * 40) as mm, pytest.raises(ValueError, match="at most 64 dimensions, not 70"):
        mm.gather(rows)  # take() would write past the end of its own memory


class Fickle:
    """Equal to everything, but every third time."""

    asked = 0

    def __eq__(self, other):
        self.asked += 1
        return self.asked % 3 != 0

    def __hash__(self):
        return 0


class FickleDtype:
    """Has another dtype whenever it is asked."""

    def __init__(self):
        self.dtypes = [np.dtype("V1000"), np.dtype("i4,i4")]

    @property
    def dtype(self):
        return self.dtypes.pop()


@pytest.mark.parametrize("asked", range(3))
def test_strides_lie_within_the_map_whatever_an_order_says(asked):
    order = Fickle()
    order.asked = asked
    with MemMap.anonymous((25, 2, 3), order=order) as mm:
        assert mm.strides == np.zeros(mm.shape, "u1", order=mm.order).strides


def test_dtype_is_asked_for_once():
    with MemMap.anonymous(3, FickleDtype()) as mm:
        assert mm.dtype == np.dtype("i4,i4")
        assert mm.nbytes == 24


def test_map_has_no_buffer_slot(line):
    with pytest.raises(TypeError, match="bytes-like"):
        memoryview(line)
    with pytest.raises(TypeError, match="bytes-like"):
        np.frombuffer(line)


@pytest.mark.parametrize("key", [slice(0, 0, 2), slice(7, 3, 3), slice(-20, -15, -2), slice(99, None, -1)], ids=str)
def test_an_empty_slice_has_the_strides_of_the_map(key):
    with MemMap.anonymous((5, 2), dtype="<i4") as mm:
        assert mm[key].strides == mm[...][key].strides


# ------------------------------------------------------------------------------------------- files that were cut off


WHOLE = {
    "mm[...]": lambda mm: mm[...],
    "np.asarray": np.asarray,
    "np.asarray of another dtype": lambda mm: np.asarray(mm, "f8"),
    "bytes": bytes,
    "to_numpy": lambda mm: mm.to_numpy(),
    "to_numpy of another dtype": lambda mm: mm.to_numpy("f8"),
    "to_numpy, copied": lambda mm: mm.to_numpy(copy=True),
    "to_numpy of a window": lambda mm: mm.window(1, None).to_numpy(),
}


@pytest.mark.posix
@pytest.mark.parametrize("through", ["path", "file object"])
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("call", WHOLE.values(), ids=WHOLE)
def test_all_of_a_file_that_was_cut_is_a_damaged_error_before_a_page_is_lost(make_file, call, mode, through):
    path = make_file(bytes(range(100)) * 100)
    with open(path, "r+b") as file, MemMap.open(path if through == "path" else file, mode) as mm:
        assert len(call(mm)) >= 9999
        os.truncate(path, 5000)
        with pytest.raises(DamagedError, match="Bytes (4999|5000):") as caught:
            call(mm)
        assert caught.value.filename == str(path)
        with pytest.raises(DamagedError, match="Bytes 5000:"):
            mm.recover()
        assert not mm.damaged
        assert mm[4999] == 99
        os.truncate(path, 10_000)
        assert len(call(mm)) >= 9999


@pytest.mark.posix
def test_saving_a_map_onto_its_own_file_is_a_damaged_error_at_once(tmp_path):
    np.save(tmp_path / "x.npy", np.ones(100_000))
    with open_npy(tmp_path / "x.npy") as mm:
        with pytest.raises(DamagedError, match="x.npy"):
            np.save(tmp_path / "x.npy", mm)
        assert not mm.damaged


@pytest.mark.replaces
def test_a_file_that_was_removed_or_replaced_by_a_shorter_one_is_still_whole_here(make_file, tmp_path):
    path = make_file(b"abc")
    with MemMap.open(path) as mm:
        (tmp_path / "other").write_bytes(b"")
        os.replace(tmp_path / "other", path)
        assert bytes(mm[...]) == b"abc"
        path.unlink()
        assert bytes(mm[...]) == b"abc"
