"""What type checkers know of a map. Not run: tools/lint.sh has mypy and pyright check it."""

from collections.abc import Iterator
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from scikitplot.memmap import MemMap, batches

with MemMap.open("features.f32", dtype=np.float32, shape=(-1, 384)) as mm:
    assert_type(mm, MemMap[np.float32])
    assert_type(mm.dtype, np.dtype[np.float32])
    assert_type(mm[...], npt.NDArray[np.float32])
    assert_type(mm[2:5], npt.NDArray[np.float32])
    assert_type(mm[[0, 5]], npt.NDArray[np.float32])
    assert_type(mm.gather([0, 5]), npt.NDArray[np.float32])
    assert_type(mm.to_numpy(), npt.NDArray[np.float32])
    assert_type(mm.T, MemMap[np.float32])
    assert_type(mm.window(0, 5), MemMap[np.float32])
    assert_type(mm.iter_chunks(), Iterator[npt.NDArray[np.float32]])
    labels = np.zeros(len(mm), np.int64)
    for batch in batches(mm, batch_size=64, shuffle=True):
        assert_type(batch, npt.NDArray[np.float32])
    for features, classes in batches(mm, labels, batch_size=64):
        assert len(features) == len(classes)

assert_type(MemMap.open("features.f32", dtype="<f4"), MemMap[Any])
assert_type(MemMap.open("bytes.bin"), MemMap[Any])
assert_type(MemMap.anonymous(5, np.dtype(np.int64)).detach(), npt.NDArray[np.int64])
assert_type(MemMap.from_memmap(np.memmap("table.i8", np.int64)), MemMap[np.int64])


def total(mm: MemMap[np.float64], column: int) -> float:
    return float(mm[:, column].sum())


def rows(mm: MemMap) -> int:
    return len(mm)
