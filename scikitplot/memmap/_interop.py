"""The protocols of other libraries: DLPack, Arrow and Dask."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from ._core import MapCore
from ._sharing import info_by_name


def dlpack(mm: MapCore, options: dict[str, Any]) -> Any:
    """Return the DLPack capsule of an ndarray over the map, which stays alive with it."""
    mm._check_open()
    if not mm.writable and options.get("copy") is not True:
        raise BufferError(
            "DLPack's consumers may write to this memory, and crash: "
            'open the file with mode="c", whose changes stay private, or hand over mm[...].copy()'
        )
    return mm.to_numpy().__dlpack__(**options)


def arrow(mm: MapCore, type: Any = None, finish: Callable[[Any], Any] = lambda rows: rows) -> Any:
    """Return `finish(array)`, for a pyarrow.Array of the rows; rows of several dimensions are fixed-size lists."""
    try:
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError("Arrow arrays need pyarrow: pip install pyarrow") from error
    mm._check_open()
    if mm.ndim == 0:
        raise ValueError("A map of no dimensions has no rows")
    if 0 in mm.shape[1:]:
        raise ValueError(f"Arrow has no fixed-size lists of length 0: the rows have the shape {mm.shape[1:]}")
    rows = None
    try:
        if mm.ndim == 1:
            rows = pyarrow.array(mm.to_numpy(), type=type)
        else:
            rows = pyarrow.array(mm.to_numpy().reshape(-1))
            for length in reversed(mm.shape[1:]):
                rows = pyarrow.FixedSizeListArray.from_arrays(rows, length)
            rows = rows if type is None else rows.cast(type)
        return finish(rows)
    except Exception as error:
        raise error.with_traceback(None) from None  # the frames, also pyarrow's, would keep views alive
    finally:
        del rows


def dask_token(mm: MapCore) -> tuple[object, ...]:
    """Return a token of the contents, made of layout, identity, size and time of the file.

    A writable map has another token at each call.
    """
    mm._check_open()
    seen = info_by_name(mm) if mm.mode == "r" else None
    if seen is None:
        return "MemMap", os.urandom(16).hex()
    layout = repr(mm.dtype), mm.shape, mm.offset, mm.order
    return "MemMap", mm.path, *layout, seen.identity, seen.size, seen.mtime_ns
