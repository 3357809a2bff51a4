"""Whole files in bounded memory: consecutive rows in chunks, and batches of rows in any order."""

from __future__ import annotations

import contextlib
import itertools
import math
import operator
import os
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, Literal, NamedTuple, SupportsIndex, TypeVar, overload

import numpy as np

from ._concat import ConcatMap, joined
from ._core import MapCore
from ._display import count, progress_bar, tqdm_class
from ._layout import at_least
from ._lean import LeanRows
from ._order import InOrder, Order, Shuffled, ShuffledBlocks
from ._paging import PAGE_SIZE, consecutive, pages_of
from ._reading import FOLIO, FOLIO_NBYTES, SMALL_WINDOW_NBYTES, WINDOW_NBYTES, ReadAhead

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._core import _Scalar
    from ._modes import Access

    _Array = npt.NDArray[Any]
    _Map = MapCore | ConcatMap
    _Table = _Map | _Array

_Batch = TypeVar("_Batch")

BLOCK_NBYTES = 1 << 20  # of the first map: what shuffle="blocks" keeps together


def parts_of(table: _Map, start: int, stop: int) -> Iterator[tuple[MapCore, int, int]]:
    """Return where consecutive rows lie, as (map, first row, row after the last)."""
    return table._parts(start, stop) if isinstance(table, ConcatMap) else iter([(table, start, stop)])


def request(table: _Map, start: int, stop: int) -> None:
    """Start reading consecutive rows."""
    for mm, first, end in parts_of(table, start, stop):
        if first < end:
            mm._region.request(first * mm._row_nbytes, end * mm._row_nbytes)


def evict_rows(table: _Map, start: int, stop: int) -> None:
    """Drop consecutive rows from this process; they stay in the page cache."""
    for mm, first, end in parts_of(table, start, stop):
        pages = pages_of([(first * mm._row_nbytes, end * mm._row_nbytes)], mm._region.offset)
        mm._region.evict_pages(pages, None)


