"""What other libraries ask a MemMap for: DLPack, Arrow and Dask."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from ._region import FileInfo

if TYPE_CHECKING:
    from ._map import MemMap


def dlpack(mm: MemMap, options: dict[str, Any]) -> Any:
    """Hand the memory over as NumPy does, whose array stays alive with it."""
    mm._check_open()
    if not mm.writable and options.get("copy") is not True:
        raise BufferError(
            "DLPack's consumers may write to this memory, and crash: "
            'open the file with mode="c", whose changes stay private, or hand over mm[...].copy()'
        )
    return mm.to_numpy().__dlpack__(**options)


def arrow(mm: MemMap, type: Any = None) -> Any:
    """Make a pyarrow.Array of the rows: of fixed-size lists if they have dimensions."""
    try:
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError("Arrow arrays need pyarrow: pip install pyarrow") from error
    mm._check_open()
    if mm.ndim == 0:
        raise ValueError("A map of no dimensions has no rows")
    if mm.ndim == 1:
        return pyarrow.array(mm.to_numpy(), type=type)
    rows = pyarrow.array(mm.to_numpy().reshape(-1))
    try:
        for length in reversed(mm.shape[1:]):
            rows = pyarrow.FixedSizeListArray.from_arrays(rows, length)
        return rows if type is None else rows.cast(type)
    except Exception as error:
        raise error.with_traceback(None) from None  # whose frames, those of pyarrow too, would keep views alive
    finally:
        del rows


def dask_token(mm: MemMap) -> tuple[object, ...]:
    """Name the contents: the same name means the same bytes, so what may be written to gets another one each time."""
    mm._check_open()
    info, seen = mm._region.info, None
    if mm.mode == "r" and mm.path is not None and info is not None:
        try:
            seen = FileInfo.at(mm.path)
        except OSError:
            seen = None
    if seen is None or info is None or seen.identity != info.identity:
        return "MemMap", os.urandom(16).hex()
    layout = repr(mm.dtype), mm.shape, mm.offset, mm.order
    return "MemMap", mm.path, *layout, seen.identity, seen.size, seen.mtime_ns
