"""take and searchsorted: what NumPy returns, by touching only what is asked for."""

import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from page_cache import PAGE, cached, cold

from scikitplot.memmap import DamagedError, MemMap, concat

# ----------------------------------------------------------------------------------------------------------- take

TABLE = np.arange(60, dtype="<i4").reshape(5, 4, 3)
AXES = [None, 0, 1, 2, -1, -3]
BROADCAST = np.broadcast_to(np.uint8(1), (2, 3))  # NumPy 2.0.0 crashes when it compares this with numbers below 0


@pytest.fixture(params=["C", "F", "unaligned", "concat"])
def table(request, make_file):
    if request.param == "concat":
        paths = [make_file(rows, f"{i}.bin") for i, rows in enumerate(np.split(TABLE, [2, 2, 4]))]
        mm = concat(MemMap.open(path, dtype="<i4", shape=(-1, 4, 3)) for path in paths)
    else:
        order = "F" if request.param == "F" else "C"
        skew = 3 if request.param == "unaligned" else 0
        path = make_file(bytes(skew) + TABLE.tobytes(order))
        mm = MemMap.open(path, dtype="<i4", shape=TABLE.shape, order=order, offset=skew)
    with mm:
        yield mm


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("mode", ["raise", "wrap", "clip"])
@pytest.mark.parametrize("indices", [1, [], [0, 2, -1], [[2, 1], [0, 0]], np.array([1, 2], ">u2"), BROADCAST], ids=str)
def test_take_is_that_of_numpy_along_every_axis_in_every_mode(table, axis, mode, indices):
    expected = TABLE.take(indices, axis, mode=mode)
    for found in (table.take(indices, axis, mode=mode), np.take(table, indices, axis, mode=mode)):
        assert np.array_equal(found, expected)
        assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)
    if expected.ndim:
        out = np.empty_like(expected)
        assert table.take(indices, axis, out, mode) is out
        assert np.array_equal(out, expected)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("mode", ["wrap", "clip"])
@pytest.mark.parametrize("indices", [[-100, 100, 59, 60, -61], np.array([250, 3], "u1")], ids=str)
def test_take_wraps_or_clips_what_is_out_of_range(table, axis, mode, indices):
    assert np.array_equal(table.take(indices, axis, mode=mode), TABLE.take(indices, axis, mode=mode))


def test_take_wraps_or_clips_numbers_beyond_int64(table):  # which NumPy takes for negative ones
    huge = np.array([2**63 + 9, 2**64 - 1], "u8")
    assert table.take(huge, mode="clip").tolist() == [59, 59]
    assert table.take(huge, mode="wrap").tolist() == [(2**63 + 9) % 60, (2**64 - 1) % 60]


def test_take_along_an_empty_axis_returns():  # numpy.take does not
    with MemMap.anonymous((2, 0, 0)) as mm:
        for mode in ("raise", "wrap", "clip"):
            assert mm.take([], 1, mode=mode).shape == (2, 0, 0)
            with pytest.raises(IndexError, match="empty axis|out of bounds for 0 elements"):
                mm.take([1], 1, mode=mode)


@given(
    npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
    st.sampled_from("CF"),
    st.lists(st.integers(-9, 9), max_size=5),
    st.integers(-3, 2) | st.none(),
    st.sampled_from(["raise", "wrap", "clip"]),
)
def test_take_of_any_shape_returns_and_raises_as_numpy_does(shape, order, indices, axis, mode):
    def outcome(array):
        try:
            found = np.asarray(array.take(indices, axis, mode=mode))
        except (ValueError, IndexError) as error:
            return IndexError if isinstance(error, IndexError) else type(error)
        return found.shape, found.tolist()

    expected = np.arange(math.prod(shape), dtype="i2").reshape(shape)
    assume(expected.size or mode != "wrap")  # NumPy may not return
    with MemMap.anonymous(shape, "i2", order=order) as mm:
        mm[...] = expected
        found = outcome(mm)
        # NumPy checks no index where there is nothing to copy
        assert found == outcome(expected) or (found is IndexError and expected.size == 0)