def chunks_of(
    mm: MapCore, rows: slice | None, nbytes: SupportsIndex, evict: bool, progress: bool
) -> Iterator[npt.NDArray[Any]]:
    """Check the arguments of `MemMap.iter_chunks`, and return its iterator."""
    mm._check_open()
    mm._check_rows_are_contiguous()
    chosen = consecutive(rows, len(mm))
    step = max(at_least("nbytes", nbytes, 1) // max(mm._row_nbytes, 1), 1)
    bar = progress_bar(chosen.stop - chosen.start, "row", progress)
    return _iter_chunks(mm, chosen.start, chosen.stop, step, evict, bar)


def _iter_chunks(mm: MapCore, start: int, end: int, step: int, evict: bool, bar: Any) -> Iterator[npt.NDArray[Any]]:
    offset, row_nbytes = mm._region.offset, mm._row_nbytes
    first = past = (offset + start * row_nbytes) // PAGE_SIZE
    cools, cooled = not evict and mm._region.reads_huge_pages, start * row_nbytes
    file = mm._region.reopen_file() if evict else None
    window = max(step * row_nbytes, SMALL_WINDOW_NBYTES if evict else WINDOW_NBYTES)
    ahead = ReadAhead(mm._region, start * row_nbytes, end * row_nbytes, window)
    with contextlib.closing(bar):
        for at in range(start, end, step):
            stop = min(at + step, end)
            ahead.advance(stop * row_nbytes)
            if cools:  # what was read ahead is worth more than what was used; advice on parts would split folios
                used = (offset + at * row_nbytes) // FOLIO_NBYTES * FOLIO_NBYTES - offset
                if used > cooled:
                    mm._region.cool(cooled, used)
                    cooled = used
            yield mm[at:stop]
            bar.update(stop - at)
            if evict:  # again what is left of a large folio, but not yet a page on which the next chunk begins
                least, past = max(past - FOLIO, first), (offset + stop * row_nbytes) // PAGE_SIZE
                mm._region.evict_pages([(least, past + (stop == end))], file)


class Items(NamedTuple):
    """What a batch consists of: runs of `length` rows, one starting every `step` rows."""

    length: int
    step: int

    def count(self, rows: int) -> int:
        """Return how many whole items so many rows have."""
        return max((rows - self.length) // self.step + 1, 0)

    def rows_of(self, start: int, stop: int) -> tuple[int, int]:
        """Return the first row of consecutive items, and the row after their last."""
        return start * self.step, (stop - 1) * self.step + self.length


class RowReader:
    """Reads ahead for batches of single items."""

    def __init__(self, maps: list[_Map], items: Items, evict: bool) -> None:
        self._maps = maps
        self._items = items
        self._may_touch = not evict

    def read_ahead(self, position: int, chosen: npt.NDArray[np.int64]) -> None:
        """Start reading the batch at this position."""
        for mm in self._maps:
            mm._request(chosen * self._items.step, self._items.length, self._may_touch)

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a batch that are to be gathered one after another."""
        yield start, stop

    def close(self) -> None:
        """Do nothing."""


class BlockReader:
    """Reads ahead for blocks, up to one group, and evicts each group after its last batch.

    Until `close`, files are advised "random". Otherwise Linux, short of memory, takes the rows of past groups for
    recently used, drops those that were read ahead instead, and then reads 128 KiB for each page that is missing.

    With `evict`, only the blocks of one group are: this splits the kernel's mapping, so that a page fault makes no more
    resident than lies in its block. Otherwise it may be a huge page. Where files are not read in huge pages, nothing is
    split: FUSE would never join the parts again.
    """

    def __init__(
        self, maps: list[_Map], items: Items, order: ShuffledBlocks, first: int, last: int, evict: bool
    ) -> None:
        self._maps = maps
        self._items = items
        self._order = order
        self._evict = evict
        self._group = -1  # the group that was last read ahead
        self._kept = order.group_of(first) - evict  # the first group that is not evicted yet
        self._last = order.group_of(last)
        self._requested = 0  # blocks of the group after it
        parts = [part for table in maps for part, _, _ in parts_of(table, 0, len(table))]
        self._files = [part._region for part in parts if part._region.info is not None]
        self._splits = evict and all(region.reads_huge_pages for region in self._files)
        self._elsewhere: Access = "normal" if self._splits else "random"
        for region in self._files:
            region.switch_advice(region.access, self._elsewhere)

    def close(self) -> None:
        """Return to the maps' own access intents."""
        for region in self._files:
            with contextlib.suppress(ValueError, BufferError):  # it was closed, or is being resized
                region.switch_advice(self._elsewhere, region.access)

    def read_ahead(self, position: int, chosen: npt.NDArray[np.int64]) -> None:
        """Start reading the batch at this position."""
        order, group = self._order, self._order.group_of(position)
        if group != self._group:
            self._request(group, self._requested if group == self._group + 1 else 0, order.group)
            self._group, self._requested = group, 0
        first, end = order.start_of(group), order.start_of(group + 1)
        due = (position - first) * order.group // (end - first)
        self._request(group + 1, self._requested, due)
        self._requested = due

    def pieces(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the parts of a batch that are to be gathered one after another: if groups are evicted, one for each."""
        while self._evict and (end := self._order.start_of(self._order.group_of(start) + 1)) < stop:
            self._evict_before(start)
            yield start, end
            start = end
        self._evict_before(start)
        yield start, stop

    def _evict_before(self, position: int) -> None:
        """Evict what no item from this position on needs."""
        group = self._order.group_of(position)
        while self._kept < group:
            for mm, start, stop in self._parts(self._kept, 0, self._order.group):
                evict_rows(mm, start, stop)
            if self._splits:
                self._advise(self._kept, "random", "normal")
                self._advise(self._kept + 1, "normal", "random")
            self._kept += 1

    def _advise(self, group: int, before: Access, access: Access) -> None:
        for table, start, stop in self._parts(group, 0, self._order.group):
            for mm, first, end in parts_of(table, start, stop):
                row = mm._row_nbytes
                mm._region.switch_advice_of(first * row, end * row, before, access)

    def _request(self, group: int, start: int, stop: int) -> None:
        for mm, first, end in self._parts(group, start, stop):
            request(mm, first, end)

    def _parts(self, group: int, start: int, stop: int) -> Iterator[tuple[_Map, int, int]]:
        """Yield some blocks of a group as (map, first row, row after the last)."""
        if 0 <= group <= self._last:
            size = self._order.block
            for block in self._order.blocks_of(group)[start:stop].tolist():
                first, end = self._items.rows_of(block * size, min((block + 1) * size, self._order.length))
                for mm in self._maps:
                    yield mm, first, end


class Batches(Generic[_Batch]):
    """An iterable over batches, made by `batches`. Every iteration yields the same batches.

    Attributes
    ----------
    seed : int
        The seed of the permutation; the order is a function of seed and epoch.
    """

    def __init__(
        self,
        maps: tuple[_Table, ...],
        batch_size: SupportsIndex,
        shuffle: bool | Literal["blocks"],
        seed: SupportsIndex | None,
        epoch: SupportsIndex,
        buffer_nbytes: SupportsIndex,
        start: SupportsIndex,
        shard: tuple[SupportsIndex, SupportsIndex],
        drop_last: bool,
        prefetch: SupportsIndex,
        length: SupportsIndex | None,
        step: SupportsIndex | None,
        evict: bool,
        progress: bool,
    ) -> None:
        if not maps:
            raise TypeError("Expected at least one map")
        for table in maps:
            if not isinstance(table, (MapCore, ConcatMap, np.ndarray)):
                raise TypeError(f"Expected maps and arrays, not {type(table).__name__}")
            if table.ndim == 0:
                raise ValueError("A map of no dimensions has no rows")
            if not isinstance(table, np.ndarray):
                table._check_open()
            if isinstance(table, MapCore):
                table._check_rows_are_contiguous()
        lengths = [len(table) for table in maps]
        if len(set(lengths)) > 1:
            raise ValueError(f"Expected maps of the same length, not of {lengths} rows")
        if shuffle not in (False, True, "blocks"):
            raise ValueError(f"Expected shuffle to be False, True or 'blocks', not {shuffle!r}")
        if not isinstance(shard, (tuple, list)):
            raise TypeError(f"Expected shard (k, n), not {type(shard).__name__}")
        if len(shard) != 2:
            raise ValueError(f"Expected shard (k, n), not {count(len(shard), 'number')}")
        worker, workers = (operator.index(number) for number in shard)
        if not 0 <= worker < workers:
            raise ValueError(f"Expected shard (k, n) with 0 <= k < n, not {(worker, workers)}")
        self._maps = maps
        self._size = at_least("batch_size", batch_size, 1)
        self.seed = int.from_bytes(os.urandom(7), "little") if seed is None else operator.index(seed)
        self._ahead = at_least("prefetch", prefetch, 0)
        self._progress = progress
        if progress:
            tqdm_class()  # now, not at the first iteration
        if step is not None and length is None:
            raise ValueError("Expected length beside step: an item is a run of so many rows")
        run = 1 if length is None else at_least("length", length, 1)
        self._items = Items(run, run if step is None else at_least("step", step, 1))
        self._run = None if length is None else run  # the argument of gather
        self._evict = evict
        number = self._items.count(lengths[0])
        how = at_least("epoch", epoch, 0), at_least("buffer_nbytes", buffer_nbytes, 1)
        self._order = self._order_of(number, shuffle, *how)
        # a shard is a run of positions; shards differ by one item at most, with drop_last not in the number of batches
        self._first = worker * number // workers
        self._last = (worker + 1) * number // workers
        if drop_last:
            self._last = self._first + number // workers // self._size * self._size
        self._first += at_least("start", start, 0) * self._size

    def _order_of(self, length: int, shuffle: bool | str, epoch: int, buffer_nbytes: int) -> Order:
        if not shuffle:
            return InOrder(length)
        if shuffle != "blocks":
            return Shuffled(length, self.seed, epoch)
        first = self._maps[0]
        item = max(math.prod(first.shape[1:], start=first.itemsize) * self._items.step, 1)
        block = max(BLOCK_NBYTES // item, 1)
        return ShuffledBlocks(length, block, max(buffer_nbytes // (block * item), 1), self.seed, epoch)

    def __repr__(self) -> str:
        return f"<{count(len(self), 'batch')} of {self._size}, seed={self.seed}>"

    def __len__(self) -> int:
        return max(-(-(self._last - self._first) // self._size), 0)

    def __iter__(self) -> Iterator[_Batch]:
        bar = progress_bar(len(self), "batch", self._progress)
        waiting: deque[tuple[int, npt.NDArray[np.int64]]] = deque()
        maps = [table for table in self._maps if not isinstance(table, np.ndarray)]
        reader: BlockReader | RowReader = RowReader(maps, self._items, self._evict)
        if isinstance(self._order, ShuffledBlocks) and self._first < self._last:
            reader = BlockReader(maps, self._items, self._order, self._first, self._last - 1, self._evict)
        lean = LeanRows() if self._evict and not isinstance(reader, BlockReader) else None
        for table in maps if self._evict else ():
            evict_rows(table, 0, len(table))
        starts = iter(range(self._first, self._last, self._size))
        with contextlib.closing(bar), contextlib.closing(reader):
            while True:
                for start in itertools.islice(starts, self._ahead + 1 - len(waiting)):
                    stop = min(start + self._size, self._last)
                    chosen = self._order.rows(start, stop)
                    reader.read_ahead(start, chosen)
                    waiting.append((start, chosen))
                if not waiting:
                    return
                start, chosen = waiting.popleft()
                pieces = [
                    self._gathered(chosen[at - start : end - start] * self._items.step, lean)
                    for at, end in reader.pieces(start, start + len(chosen))
                ]
                batch: Any = tuple(joined(parts) for parts in zip(*pieces, strict=True))
                yield batch if len(batch) > 1 else batch[0]
                bar.update(1)

    def _gathered(self, starts: npt.NDArray[np.int64], lean: LeanRows | None) -> list[_Array]:
        return [self._gathered_of(table, starts, lean) for table in self._maps]

    def _gathered_of(self, table: _Table, starts: npt.NDArray[np.int64], lean: LeanRows | None) -> _Array:
        if isinstance(table, np.ndarray):
            return table[starts if self._run is None else np.add.outer(starts, np.arange(self._run))]
        return table.gather(starts, length=self._run) if lean is None else lean.gather(table, starts, self._run)


# fmt: off
@overload
def batches(
    table: MapCore[_Scalar], /, *, batch_size: SupportsIndex, shuffle: bool | Literal["blocks"] = ...,
    seed: SupportsIndex | None = ..., epoch: SupportsIndex = ..., buffer_nbytes: SupportsIndex = ...,
    start: SupportsIndex = ..., shard: tuple[SupportsIndex, SupportsIndex] = ..., drop_last: bool = ...,
    prefetch: SupportsIndex = ..., length: SupportsIndex | None = ..., step: SupportsIndex | None = ...,
    evict: bool = ..., progress: bool = ...,
) -> Batches[npt.NDArray[_Scalar]]: ...
@overload
def batches(
    *maps: _Table, batch_size: SupportsIndex, shuffle: bool | Literal["blocks"] = ...,
    seed: SupportsIndex | None = ..., epoch: SupportsIndex = ..., buffer_nbytes: SupportsIndex = ...,
    start: SupportsIndex = ..., shard: tuple[SupportsIndex, SupportsIndex] = ..., drop_last: bool = ...,
    prefetch: SupportsIndex = ..., length: SupportsIndex | None = ..., step: SupportsIndex | None = ...,
    evict: bool = ..., progress: bool = ...,
) -> Batches[Any]: ...
# fmt: on
def batches(
    *maps: _Table,
    batch_size: SupportsIndex,
    shuffle: bool | Literal["blocks"] = False,
    seed: SupportsIndex | None = None,
    epoch: SupportsIndex = 0,
    buffer_nbytes: SupportsIndex = 1 << 28,
    start: SupportsIndex = 0,
    shard: tuple[SupportsIndex, SupportsIndex] = (0, 1),
    drop_last: bool = False,
    prefetch: SupportsIndex = 2,
    length: SupportsIndex | None = None,
    step: SupportsIndex | None = None,
    evict: bool = False,
    progress: bool = False,
) -> Batches[Any]:
    """Iterate over the rows of maps in batches, while the system reads the next batches.

    Parameters
    ----------
    *maps : MemMap, the result of `concat`, or ndarray
        Tables of the same length; ndarrays, of labels say, may be among them.
    batch_size : int
        Rows in a batch; the last batch may have fewer.
    shuffle : bool or "blocks", default False
        ``True``: a random permutation of all rows. ``"blocks"``: a random permutation of blocks of consecutive rows
        (1 MiB of the first map), then one of the rows in each `buffer_nbytes` of blocks. That is nearly as random, and
        nearly as fast as reading the file sequentially.
    seed : int, optional
        The order is a function of seed and epoch alone, on every platform; that of ``"blocks"`` also of
        `buffer_nbytes` and the size of an item. Default: a random seed, which the attribute ``seed`` of the result
        shows.
    epoch : int, default 0
        Each epoch has another order.
    buffer_nbytes : int, default 268435456
        Bytes of the first map in a group of blocks (256 MiB). ``shuffle="blocks"`` keeps up to two groups resident: in
        a container, leave room for twice as much beside the process. Then each byte of the file is read once.
    start : int, default 0
        First batch, counted within the shard.
    shard : (int, int), default (0, 1)
        ``(k, n)``: shard k of n. The shards are disjoint and cover all rows, if all have the same `seed`; with
        `drop_last` they have the same number of batches.
    drop_last : bool, default False
        Omit a last batch that is not full.
    prefetch : int, default 2
        Number of batches to read ahead.
    length : int, optional
        Items are runs of so many consecutive rows instead of single rows: windows of tokens or of a time series. They
        are shuffled, sharded and counted as rows are. Rows at the end that are no whole run are left out.
    step : int, optional
        Rows from the start of a run to the start of the next. Default: `length`.
    evict : bool, default False
        Keep at most 32 MiB of the maps resident in this process beside the batches (`buffer_nbytes` for
        ``"blocks"``). What was read stays in the page cache. Pages of maps of mode ``"c"``, however, Linux drops from
        the page cache as well, only once they are on the disk, and only if the user owns the file or may write to it.
    progress : bool, default False
        Show a progress bar; needs tqdm.

    Returns
    -------
    Batches
        ``len()`` is the number of batches. A batch is an ndarray, a copy of the rows, of shape ``(batch_size, ...)`` or
        ``(batch_size, length, ...)``; for several maps, a tuple of ndarrays.

    Raises
    ------
    TypeError
        If there is no map, an argument is neither a map nor an ndarray, or a number is not an integer.
    ValueError
        If the maps differ in length, one is an N-d Fortran-order map, a number is out of range, or there is a `step`
        without `length`.

    Examples
    --------
    >>> from scikitplot.memmap import MemMap, batches
    >>> with MemMap.anonymous(10, dtype="i4") as mm:
    ...     mm[:] = range(10)
    ...     for batch in batches(mm, batch_size=4):
    ...         print(batch)
    [0 1 2 3]
    [4 5 6 7]
    [8 9]
    """
    return Batches(
        maps, batch_size, shuffle, seed, epoch, buffer_nbytes, start, shard, drop_last, prefetch, length, step, evict,
        progress,
    )  # fmt: skip
