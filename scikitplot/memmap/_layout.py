"""From dtype, shape, order and offset to bytes, and from rows to pages.

All arithmetic on sizes is done here, in Python integers, which do not overflow.
"""

from __future__ import annotations

import functools
import math
import operator
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from ._modes import ORDERS, Order, refuse

if TYPE_CHECKING:
    import numpy.typing as npt  # takes longer to import than all of this package

    Rows = slice | npt.ArrayLike | None

Shape = SupportsIndex | Sequence[SupportsIndex] | None

MAX_NBYTES = sys.maxsize  # of an array
MAX_END = (1 << 63) - 1  # of a file; a small part of it may be mapped in a 32-bit process, too
MAX_NDIM = 64  # of NumPy


# dtype, shape, strides, nbytes, offset, order: an array over `nbytes` bytes from byte `offset` of a file on.
# Always unpacked whole; a named tuple would take longer to make than a system call.
Layout = tuple[np.dtype[Any], tuple[int, ...], tuple[int, ...], int, int, Order]


def resolve(
    dtype: npt.DTypeLike,
    shape: Shape,
    order: Order,
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
    if order not in ORDERS:
        refuse("order", ORDERS, order)
    order = "F" if order == "F" else "C"  # asked once: an object of a caller's class may answer otherwise later
    if type(dtype) is str:
        item, itemsize, simple = _parse_name(dtype)
        if not simple:
            item = np.dtype(dtype)  # whose fields can be renamed
    else:
        item, itemsize, simple = _parse_dtype(dtype)
    offset = operator.index(offset)
    if offset < 0:
        raise ValueError(f"offset {offset} is negative")
    if available is not None and offset > available:
        raise ValueError(f"offset {offset} is past the end of the {whole}, which has {available} bytes")

    if shape is None and available is not None and simple:
        nbytes = available - offset
        if nbytes % itemsize == 0 and nbytes <= MAX_NBYTES:  # the usual case
            return item, (nbytes // itemsize,), (itemsize,), nbytes, offset, order

    full = (-1,) if shape is None else as_tuple(shape)
    if -1 in full:
        full = _infer(full, itemsize, offset, available, whole)
    while item.shape:
        full += item.shape
        item = item.base
        itemsize = item.itemsize
    if len(full) > MAX_NDIM:
        raise ValueError(f"Expected at most {MAX_NDIM} dimensions, not {len(full)}")
    nbytes = itemsize * math.prod(full)
    # NumPy bounds the strides too: dimensions of 0 do not make the others harmless
    extent = nbytes or itemsize * math.prod(n or 1 for n in full)
    if extent > MAX_NBYTES or offset + extent > MAX_END:
        raise ValueError(f"shape {full} of dtype {item} at offset {offset} is larger than the address space")
    if available is not None and offset + nbytes > available:
        raise ValueError(
            f"shape {full} of dtype {item} needs {nbytes} bytes from offset {offset}, "
            f"but the {whole} has {available} bytes ({available - offset} from there)"
        )
    return item, full, strides_of(full, itemsize, order), nbytes, offset, order


def _parse_dtype(dtype: npt.DTypeLike) -> tuple[np.dtype[Any], int, bool]:
    """The dtype, its item size, and whether it has neither fields nor a shape."""
    item = np.dtype(dtype)
    if item.hasobject:
        raise TypeError(
            f"dtype {item} holds Python objects, whose addresses mean nothing in a file: use a fixed-size dtype"
        )
    if item.itemsize == 0:
        raise ValueError(f"dtype {item} has item size 0: give it a length, such as 'S8'")
    return item, item.itemsize, item.names is None and not item.shape


_parse_name = functools.lru_cache(maxsize=64)(_parse_dtype)  # takes longer than the rest of a layout


def end_of(layout: Layout) -> int:
    """Where a layout ends in its file, in bytes."""
    _, _, _, nbytes, offset, _ = layout
    return offset + nbytes


def is_number(shape: Any) -> bool:
    """Whether a shape is a single number."""
    return not isinstance(shape, Iterable) or getattr(shape, "ndim", 1) == 0


def as_tuple(shape: Any) -> tuple[int, ...]:
    """A shape as a tuple, in which -1 stands at most once."""
    dims = (operator.index(shape),) if is_number(shape) else tuple(map(operator.index, shape))
    if min(dims, default=0) < -1:
        raise ValueError(f"shape {dims} has a negative dimension")
    if dims.count(-1) > 1:
        raise ValueError(f"shape {dims} leaves more than one dimension to infer: use -1 once")
    return dims


def _infer(dims: tuple[int, ...], itemsize: int, offset: int, available: int | None, whole: str) -> tuple[int, ...]:
    """`dims` with its -1 replaced."""
    if available is None:
        raise ValueError(f"Expected a full shape, not {dims}: there is no {whole} yet to infer it from")
    row = itemsize * -math.prod(dims)
    if row == 0:
        raise ValueError(f"shape {dims} cannot be inferred: a dimension beside the -1 is 0")
    rows, left_over = divmod(available - offset, row)
    if left_over:
        raise ValueError(
            f"The {whole} has {available} bytes, {available - offset} of them from offset {offset} on, which is no "
            f"multiple of {row} (item size {itemsize}): {left_over} bytes left over. Give a full shape to map a part"
        )
    return tuple(rows if n == -1 else n for n in dims) if len(dims) > 1 else (rows,)


def strides_of(shape: tuple[int, ...], itemsize: int, order: Order) -> tuple[int, ...]:
    """Strides in bytes of a contiguous array, as NumPy has them (a dimension of 0 counts as 1)."""
    strides = []
    step = itemsize
    for n in shape if order == "F" else reversed(shape):
        strides.append(step)
        step *= n or 1
    return tuple(strides if order == "F" else reversed(strides))


def check_rows(rows: Rows, length: int) -> slice | npt.NDArray[np.intp]:
    """`rows` as a slice with known ends, or as sorted, non-negative row numbers."""
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
    too_large = numbers.dtype.kind == "O" and all(isinstance(number, int) for number in numbers.flat)
    if numbers.dtype.kind not in "iu" and not too_large:
        raise TypeError(f"Expected rows to be None, a slice or integers, not {numbers.dtype}")
    low, high = int(numbers.min()), int(numbers.max())
    if low < -length or high >= length:
        raise IndexError(f"row {low if low < -length else high} is out of range for {length} rows")
    numbers = numbers.astype(np.intp)
    return np.sort(np.where(numbers < 0, numbers + length, numbers), axis=None)


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


def subtract(runs: Sequence[tuple[int, int]], holes: Sequence[tuple[int, int]]) -> Sequence[tuple[int, int]]:
    """Return what is left of half-open ranges when others are cut out of them."""
    for low, high in holes:
        parts = [((start, min(stop, low)), (max(start, high), stop)) for start, stop in runs]
        runs = [(start, stop) for pair in parts for start, stop in pair if start < stop]
    return runs


def at_least(name: str, value: SupportsIndex, least: int) -> int:
    number = operator.index(value)
    if number < least:
        raise ValueError(f"Expected {name} to be at least {least}, not {number}")
    return number
