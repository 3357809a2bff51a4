"""The dtypes of the contract, and hypothesis strategies for layouts over bytes."""

import math
import mmap
import platform
import random
import sys

import numpy as np
import pytest
from hypothesis import strategies as st

from scikitplot.memmap import MemMap

PAGE = mmap.PAGESIZE

SIMPLE = [np.dtype(kind) for kind in ("?", "i1", "u1", "S1", "S7", "V1", "V5", "g", "G")]
SIMPLE += [np.dtype(end + kind) for end in "<>" for kind in ("i2", "u4", "i8", "f2", "f4", "f8", "c8", "c16", "U3")]
SIMPLE += [np.dtype(end + kind) for end in "<>" for kind in ("M8[ns]", "M8[D]", "m8[us]")]

STRUCTURED = [
    np.dtype([("id", "<i8"), ("ra", "<f8"), ("mag", "<f4")]),  # unaligned
    np.dtype([("flag", "?"), ("x", "<f8"), ("n", ">i2")], align=True),  # padded
    np.dtype([("name", "S5"), ("when", "<M8[s]"), ("box", "<f4", (2, 3))]),
    np.dtype({"names": ["b", "a"], "formats": ["<u2", "<u4"], "offsets": [9, 1], "itemsize": 16}),  # with gaps
    np.dtype([("outer", [("x", "<i2"), ("y", ">c8")]), ("z", "u1")]),
]
SUB_ARRAYS = [np.dtype(("<f4", (3,))), np.dtype((">i2", (2, 2))), np.dtype((STRUCTURED[0], (2,)))]
SUB_ARRAYS.append(np.dtype((SUB_ARRAYS[0], (2,))))
DTYPES = SIMPLE + STRUCTURED + SUB_ARRAYS
DTYPE_CASES = [*DTYPES]  # to parametrize with
if platform.machine() == "s390x" or sys.maxsize < 1 << 32:
    reason = "there are no wheels of ml_dtypes for s390x and for 32-bit systems"
    DTYPE_CASES.append(pytest.param(None, id="bfloat16", marks=pytest.mark.skip(reason)))
else:
    import ml_dtypes

    DTYPES.append(np.dtype(ml_dtypes.bfloat16))
    DTYPE_CASES.append(DTYPES[-1])

SHAPES = st.one_of(
    st.just(()),
    st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple),
    st.integers(0, 3000).map(lambda n: (n,)),  # meets several pages
)
OFFSETS = st.one_of(st.integers(0, 40), st.sampled_from([PAGE - 1, PAGE, PAGE + 1, 65535, 65536, 65537]))


def random_bytes(count: int) -> bytes:
    """Bytes without a pattern, the same ones each time."""
    return random.Random(count).randbytes(count)


def random_items(count: int, dtype: np.dtype, skip: int = 0) -> bytes:
    """Bytes of which those from `skip` on are `count` valid items; NaN and NaT among them."""
    data = random_bytes(skip + count * dtype.itemsize)
    if dtype.kind != "U":  # whose items are code points
        return data
    letters = (np.frombuffer(data, "u1", offset=skip)[: count * dtype.itemsize // 4] + 1).astype(dtype.byteorder + "u4")
    return data[:skip] + letters.tobytes()


def as_ndarray(data: bytes, dtype: np.dtype, shape: tuple[int, ...], offset: int = 0, order: str = "C") -> np.ndarray:
    """What a map of that layout must equal."""
    item = np.empty((), dtype)  # whose shape is that of a sub-array
    full = shape + item.shape
    count = math.prod(full) * item.itemsize
    return np.ndarray(full, item.dtype, data[offset : offset + count], order=order)


def same_values(mine: object, expected: object) -> bool:
    """Equal in type, dtype, shape and values; also where those are NaN, which == would not tell."""
    if type(mine) is not type(expected) or mine.dtype != expected.dtype or mine.shape != expected.shape:
        return False
    return repr(mine.tolist()) == repr(expected.tolist())


def same(mm: MemMap, expected: np.ndarray) -> bool:
    """A map and a contiguous array are equal in layout and in every byte, padding included."""
    whole = mm[...]
    found = mm.dtype, mm.shape, mm.strides, type(whole), whole.dtype, whole.shape, whole.strides
    layout = expected.dtype, expected.shape, expected.strides
    return found == (*layout, np.ndarray, *layout) and whole.tobytes("A") == expected.tobytes("A")
