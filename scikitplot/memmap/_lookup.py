"""`take` and `searchsorted`: what NumPy's functions return, by reading only what they need."""

from __future__ import annotations

import operator
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, get_args

import numpy as np
from numpy.lib.array_utils import normalize_axis_index

from ._core import MapCore, as_indices, check_out
from ._modes import refuse
from ._paging import PAGE_SIZE

if TYPE_CHECKING:
    import numpy.typing as npt

    _Array = npt.NDArray[Any]
    _Rows = npt.NDArray[np.int64]

Bounds = Literal["raise", "wrap", "clip"]
Side = Literal["left", "right"]
PIECE = 1 << 16  # values that are searched for together


def axis_of(axis: SupportsIndex | None, ndim: int) -> int | None:
    """Return an axis of `numpy.take` as a number from 0 on, or None for all elements as one dimension."""
    if isinstance(axis, bool):
        raise TypeError("Expected axis to be an integer, not bool")
    along = 0 if axis is None else normalize_axis_index(operator.index(axis), max(ndim, 1))
    return along if ndim == 1 or (axis is not None and ndim) else None


def as_int64(numbers: _Array) -> _Rows:
    """Return integers as int64; those that are too large become its largest, which is out of range everywhere."""
    # also because NumPy 2.0.0 crashes where small integers, broadcast from one, are compared with a large one
    wide = numbers.astype(np.uint64 if numbers.dtype.kind == "u" else np.int64)
    return np.minimum(wide, np.iinfo(np.int64).max).astype(np.int64)


def positions(indices: npt.ArrayLike, length: int, mode: Bounds) -> _Rows:
    """Return indices of `numpy.take` as numbers in ``range(length)``."""
    if mode not in get_args(Bounds):
        refuse("mode", get_args(Bounds), mode)
    if isinstance(indices, MapCore):
        indices = indices.to_numpy(copy=True)  # a traceback could keep a view alive
    numbers = as_indices(indices)
    if mode != "raise" and length == 0 and numbers.size:
        raise IndexError("cannot do a non-empty take from an empty axis")
    if mode == "wrap":
        unsigned = numbers.dtype.kind == "u"
        return (numbers.astype(np.uint64 if unsigned else np.int64) % max(length, 1)).astype(np.int64)
    index = as_int64(numbers)
    if mode == "clip":
        return index.clip(0, max(length - 1, 0))
    index = np.where(index < 0, index + length, index)
    bad = (index < 0) | (index >= length)
    if bad.any():
        raise IndexError(f"index {numbers[bad].flat[0]} is out of bounds for {length} elements")
    return index


def into(out: _Array | None, taken: _Array) -> Any:
    """Return what was taken; copied to `out` if that was given, under the conditions of `gather`."""
    if out is None:
        return taken[()]
    check_out(out, taken.dtype, taken.shape)
    np.copyto(out, taken)
    return out


def take(mm: Any, indices: npt.ArrayLike, axis: SupportsIndex | None, out: _Array | None, mode: Bounds) -> Any:
    """Return what `MemMap.take` does."""
    mm._check_open()
    along = axis_of(axis, mm.ndim)
    if along == 0:
        return mm.gather(indices if mode == "raise" else positions(indices, len(mm), mode), out)
    index = positions(indices, mm.size if along is None else mm.shape[along], mode)
    if along is None and (mm.order == "C" or mm.ndim == 0):
        flat = (mm.dtype, (mm.size,), (mm.itemsize,), mm.nbytes, mm.offset, "C")
        with mm._window(flat, 0) as elements:
            return elements.gather(index, out)
    numbers = index.ravel()  # an array of no dimensions would give a view
    if along is None:
        return into(out, mm[np.unravel_index(numbers, mm.shape)].reshape(index.shape))
    shape = mm.shape[:along] + index.shape + mm.shape[along + 1 :]
    return into(out, mm[(*[slice(None)] * along, numbers)].reshape(shape))


