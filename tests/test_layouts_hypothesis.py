"""Any dtype x shape x offset x order x mode: a map equals numpy.ndarray over the same bytes."""

import itertools
import math

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import basic_indices, integer_array_indices
from strategies import DTYPES, OFFSETS, SHAPES, as_ndarray, random_items, same, same_values

from scikitplot.memmap import MemMap

fresh = itertools.count()  # names for files: an example must not meet the one before


def a_file(tmp_path, data):
    path = tmp_path / f"{next(fresh)}.bin"
    path.write_bytes(data)
    return path


@st.composite
def layouts(draw):
    """A dtype, a shape, an offset, an order, and bytes that hold them (and, perhaps, some more)."""
    dtype, shape, offset = draw(st.sampled_from(DTYPES)), draw(SHAPES), draw(OFFSETS)
    data = random_items(math.prod(shape), dtype, offset) + bytes(draw(st.integers(0, 3)))
    return dtype, shape, offset, draw(st.sampled_from("CF")), data


@settings(max_examples=200)
@given(layout=layouts(), mode=st.sampled_from(["r", "r+", "c"]))
def test_map_is_an_ndarray_over_the_bytes_of_the_file(tmp_path, layout, mode):
    dtype, shape, offset, order, data = layout
    expected = as_ndarray(data, dtype, shape, offset, order)
    with MemMap.open(a_file(tmp_path, data), mode, dtype=dtype, shape=shape, offset=offset, order=order) as mm:
        assert same(mm, expected)
        assert mm.read_at(0, mm.nbytes) == data[offset : offset + expected.nbytes]
        assert (mm.size, mm.nbytes, mm.offset) == (expected.size, expected.nbytes, offset)


@settings(max_examples=100)
@given(layout=layouts(), mode=st.sampled_from(["r+", "w+", "x+", "c"]))
def test_what_is_stored_lies_where_an_ndarray_has_it(tmp_path, layout, mode):
    dtype, shape, offset, order, data = layout
    values = as_ndarray(data, dtype, shape, offset, order)
    path = tmp_path / f"{next(fresh)}.bin"
    size = offset + values.nbytes
    if mode != "x+":
        path.write_bytes(bytes(size))
    with MemMap.open(path, mode, dtype=dtype, shape=shape, offset=offset, order=order) as mm:
        mm[...] = values
        assert same_values(mm[...], values)
    stored = path.read_bytes()
    assert stored[:offset] == bytes(offset)
    if mode == "c":
        assert stored == bytes(size)
    else:
        assert same_values(as_ndarray(stored, dtype, shape, offset, order), values)
        assert len(stored) == size


@st.composite
def indices(draw, array):
    """Basic indices, with NumPy's integers among the others; names of fields; arrays of integers."""
    keys = basic_indices(array.shape, allow_newaxis=True)
    if array.dtype.names:
        keys |= st.sampled_from(array.dtype.names)
    if array.ndim and array.size:
        keys |= integer_array_indices(array.shape)
    key = draw(keys)
    if not isinstance(key, tuple) or not draw(st.booleans()):
        return key
    return tuple(draw(st.sampled_from([np.int16, np.int64]))(part) if type(part) is int else part for part in key)


@settings(max_examples=300)
@given(layout=layouts(), data=st.data())
def test_indexing_is_that_of_ndarray(tmp_path, layout, data):
    dtype, shape, offset, order, content = layout
    expected = as_ndarray(content, dtype, shape, offset, order)
    key = data.draw(indices(expected))
    with MemMap.open(a_file(tmp_path, content), dtype=dtype, shape=shape, offset=offset, order=order) as mm:
        found, wanted = mm[key], expected[key]
        assert same_values(found, wanted)
        if isinstance(wanted, np.ndarray):
            assert found.strides == wanted.strides
        del found


@settings(max_examples=300)
@given(layout=layouts(), data=st.data())
def test_assignment_is_that_of_ndarray(tmp_path, layout, data):
    dtype, shape, offset, order, content = layout
    expected = as_ndarray(bytearray(content), dtype, shape, offset, order)
    key = data.draw(indices(expected))
    values = expected[key].copy()
    if values.size:
        values = values.ravel()[::-1].reshape(values.shape) if data.draw(st.booleans()) else values.flat[-1]
    with MemMap.open(a_file(tmp_path, content), "c", dtype=dtype, shape=shape, offset=offset, order=order) as mm:
        mm[key] = values
        expected[key] = values
        assert same_values(mm[...], expected)


@settings(max_examples=100)
@given(layout=layouts(), axis=st.integers(0, 3))
def test_one_dimension_is_inferred(tmp_path, layout, axis):
    dtype, shape, offset, order, data = layout
    axis = axis % len(shape) if shape else 0
    asked = (*shape[:axis], -1, *shape[axis + 1 :])
    assume(math.prod(asked) != 0)  # beside a zero nothing can be inferred
    shape = shape or (1,)
    data = data[: offset + math.prod(shape) * dtype.itemsize]
    with MemMap.open(a_file(tmp_path, data), dtype=dtype, shape=asked, offset=offset, order=order) as mm:
        assert same(mm, as_ndarray(data, dtype, shape, offset, order))


@settings(max_examples=100)
@given(layout=layouts(), start=OFFSETS)
def test_view_is_an_ndarray_over_the_bytes_of_the_map(tmp_path, layout, start):
    dtype, shape, offset, order, data = layout
    expected = as_ndarray(data, dtype, shape, offset, order)
    start = min(start, offset)
    with MemMap.open(a_file(tmp_path, data), offset=start) as mm:
        view = mm.view(dtype, offset=offset - start, shape=shape, order=order)
        assert (view.dtype, view.shape, view.strides) == (expected.dtype, expected.shape, expected.strides)
        assert view.tobytes("A") == expected.tobytes("A")
        del view


@settings(max_examples=100)
@given(layout=layouts(), rows=st.lists(st.integers(-5, 4)), bounds=st.tuples(*[st.none() | st.integers(-7, 7)] * 2))
def test_gather_and_window_are_take_and_a_slice(tmp_path, layout, rows, bounds):
    dtype, shape, offset, order, content = layout
    expected = as_ndarray(content, dtype, shape, offset, order)
    assume(expected.ndim)
    rows = [row for row in rows if -len(expected) <= row < len(expected)]
    with MemMap.open(a_file(tmp_path, content), dtype=dtype, shape=shape, offset=offset, order=order) as mm:
        assert same_values(mm.gather(rows), np.take(expected, np.array(rows, np.intp), axis=0))
        if order == "C" or expected.ndim == 1:
            with mm.window(*bounds) as part:
                assert same_values(part[...], expected[slice(*bounds)])
                assert part.strides == expected.strides
