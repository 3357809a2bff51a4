"""From dtype, shape, order and offset to a range of bytes: all size arithmetic, in Python ints that cannot overflow."""

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

Shape = SupportsIndex | Sequence[SupportsIndex] | None


class InferredShape(tuple[int, ...]):
    """A full shape whose first dimension follows from the file, as with -1: see `MemMap.refresh`."""

    __slots__ = ()


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
    whole: str = "the file",
) -> Layout:
    """Return a complete layout, or raise if it does not fit.

    Parameters
    ----------
    dtype, shape, order, offset
        As given to `MemMap.open`.
    available : int or None
        Number of bytes that exist. None: they are about to be made, as many as the layout asks for.
    whole : str
        What errors call the thing that has the bytes.
    """
    if order not in ORDERS:
        refuse("order", ORDERS, order)
    order = "F" if order == "F" else "C"  # compared once: an object of another class may answer differently later
    if type(dtype) is str:
        item, itemsize, simple = _parse_name(dtype)
        if not simple:
            item = np.dtype(dtype)  # not the cached one: its fields can be renamed
    else:
        item, itemsize, simple = _parse_dtype(dtype)
    offset = operator.index(offset)
    if offset < 0:
        raise ValueError(f"offset {offset} is negative: it counts from the start of {whole}")
    if available is not None and offset > available:
        raise ValueError(f"offset {offset} is past the end of {whole}, which has {available} bytes")

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
        raise ValueError(f"shape {full} of dtype {item} at offset {offset} of {whole} is larger than the address space")
    if available is not None and offset + nbytes > available:
        raise ValueError(
            f"shape {full} of dtype {item} needs {nbytes} bytes from offset {offset}, "
            f"but {whole} has {available} bytes ({available - offset} from there)"
        )
    return item, full, strides_of(full, itemsize, order), nbytes, offset, order


def _parse_dtype(dtype: npt.DTypeLike) -> tuple[np.dtype[Any], int, bool]:
    """Return the dtype, its item size, and whether it has neither fields nor a shape."""
    item = np.dtype(dtype)
    if item.hasobject:
        raise TypeError(
            f"dtype {item} holds Python objects, whose addresses mean nothing in a file: use a fixed-size dtype"
        )
    if item.itemsize == 0:
        raise ValueError(f"dtype {item} has item size 0: give it a length, such as 'S8'")
    return item, item.itemsize, item.names is None and not item.shape


_parse_name = functools.lru_cache(maxsize=64)(_parse_dtype)  # parsing takes longer than the rest of a layout


def end_of(layout: Layout) -> int:
    """Return where a layout ends in its file, in bytes."""
    _, _, _, nbytes, offset, _ = layout
    return offset + nbytes


def is_number(shape: Any) -> bool:
    """Return whether a shape is a single number."""
    return not isinstance(shape, Iterable) or getattr(shape, "ndim", 1) == 0


def as_tuple(shape: Any) -> tuple[int, ...]:
    """Return a shape as a tuple, with at most one -1."""
    dims = (operator.index(shape),) if is_number(shape) else tuple(map(operator.index, shape))
    if min(dims, default=0) < -1:
        raise ValueError(f"shape {dims} has a negative dimension")
    if dims.count(-1) > 1:
        raise ValueError(f"shape {dims} leaves more than one dimension to infer: use -1 once")
    return dims


def _infer(dims: tuple[int, ...], itemsize: int, offset: int, available: int | None, whole: str) -> tuple[int, ...]:
    """Return `dims` with the -1 replaced."""
    if available is None:
        raise ValueError(f"Expected a full shape, not {dims}: {whole} has no bytes yet to infer it from")
    row = itemsize * -math.prod(dims)
    if row == 0:
        raise ValueError(f"shape {dims} of {whole} cannot be inferred: a dimension beside the -1 is 0")
    rows, left_over = divmod(available - offset, row)
    if left_over:
        raise ValueError(
            f"{whole} has {available} bytes, {available - offset} of them from offset {offset} on, which is no "
            f"multiple of {row} (item size {itemsize}): {left_over} bytes left over. Give a full shape to map a part"
        )
    return tuple(rows if n == -1 else n for n in dims) if len(dims) > 1 else (rows,)


def strides_of(shape: tuple[int, ...], itemsize: int, order: Order) -> tuple[int, ...]:
    """Return the strides of a contiguous array, in bytes, as NumPy computes them (a dimension of 0 counts as 1)."""
    strides = []
    step = itemsize
    for n in shape if order == "F" else reversed(shape):
        strides.append(step)
        step *= n or 1
    return tuple(strides if order == "F" else reversed(strides))


def at_least(name: str, value: SupportsIndex, least: int) -> int:
    number = operator.index(value)
    if number < least:
        raise ValueError(f"Expected {name} to be at least {least}, not {number}")
    return number
