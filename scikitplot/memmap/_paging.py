"""From rows to bytes to pages, in Python integers. Ranges are half-open; a run is a range of bytes or of pages."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt  # takes longer to import than all of this package

    Rows: TypeAlias = slice | npt.ArrayLike | None

PAGE_SIZE = mmap.PAGESIZE

Runs: TypeAlias = list[tuple[int, int]]


def check_rows(rows: Rows, length: int) -> slice | npt.NDArray[np.intp]:
    """Return `rows` as a slice with known ends, or as sorted, non-negative row numbers."""
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


def consecutive(rows: slice | None, length: int) -> slice:
    """Return a slice of consecutive rows, in the order of the file, as one with known ends."""
    if rows is None:
        return slice(0, length)
    if not isinstance(rows, slice) or rows.indices(length)[2] != 1:
        raise ValueError("Expected rows to be a slice with steps of 1")
    start, stop, _ = rows.indices(length)
    return slice(start, max(start, stop))


def byte_runs(rows: Rows, length: int, row_nbytes: int, skew: int, page: int = PAGE_SIZE) -> Runs:
    """Return where rows lie: runs of bytes, ascending, at least one untouched page between each two.

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
        if chosen.step * row_nbytes <= page or chosen.step == 1:  # the rows touch every page in between
            span = (chosen.start * row_nbytes, chosen.stop * row_nbytes)
            return [span] if span[0] < span[1] else []
        chosen = np.arange(chosen.start, chosen.stop, chosen.step)
    starts = chosen * row_nbytes
    stops = starts + row_nbytes
    gaps = np.flatnonzero((starts[1:] + skew) // page > (stops[:-1] + skew - 1) // page + 1)
    first = starts[np.concatenate(([0], gaps + 1))]
    last = stops[np.concatenate((gaps, [len(stops) - 1]))]
    return list(zip(first.tolist(), last.tolist(), strict=True))


def pages_of(runs: Runs, offset: int) -> Runs:
    """Return the pages of a file, counted from its start, that runs of bytes touch, counted from `offset`."""
    return [((offset + start) // PAGE_SIZE, (offset + stop - 1) // PAGE_SIZE + 1) for start, stop in runs]


def bytes_of(pages: tuple[int, int], offset: int, nbytes: int) -> tuple[int, int]:
    """Return the part of a run of pages that lies in the `nbytes` bytes from `offset`, as bytes from there."""
    start, stop = (page * PAGE_SIZE - offset for page in pages)
    return min(max(start, 0), nbytes), max(min(stop, nbytes), 0)


def subtract(runs: Sequence[tuple[int, int]], holes: Sequence[tuple[int, int]]) -> Runs:
    """Return what is left of runs when others are cut out of them."""
    for low, high in holes:
        parts = [((start, min(stop, low)), (max(start, high), stop)) for start, stop in runs]
        runs = [(start, stop) for pair in parts for start, stop in pair if start < stop]
    return list(runs)
