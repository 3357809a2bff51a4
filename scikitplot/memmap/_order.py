"""The orders in which batches visit rows.

An order of `length` rows computes `rows(start, stop)`, the row numbers at these positions, in constant memory.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import numpy as np

from ._kernels import ROUNDS, position, shuffled

if TYPE_CHECKING:
    import numpy.typing as npt

    _Rows = npt.NDArray[np.int64]


def keys(*numbers: int) -> tuple[int, ...]:
    """Return the keys of a permutation: a BLAKE2b hash, which is the same on every platform."""
    import hashlib  # takes as long as the rest of the package

    digest = hashlib.blake2b(repr(numbers).encode(), digest_size=8 * ROUNDS).digest()
    return struct.unpack(f"<{ROUNDS}Q", digest)


class InOrder:
    """The order of the file."""

    def __init__(self, length: int) -> None:
        self.length = length

    def rows(self, start: int, stop: int) -> _Rows:
        return np.arange(start, stop, dtype=np.int64)


class Shuffled:
    """A random permutation."""

    def __init__(self, length: int, *seed: int) -> None:
        self.length = length
        self._keys = keys(*seed)

    def rows(self, start: int, stop: int) -> _Rows:
        return shuffled(self._keys, self.length, start, stop)

    def place(self, row: int) -> int:
        """Return the position of a row."""
        return position(self._keys, self.length, row)


class ShuffledBlocks:
    """A random permutation of blocks of consecutive rows, then one of the rows in each group of so many blocks.

    The disk reads whole blocks, and only a group has to fit in memory: the idea behind the quasi-random order of FFCV
    (Leclerc et al., "FFCV: Accelerating training by removing data bottlenecks", CVPR 2023).
    """

    def __init__(self, length: int, block: int, group: int, *seed: int) -> None:
        self.length = length
        self.block, self.group = block, group  # in rows, in blocks
        self._seed = seed
        self._blocks = Shuffled(-(-length // block), *seed)
        # The last block may be short. It is the last one of its group, so that division finds all other rows.
        self._lacking = self._blocks.length * block - length
        self._short = self._blocks.place(self._blocks.length - 1) // group if self._lacking else -1

    def start_of(self, group: int) -> int:
        """Return the position at which a group starts."""
        full = group * self.group * self.block
        return min(full - (self._lacking if 0 <= self._short < group else 0), self.length)

    def group_of(self, position: int) -> int:
        group = position // (self.group * self.block)
        return group + (position >= self.start_of(group + 1))

    def blocks_of(self, group: int) -> _Rows:
        """Return the blocks of a group in the order of the file: a short one is last."""
        first = group * self.group
        return np.sort(self._blocks.rows(first, min(first + self.group, self._blocks.length)))

    def rows(self, start: int, stop: int) -> _Rows:
        parts = []
        while start < stop:
            group = self.group_of(start)
            first, end = self.start_of(group), self.start_of(group + 1)
            within = Shuffled(end - first, *self._seed, group).rows(start - first, min(stop, end) - first)
            parts.append(self.blocks_of(group)[within // self.block] * self.block + within % self.block)
            start = min(stop, end)
        return np.concatenate(parts) if parts else np.empty(0, np.int64)


Order = InOrder | Shuffled | ShuffledBlocks
