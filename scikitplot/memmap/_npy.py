""".npy files and stored members of .npz archives: NumPy and zipfile parse the headers, and what follows is mapped."""

from __future__ import annotations

import contextlib
import errno
import functools
import io
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

import numpy as np

from . import _files
from ._core import MapCore
from ._file import File, FileInfo
from ._layout import InferredShape, Shape, as_tuple, resolve
from ._map import Default, MemMap
from ._modes import ACCESSES, ORDERS, Access, Mode, Order, parse_mode, refuse
from ._region import Region
from ._system import system_handle, system_path

if TYPE_CHECKING:
    import numpy.typing as npt

DEFAULT_ORDER: Any = Default("C")
ENCODINGS = {(1, 0): "latin1", (2, 0): "latin1", (3, 0): "utf8"}  # of the headers, by version
MAX_HEADER = 10_000  # bytes, of numpy.load
ZIP = (b"PK\3\4", b"PK\5\6")  # what an archive begins with; the second is that of an empty one
LOCAL_HEADER = 30  # bytes of the header of a member, before its name
ROWS = re.compile(rb"""(['"]shape['"]\s*:\s*\(\s*)\d+""")


class Header(NamedTuple):
    """The header of a .npy file, from its magic bytes to the last byte before the array."""

    name: str  # of the file, and of the member, in errors
    raw: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    order: Order

    @classmethod
    def read(cls, stream: BinaryIO, name: str) -> Header:
        """Parse the header that begins at the position of a stream, which is then where the array begins."""
        start = stream.tell()
        try:
            version = np.lib.format.read_magic(stream)
        except ValueError as error:
            raise ValueError(f"{name} is no .npy file ({error}): MemMap.open maps files without a header") from None
        if version not in ENCODINGS:
            raise ValueError(f"{name} has a header of version {version}: NumPy defines (1, 0), (2, 0) and (3, 0)")
        size = int.from_bytes(stream.read(2 if version == (1, 0) else 4), "little")
        text = stream.read(size)
        try:
            if len(text) < size:
                raise ValueError(f"it ends after {len(text)} of {size} bytes")
            # as ASCII, for which the versions do not differ: NumPy offers no parser of version 3.0
            text = text.decode(ENCODINGS[version]).encode("ascii", "backslashreplace")
            ascii_header, limit = io.BytesIO(len(text).to_bytes(4, "little") + text), MAX_HEADER + len(text) - size
            shape, is_fortran, dtype = np.lib.format.read_array_header_2_0(ascii_header, max_header_size=limit)
            if min(shape, default=0) < 0 or dtype.itemsize == 0 or dtype.shape:
                raise ValueError(f"shape {shape}, dtype {dtype}")
        except Exception as error:  # whatever a file makes the parser raise
            raise ValueError(
                f"NumPy cannot parse the header of {name}: {error}. MemMap.open(path, offset=...) does not need it"
            ) from error
        if dtype.hasobject:
            raise ValueError(
                f"{name} holds pickled Python objects, which cannot be mapped: use np.load(allow_pickle=True)"
            )
        end = stream.tell()
        stream.seek(start)
        return cls(name, stream.read(end - start), dtype, shape, "F" if is_fortran and len(shape) > 1 else "C")

    @classmethod
    def new(cls, dtype: np.dtype[Any], shape: tuple[int, ...], order: Order, name: str) -> Header:
        """Return a header for a new file. NumPy leaves room in it for every number of rows."""
        fields: dict[str, object] = {"fortran_order": order == "F" and len(shape) > 1, "shape": shape}
        stream = io.BytesIO()
        try:
            fields["descr"] = _Ascii(np.lib.format.dtype_to_descr(dtype))  # escapes are for every version
        except ValueError as error:
            raise ValueError(f"The header of {name} cannot have the dtype {dtype}: {error}") from None
        try:
            np.lib.format.write_array_header_1_0(stream, fields)
        except ValueError:  # longer than 64 KiB
            np.lib.format.write_array_header_2_0(stream, fields)
        stream.seek(0)
        header = cls.read(stream, name)
        header.check(dtype, shape, order)
        return header

    def check(self, dtype: npt.DTypeLike | None, shape: Shape, order: Order) -> np.dtype[Any]:
        """Raise ValueError unless the header agrees with what was asked for. Return the dtype of the array."""
        asked = item = self.dtype if dtype is None else np.dtype(dtype)
        inner: tuple[int, ...] = ()
        while item.shape:
            inner, item = inner + item.shape, item.base
        if inner != self.shape[max(self.ndim - len(inner), 0) :][: len(inner)] or not _same_bytes(item, self.dtype):
            raise ValueError(f"The header of {self.name} says dtype {self.dtype}, and dtype {asked} was asked for")
        if shape is not None:
            wanted = as_tuple(shape) + inner
            if len(wanted) != self.ndim or any(n not in (-1, m) for n, m in zip(wanted, self.shape, strict=True)):
                raise ValueError(f"The header of {self.name} says shape {self.shape}, and shape {wanted} was asked for")
        if order is not DEFAULT_ORDER and order != self.order and self.ndim > 1:
            raise ValueError(f"The header of {self.name} says order {self.order!r}, and order {order!r} was asked for")
        return item

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return resolve(self.dtype, self.shape, self.order, 0, None, self.name)[3]


