"""The protocols of other libraries: DLPack, Arrow and Dask."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ._core import MapCore
from ._modes import MODES
from ._region import map_file
from ._sharing import info_by_name

if TYPE_CHECKING:
    import numpy.typing as npt


def dlpack(mm: MapCore, options: dict[str, Any]) -> Any:
    """Return the DLPack capsule of an ndarray over the map, which stays alive with it.

    Before version 1.0 of DLPack consumers could not be told that memory is read-only, and write to it. Those get a
    copy-on-write mapping of a read-only map's file instead.
    """
    mm._check_open()
    knows_read_only = (options.get("max_version") or (0,))[0] >= 1
    if mm.writable or knows_read_only or options.get("copy") is True:
        return mm.to_numpy().__dlpack__(**options)
    return _private_array(mm).__dlpack__(**options)


def _private_array(mm: MapCore) -> npt.NDArray[Any]:
    """Return an array over a copy-on-write mapping of the map's file, which lives as long as the array."""
    mm._region.check_damage()
    file = mm._region.reopen_file()
    if file is None:
        raise BufferError(f"The file is no longer found under its name, {mm.path}: hand over mm[...].copy()")
    mm._region.check_size(file.info_now)
    region = map_file(file, "copy", mm.offset, mm.nbytes)
    layout = mm.dtype, mm.shape, mm.strides, mm.nbytes, mm.offset, mm.order
    private: Any = MapCore._over(type(mm), region, layout, MODES["c"], mm.access)
    array: npt.NDArray[Any] = private.detach()
    return array


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