def test_take_returns_a_copy(table):
    for axis in AXES:
        assert not np.shares_memory(table.take(1, axis), np.asarray(table.maps[0] if hasattr(table, "maps") else table))


def test_take_refuses_what_numpy_does(table):
    with pytest.raises(ValueError, match="'raise', 'wrap', 'clip', not 'often'"):
        table.take([0], 1, mode="often")
    with pytest.raises(ValueError, match="axis 3 is out of bounds for array of dimension 3"):
        table.take([0], 3)
    for axis, length in ((None, 60), (1, 4)):
        with pytest.raises(IndexError, match=f"index {length} is out of bounds for {length} elements"):
            table.take([0, length], axis)
        with pytest.raises(IndexError, match=f"index {2**63 + 1} is out of bounds for {length} elements"):
            table.take(np.array([0, 2**63 + 1], "u8"), axis)
        with pytest.raises(TypeError, match="Expected integers as indices, not float64"):
            table.take([0.5], axis)
        with pytest.raises(ValueError, match="Expected out to have the shape"):
            table.take([0], axis, np.empty(7, "<i4"))
        with pytest.raises(TypeError, match="Expected out to have the dtype int32, not float64"):
            table.take([0], axis, np.empty((5, 1, 3)))
    with pytest.raises(TypeError, match="Expected out to be an ndarray, not list"):
        table.take([0], 1, [])


@pytest.mark.keeps_pages
@pytest.mark.linux
def test_numpy_take_reads_the_rows_asked_for_alone(make_file):
    path = cold(make_file(bytes(256 * PAGE)))
    with MemMap.open(path, shape=(-1, PAGE), access="random") as mm:
        np.take(mm, [3, 200], axis=0)
        np.take(mm, [-1], axis=0, mode="clip")
        np.take(mm, 100 * PAGE)
    assert cached(path) == [0, 3, 100, 200]


# --------------------------------------------------------------------------------------------------- searchsorted

DTYPES = ["u1", "<i2", ">i8", "<u8", "<f4", ">f8", "<f2", "<c8", ">c16", "?", "S3", "<U2", ">U2", "<M8[D]", ">m8[s]"]


def drawn(data, dtype, size):
    """An array of a dtype, with NaN and NaT where there are such."""
    return data.draw(npst.arrays(np.dtype(dtype).newbyteorder("="), size)).astype(dtype)


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(["left", "right"]), st.integers(0, 3))
def test_searchsorted_is_that_of_numpy_for_any_dtype_alignment_and_byte_order(data, dtype, side, skew):
    array = np.sort(drawn(data, dtype, data.draw(st.integers(0, 40))))
    values = drawn(data, dtype, data.draw(npst.array_shapes(min_dims=0, max_dims=2, min_side=0, max_side=6)))
    packed = np.dtype([("before", f"V{1 + skew}"), ("key", dtype), ("after", "V2")])
    with MemMap.anonymous(array.nbytes + skew) as raw, MemMap.anonymous(len(array), packed) as records:
        raw[skew:] = array.view("u1")
        records["key"][:] = array
        with raw.window(skew, None) as part:
            flat = (array.dtype, array.shape, array.strides, array.nbytes, 0, "C")
            with part._window(flat, 0) as mm:
                for keys in (values, array):
                    expected = np.searchsorted(array, keys, side)
                    for found in (mm.searchsorted(keys, side), records.searchsorted(keys, side, field="key")):
                        assert np.array_equal(found, expected)
                        assert (type(found), found.dtype) == (type(expected), expected.dtype)