class _Ascii:
    """Something whose repr is in ASCII."""

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __repr__(self) -> str:
        return ascii(self._thing)


def _same_bytes(asked: np.dtype[Any], found: np.dtype[Any]) -> bool:
    """Return whether NumPy saves one dtype as another, as it saves bfloat16 as V2."""
    with contextlib.suppress(ValueError):  # of a dtype that it cannot save
        return asked == found or np.lib.format.descr_to_dtype(np.lib.format.dtype_to_descr(asked)) == found
    return False


class RowCount:
    """The number of rows in the header of a file, kept in step with the size of the file."""

    def __init__(self, header: Header) -> None:
        self._header = header
        self._name = header.name
        self._raw = header.raw
        self.rows = header.shape[0]
        self._is_synced = False
        self._before = self._after = b""  # what surrounds the number
        for found in ROWS.finditer(header.raw):  # the names of fields are before the shape
            self._before, self._after = header.raw[: found.end(1)], header.raw[found.end() :].rstrip()

    @functools.cached_property
    def _is_known(self) -> bool:
        """Whether the header is laid out as NumPy does it."""
        return self._parse(self._with(0)) == 0

    def _parse(self, raw: bytes) -> int | None:
        """Return the number of rows in a header, None if it differs from ours in more than that."""
        with contextlib.suppress(ValueError):
            other = Header.read(io.BytesIO(raw), self._name)
            if other == self._header._replace(raw=raw, shape=(*other.shape[:1], *self._header.shape[1:])):
                return other.shape[0]
        return None

    def rows_now(self, file: File) -> int:
        """Return the number of rows that the header in the file has."""
        raw = b""
        while raw != (raw := file.read(0, len(self._raw))):  # it may be written at this moment
            pass
        if raw == self._raw:
            return self.rows
        rows = self._parse(raw)
        if rows is None:
            raise OSError(errno.ESTALE, "Another array has taken the place of the one that is mapped", file.path)
        self._raw, self.rows = raw, rows
        return rows

    def _with(self, rows: int) -> bytes:
        """Return the header for a number of rows; a longer one if it has no room."""
        return (self._before + b"%d" % rows + self._after).ljust(len(self._raw) - 1) + b"\n"

    def _write(self, file: File, raw: bytes) -> None:
        start = len(self._before)
        file.write(start, raw[start:])
        self._raw = raw
        self._is_synced = False

    def sync(self, file: File) -> None:
        """Make the header survive a power cut."""
        if not self._is_synced:
            self._is_synced = True  # before: another thread may change the header meanwhile
            try:
                file.sync()
            except OSError:
                self._is_synced = False
                raise

    def in_step(self, file: File, rows: int, change: Callable[[], bool], *, sync: bool) -> bool:
        """Write the header before a change that cuts rows off, or after one that adds rows; return whether it was made.

        So the file has all rows of its header at any moment. `numpy.load` ignores what follows them. With `sync`, that
        is also true after a power cut: the disk has the first of the two changes before the second is made.
        """
        old, new, grows = self._raw, self._with(rows), rows > self.rows
        if not self._is_known:
            raise ValueError(f"{self._name} cannot change its size: its header is not laid out as NumPy does it")
        if len(new) != len(old):
            raise ValueError(
                f"The header of {self._name} has no room for {rows} rows: copy the array to a new file, made by "
                'open_npy(path, "w+", ...), whose header has room'
            )
        done = False
        try:
            if not grows:
                if sync:
                    self.sync(file)  # rows that were appended, before a header that keeps some of them
                self._write(file, new)
                if sync:
                    self.sync(file)
            done = change()
        finally:
            if not grows and not done:
                self._write(file, old)
        if done and grows:
            if sync:
                file.sync()
            self._write(file, new)
        if done:
            self.rows = rows
        return done

    @staticmethod
    def reopen(path: str, mode: str, *, offset: int, **layout: Any) -> MemMap:
        """Open the file of a pickled map."""
        mm = open_npy(path, mode, **layout)
        if mm.offset != offset:
            mm.close()
            raise OSError(errno.ESTALE, f"The array began at byte {offset} of the file when it was pickled", path)
        return mm


