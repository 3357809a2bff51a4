"""Several maps of the same dtype and row shape, one after another, as one table."""

from __future__ import annotations

import contextlib
import gc
import itertools
import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self, SupportsIndex

import numpy as np

from ._core import MapCore, as_indices, check_out
from ._display import count, progress_bar
from ._layout import at_least
from ._lookup import Bounds, as_int64, axis_of, into, positions
from ._paging import check_rows, consecutive
from ._reading import FOLIO_NBYTES, SMALL_WINDOW_NBYTES

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._paging import Rows

    _Array = npt.NDArray[Any]
    _Rows = npt.NDArray[np.int64]


def joined(parts: Sequence[_Array]) -> _Array:
    """Return arrays of one dtype one after another, in that dtype: NumPy would change byte order and padding."""
    if len(parts) == 1:
        return parts[0]
    rows = np.empty((sum(map(len, parts)), *parts[0].shape[1:]), parts[0].dtype)
    return np.concatenate(parts, out=rows)


class ConcatMap:
    """The rows of several maps as one table, made by `concat`. It owns the maps.

    Attributes
    ----------
    maps : tuple of MemMap
        The maps, in order.
    dtype : numpy.dtype
        Data type of the elements.
    shape : tuple of int
        Length of each dimension.
    ndim, size, itemsize, nbytes : int
        As those of an ndarray.
    closed : bool
        Whether the maps are closed.
    """

    def __init__(self, maps: Iterable[Any]) -> None:
        self.maps: tuple[Any, ...] = tuple(maps)
        if not self.maps:
            raise ValueError("Expected at least one map")
        for mm in self.maps:
            if not isinstance(mm, MapCore):
                raise TypeError(f"Expected maps, not {type(mm).__name__}")
            mm._check_open()
            mm._region.check_damage()
            first, name = self.maps[0], mm.path or repr(mm)
            if mm.ndim == 0:
                raise ValueError(f"{name} has no dimensions, and so no rows")
            if mm.dtype != first.dtype:
                raise ValueError(f"Expected maps of dtype {first.dtype}, as the first is, not {mm.dtype}: {name}")
            if mm.shape[1:] != first.shape[1:]:
                raise ValueError(
                    f"Expected rows of shape {first.shape[1:]}, as in the first, not {mm.shape[1:]}: {name}"
                )
            if mm.ndim > 1 and mm.order == "F":
                raise ValueError(f"The rows of an N-d Fortran-order map are not contiguous, use its .T: {name}")
        self.dtype: np.dtype[Any] = self.maps[0].dtype
        self._row_shape: tuple[int, ...] = self.maps[0].shape[1:]
        self._row_nbytes: int = self.maps[0]._row_nbytes
        lengths = [len(mm) for mm in self.maps]
        self._starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)])  # and, last, the end

    # ---- attributes

    def __len__(self) -> int:
        return int(self._starts[-1])

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self._row_shape)

    @property
    def ndim(self) -> int:
        return 1 + len(self._row_shape)

    @property
    def itemsize(self) -> int:
        return self.dtype.itemsize

    @property
    def nbytes(self) -> int:
        return len(self) * self._row_nbytes

    @property
    def size(self) -> int:
        return self.nbytes // self.itemsize

    @property
    def closed(self) -> bool:
        return any(mm.closed for mm in self.maps)

    def __repr__(self) -> str:
        state = " closed" if self.closed else ""
        return f"<ConcatMap of {count(len(self.maps), 'map')} dtype={self.dtype} shape={self.shape}{state}>"

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    # ---- rows -> maps

    def _check_open(self) -> None:
        for mm in self.maps:
            mm._check_open()

    def _parts(self, start: int, stop: int) -> Iterator[tuple[Any, int, int]]:
        """Yield where consecutive rows lie, as (map, first row, row after the last)."""
        part = int(np.searchsorted(self._starts, start, "right")) - 1
        while start < stop:
            first = int(self._starts[part])
            end = min(stop, int(self._starts[part + 1]))
            mm = self.maps[part]
            if end - first > len(mm):
                raise ValueError(f"{mm.path or repr(mm)} has become shorter since it was joined: join again")
            if start < end:
                yield mm, start - first, end - first
            start, part = max(start, end), part + 1

    def _scattered(self, rows: _Rows) -> Iterator[tuple[Any, _Rows, _Rows]]:
        """Yield where single rows lie, as (map, its rows, their places among `rows`); the rows are in range."""
        if not rows.size:
            return
        part_of = np.searchsorted(self._starts, rows, "right") - 1
        places = np.argsort(part_of, kind="stable")
        parts, begins = np.unique(part_of[places], return_index=True)
        for part, chosen in zip(parts.tolist(), np.split(places, begins[1:]), strict=True):
            yield self.maps[part], rows[chosen] - self._starts[part], chosen

    def _request(self, rows: npt.NDArray[np.int64], run: int = 1, may_touch: bool = True) -> None:
        """Start reading runs of rows that are not resident."""
        for mm, local, _ in self._scattered(np.add.outer(rows, np.arange(run)).ravel()):
            mm._request(local, 1, may_touch)

    # ---- arrays

    def __getitem__(self, key: Any) -> Any:
        key, *rest = (key or (Ellipsis,)) if isinstance(key, tuple) else (key,)
        if key is Ellipsis:
            return np.asarray(self)[(..., *rest)]
        if isinstance(key, slice):
            rows = self._rows(*key.indices(len(self)))
            return rows[(slice(None), *rest)] if rest else rows
        if isinstance(key, (int, np.integer)) and not isinstance(key, bool):
            index = operator.index(key)
            at = index + len(self) if index < 0 else index
            if not 0 <= at < len(self):
                raise IndexError(f"index {index} is out of bounds for axis 0 with size {len(self)}")
            mm, first, _ = next(self._parts(at, at + 1))
            return mm[(first, *rest)] if rest else mm[first]
        rows = np.asarray(key)
        if rows.dtype == bool and rows.ndim == 1 and len(rows) == len(self):
            rows = np.flatnonzero(rows)
        if rows.dtype.kind not in "iu" and rows.size:
            raise IndexError(f"Expected an integer, a slice, integers or a mask of the rows, not {key!r}")
        if any(np.ndim(one) or isinstance(one, (bool, np.bool_)) for one in rest):
            raise IndexError("Expected integers and slices behind the rows: take the rows first, table[rows][...]")
        taken = self.gather(rows if rows.size else rows.astype(np.intp))
        return taken[(*[slice(None)] * rows.ndim, *rest)] if rest else taken

    def _rows(self, start: int, stop: int, step: int) -> Any:
        """Return the rows of a slice: a view if they lie in one map, else a copy."""
        span = range(start, stop, step)
        if not span:
            return self.maps[0][:0]
        low, high = min(span[0], span[-1]), max(span[0], span[-1]) + 1
        parts = list(self._parts(low, high))
        if len(parts) == 1:
            mm, first, end = parts[0]
            return mm[first:end][::step]
        if abs(step) > 1:
            return self.gather(np.arange(start, stop, step))
        rows = joined([mm[first:end] for mm, first, end in parts])
        return rows if step == 1 else rows[::-1]

    def __iter__(self) -> Iterator[Any]:
        for mm in self.maps:
            yield from mm

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> _Array:
        if copy is False:
            raise ValueError("The rows of several files are one array only as a copy")
        whole = np.empty(self.shape, self.dtype if dtype is None else dtype)
        for mm, start, stop in zip(self.maps, self._starts[:-1], self._starts[1:], strict=True):
            whole[start:stop] = mm.to_numpy()[: stop - start]  # the map may have grown since
        return whole

    def gather(
        self, indices: npt.ArrayLike, out: _Array | None = None, *, length: SupportsIndex | None = None
    ) -> _Array:
        """Copy rows by index, as `MemMap.gather` does. The pages of all files are requested together.

        Parameters
        ----------
        indices : array_like of int
            Row numbers, in any shape; negative ones count from the end.
        out : ndarray, optional
            Array for the result, of the same dtype.
        length : int, optional
            Copy runs of so many consecutive rows, one from each index on. A run may cross from one file to the next.

        Returns
        -------
        ndarray
            Of shape ``indices.shape + shape[1:]``, or ``indices.shape + (length,) + shape[1:]``.

        Raises
        ------
        IndexError
            If a row is out of range; nothing is copied.
        TypeError
            If the indices are not integers, or `out` has another dtype.
        ValueError
            If a map is closed, `out` has another shape, or `length` is less than 1.
        """
        self._check_open()
        rows = as_indices(indices)
        run = 1 if length is None else at_least("length", length, 1)
        index = as_int64(rows)
        index = np.where(index < 0, index + len(self), index)
        bad = (index < 0) | (index > len(self) - run)
        if bad.any():
            what = f"index {rows[bad].flat[0]}" + (f" with length {run}" if length is not None else "")
            raise IndexError(f"{what} is out of bounds for axis 0 with size {len(self)}")
        if length is not None:
            index = index[..., np.newaxis] + np.arange(run)
        full = index.shape + self._row_shape
        if out is not None:
            check_out(out, self.dtype, full)
        taken = np.empty((index.size, *self._row_shape), self.dtype)
        parts = list(self._scattered(index.ravel()))
        for mm, local, _ in parts[1:]:  # each map requests its own once more, when they are under way
            mm._request(local)
        for mm, local, places in parts:
            taken[places] = mm.gather(local)
        taken = taken.reshape(full)
        if out is None:
            return taken if full else taken[()]
        np.copyto(out, taken)
        return out

    def __getitems__(self, indices: npt.ArrayLike) -> _Array:
        return self.gather(indices)

    def take(
        self,
        indices: npt.ArrayLike,
        axis: SupportsIndex | None = None,
        out: _Array | None = None,
        mode: Bounds = "raise",
    ) -> Any:
        """Copy elements by index along an axis, as `MemMap.take` does. Parameters as there."""
        self._check_open()
        along = axis_of(axis, self.ndim)
        if along == 0:
            return self.gather(positions(indices, len(self), mode), out)
        if along is not None:
            return into(out, joined([mm.take(indices, along, mode=mode) for mm in self.maps]))
        index = positions(indices, self.size, mode)
        rows, rest = np.divmod(index.ravel(), max(self._row_nbytes // self.itemsize, 1))
        taken = np.empty(index.size, self.dtype)
        for mm, local, places in self._scattered(rows):
            taken[places] = mm.take(local * (self._row_nbytes // self.itemsize) + rest[places])
        return into(out, taken.reshape(index.shape))

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return "ConcatMap", *(mm.__dask_tokenize__() for mm in self.maps)

    # ---- paging

    def _split(self, rows: Rows) -> Iterator[tuple[Any, Rows]]:
        """Yield each map that has some of the rows, with its rows."""
        self._check_open()
        chosen = check_rows(rows, len(self))
        if isinstance(chosen, slice) and chosen.step == 1:
            for mm, first, end in self._parts(chosen.start, chosen.stop):
                yield mm, slice(first, end)
        else:
            chosen = np.arange(len(self))[chosen] if isinstance(chosen, slice) else chosen
            for mm, local, _ in self._scattered(chosen):
                yield mm, local

    def prefetch(self, rows: Rows = None, *, wait: bool = False, progress: bool = False) -> None:
        """Start reading pages of all files, as `MemMap.prefetch` does. Parameters as there."""
        parts = list(self._split(rows))
        for mm, local in parts:
            if not wait or mm.nbytes < FOLIO_NBYTES:  # larger ones are read one after another
                mm.prefetch(local)
        bar = progress_bar(len(parts), "file", progress and wait)
        try:
            for mm, local in parts if wait else ():
                mm.prefetch(local, wait=True)
                bar.update(1)
        finally:
            bar.close()

    def evict(self, rows: Rows = None, *, cache: bool = True) -> None:
        """Release the memory of pages, as `MemMap.evict` does. Parameters as there."""
        for mm, local in self._split(rows):
            mm.evict(local, cache=cache)

    def residency(self, rows: Rows = None) -> npt.NDArray[np.bool_]:
        """Return which pages are resident, as `MemMap.residency` does, one file after another."""
        return np.concatenate([np.zeros(0, np.bool_), *(mm.residency(local) for mm, local in self._split(rows))])

    def iter_chunks(
        self, rows: slice | None = None, *, nbytes: SupportsIndex = 1 << 25, evict: bool = False, progress: bool = False
    ) -> Iterator[_Array]:
        """Iterate over views of consecutive rows, as `MemMap.iter_chunks` does. No chunk crosses from file to file."""
        self._check_open()
        chosen = consecutive(rows, len(self))
        size = at_least("nbytes", nbytes, 1)
        bar = progress_bar(chosen.stop - chosen.start, "row", progress)
        return self._iter_chunks(list(self._parts(chosen.start, chosen.stop)), size, evict, bar)

    def _iter_chunks(self, parts: list[tuple[Any, int, int]], nbytes: int, evict: bool, bar: Any) -> Iterator[_Array]:
        few = max(min(nbytes, SMALL_WINDOW_NBYTES) // max(self._row_nbytes, 1), 1)
        try:
            for i, (mm, first, end) in enumerate(parts):
                left = end - first
                for chunk in mm.iter_chunks(slice(first, end), nbytes=nbytes, evict=evict):
                    left -= len(chunk)
                    for following, start, stop in parts[i + 1 : i + 2] if left == 0 else ():
                        following.prefetch(slice(start, min(start + few, stop)))
                    yield chunk
                    bar.update(len(chunk))
                    del chunk
        finally:
            bar.close()

    # ---- lifetime

    def close(self) -> None:
        """Close all maps; if a view of one is alive, none.

        Raises
        ------
        BufferError
            If views of a map are alive.
        """
        used = [mm for mm in self.maps if not mm.closed and mm._region.leases]
        if used:
            gc.collect()
            used = [mm for mm in used if not mm.closed and mm._region.leases]
        for mm in (*used, *self.maps):  # one in use raises before any is closed
            mm.close()

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        damaged = [mm for mm in self.maps if mm.damaged]
        try:
            self.close()
        except BufferError:
            if error is None:  # else the caller must see that
                raise
        if damaged and error is None:
            damaged[0]._region.check_damage()

    def __reduce__(self) -> tuple[Any, ...]:
        makers, arguments = zip(*(mm.__reduce__() for mm in self.maps), strict=True)
        if len({*makers}) > 1:  # files and memory
            return type(self), (self.maps,)
        columns = [list(column) for column in zip(*arguments, strict=True)]
        prefix = _common_start(columns[1])
        columns[1] = [path[len(prefix) :] for path in columns[1]]
        columns = [column[:1] if column == column[:1] * len(column) else column for column in columns]
        return _reopen, (makers[0], len(self.maps), prefix, columns)


def _common_start(names: list[str]) -> str:
    """Return the text that all names begin with."""
    pairs = zip(min(names), max(names), strict=False)
    return "".join(one for one, _ in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))


def _reopen(make: Callable[..., Any], n: int, prefix: str, columns: list[list[Any]]) -> ConcatMap:
    """Open the maps of a pickled ConcatMap: all of them, or after an error none."""
    full = [column * n if len(column) == 1 else column for column in columns]
    with contextlib.ExitStack() as opened:
        maps = []
        for opener, path, *layout in zip(*full, strict=True):
            maps.append(make(opener, prefix + path, *layout))
            opened.callback(maps[-1].close)
        opened.pop_all()
    return ConcatMap(maps)


def concat(maps: Iterable[Any]) -> ConcatMap:
    """Join maps of the same dtype and row shape, one after another, to one table.

    Parameters
    ----------
    maps : iterable of MemMap
        At least one. The table owns them: its `close` closes them. Maps of mode ``"r"`` and ``"c"`` keep no file open,
        so there may be more of them than the process may have files open.

    Returns
    -------
    ConcatMap
        It has ``shape``, ``dtype`` and ``len()``; rows by index, slice (a view where they lie in one file, else a
        copy), and ``gather``; ``take``, ``iter_chunks``, ``prefetch``, ``evict``, ``residency`` and ``close`` as a map
        has them. `batches` takes it as a map.

    Raises
    ------
    TypeError
        If something is not a map.
    ValueError
        If there is no map, or one has another dtype or row shape than the first, no dimensions, is closed, or is in N-d
        Fortran order. The message names the file.
    DamagedError
        If a map has lost pages.

    Examples
    --------
    >>> import numpy as np
    >>> from scikitplot.memmap import MemMap, concat
    >>> np.array([0, 1, 2], "<i4").tofile("a.i4")
    >>> np.array([3, 4], "<i4").tofile("b.i4")
    >>> with concat(MemMap.open(path, dtype="<i4") for path in ("a.i4", "b.i4")) as table:
    ...     print(table.shape, table[3], table[1:4], table.gather([4, 0]))
    (5,) 3 [1 2 3] [4 0]
    """
    return ConcatMap(maps)