@given(st.data(), st.sampled_from(DTYPES), st.sampled_from(["left", "right"]))
def test_searchsorted_by_a_sorter_is_that_of_numpy(data, dtype, side):
    array = drawn(data, dtype, data.draw(st.integers(0, 40)))
    values = drawn(data, dtype, 5)
    sorter = np.argsort(array, kind="stable")
    expected = np.searchsorted(array, values, side, sorter)
    with MemMap.anonymous(len(array), dtype) as mm, MemMap.anonymous(len(array), ">i8") as order:
        mm[:], order[:] = array, sorter
        for index in (sorter, sorter.tolist() if len(sorter) else sorter, order, sorter.astype("u1")):
            assert np.array_equal(mm.searchsorted(values, side, index), expected)
            assert np.array_equal(np.searchsorted(mm, values, side, index), expected)


MIXED = [
    ("u1", [-1, 0.5, 3, 300, np.nan]),
    ("<i8", np.array([0, 2**63 + 5], "u8")),
    (">f4", [0.1, 16777217, 5]),
    ("<i4", 2.5),
    ("<i4", [True, False]),
    ("S3", ["b", "bb", "z"]),
    ("<U3", np.array([b"b", b""])),
    ("<M8[D]", np.array(["1970-01-03T12", "NaT"], "M8[h]")),
    ("<M8[D]", []),
    ("<f8", [1j, 3 - 1j]),
    ("<f8", []),
    ("<i8", [2**70]),
]


@pytest.mark.parametrize(("dtype", "values"), MIXED, ids=str)
def test_values_of_another_dtype_are_promoted_as_numpy_does_it(dtype, values):
    array = np.sort(np.arange(0, 30, 3).astype("i8" if dtype.startswith("<M") else dtype).astype(dtype))
    with MemMap.anonymous(len(array), dtype) as mm:
        mm[:] = array
        for side in ("left", "right"):
            found, expected = mm.searchsorted(values, side), np.searchsorted(array, values, side)
            assert np.array_equal(found, expected)
            assert (type(found), found.dtype, found.shape) == (type(expected), expected.dtype, expected.shape)


def test_values_that_cannot_be_compared_are_refused_as_numpy_does_it():
    with MemMap.anonymous(3, "M8[s]") as mm, pytest.raises(TypeError, match="DType"):
        mm.searchsorted([1.5])


def test_values_and_sorter_may_be_maps():
    with MemMap.anonymous(10, "i8") as mm, MemMap.anonymous(10, "i8") as order:
        mm[:] = np.arange(10)[::-1]
        order[:] = np.arange(10)[::-1]
        assert mm.searchsorted(mm, sorter=order).tolist() == list(range(10))[::-1]


def test_searchsorted_refuses_what_it_cannot_search():
    dtype = [("key", "i4"), ("pair", "i4", 2)]
    with MemMap.anonymous((2, 3)) as mm, pytest.raises(ValueError, match="one dimension to search, not of 2"):
        mm.searchsorted(1)
    with MemMap.anonymous(3, dtype) as mm:
        for bad in ("other", 0):
            with pytest.raises(ValueError, match=f"field to be one of 'key', 'pair', not {bad!r}"):
                mm.searchsorted(1, field=bad)
        with pytest.raises(ValueError, match=r"'pair' has no order: each of its values has the shape \(2,\)"):
            mm.searchsorted(1, field="pair")
        with pytest.raises(ValueError, match="'left', 'right', not 'middle'"):
            mm.searchsorted(1, "middle", field="key")
        with pytest.raises(TypeError, match="To search by one of key, pair, pass its name: field="):
            mm.searchsorted(1)
    with MemMap.anonymous(3) as mm:
        with pytest.raises(ValueError, match="There is no field 'key': uint8 has no fields"):
            mm.searchsorted(1, field="key")
        with pytest.raises(TypeError, match="Expected sorter to be integers, not float64"):
            mm.searchsorted(1, sorter=[0.0, 1.0, 2.0])
        with pytest.raises(ValueError, match=r"Expected sorter to have the shape \(3,\), not \(2,\)"):
            mm.searchsorted(1, sorter=[0, 1])
        for bad in (3, -1):
            with pytest.raises(ValueError, match=f"Expected sorter to be rows of 0:3, not {bad} to {bad}"):
                mm.searchsorted(1, sorter=[bad] * 3)


