"""Random rows of a table in the page cache: in huge pages, which reading ahead leaves behind, and in small ones."""

import re
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import contest
import numpy as np
from contest import Line, seconds

from scikitplot.memmap import MemMap

TABLE = 1 << 30  # bytes
ROWS = 16_384  # per gather
TARGETS = {64: 0.6, 512: 0.55, 3072: 1.0}  # by bytes in a row


def share_in_huge_pages(mm: MemMap) -> float:
    """Return the share of a map that this process has mapped by huge pages."""
    entry = rf"^\S+ \S+ {mm.offset:08x} .* {re.escape(str(mm.path))}\n(?:[A-Z].*\n)*?FilePmdMapped: +(\d+) kB"
    return sum(1024 * int(kib) for kib in re.findall(entry, Path("/proc/self/smaps").read_text(), re.M)) / mm.nbytes


def lines(path: Path) -> Iterator[Line]:
    """Compare `gather` from one part of a file, after `prefetch`, with NumPy's take from another part."""
    rng = np.random.default_rng()

    def turn(take: Callable[[np.ndarray], object], row: int) -> float:
        rows = rng.integers(0, TABLE // row, ROWS)
        return seconds(lambda: take(rows)) / ROWS

    for row, most in TARGETS.items():
        shape = (TABLE // row, row)
        with MemMap.open(path, shape=shape) as huge, MemMap.open(path, shape=shape, offset=TABLE) as small:
            huge.evict()
            small.evict()
            huge.prefetch(wait=True)
            small.prefetch()  # in small pages
            assert small[...].max() >= 0  # maps them
            turns = {
                "MemMap": partial(turn, huge.gather, row),
                "take, small pages": partial(turn, partial(np.take, small[...], axis=0), row),
                "take, the same pages": partial(turn, partial(np.take, huge[...], axis=0), row),
            }
            subject = f"hot row of {row} B, {share_in_huge_pages(huge):.0%} in huge pages"
            yield from contest.lines(subject, contest.compare(turns), "take, small pages", most)
            del turns
