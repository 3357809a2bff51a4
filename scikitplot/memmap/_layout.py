"""From dtype, shape, order and offset to bytes, and from rows to pages.

All arithmetic on sizes is done here, in Python integers, which do not overflow.
"""

import math
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt

from ._modes import Order, parse_order

Shape = SupportsIndex | Sequence[SupportsIndex] | None
Rows = slice | npt.ArrayLike | None

MAX_NBYTES = sys.maxsize
MAX_NDIM = 64  # of NumPy


class Layout(NamedTuple):
    """An array over bytes: `nbytes` of them, from byte `offset` of a file on."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    order: Order
    offset: int
    nbytes: int


def resolve(
    dtype: npt.DTypeLike,
    shape: Shape,
    order: object,
    offset: SupportsIndex,
    available: int | None,
    whole: str = "file",
) -> Layout:
    """Check a layout and complete it.

    Parameters
    ----------
    dtype, shape, order, offset
        As given to `MemMap.open`.
    available : int or None
        Bytes there are. None: they are about to be made, as many as the layout asks for.
    whole : str
        What the bytes are of, for messages.
    """
    order = parse_order(order)
    item = np.dtype(dtype)
    if item.hasobject:
        raise TypeError(f"dtype {item} holds Python objects: their addresses mean nothing in a file. Use a fixed-size dtype")
    if item.itemsize == 0:
        raise ValueError(f"dtype {item} has item size 0: give it a length, such as 'S8'")
    item, inner = item.base, item.shape

    offset = operator.index(offset)
    if offset < 0:
        raise ValueError(f"offset {offset} is negative")
    if available is not None and offset > available:
        raise ValueError(f"offset {offset} is past the end of the {whole}, which has {available} bytes")

    outer = _outer_shape(shape, item.itemsize * math.prod(inner), offset, available, whole)
    full = outer + inner
    if len(full) > MAX_NDIM:
        raise ValueError(f"Expected at most {MAX_NDIM} dimensions, not {len(full)}")
    # NumPy bounds the strides too: dimensions of 0 do not make the others harmless
    if item.itemsize * math.prod(n or 1 for n in full) > MAX_NBYTES or offset > MAX_NBYTES:
        raise ValueError(f"shape {full} of dtype {item} at offset {offset} is larger than the address space")
    nbytes = item.itemsize * math.prod(full)
    if offset + nbytes > MAX_NBYTES:
        raise ValueError(f"offset {offset} + {nbytes} bytes is larger than the address space")
    if available is not None and offset + nbytes > available:
        raise ValueError(
            f"shape {full} of dtype {item} needs {nbytes} bytes from offset {offset}, "
            f"but the {whole} has {available} bytes ({available - offset} from there)"
        )
    return Layout(item, full, strides_of(full, item.itemsize, order), order, offset, nbytes)


def _outer_shape(shape: Shape, itemsize: int, offset: int, available: int | None, whole: str) -> tuple[int, ...]:
    """`shape` as a tuple without -1."""
    if shape is None:
        dims: tuple[int, ...] = (-1,)
    elif isinstance(shape, Iterable):
        dims = tuple(operator.index(n) for n in shape)
    else:
        dims = (operator.index(shape),)
    if any(n < -1 for n in dims):
        raise ValueError(f"shape {dims} has a negative dimension")
    if dims.count(-1) == 0:
        return dims
    if dims.count(-1) > 1:
        raise ValueError(f"shape {dims} leaves more than one dimension to infer: use -1 once")
    if available is None:
        raise ValueError(f"Expected a full shape, not {dims}: there is no {whole} yet to infer it from")
    row = itemsize * math.prod(n for n in dims if n != -1)
    if row == 0:
        raise ValueError(f"shape {dims} cannot be inferred: a dimension beside the -1 is 0")
    rows, left_over = divmod(available - offset, row)
    if left_over:
        at = f" from offset {offset}" if offset else ""
        raise ValueError(
            f"The {whole} has {available} bytes; {available - offset}{at} are not a multiple of {row} "
            f"(item size {itemsize}): {left_over} bytes left over. Give a full shape to map a part"
        )
    return tuple(rows if n == -1 else n for n in dims)


def strides_of(shape: tuple[int, ...], itemsize: int, order: Order) -> tuple[int, ...]:
    """Strides in bytes of a contiguous array, as NumPy has them (a dimension of 0 counts as 1)."""
    strides = []
    step = itemsize
    for n in shape if order == "F" else reversed(shape):
        strides.append(step)
        step *= n or 1
    return tuple(strides if order == "F" else reversed(strides))


def check_rows(rows: Rows, length: int) -> slice | npt.NDArray[np.intp]:
    """`rows` as a slice with known ends, or as sorted, distinct, non-negative row numbers."""
    if rows is None:
        return slice(0, length, 1)
    if isinstance(rows, slice):
        start, stop, step = rows.indices(length)
        span = range(start, stop, step)
        if len(span) == 0:
            return slice(0, 0, 1)
        first, last = sorted((span[0], span[-1]))
        return slice(first, last + 1, abs(step))
    numbers = np.asarray(rows)
    if numbers.size == 0:
        return slice(0, 0, 1)
    if numbers.dtype.kind not in "iu":
        raise TypeError(f"Expected rows to be None, a slice or integers, not {numbers.dtype}")
    low, high = int(numbers.min()), int(numbers.max())
    if low < -length or high >= length:
        raise IndexError(f"row {low if low < -length else high} is out of range for {length} rows")
    numbers = numbers.astype(np.intp)
    return np.unique(np.where(numbers < 0, numbers + length, numbers))


def byte_runs(rows: Rows, length: int, row_nbytes: int, skew: int, page: int) -> list[tuple[int, int]]:
    """Where rows lie: byte ranges (start, stop), ascending, with at least one page that no row meets between them.

    Parameters
    ----------
    rows
        None (all), a slice, or row numbers, of `length` rows of `row_nbytes` bytes each.
    skew : int
        How far into a page, of `page` bytes, row 0 starts.
    """
    chosen = check_rows(rows, length)
    if row_nbytes == 0:
        return []
    if isinstance(chosen, slice):
        if chosen.step * row_nbytes <= page or chosen.step == 1:  # every page in between is met
            span = (chosen.start * row_nbytes, chosen.stop * row_nbytes)
            return [span] if span[0] < span[1] else []
        chosen = np.arange(chosen.start, chosen.stop, chosen.step)
    starts = chosen * row_nbytes
    stops = starts + row_nbytes
    gaps = np.flatnonzero((starts[1:] + skew) // page > (stops[:-1] + skew - 1) // page + 1)
    first = starts[np.concatenate(([0], gaps + 1))]
    last = stops[np.concatenate((gaps, [len(stops) - 1]))]
    return list(zip(first.tolist(), last.tolist(), strict=True))