PAGES = 4096
LAYOUTS = {
    "native": ("<i8", None),
    "big-endian": (">i8", None),
    "strings": ("S7", None),
    "packed records": ([("name", "S3"), ("key", ">i8"), ("rest", "S4")], "key"),
    "records longer than a page": ([("name", "S3"), ("key", "<i8"), ("rest", f"S{2 * PAGE}")], "key"),
}


@pytest.mark.linux
@pytest.mark.parametrize("access", ["normal", "random", "sequential"])
@pytest.mark.parametrize(("dtype", "field"), LAYOUTS.values(), ids=LAYOUTS)
def test_a_search_reads_at_most_a_page_for_each_halving_and_four(make_file, dtype, field, access):
    dtype = np.dtype(dtype)
    n = PAGES * PAGE // dtype.itemsize
    array = np.zeros(n, dtype)
    keys = array[field] if field else array
    keys[:] = [b"%07d" % i for i in range(n)] if keys.dtype.kind == "S" else 2 * np.arange(n)
    path = make_file(array)
    for value in (keys[n // 3], keys[-1], keys[0], keys[n * 5 // 7]):
        with MemMap.open(cold(path), dtype=dtype, access=access) as mm:
            assert mm.searchsorted(value, field=field) == np.searchsorted(keys, value)
        assert len(cached(path)) <= math.log2(PAGES) + 4


@pytest.mark.linux
def test_a_search_of_100_million_packed_records_reads_few_pages(make_file):
    dtype, n, tail = np.dtype(LAYOUTS["packed records"][0]), 10**8, 10**5
    path = make_file(b"")
    with MemMap.open(path, "w+", dtype=dtype, shape=n, sparse=True) as mm:  # keys 0, and at the end 1, 2, ...
        mm["key"][-tail:] = 1 + np.arange(tail)
    for value in (0, 1, tail // 3, tail, tail + 1):
        with MemMap.open(cold(path), dtype=dtype) as mm:
            assert mm.searchsorted(value, field="key") == (n - tail + value - 1 if value else 0)
        assert len(cached(path)) <= math.log2(n * dtype.itemsize / PAGE) + 4


@pytest.mark.linux
def test_many_values_share_their_pages(make_file):
    keys = np.arange(PAGES * PAGE // 8, dtype="i8")
    path = make_file(keys)
    values = np.random.default_rng(1).permutation(10_000) + 123_456
    with MemMap.open(cold(path), dtype="i8") as mm:
        assert np.array_equal(mm.searchsorted(values), values)
    assert len(cached(path)) <= math.log2(PAGES) + 4 + values.size * 8 / PAGE


@pytest.mark.linux
def test_a_sorter_on_disk_is_not_read_as_a_whole(make_file):
    n = PAGES * PAGE // 8
    descending = np.arange(n, dtype="i8")[::-1]
    path, index = make_file(descending, "data.bin"), make_file(descending, "index.bin")
    with MemMap.open(cold(path), dtype="i8") as mm, MemMap.open(cold(index), dtype="i8") as order:
        assert mm.searchsorted(n // 3, sorter=order) == n // 3
    assert len(cached(index)) <= math.log2(PAGES) + 4
    assert len(cached(path)) <= math.log2(n) + 1


@pytest.mark.posix
@pytest.mark.native
@pytest.mark.unsanitized
def test_take_and_searchsorted_find_out_that_the_file_was_cut(make_file):
    for call in (lambda mm: mm.searchsorted(PAGE), lambda mm: mm.take([-1]), lambda mm: mm.take([7], mode="clip")):
        path = make_file(np.arange(PAGE))
        mm = MemMap.open(path, dtype="<i8")
        path.write_bytes(b"")
        with pytest.raises(DamagedError, match="the file was truncated while it was mapped"):
            call(mm)
        mm.close()