def _start_of_member(stream: BinaryIO, path: str, member: str | None) -> tuple[str, int]:
    """Move a stream to the first byte of a stored member of an archive; return its name for errors, and its end."""
    import zipfile

    try:
        with zipfile.ZipFile(stream) as archive:
            infos = archive.NameToInfo
    except Exception as error:  # whatever a file makes the parser raise
        raise ValueError(f"zipfile cannot read the archive {path}: {error}") from error
    names = [name for name in infos if name.endswith(".npy")]
    if member is None and len(names) != 1:
        raise ValueError(f"{path} has {len(names)} arrays: pass member=, one of {', '.join(map(_bare, names))}")
    chosen = names[0] if member is None else member if member in infos else f"{member}.npy"
    if chosen not in infos:
        raise ValueError(f"{path} has no member {member!r}, only {', '.join(map(_bare, names))}")
    info = infos[chosen]
    name = f"{path} (member {chosen!r})"
    if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & 1:
        how = "encrypted" if info.flag_bits & 1 else "compressed"
        raise ValueError(f"{name} is {how}, and only stored bytes can be mapped: np.savez, or np.save, stores them")
    stream.seek(info.header_offset)
    local = stream.read(LOCAL_HEADER)
    if len(local) < LOCAL_HEADER or not local.startswith(ZIP[0]):
        raise ValueError(f"{name} does not begin where the directory of the archive says")
    # the extra field here may have another length than that in the directory
    skip = int.from_bytes(local[26:28], "little") + int.from_bytes(local[28:30], "little")
    start = stream.seek(skip, os.SEEK_CUR)
    return name, start + info.file_size


def _bare(name: str) -> str:
    return repr(name.removesuffix(".npy"))


def _create(
    path: str, mode: Mode, dtype: npt.DTypeLike | None, shape: Shape, order: Order, access: Access, sparse: bool
) -> MemMap:
    if dtype is None or shape is None:
        raise ValueError(f'mode "{mode.name}" creates {path}, and needs dtype and shape')
    order = "F" if order == "F" else "C"
    item, full, *_ = resolve(dtype, shape, order, 0, None, path)
    header = Header.new(item, full, order, path)
    layout = resolve(item, full, order, len(header.raw), None, path)
    _, _, _, nbytes, start, _ = layout
    make = _files.replace if mode.replaces else _files.create

    def make_map(region: Region) -> MemMap:
        if full:
            region.header = RowCount(header)
        return MapCore._over(MemMap, region, layout, mode, access)

    return make(path, start, nbytes, sparse, make_map, header.raw)


