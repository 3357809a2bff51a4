"""Sizes, strides and page runs, against NumPy and against counting one by one."""

import itertools
import math
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import DTYPE_CASES, SHAPES, as_ndarray

from scikitplot.memmap._layout import end_of, resolve, strides_of
from scikitplot.memmap._paging import byte_runs, check_rows


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_resolve_adds_sub_array_dimensions_and_counts_bytes(dtype, order):
    layout = resolve(dtype, (2, 3), order, 5, None)
    expected = as_ndarray(bytes(6 * dtype.itemsize), dtype, (2, 3), order=order)
    assert layout == (expected.dtype, expected.shape, expected.strides, expected.nbytes, 5, order)
    assert end_of(layout) == 5 + expected.nbytes


@pytest.mark.parametrize(
    ("shape", "offset", "available", "expected"),
    [
        (None, 0, 24, (6,)),
        (None, 4, 24, (5,)),
        (None, 24, 24, (0,)),
        (None, 0, 0, (0,)),
        (-1, 0, 24, (6,)),
        ((-1, 2), 0, 24, (3, 2)),
        ((3, -1), 0, 24, (3, 2)),
        ((3, -1), 0, 0, (3, 0)),
        ((), 0, 4, ()),
        (5, 4, 24, (5,)),
        (0, 99, 99, (0,)),
    ],
)
def test_resolve_infers_what_is_missing(shape, offset, available, expected):
    _, found, *_ = resolve("<i4", shape, "C", offset, available)
    assert found == expected


@pytest.mark.parametrize(
    ("shape", "offset", "match"),
    [
        (7, 0, r"\(7,\) of dtype \S+ needs 28 bytes from offset 0, but the file has 24 bytes \(24 from there\)"),
        (1, 21, r"needs 4 bytes from offset 21, but the file has 24 bytes \(3 from there\)"),
        (None, 3, r"has 24 bytes, 21 of them from offset 3 .*item size 4\): 1 bytes left over"),
        ((5, -1), 0, r"has 24 bytes, .*multiple of 20 \(item size 4\): 4 bytes left over"),
        (None, 25, "offset 25 is past the end of the file, which has 24 bytes"),
        ((-1, 0), 0, "cannot be inferred"),
        ((-1, -1), 0, "-1 once"),
        ((2, -3), 0, "negative dimension"),
    ],
)
def test_resolve_refuses_with_the_numbers(shape, offset, match):
    with pytest.raises(ValueError, match=match):
        resolve("<i4", shape, "C", offset, 24)


@pytest.mark.parametrize(
    ("shape", "offset", "fits"),
    [
        (sys.maxsize, 0, True),
        (sys.maxsize + 1, 0, False),
        (100, (1 << 63) - 101, True),
        (100, (1 << 63) - 100, False),
        (0, (1 << 63) - 2, True),
        (0, 1 << 63, False),
        ((1 << 32, 1 << 32), 0, False),
        ((1 << 200, 1 << 200), 0, False),
        ((0, 1 << 64), 0, False),
        ((1 << 40, 0, 1 << 40), 0, False),
    ],
)
def test_resolve_checks_every_product_and_sum_of_sizes(shape, offset, fits):
    if fits:
        assert end_of(resolve("u1", shape, "C", offset, None)) == offset + shape
    else:
        with pytest.raises(ValueError, match="larger than the address space"):
            resolve("u1", shape, "C", offset, None)


def test_resolve_refuses_a_whole_file_that_no_array_can_show():
    with pytest.raises(ValueError, match="larger than the address space"):
        resolve("u1", None, "C", 5, sys.maxsize + 6)


def test_resolve_calls_the_whole_what_it_is():
    with pytest.raises(ValueError, match="the map has 3 bytes"):
        resolve("u1", 4, "C", 0, 3, "the map")
    with pytest.raises(ValueError, match="the file has no bytes yet"):
        resolve("u1", None, "C", 0, None)


@given(shape=SHAPES, itemsize=st.integers(1, 20), order=st.sampled_from("CF"))
def test_strides_are_those_of_numpy(shape, itemsize, order):
    memory = bytes(math.prod(shape) * itemsize)
    assert strides_of(shape, itemsize, order) == np.ndarray(shape, f"V{itemsize}", memory, order=order).strides


# ---- rows

LENGTH = 40
ROWS = st.one_of(
    st.none(),
    st.builds(slice, *[st.none() | st.integers(-50, 50)] * 2, st.none() | st.integers(-9, 9).filter(bool)),
    st.lists(st.integers(-LENGTH, LENGTH - 1), max_size=12),
)


def chosen(rows, length):
    """Row numbers, ascending and once each."""
    everything = range(length)
    if isinstance(rows, list):
        return sorted({everything[row] for row in rows})
    return sorted(everything if rows is None else everything[rows])


@given(rows=ROWS)
def test_rows_are_sorted_and_non_negative(rows):
    checked = check_rows(rows, LENGTH)
    found = list(range(LENGTH)[checked]) if isinstance(checked, slice) else checked.tolist()
    assert found == sorted(found)
    assert sorted(set(found)) == chosen(rows, LENGTH)


@pytest.mark.parametrize("row", [LENGTH, -LENGTH - 1, 1 << 62])
def test_row_out_of_range_is_an_index_error_with_the_numbers(row):
    with pytest.raises(IndexError, match=f"row {row} is out of range for {LENGTH} rows"):
        check_rows([0, row], LENGTH)


@pytest.mark.parametrize("rows", [[0.5], ["a"], [True, False], [None]])
def test_rows_of_another_kind_are_a_type_error(rows):
    with pytest.raises(TypeError, match="None, a slice or integers"):
        check_rows(rows, LENGTH)


def pages_of(start, stop, skew, page):
    return set(range((start + skew) // page, (stop + skew - 1) // page + 1)) if stop > start else set()


@settings(max_examples=300)
@given(rows=ROWS, row_nbytes=st.integers(0, 70), skew=st.integers(0, 15), page=st.just(16))
def test_byte_runs_meet_the_pages_of_the_rows_and_no_others(rows, row_nbytes, skew, page):
    runs = byte_runs(rows, LENGTH, row_nbytes, skew, page)
    wanted = [pages_of(row * row_nbytes, (row + 1) * row_nbytes, skew, page) for row in chosen(rows, LENGTH)]
    met = [pages_of(start, stop, skew, page) for start, stop in runs]
    assert set().union(*met) == set().union(*wanted)
    assert sum(map(len, met)) == len(set().union(*met)), "a page is met twice"
    assert all(0 <= start < stop <= LENGTH * row_nbytes for start, stop in runs)
    for before, after in itertools.pairwise(met):
        assert max(before) + 1 < min(after), "two runs could be one"