class _Column:
    """The values of a 1-D map, or of a field of one, read page by page."""

    def __init__(self, mm: MapCore, field: str | None = None) -> None:
        self.mm = mm
        self.field = field
        self.dtype, self.start = mm.dtype, 0
        if field is not None:
            fields = mm.dtype.fields
            if fields is None:
                raise ValueError(f"There is no field {field!r}: {mm.dtype} has no fields")
            if not isinstance(field, str) or field not in fields:
                refuse("field", mm.dtype.names or (), field)
            self.dtype, self.start = fields[field][:2]
            if self.dtype.shape:
                raise ValueError(f"Field {field!r} has no order: each of its values has the shape {self.dtype.shape}")
        self.is_in_memory = mm._region.info is None
        self.requested: Collection[tuple[int, int]] = ()  # pages of the last step

    def pages(self, rows: _Rows) -> tuple[_Rows, _Rows]:
        """Return the first and the last page of each value, counted from the start of the file."""
        start = self.mm._region.offset + self.start + rows * self.mm.itemsize
        return start // PAGE_SIZE, (start + self.dtype.itemsize - 1) // PAGE_SIZE

    def __getitem__(self, rows: _Rows) -> _Array:
        if not self.is_in_memory:  # else a page fault would read the pages around it as well
            first, last = self.pages(rows)
            row_of = dict(zip(zip(first.tolist(), last.tolist(), strict=True), rows.tolist(), strict=True))
            for pages, row in row_of.items():
                if pages not in self.requested:
                    start = self.start + row * self.mm.itemsize
                    self.mm._region.request(start, start + self.dtype.itemsize)
            self.requested = row_of.keys()
        values: _Array = self.mm[rows] if self.field is None else self.mm[self.field][rows]
        self.mm._region.check_damage()
        return values


def searchsorted(
    mm: MapCore, values: npt.ArrayLike, side: Side, sorter: npt.ArrayLike | None, field: str | None
) -> Any:
    """Return what `MemMap.searchsorted` does."""
    mm._check_open()
    if side not in get_args(Side):
        refuse("side", get_args(Side), side)
    if mm.ndim != 1:
        raise ValueError(f"Expected a map of one dimension to search, not of {mm.ndim}")
    column = _Column(mm, field)
    order = None if sorter is None else _checked(sorter, len(mm))
    if isinstance(values, MapCore):
        values = values.to_numpy(copy=True)
    keys = np.asarray(values)
    found = np.zeros(keys.size, np.intp)
    if keys.size:
        try:
            common = np.promote_types(column.dtype, keys.dtype)
        except TypeError as error:
            if column.dtype.names is None:
                raise
            raise TypeError(f"To search by one of {', '.join(column.dtype.names)}, pass its name: field=") from error
        shape, keys = keys.shape, keys.astype(common).ravel()
        ascending = np.argsort(keys, kind="stable")  # neighbours share their pages
        for at in range(0, keys.size, PIECE):
            chosen = ascending[at : at + PIECE]
            found[chosen] = _search(column, keys[chosen], side, order, len(mm))
        return found.reshape(shape)[()]
    return found.reshape(keys.shape)


def _checked(sorter: Any, length: int) -> _Array | _Column:
    """Return what `numpy.searchsorted` takes as a sorter; a map of one stays on disk."""
    array = sorter if isinstance(sorter, MapCore) else np.asarray(sorter)
    if array.dtype.kind not in "iu":
        raise TypeError(f"Expected sorter to be integers, not {array.dtype}")
    if array.shape != (length,):
        raise ValueError(f"Expected sorter to have the shape {(length,)}, not {array.shape}")
    return _Column(array) if isinstance(array, MapCore) else array


def _search(column: _Column, keys: _Array, side: Side, sorter: _Array | _Column | None, length: int) -> _Rows:
    """Bisect for all keys, which are sorted, at once: each round reads the middle of every interval that is left."""
    low, high = np.zeros(len(keys), np.int64), np.full(len(keys), length)
    while (active := np.flatnonzero(low < high)).size:
        middle = (low[active] + high[active]) // 2
        if sorter is None:  # a value across the end of a page would take two: the one before it does not
            first, last = column.pages(middle)
            middle -= (first != last) & (middle > low[active])
        is_new = np.append(True, middle[1:] != middle[:-1])
        rows = middle[is_new]
        if sorter is not None:
            rows = sorter[rows].astype(np.int64)
            if rows.min() < 0 or rows.max() >= length:
                raise ValueError(f"Expected sorter to be rows of 0:{length}, not {rows.min()} to {rows.max()}")
        # NumPy compares, so that NaN, NaT, strings and mixed dtypes have its order
        is_right = np.searchsorted(column[rows], keys[active], side) > np.cumsum(is_new) - 1
        low[active[is_right]] = middle[is_right] + 1
        high[active[~is_right]] = middle[~is_right]
    return low