def open_npy(
    path: str | bytes | os.PathLike[str] | os.PathLike[bytes],
    mode: str = "r",
    *,
    dtype: npt.DTypeLike | None = None,
    shape: Shape = None,
    order: Order = DEFAULT_ORDER,
    member: str | None = None,
    access: Access = "normal",
    sparse: bool = False,
) -> MemMap:
    """Map the array of a ``.npy`` file, or of a stored member of an ``.npz`` archive.

    Parameters
    ----------
    path : str, bytes or os.PathLike
        A file that `numpy.save` or `numpy.savez` wrote. The arrays of `numpy.savez_compressed` cannot be mapped.
    mode : {"r", "r+", "c", "w+", "x+"}, default "r"
        As for `MemMap.open`. ``"w+"`` and ``"x+"`` write a header. Members of archives open as ``"r"`` or ``"c"``:
        a write would break the checksum.
    dtype, shape, order : optional
        Layout of a new file, which needs dtype and shape. An existing file must agree with what is given.
    member : str, optional
        Name of the array in an archive; needed if it has several. ``"x"`` and ``"x.npy"`` are the same.
    access : {"normal", "random", "sequential"}, default "normal"
        Intended use of the pages.
    sparse : bool, default False
        Do not reserve disk space for a file that is created or grows.

    Returns
    -------
    MemMap
        `MemMap.append` and `MemMap.resize` change the header, too: whoever loads the file with `numpy.load` at any
        moment, or after the process was killed, gets whole rows.

    Raises
    ------
    FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, OSError
        As for `MemMap.open`.
    ValueError
        If the file has no header of a known version, holds pickled objects, is shorter than its header says, or does
        not agree with dtype, shape or order; if the member is compressed, or which one is meant is not clear.

    Examples
    --------
    >>> import numpy as np
    >>> from scikitplot.memmap import open_npy
    >>> with open_npy("table.npy", "w+", dtype="f4", shape=(0, 3)) as mm:
    ...     mm.append([[1, 2, 3], [4, 5, 6]])
    >>> np.load("table.npy")
    array([[1., 2., 3.],
           [4., 5., 6.]], dtype=float32)
    >>> with open_npy("table.npy") as mm:
    ...     mm.shape, mm.offset
    ((2, 3), 128)
    """
    how = parse_mode(mode)
    if access not in ACCESSES:
        refuse("access", ACCESSES, access)
    if order not in ORDERS:
        refuse("order", ORDERS, order)
    if not isinstance(path, (str, bytes, os.PathLike)):
        raise TypeError(f"Expected path to be str, bytes or os.PathLike, not {type(path).__name__}")
    name = _files.absolute(path)
    if how.creates:
        if member is not None:
            raise ValueError(f'mode "{how.name}" creates a .npy file, which has no member {member!r}')
        return _create(name, how, dtype, shape, order, access, sparse)
    FileInfo.at(name)  # raises if it is not a regular file, which open() might wait for
    with open(system_path(name), "rb") as stream:
        same_file = File.reopen(system_handle(stream.fileno()), False, name)
        identity = same_file.info.identity
        same_file.close()
        end, title, hint = None, name, ""
        begin = stream.read(4)
        stream.seek(0)
        if begin in ZIP:
            if how.writes_file:
                raise ValueError(f'{name} is an archive, whose checksum a write would break: use mode "r" or "c"')
            title, end = _start_of_member(stream, name, member)
        elif member is not None:
            raise ValueError(f"{name} is no .npz archive, and has no member {member!r}")
        header = Header.read(stream, title)
        start = stream.tell()
        item = header.check(dtype, shape, order)
        is_member = end is not None
        is_inferred = not is_member and (shape is None or as_tuple(shape)[:1] == (-1,))
        if end is None:
            end = os.fstat(stream.fileno()).st_size
            hint = (
                f", which has shape {header.shape}, dtype {header.dtype} and offset {start}. A power cut after an "
                "append does that: MemMap.open maps the rows that are left"
            )
        if start + header.nbytes > end:
            raise ValueError(f"{title} ends {start + header.nbytes - end} bytes before its array does{hint}")
        full = InferredShape(header.shape) if is_inferred and header.shape else header.shape
        layout: dict[str, Any] = {"shape": full, "offset": start, "order": header.order}
        mm = MemMap.open(name, how.name, dtype=item, access=access, sparse=sparse, **layout)
    info = mm._region.info
    if info is None or info.identity != identity:
        mm.close()
        raise OSError(errno.ESTALE, "Another file took its place while it was opened", name)
    if not is_member and header.shape:
        mm._region.header = RowCount(header)
    return mm
