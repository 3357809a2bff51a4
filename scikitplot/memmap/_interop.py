"""The protocols of other libraries: DLPack, Arrow and Dask."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import MapCore
from ._modes import MODES
from ._region import map_file
from ._sharing import info_by_name

if TYPE_CHECKING:
    import numpy.typing as npt

BATCH_NBYTES = 1 << 24  # most bytes of the map in a record batch


def dlpack(mm: MapCore, options: dict[str, Any]) -> Any:
    """Return the DLPack capsule of an ndarray over the map, which stays alive with it.

    Before version 1.0 of DLPack consumers could not be told that memory is read-only, and write to it; torch 2.13 asks
    for version 1.0, but ignores that. Those get a copy-on-write mapping of a read-only map's file instead.
    """
    mm._check_open()
    consumer = sys._getframe(1).f_back  # none where C code has started the thread
    is_torch = consumer is not None and consumer.f_globals.get("__name__") == "torch.utils.dlpack"
    knows_read_only = (options.get("max_version") or (0,))[0] >= 1 and not is_torch
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


def _pyarrow() -> Any:
    try:
        import pyarrow  # type: ignore[import-untyped,import-not-found,unused-ignore]
    except ImportError as error:
        raise ImportError("Arrow arrays need pyarrow: pip install pyarrow") from error
    return pyarrow


def _check_has_rows(mm: MapCore) -> None:
    mm._check_open()
    if mm.ndim == 0:
        raise ValueError("A map of no dimensions has no rows")
    if 0 in mm.shape[1:]:
        raise ValueError(f"Arrow has no fixed-size lists of length 0: the rows have the shape {mm.shape[1:]}")


def arrow(mm: MapCore, type: Any = None, finish: Callable[[Any], Any] = lambda rows: rows) -> Any:
    """Return `finish(array)`, for a pyarrow.Array of the rows; rows of several dimensions are fixed-size lists."""
    pyarrow = _pyarrow()
    _check_has_rows(mm)
    rows = None
    try:
        if mm.dtype.names is not None:
            rows = _arrow_column(np.array(mm), "")
        elif mm.ndim == 1:
            rows = pyarrow.array(mm.to_numpy(), type=type)
        else:
            rows = _arrow_lists(pyarrow.array(mm.to_numpy().reshape(-1)), mm.shape[1:])
        return finish(rows if type is None or rows.type == type else rows.cast(type))
    except Exception as error:
        raise error.with_traceback(None) from None  # the frames, also pyarrow's, would keep views alive
    finally:
        del rows


def arrow_capsules(mm: MapCore, requested_schema: Any = None) -> Any:
    """Return the rows of a map without fields, as the Arrow PyCapsule interface has it."""
    return arrow(mm, finish=lambda rows: rows.__arrow_c_array__(requested_schema))


def _arrow_lists(array: Any, lengths: tuple[int, ...]) -> Any:
    """Return an Arrow array as fixed-size lists of fixed-size lists."""
    for length in reversed(lengths):
        array = _pyarrow().FixedSizeListArray.from_arrays(array, length)
    return array


def _arrow_column(values: npt.NDArray[Any], name: str) -> Any:
    """Return an Arrow array of the values of a field, which may be a structure: a copy, aligned and of native order."""
    pyarrow = _pyarrow()
    dtype, flat = values.dtype, values.reshape(-1)
    if dtype.names is not None:
        columns = [_arrow_column(flat[field], f"{name}.{field}".lstrip(".")) for field in dtype.names]
        array = pyarrow.StructArray.from_arrays(columns, names=list(dtype.names))
    elif dtype.type is np.void:
        data = pyarrow.py_buffer(flat.tobytes())
        array = pyarrow.FixedSizeBinaryArray.from_buffers(pyarrow.binary(dtype.itemsize), len(flat), [None, data])
    else:
        array = pyarrow.array(np.array(flat, dtype=_arrow_dtype(dtype, name), order="C"))
    return _arrow_lists(array, values.shape[1:])


def _arrow_dtype(dtype: np.dtype[Any], name: str) -> np.dtype[Any]:
    """Return the dtype nearest to that of a field for which Arrow has a type."""
    known = np.dtype(dtype.newbyteorder("=") if dtype.kind in "biufSUmM" and dtype.isbuiltin != 2 else "V1")
    if dtype.kind in "mM":
        unit, _ = np.datetime_data(dtype)
        coarse = {"m": "s", "h": "s", "D": "s" if dtype.kind == "m" else "D", "W": "s" if dtype.kind == "m" else "D"}
        known = np.dtype(f"{dtype.kind}8[{coarse.get(unit, unit)}]")
        if unit not in (*coarse, "s", "ms", "us", "ns"):
            known = np.dtype("V1")
    if known.kind == "V" or (known.kind == "f" and known.itemsize > 8):
        raise TypeError(
            f"Arrow has no type for the field {name!r}, whose dtype is {dtype}: use other fields, mm[[...]]"
        )
    return known


def arrow_stream(mm: MapCore, requested_schema: Any = None) -> Any:
    """Return the stream of record batches of a structured map, as the Arrow PyCapsule interface has it."""
    from ._batches import chunks_of

    _check_has_rows(mm)
    no_rows = np.empty((0, *mm.shape[1:]), mm.dtype)
    schema = _pyarrow().schema([(name, _arrow_column(no_rows[name], name).type) for name in mm.dtype.names or ()])
    chunks = chunks_of(mm, None, BATCH_NBYTES, evict=False, progress=False)
    reader = _pyarrow().RecordBatchReader.from_batches(schema, _record_batches(mm, chunks, schema))
    return reader.__arrow_c_stream__(requested_schema)


def _record_batches(mm: MapCore, chunks: Iterator[npt.NDArray[Any]], schema: Any) -> Iterator[Any]:
    """Yield copies of chunks; no view is alive between two of them."""
    for rows in chunks:
        try:
            columns = [_arrow_column(rows[name], name) for name in schema.names]
            mm._region.check_damage()
        except Exception as error:
            raise error.with_traceback(None) from None  # the frames would keep views alive
        finally:
            del rows
        yield _pyarrow().record_batch(columns, schema=schema)
        del columns


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
