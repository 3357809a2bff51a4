"""MemMap: opening, lifetime, paging, size. The hot calls are in `_core`."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, Self, SupportsIndex, TypeVar, overload

import numpy as np

from . import _files, _interop, _sharing
from ._core import MapCore, listed, own_methods
from ._display import count, human_size, progress_bar
from ._file import File
from ._holders import holders
from ._layout import Layout, Shape, as_tuple, end_of, is_number, resolve
from ._lookup import Bounds, Side, searchsorted, take
from ._modes import ACCESSES, MODES, ORDERS, Access, Mode, Order, parse_mode, refuse
from ._notebook import html
from ._origin import origin_of
from ._paging import PAGE_SIZE, byte_runs, pages_of
from ._reading import read_runs
from ._refused import refuse_arithmetic
from ._region import map_anonymous

if TYPE_CHECKING:
    import numpy.typing as npt

    from ._core import _Scalar
    from ._paging import Rows, Runs

    _Type = TypeVar("_Type", bound=np.generic)


class Default(str):
    """A default that can be told from the same value given by the caller."""

    __slots__ = ()


_DEFAULT_MODE = Default("r")
_NO_PATH: Any = Default("")
_PATHS = (str, bytes, os.PathLike)


def _warn_of_header(path: str | None, dtype: npt.DTypeLike, offset: SupportsIndex, mode: Mode) -> None:
    """Warn of a map that begins with the header of a .npy file, which would be taken for numbers, or that has none."""
    if path is not None and path.endswith(".npy") and offset == 0 and np.dtype(dtype).base.itemsize > 1:
        message = f"{path!r} is mapped with its header, which is not numbers: scikitplot.memmap.open_npy maps its array"
        if mode.creates:
            message = f"{path!r} gets no header, which np.load needs: scikitplot.memmap.open_npy makes files with one"
        warnings.warn(message, UserWarning, stacklevel=3)


def open_maps() -> list[MemMap]:
    """Return the maps that are open in this process, oldest first.

    Returns
    -------
    list of MemMap
        Windows are not listed: each belongs to a map.

    Examples
    --------
    >>> from scikitplot.memmap import MemMap, open_maps
    >>> with MemMap.anonymous(16) as mm:
    ...     mm in open_maps()
    True
    >>> mm in open_maps()
    False
    """
    return [mm for mm in listed() if isinstance(mm, MemMap) and not mm.closed]


@refuse_arithmetic
@own_methods
class MemMap(MapCore["_Scalar"]):
    r"""An array over a file or over anonymous memory. The system reads a page when the program first touches it.

    `MemMap.open`, `MemMap.from_memmap`, `MemMap.anonymous` and `open_npy` make maps. A MemMap owns one mapping:
    ``mm[...]`` is a plain `numpy.ndarray` over the mapped memory. `close`, or the end of a ``with`` block, unmaps it.

    Attributes
    ----------
    path : str or None
        Absolute path of the file; None for anonymous memory.
    mode : {"r", "r+", "c", "w+", "x+"}
        How the map was opened.
    dtype : numpy.dtype
        Data type of the elements.
    shape : tuple of int
        Length of each dimension.
    ndim : int
        Number of dimensions.
    size : int
        Number of elements.
    itemsize : int
        Bytes in an element.
    nbytes : int
        Bytes in the map.
    strides : tuple of int
        Bytes from one element to the next, along each dimension.
    offset : int
        First byte of the map in its file.
    order : {"C", "F"}
        Memory layout.
    access : {"normal", "random", "sequential"}
        Intended use of the pages, see `advise`.
    writable : bool
        Whether the map can be written to.
    shared : bool
        Whether writes reach the file, or other processes.
    closed : bool
        Whether the map is closed. All attributes still work then.
    damaged : bool
        Whether pages were lost, or C code wrote to a read-only map. Calls that need data then raise `DamagedError`.

    Examples
    --------
    >>> import numpy as np
    >>> from scikitplot.memmap import MemMap
    >>> np.arange(12, dtype="<f4").tofile("features.f32")
    >>> with MemMap.open("features.f32", dtype="<f4", shape=(-1, 4)) as mm:
    ...     print(mm.shape, mm[1], mm.read_at(offset=4, size=4))
    (3, 4) [4. 5. 6. 7.] b'\x00\x00\x80?'
    """

    __slots__ = ("__weakref__",)

    # ------------------------------------------------------------------------------------------------ opening

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        raise TypeError(
            "MemMap(...) makes no map: use MemMap.open(path, ...) for a file, MemMap.anonymous(shape, ...) for memory"
        )

    @overload
    @classmethod
    def open(
        cls,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryIO = ...,
        mode: str = ...,
        *,
        dtype: type[_Type] | np.dtype[_Type],
        shape: Shape = None,
        offset: SupportsIndex = 0,
        order: Order = "C",
        access: Access = "normal",
        sparse: bool = False,
    ) -> MemMap[_Type]: ...

    @overload
    @classmethod
    def open(
        cls,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryIO = ...,
        mode: str = ...,
        *,
        dtype: npt.DTypeLike = "u1",
        shape: Shape = None,
        offset: SupportsIndex = 0,
        order: Order = "C",
        access: Access = "normal",
        sparse: bool = False,
    ) -> Self: ...

    @classmethod
    def open(
        cls,
        path: str | bytes | os.PathLike[str] | os.PathLike[bytes] | BinaryIO = _NO_PATH,
        mode: str = _DEFAULT_MODE,
        *,
        dtype: npt.DTypeLike = "u1",
        shape: Shape = None,
        offset: SupportsIndex = 0,
        order: Order = "C",
        access: Access = "normal",
        sparse: bool = False,
    ) -> Any:
        """Map a file.

        Parameters
        ----------
        path : str, bytes, os.PathLike or binary file object
            A regular file. A file object is flushed and may be closed afterwards; ``"w+"`` changes the size of its
            file and keeps the bytes. Without a path, `shape` is required and the call is `MemMap.anonymous`.
        mode : {"r", "r+", "c", "w+", "x+"}, default "r"
            ``"r"`` reads an existing file; ``"r+"`` reads and writes one; ``"c"`` is copy-on-write: changes stay
            private and never reach the file; ``"w+"`` creates a file, or replaces an existing one by a new file;
            ``"x+"`` creates a file that must not exist. The long names of `numpy.memmap` work, too.
        dtype : dtype-like, default "u1"
            Any fixed-size dtype. A sub-array dtype adds its dimensions to the shape.
        shape : int or tuple of int, optional
            One dimension may be -1: it is inferred from the size of the file. Default: one dimension, inferred.
            ``"w+"`` and ``"x+"`` need a full shape.
        offset : int, default 0
            First byte of the data in the file; it needs no alignment.
        order : {"C", "F"}, default "C"
            Memory layout.
        access : {"normal", "random", "sequential"}, default "normal"
            Intended use of the pages: ``"random"`` turns read-ahead off, ``"sequential"`` makes it larger.
        sparse : bool, default False
            Do not reserve disk space for a file that is created or grows.

        Returns
        -------
        MemMap

        Raises
        ------
        FileNotFoundError, FileExistsError, PermissionError, IsADirectoryError, OSError
            Errors of the system, with the file's name. If the disk has no room for a new file, the call raises and
            changes nothing.
        ValueError
            If the file does not have the size that dtype, shape and offset ask for, or an argument is unknown.
        TypeError
            If the dtype holds Python objects, or the path is None.

        Warns
        -----
        UserWarning
            If the header of a ``.npy`` file would be taken for numbers: `open_npy` maps its array.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.open("table.i4", "x+", dtype="<i4", shape=(2, 3)) as mm:
        ...     mm[:] = 7
        ...     mm.flush()
        >>> with MemMap.open("table.i4", dtype="<i4", shape=(-1, 3)) as mm:
        ...     print(mm[...])
        [[7 7 7]
         [7 7 7]]
        """
        mode_given = mode is not _DEFAULT_MODE
        how = parse_mode(mode) if mode_given else MODES["r"]
        if access not in ACCESSES:
            refuse("access", ACCESSES, access)
        if path is _NO_PATH:
            return cls._open_anonymous(how, mode_given, dtype, shape, offset, order, access)
        if path is None:
            raise TypeError("path is None: for memory without a file leave path out, or use MemMap.anonymous(shape)")
        if isinstance(path, _PATHS):
            name = _files.absolute(path)
            _warn_of_header(name, dtype, offset, how)
            if how.creates:
                layout = resolve(dtype, shape, order, offset, None, name)
                return cls._create(name, how, layout, access, sparse)
            try:
                file = File.open(name, how.writes_file)
            except PermissionError as error:
                raise _files.explain_denied(error, how) from None
        elif hasattr(path, "fileno"):
            file = _files.duplicate(path, how)
        else:
            raise TypeError(f"Expected path to be str, bytes, os.PathLike or a binary file, not {type(path).__name__}")
        try:
            if hasattr(path, "fileno"):
                _warn_of_header(file.path, dtype, offset, how)
            if how.creates:
                layout = resolve(dtype, shape, order, offset, None, file.path or "the file")
                return cls._recreate(file, how, layout, access, sparse)
            self = MapCore._over_file(cls, file, dtype, shape, offset, order, how, access)
        except BaseException:
            file.close()  # now: a stored traceback may keep this frame alive
            raise

        if sparse:
            self._region.sparse = True
        return self

    @classmethod
    def _create(cls, path: str, mode: Mode, layout: Layout, access: Access, sparse: bool) -> Self:
        make = _files.replace if mode.replaces else _files.create
        _, _, _, nbytes, start, _ = layout
        return make(path, start, nbytes, sparse, lambda region: MapCore._over(cls, region, layout, mode, access))

    @classmethod
    def _recreate(cls, file: File, mode: Mode, layout: Layout, access: Access, sparse: bool) -> Self:
        _, _, _, nbytes, start, _ = layout
        return _files.resize_open(
            file, start, nbytes, sparse, lambda region: MapCore._over(cls, region, layout, mode, access)
        )

    @classmethod
    def _open_anonymous(
        cls,
        mode: Mode,
        mode_given: bool,
        dtype: npt.DTypeLike,
        shape: Shape,
        offset: SupportsIndex,
        order: Order,
        access: Access,
    ) -> Self:
        if shape is None:
            raise TypeError("MemMap.open() needs a path, or a shape for anonymous memory")
        if mode_given and mode.name not in ("r+", "w+"):
            raise ValueError(f'mode {mode.name!r} needs a path: anonymous memory is always "r+"')
        if offset != 0:
            raise ValueError(f"offset {offset} needs a path: anonymous memory starts at 0")
        self = cls.anonymous(shape, dtype, order=order)
        self.advise(access)
        return self

    @overload
    @classmethod
    def anonymous(
        cls,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: type[_Type] | np.dtype[_Type],
        *,
        order: Order = "C",
        shared: bool = False,
    ) -> MemMap[_Type]: ...

    @overload
    @classmethod
    def anonymous(
        cls,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: npt.DTypeLike = "u1",
        *,
        order: Order = "C",
        shared: bool = False,
    ) -> Self: ...

    @classmethod
    def anonymous(
        cls,
        shape: SupportsIndex | Sequence[SupportsIndex],
        dtype: npt.DTypeLike = "u1",
        *,
        order: Order = "C",
        shared: bool = False,
    ) -> Any:
        """Map zero-filled memory without a file.

        Parameters
        ----------
        shape : int or tuple of int
            Shape of the array.
        dtype : dtype-like, default "u1"
            Any fixed-size dtype.
        order : {"C", "F"}, default "C"
            Memory layout.
        shared : bool, default False
            Share the memory with children of a later fork, instead of copying it for each, and with processes of the
            same user that unpickle the map while this process has it open. (On macOS with children only.)

        Returns
        -------
        MemMap
            With mode ``"r+"``. The system allocates a page at the first write to it. Private maps of 4 MiB or more use
            huge pages where available; ``advise("random")`` turns them off, for maps that stay nearly empty.

        Raises
        ------
        ValueError
            If the shape is not full, or larger than the address space.
        OSError
            If the system refuses; the message names the limit.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((2, 3), dtype="f8") as mm:
        ...     mm[1] = 2.5
        ...     mm[:, 0].tolist()
        [0.0, 2.5]
        """
        layout = resolve(dtype, shape, order, 0, None, "anonymous memory")
        return MapCore._over(cls, map_anonymous(end_of(layout), shared), layout, MODES["r+"], "normal")

    @classmethod
    def from_memmap(
        cls, array: npt.NDArray[_Type], *, mode: str | None = None, access: Access = "normal"
    ) -> MemMap[_Type]:
        """Map again what a `numpy.memmap` maps: the same bytes of the same file, in the same layout.

        Parameters
        ----------
        array : numpy.memmap, or an array over one
            Also a slice, a transpose or another view, as long as it is contiguous, in either order. On Linux also an
            array over an ``mmap.mmap`` of a file.
        mode : {"r", "r+", "c"}, optional
            Default: that of the array; ``"r+"`` for ``"w+"``, and ``"r"`` for an array that is not writeable. Private
            changes of a ``"c"`` array are not in the map.
        access : {"normal", "random", "sequential"}, default "normal"
            Intended use of the pages.

        Returns
        -------
        MemMap
            It does not depend on the array, which can be deleted.

        Raises
        ------
        TypeError
            If the array is not over a `numpy.memmap`.
        ValueError
            If the array is not contiguous (map the array that it is a part of, and index the map), the mode creates a
            file, or the file has no name.
        OSError
            If the file was removed or replaced, or cannot be opened in this mode.

        Examples
        --------
        >>> import numpy as np
        >>> from scikitplot.memmap import MemMap
        >>> np.save("table.npy", np.arange(12).reshape(4, 3))
        >>> with MemMap.from_memmap(np.load("table.npy", mmap_mode="r")[2:]) as mm:
        ...     print(mm[...])
        [[ 6  7  8]
         [ 9 10 11]]
        """
        if mode is not None and (how := parse_mode(mode)).creates:
            raise ValueError(f'mode "{how.name}" creates a file, and the one of the array exists: use "r+", "r" or "c"')
        path, offset, own_mode = origin_of(array)
        order: Order = "C" if array.flags.c_contiguous else "F"
        layout: dict[str, Any] = {"dtype": array.dtype, "shape": array.shape, "offset": offset, "order": order}
        return cls.open(path, own_mode if mode is None else mode, access=access, **layout)

    # --------------------------------------------------------------------------------------------- attributes

    def __repr__(self) -> str:
        name = repr(self.path) if self.path else "anonymous" if self._region.info is None else "file without a name"
        state = "closed" if self.closed else human_size(self.nbytes)
        layout = f"dtype={self.dtype} shape={self.shape} offset={self.offset}"
        return f"<MemMap {name} mode={self.mode!r} {layout} {state}>"

    def _repr_html_(self) -> str:
        return html(self, self._count_users())

    def _ipython_key_completions_(self) -> list[str]:
        return list(self.dtype.names or ())

    # ------------------------------------------------------------------------------------------------- arrays

    def view(
        self, dtype: npt.DTypeLike | None = None, *, offset: SupportsIndex = 0, shape: Shape = None, order: Order = "C"
    ) -> npt.NDArray[Any]:
        """Return the bytes of the map under another layout.

        Parameters
        ----------
        dtype : dtype-like, optional
            Default: the map's dtype.
        offset : int, default 0
            First byte of the result, from the start of the map.
        shape : int or tuple of int, optional
            One dimension may be -1: it is inferred. Default: the map's shape if neither dtype nor offset is given,
            else one dimension over the rest of the map.
        order : {"C", "F"}, default "C"
            Memory layout of the result.

        Returns
        -------
        ndarray
            A view, read-only where the map is.

        Raises
        ------
        ValueError
            If the layout does not fit into the map, or the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(16) as mm:
        ...     mm.view("<u4", offset=4, shape=(-1, 1)).shape
        (3, 1)
        """
        if shape is None and dtype is None and offset == 0:
            if order == self.order or (self.ndim < 2 and order in ORDERS):
                return self.to_numpy()
            shape = self.shape
        layout = resolve(self.dtype if dtype is None else dtype, shape, order, offset, self.nbytes, "the map")
        return self._view(*layout[:-1])

    def window(self, start: SupportsIndex | None, stop: SupportsIndex | None) -> Self:
        """Return a MemMap of some rows, over the same mapping.

        Parameters
        ----------
        start, stop : int or None
            Rows along axis 0, as in a slice.

        Returns
        -------
        MemMap
            This map cannot be closed until the window is closed or deallocated.

        Raises
        ------
        ValueError
            If the map is closed or an N-d Fortran-order map, whose rows are not contiguous.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((10, 3)) as mm, mm.window(2, 5) as part:
        ...     part[:] = 1
        ...     part.shape, int(mm[...].sum())
        ((3, 3), 9)
        """
        self._check_open()
        self._check_rows_are_contiguous("use mm[a:b], or mm.T, whose rows are")
        first, last, _ = slice(start, stop).indices(len(self))
        rows = max(last - first, 0)
        skipped = first * self._row_nbytes if rows else 0
        shape = (rows, *self.shape[1:])
        nbytes = rows * self._row_nbytes
        layout = (self.dtype, shape, self.strides, nbytes, self.offset + skipped, self.order)
        window = self._window(layout, skipped)
        self._check_open()  # another thread may have closed it meanwhile
        self._region.check_damage()
        return window

    @property
    def T(self) -> Self:
        """The transposed map: a window over the whole map, as `window` returns one.

        The transposed map of a Fortran-order map is in C order. It has contiguous rows, which `iter_chunks`,
        `batches` and the argument `rows` need.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((1000, 3), dtype="f8", order="F") as mm, mm.T as columns:
        ...     print(columns.shape, columns.order, [len(chunk) for chunk in columns.iter_chunks(nbytes=16_000)])
        (3, 1000) C [2, 1]
        """
        order: Order = self.order if self.ndim < 2 else "F" if self.order == "C" else "C"
        return self._window((self.dtype, self.shape[::-1], self.strides[::-1], self.nbytes, self.offset, order), 0)

    def take(
        self,
        indices: npt.ArrayLike,
        axis: SupportsIndex | None = None,
        out: npt.NDArray[Any] | None = None,
        mode: Bounds = "raise",
    ) -> Any:
        """Copy elements by index along an axis, as `numpy.take` does, which calls this method.

        Parameters
        ----------
        indices : array_like of int
            Positions along `axis`, in any shape.
        axis : int, optional
            Default: the map as one dimension, in C order. Along axis 0 this is `gather`.
        out : ndarray, optional
            Array for the result, of its shape and the map's dtype.
        mode : {"raise", "wrap", "clip"}, default "raise"
            What to do with an index out of range: raise, count on from the other end, or take the nearest element.
            With ``"clip"`` negative indices do not count from the end.

        Returns
        -------
        ndarray or scalar
            A copy, or `out` if it was given. Only pages with elements that were asked for are touched.

        Raises
        ------
        IndexError
            If an index is out of range and `mode` is ``"raise"``, or the axis is empty.
        TypeError
            If the indices are not integers, or `out` has another dtype.
        ValueError
            If the map is closed, `out` has another shape, or `mode` is unknown. ``numpy.exceptions.AxisError``, which
            is also an IndexError, if the map has no such axis.

        Examples
        --------
        >>> import numpy as np
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((3, 2), dtype="i4") as mm:
        ...     mm[:] = [[0, 1], [2, 3], [4, 5]]
        ...     print(np.take(mm, [2, 0], axis=0).tolist(), mm.take(1, axis=1), mm.take([5, 9], mode="clip"))
        [[4, 5], [0, 1]] [1 3 5] [5 5]
        """
        return take(self, indices, axis, out, mode)

    def searchsorted(
        self,
        values: npt.ArrayLike,
        side: Side = "left",
        sorter: npt.ArrayLike | None = None,
        *,
        field: str | None = None,
    ) -> Any:
        """Find where values stand in a sorted map, as `numpy.searchsorted` does, which calls this method.

        Parameters
        ----------
        values : array_like
            What to search for, in any shape. Many values in one call share the pages that they need.
        side : {"left", "right"}, default "left"
            Return the first suitable position, or the last.
        sorter : array_like of int, optional
            Rows in ascending order of what they hold, such as those of `numpy.argsort`; a map of them is not read as a
            whole either.
        field : str, optional
            Field of a structured map that the map is sorted by.

        Returns
        -------
        int or ndarray of int
            Positions between 0 and ``len(mm)``, in the shape of `values`. Of a map that is not sorted: any.

        Raises
        ------
        TypeError
            If the values cannot be compared with those of the map, or `sorter` does not hold integers.
        ValueError
            If the map is closed or has another number of dimensions than one, a row of `sorter` is out of range, there
            is no such field, or `side` is unknown.

        Notes
        -----
        A bisection, whatever the byte order and the alignment. For each value it reads at most ``log2(pages) + 4``
        pages of the map, without read-ahead, if an item is no larger than a page. With a `sorter`, whose rows may be
        anywhere, it reads as many as it takes steps: ``log2(len(mm))``. `numpy.searchsorted` of ``mm[...]`` copies an
        array that is unaligned or in another byte order first.

        Examples
        --------
        >>> import numpy as np
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(4, dtype=[("key", ">u4"), ("value", "<f8")]) as table:
        ...     table["key"][:] = [2, 3, 5, 7]
        ...     print(table.searchsorted([5, 6], field="key"))
        [2 3]
        """
        return searchsorted(self, values, side, sorter, field)

    def __eq__(self, other: object) -> bool:
        return self is other

    __hash__ = object.__hash__

    def __bytes__(self) -> bytes:
        self.to_numpy()  # looks at the size of the file
        return self.read_at(0, self.nbytes)

    def __index__(self) -> int:
        if self.ndim == 1 and self.itemsize > 1:  # bytearray(mm) would take small numbers for bytes
            raise ValueError("A MemMap is no integer; its bytes are bytes(mm)")
        raise TypeError("A MemMap is no integer: use mm[...]")

    def __getitems__(self, indices: npt.ArrayLike) -> npt.NDArray[_Scalar]:
        return self.gather(indices)  # torch's DataLoader takes a map as a dataset, and reads each batch by one call

    def __dlpack__(self, **options: Any) -> Any:
        return _interop.dlpack(self, options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return 1, 0  # kDLCPU of dlpack.h

    def __arrow_array__(self, type: Any = None) -> Any:
        return _interop.arrow(self, type)

    # Arrow's consumers take what has the attribute: a table is streamed, everything else is an array

    @property
    def __arrow_c_array__(self) -> Callable[..., Any]:
        if self.dtype.names is not None:
            raise AttributeError("A structured map has __arrow_c_stream__")
        return functools.partial(_interop.arrow_capsules, self)

    @property
    def __arrow_c_stream__(self) -> Callable[..., Any]:
        """A stream of record batches, each a copy of at most 16 MiB, with a column for each field.

        The stream keeps no view of the map: `close` does not wait for it. To read on after that is an error.
        """
        if self.dtype.names is None:
            raise AttributeError("Only structured maps have __arrow_c_stream__, others have __arrow_c_array__")
        return functools.partial(_interop.arrow_stream, self)

    def __dask_tokenize__(self) -> tuple[object, ...]:
        return _interop.dask_token(self)

    # ----------------------------------------------------------------------------------------------- lifetime

    def close(self, views: Literal["refuse", "revoke"] = "refuse") -> None:
        """Unmap the memory and close the file, now.

        Parameters
        ----------
        views : {"refuse", "revoke"}, default "refuse"
            What to do if views are alive. ``"refuse"`` raises and changes nothing. ``"revoke"`` closes the map and
            its file; from then on the views read private zero-filled memory. (On Windows no other thread may use a
            view during the call. A window owns no mapping: its views stay valid, and keep its map open.)

        Raises
        ------
        BufferError
            If views (arrays, memoryviews) or windows of the map are alive. The message counts them and
            names variables that hold them; while `tracemalloc` is tracing, it says where they were made.
        OSError
            If the system does not unmap or replace the memory. The map stays open.

        Warns
        -----
        RuntimeWarning
            If ``views="revoke"`` revoked views; the message counts them.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> mm = MemMap.anonymous(8)
        >>> part = mm[2:4]
        >>> mm.close()
        Traceback (most recent call last):
        ...
        BufferError: Cannot close <MemMap anonymous ...>: 1 view is alive...
        >>> del part
        >>> mm.close()
        >>> mm.closed
        True
        """
        if views == "refuse":
            if not (self._close() or self._collect_and_close()):
                way_out = '; or hand the memory over with detach(), or revoke them with close(views="revoke").'
                alive = self._users_alive(way_out)
                if not self._close():  # before Python 3.13 old snapshots of variables keep views until this search
                    raise BufferError(f"Cannot close {self!r}: {alive}")
        elif views == "revoke":
            self._revoke()
        else:
            refuse("views", ("refuse", "revoke"), views)

    def _open_windows(self) -> list[MemMap]:
        return [window for window in self._known_windows() if not window.closed]

    def _collect_and_close(self) -> bool:
        """Close after the garbage collector has found views in reference cycles."""
        gc.collect()
        return self._close()

    def _count_users(self) -> str:
        """Return how many views and windows of this map are alive, as text."""
        windows = len(self._open_windows())
        views = self._region.leases - windows
        counts = [count(n, noun) for n, noun in ((views, "view"), (windows, "window")) if n > 0]
        return " and ".join(counts) or "0 views"

    def _users_alive(self, way_out: str) -> str:
        """Return the text of a BufferError: what is alive, who holds it, where it was made, what to do."""
        sites = self._region.lease_sites()
        names = holders(self)
        alive = self._count_users()
        text = f"{alive} {'is' if alive in ('1 view', '1 window') else 'are'} alive"
        if names:
            text += f", held by {', '.join(names)}"
        if sites:
            text += f", made at {', '.join(sites[:5])}"
        text += f". Drop them (del), or copy what you keep (.copy()){way_out} "
        if shown := next((name for name in names if name.startswith("Out[")), ""):
            text += f"In a notebook, %xdel _{shown[4:-1]} drops what was shown under all of its names. "
        if getattr(sys, "last_value", None) is not None or sys.exc_info()[0] is not None:
            text += "A stored exception keeps the variables of its frames alive. "
        if not sites and not names:
            text += "While tracemalloc is tracing, this message says where they were made."
        return text

    def _revoke(self) -> None:
        if self._close() or self._collect_and_close():
            return
        left = self._count_views()
        first = self._region.revoke()
        self._unlist()
        for window in self._descendants():
            window._unlist()
            window._region.abandon()
        if left and first:
            what = "read zeros from now on" if self._window_of is None else "stay valid and keep the whole map open"
            warnings.warn(f"{count(left, 'view')} of {self!r} {what}", RuntimeWarning, stacklevel=3)

    def _descendants(self) -> Iterator[MemMap]:
        """Yield the windows of this map, their windows, and so on; also closed ones, whose windows may be open."""
        for window in self._known_windows():
            yield window
            yield from window._descendants()

    def _count_views(self) -> int:
        """Return how many arrays and memoryviews of this map and its windows are alive."""
        windows = self._open_windows()
        return self._region.leases - len(windows) + sum(window._count_views() for window in windows)

    def __enter__(self) -> Self:
        self._check_open()
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        damaged = self.damaged
        if not (self._close() or self._collect_and_close()):
            left = self._count_users()
            if not self._region.abandon():
                return
            self._unlist()
            message = f"{left} outlived the with block of {self!r}: mapped until the last one is gone"
            try:
                warnings.warn(message, ResourceWarning, stacklevel=2)
            except ResourceWarning:
                if error is None and not damaged:  # else the caller must see those
                    raise
        if damaged and error is None:
            self._region.check_damage()

    def detach(self) -> npt.NDArray[_Scalar]:
        """Close the map and hand its memory over to an array.

        Returns
        -------
        ndarray
            The whole map. The array and its views keep the mapping alive; when the last one is deallocated, the memory
            is unmapped.

        Raises
        ------
        BufferError
            If windows of the map are alive.
        ValueError
            If the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> def zeros(n):
        ...     return MemMap.anonymous(n, dtype="f8").detach()
        >>> zeros(3)
        array([0., 0., 0.])
        """
        windows = len(self._open_windows())
        if windows:
            raise BufferError(f"Cannot detach {self!r}: close {count(windows, 'window')} of it first")
        array = self.to_numpy()
        self._unlist()
        first = self._region.abandon()
        if not first:  # another thread closed the map meanwhile
            self._check_open()
        return array

    def _finalize(self, is_finalizing: Callable[[], bool] = sys.is_finalizing) -> None:
        """Abandon an open map that nothing refers to; at exit, globals of this module may be gone, defaults are not."""
        message = f"{self!r} was dropped without close()" if not is_finalizing() else ""
        self._unlist()
        self._region.abandon()
        if message and self._window_of is None and not self._was_unpickled:
            warnings.warn(message, ResourceWarning, source=self, stacklevel=2)

    def __copy__(self) -> Self:
        self._check_open()
        if not self.shared:
            raise TypeError("A private map is in no file that could be mapped again: use copy.deepcopy(mm)")
        reopen, arguments = self.__reduce__()
        copied: Self = reopen(*arguments)
        copied._was_unpickled = False
        return copied

    def __deepcopy__(self, memo: object) -> Self:
        if not self.writable:
            return self.__copy__()
        self._check_open()
        copied: Self = self.anonymous(self.shape, self.dtype, order=self.order)
        try:
            copied[...] = self
            self._region.check_damage()
        except BaseException:
            copied.close(views="revoke")
            raise
        return copied

    def __reduce__(self) -> tuple[Any, ...]:
        header = self._region.header
        return _sharing.reference(self, type(self).open if header is None else header.reopen)

    # ------------------------------------------------------------------------------------------------- paging

    def _runs(self, rows: Rows) -> Runs:
        """Return the bytes of rows, as runs from the start of the map."""
        self._check_open()
        if isinstance(rows, MapCore):
            rows = rows.to_numpy(copy=True)  # a traceback could keep a view alive
        if rows is None:
            nbytes = self.nbytes  # once: another thread may resize
            return [(0, nbytes)] if nbytes else []
        self._check_rows_are_contiguous("leave rows out, or use mm.T, whose rows are")
        return byte_runs(rows, len(self), self._row_nbytes, self._region.offset % PAGE_SIZE)

    def _pages(self, rows: Rows) -> Runs:
        """Return the pages of rows, as runs from the start of the file."""
        return pages_of(self._runs(rows), self._region.offset)

    def advise(self, access: Access) -> None:
        """Set the intended use of the pages of the whole map. Advisory; does nothing on Windows.

        Parameters
        ----------
        access : {"normal", "random", "sequential"}
            ``"random"`` turns read-ahead off, ``"sequential"`` makes it larger.

        Raises
        ------
        ValueError
            If the intent is unknown or the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.advise("random")
        ...     mm.access
        'random'
        """
        if access not in ACCESSES:
            refuse("access", ACCESSES, access)
        self._check_open()
        self._region.advise(access)

    def evict(self, rows: Rows = None, *, cache: bool = True) -> None:
        """Release the memory of pages; what was written to them is kept.

        Pages of a file are dropped from this process and, on Linux, from the page cache, unless another process has
        them mapped. Locked pages stay. Private pages that were written to stay unless the system can swap them out.

        Parameters
        ----------
        rows : None, slice or array_like of int
            Rows along axis 0; None for all.
        cache : bool, default True
            Drop the pages from the page cache, too. False: only this process's resident memory becomes smaller, and the
            next touch finds the pages in the page cache. Of mode ``"c"`` that does nothing: no call of
            POSIX drops its pages from the process alone and keeps what another thread writes to them meanwhile.

        Raises
        ------
        OSError
            If pages cannot be written back, or an earlier `flush` could not: they stay.
        IndexError
            If a row is out of range.
        ValueError
            If the map is closed, or rows are given for an N-d Fortran-order map.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm[:] = 1
        ...     mm.evict()
        ...     int(mm[...].sum())
        8
        """
        pages = self._pages(rows)
        if cache:
            self._region.evict_pages(pages, self._region.reopen_file())
        elif self._mode.name != "c":
            self._region.evict_pages(pages, None)

    def prefetch(self, rows: Rows = None, *, wait: bool = False, progress: bool = False) -> None:
        """Start reading pages that are not resident, many at once.

        Parameters
        ----------
        rows : None, slice or array_like of int
            Rows along axis 0; None for all.
        wait : bool, default False
            Return when the pages are resident.
        progress : bool, default False
            Show a bar while waiting; needs tqdm.

        Raises
        ------
        DamagedError
            With ``wait=True``, if a page cannot be read.
        IndexError
            If a row is out of range.
        ValueError
            If the map is closed, or rows are given for an N-d Fortran-order map.

        Notes
        -----
        Advisory: a system that is short of memory may read fewer pages, or evict them again.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.prefetch(slice(0, 4), wait=True)
        """
        self._check_open()
        runs = self._runs(rows)
        bar = progress_bar(sum(stop - start for start, stop in runs), "B", progress and wait)
        with contextlib.closing(bar):
            for nbytes in read_runs(self._region, runs, wait):
                bar.update(nbytes)

    def iter_chunks(
        self, rows: slice | None = None, *, nbytes: SupportsIndex = 1 << 25, evict: bool = False, progress: bool = False
    ) -> Iterator[npt.NDArray[_Scalar]]:
        """Iterate over views of consecutive rows, while the system reads the next chunk.

        Parameters
        ----------
        rows : None or slice
            Rows along axis 0, a slice with step 1; None for all.
        nbytes : int, default 33554432
            Most bytes in a chunk (32 MiB); a chunk has at least one row.
        evict : bool, default False
            Evict each chunk when the next is requested: at most two chunks are resident, however long the file.
        progress : bool, default False
            Show a bar; needs tqdm.

        Returns
        -------
        iterator of ndarray
            Views ``mm[a:b]``.

        Raises
        ------
        ValueError
            If `rows` has another step, `nbytes` is less than 1, or the map is closed or an N-d Fortran-order map.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((1000, 8), dtype="f8") as mm:
        ...     [len(chunk) for chunk in mm.iter_chunks(nbytes=25_600)]
        [400, 400, 200]
        """
        from ._batches import chunks_of

        return chunks_of(self, rows, nbytes, evict, progress)

    def residency(self, rows: Rows = None) -> npt.NDArray[np.bool_]:
        """Return which pages are resident, without touching them.

        Parameters
        ----------
        rows : None, slice or array_like of int
            Rows along axis 0; None for all.

        Returns
        -------
        ndarray of bool
            One flag per page that the rows touch, in the order of the file; ``.mean()`` is the resident share. A page
            of a file is resident if it is in the page cache (on Windows: in this process).

        Raises
        ------
        IndexError
            If a row is out of range.
        ValueError
            If the map is closed, or rows are given for an N-d Fortran-order map.

        Notes
        -----
        Linux does not answer for files that the caller neither owns nor may write to. Their pages are probed one by
        one, which takes longer. On overlayfs, squashfs, FUSE and other file systems that cannot read without waiting,
        that fails, too, and the call raises ``OSError`` (``EOPNOTSUPP``).

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(1 << 20) as mm:
        ...     mm[:4] = 1
        ...     int(mm.residency()[0]), bool(mm.residency().all())
        (1, False)
        """
        runs = self._runs(rows)
        file = self._region.residency_file()
        flags = [self._region.residency(file, start, stop) for start, stop in runs]
        return np.frombuffer(bytearray().join(flags), dtype=np.bool_)

    def lock(self, rows: Rows = None) -> None:
        """Read pages and keep them resident until `unlock` or `close`.

        Parameters
        ----------
        rows : None, slice or array_like of int
            Rows along axis 0; None for all.

        Raises
        ------
        OSError
            If the system refuses; the message names the limit, and the call has locked nothing.
        IndexError
            If a row is out of range.
        ValueError
            If the map is closed, or rows are given for an N-d Fortran-order map.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.lock()
        ...     mm.unlock()
        """
        self._region.lock_pages(self._pages(rows))

    def unlock(self, rows: Rows = None) -> None:
        """Unlock pages: the system may evict them again.

        Parameters
        ----------
        rows : None, slice or array_like of int
            Rows along axis 0; None for all.

        Raises
        ------
        IndexError
            If a row is out of range.
        ValueError
            If the map is closed, or rows are given for an N-d Fortran-order map.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.unlock()
        """
        self._region.unlock_pages(self._pages(rows))

    # ------------------------------------------------------------------------------------------------- damage

    def verify(self) -> None:
        """Check that the file is still the one that was mapped, and not shorter.

        Raises
        ------
        DamagedError
            If the map is damaged, or the file has become shorter than the map.
        OSError
            If the file was removed or replaced by another one. The map itself is whole, and not damaged.
        ValueError
            If the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.verify()  # anonymous memory has no file that could change
        """
        self._check_open()
        self._region.check_damage()
        if self._region.info is None:
            return
        if (held := self._region.file) is not None:  # before the name, which may be lost as well
            self._region.check_size(held.info_now)
        if self.path is not None:
            self._region.check_size(self._region.info_by_name)

    def recover(self) -> None:
        """Map the file again under lost pages, and write to the file what had found no room on the disk.

        What C code wrote to a read-only map is dropped. Does nothing if the file is long enough, the map not damaged,
        and no write to the disk has failed. No other thread may write to the map during the call.

        Raises
        ------
        DamagedError
            If something cannot be recovered: the file is still too short, was removed or replaced, the disk is still
            full, the device still fails. The damage stays, and the try loses nothing that was written.
        OSError
            If a write to the disk fails again, or another map of the file keeps pages from being written again (EBUSY);
            or if pages were recovered that had been locked, and cannot be locked again.
        ValueError
            If the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.recover()  # anonymous memory loses no pages
        """
        self._check_open()
        self._region.recover()
        self.to_numpy()  # looks at the size of the file

    # --------------------------------------------------------------------------------------- writing and size

    def flush(self, rows: Rows = None, *, wait: bool = True) -> None:
        """Write dirty pages back to the file.

        Parameters
        ----------
        rows : None, slice or array_like of int
            Rows along axis 0; None for all.
        wait : bool, default True
            True: return when the data survives a power cut. False: only start writing.

        Raises
        ------
        DamagedError
            If the file has become shorter than the map, so that writes may be lost.
        OSError
            If writing failed, in this call or in an earlier one: what was written to the map may then not be on the
            disk, and every call raises until `recover` has written it again.
        IndexError
            If a row is out of range.
        ValueError
            If the map is closed, or rows are given for an N-d Fortran-order map.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.flush()  # nothing to do without a file, as for modes "r" and "c"
        """
        runs = self._runs(rows)
        if not self._mode.writes_file or self._region.info is None:
            return
        for start, stop in runs:
            self._region.flush(start, stop, wait)
        if (held := self._region.file) is not None:
            self._region.check_size(held.info_now)
        if wait:
            if self._region.header is not None:
                self._region.header.sync(held)
            elif held is not None and not self.nbytes:  # there is no page to flush, and the size may be new
                held.sync()
            self._region.sync_name()

    def resize(self, shape: SupportsIndex | Sequence[SupportsIndex]) -> None:
        """Change the first dimension of the map, and with it the size of the file.

        Parameters
        ----------
        shape : int or tuple of int
            The new number of rows, or the whole new shape, of which only the first dimension may differ.

        Raises
        ------
        BufferError
            If views or windows are alive.
        OSError
            If the disk has no room, or pages that are locked cannot be locked again. File and map are unchanged; in
            the second case pages may be unlocked.
        ValueError
            If the map is closed, of mode ``"r"`` or ``"c"``, shared anonymous memory, in N-d Fortran order, or ends
            before its file does; or if another dimension than the first differs.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((2, 3)) as mm:
        ...     mm[:] = 1
        ...     mm.resize(4)
        ...     mm[...].sum(axis=1).tolist()
        [3, 3, 0, 0]
        """
        self._check_resizable()
        row = self.shape[1:]
        full = as_tuple(shape) + (row if is_number(shape) else ())
        if -1 in full:
            raise ValueError(f"Expected a full shape, not {full}")
        if len(full) != self.ndim or full[1:] != row:
            raise ValueError(f"Expected a shape that differs from {self.shape} in the first dimension, not {full}")
        with self._region.size_lock():
            self._resize_to(full)

    def _check_resizable(self) -> None:
        self._check_open()
        self._region.check_damage()
        if self._mode.name in ("r", "c"):
            raise ValueError(
                f"A map of mode {self._mode.name!r} cannot change its size: "
                f'open the file with mode "r+" ({self._name()})'
            )
        if self.ndim == 0:
            raise ValueError(f"A map of no dimensions cannot change its size ({self._name()})")
        self._check_rows_are_contiguous('to append rows, open the file with order="C" and the shape reversed')
        if self._window_of is not None:
            raise ValueError(f"A window cannot change its size: resize the map that it was made from ({self._name()})")
        if self.shared and self._region.info is None:
            raise ValueError("Shared anonymous memory cannot change its size: other processes map it")

    def _check_ends_with_file(self) -> None:
        file = self._region.file
        if file is not None and (size := file.info_now().size) != (end := self.offset + self.nbytes):
            after_rows = f". Rows that a killed append left behind are removed by os.truncate(path, {end})"
            others = ". refresh() takes in what others appended" if self._is_inferred and size > end else ""
            raise ValueError(
                f"The map ends at byte {end} of {self.path or 'its file'}, which has {size} bytes: only a map that "
                f"ends with its file can change its size{others}{after_rows if self._region.header else ''}"
            )

    def _resize_to(self, shape: tuple[int, ...], rows: npt.NDArray[Any] | None = None) -> None:
        """Change the shape; if there are `rows`, they become the last ones. The caller has the size lock."""
        self._check_open()  # code that converted the arguments may have closed it
        self._check_ends_with_file()
        whole = self.path or "the map"
        nbytes = end_of(resolve(self.dtype, shape, self.order, self.offset, None, whole)) - self.offset
        if not self._change_size(shape, nbytes, rows):
            gc.collect()
            if not self._change_size(shape, nbytes, rows):
                self._check_open()
                self._check_ends_with_file()
                refused = "Cannot resize" if rows is None else "Cannot append to"
                raise BufferError(f"{refused} {self!r}: {self._users_alive('.')}")

    def _change_size(self, shape: tuple[int, ...], nbytes: int, rows: npt.NDArray[Any] | None) -> bool:
        """Change the size, unless views are alive, as `_resize` does, and the header of a .npy file with it."""
        header, old_shape, old_nbytes = self._region.header, self.shape, self.nbytes
        if header is None:
            return self._resize(shape, nbytes, rows)
        try:
            change = functools.partial(self._resize, shape, nbytes, rows)
            # a row would cost a hundred times as much if each waited for the disk
            return bool(header.in_step(self._region.file, shape[0], change, sync=rows is None))
        except OSError:
            if self.shape != old_shape:  # the header could not be written
                self._resize(old_shape, old_nbytes)
            raise

    def append(self, rows: npt.ArrayLike) -> None:
        """Add rows at the end: all of them, or after an error none.

        The rows are written behind the end of the file, which then ends with them. If the process is killed meanwhile,
        the file may have the first of them.

        Parameters
        ----------
        rows : array_like
            One row, or an array of rows. Cast by NumPy's rule ``"same_kind"``.

        Raises
        ------
        TypeError
            If the dtype cannot be cast.
        ValueError
            If the rows have another shape than those of the map, or the map cannot be resized.
        BufferError, OSError
            As for `resize`.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((0, 2), dtype="f4") as mm:
        ...     mm.append([1, 2])
        ...     mm.append([[3, 4], [5, 6]])
        ...     mm.shape, float(mm[-1, 0])
        ((3, 2), 5.0)
        """
        if self._append(rows):
            return
        self._check_resizable()
        if isinstance(rows, MapCore):
            rows = rows.to_numpy(copy=True)  # a traceback could keep a view alive
        block = self._as_rows(rows)
        with self._region.size_lock():
            self._resize_to((len(self) + len(block), *self.shape[1:]), block)

    def refresh(self) -> int:
        """Take in the rows that others have appended to the file since it was opened.

        The first dimension becomes what the file holds now, in whole rows.

        Returns
        -------
        int
            The number of rows.

        Raises
        ------
        ValueError
            If the first dimension was not inferred from the file when it was opened (-1, or no shape), or the map is
            closed, a window, anonymous memory, or in N-d Fortran order.
        DamagedError
            If the file has become shorter.
        OSError
            If the file was removed or replaced, or the system refuses to map more. The map is unchanged.
        BufferError
            With mode ``"c"``, if views are alive and the address space behind the map is taken: private changes cannot
            be at two places.

        Notes
        -----
        Views keep their shape and stay valid. Private changes of mode ``"c"`` stay.

        Examples
        --------
        >>> import os, tempfile
        >>> from scikitplot.memmap import MemMap
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = os.path.join(folder.name, "log.f4")
        >>> with MemMap.open(path, "x+", dtype="f4", shape=(0, 3)) as log:
        ...     with MemMap.open(path, dtype="f4", shape=(-1, 3)) as mm:
        ...         log.append([1, 2, 3])
        ...         print(len(mm), mm.refresh(), mm[-1])
        0 1 [1. 2. 3.]
        >>> folder.cleanup()
        """
        self._check_open()
        self._region.check_damage()
        if self._window_of is not None:
            raise ValueError(f"A window cannot be refreshed: refresh the map that it was made from ({self._name()})")
        if self._region.info is None:
            raise ValueError("Anonymous memory cannot be refreshed: it has no file to which others could append")
        self._check_rows_are_contiguous('open the file with order="C" and the shape reversed')
        if not self._is_inferred:
            raise ValueError(
                f"{self!r} has a fixed shape: refresh needs a map whose first dimension was inferred from the file "
                "when it was opened (-1, or no shape)"
            )
        with self._region.size_lock():
            self.verify()
            file = self._region.opened_file()
            try:
                header, row = self._region.header, self._row_nbytes
                rows = sys.maxsize if header is None else header.rows_now(file)
                rows = min(rows, (file.info_now().size - self.offset) // row)
                if rows != len(self):
                    self._extend((rows, *self.shape[1:]), rows * row, file)
                return rows
            finally:
                if file is not self._region.file:
                    file.close()

    def _as_rows(self, rows: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return `rows` as an array of the map's dtype and row shape."""
        if self.dtype.names is not None and not hasattr(rows, "dtype"):
            block = np.asarray(rows, dtype=self.dtype)  # tuples have no dtype of their own
        else:
            block = np.asarray(rows)
            integers = block.dtype.kind in "iu" and self.dtype.kind in "iu"
            literal = not hasattr(rows, "dtype") and (integers or block.size == 0)
            if not literal and not np.can_cast(block.dtype, self.dtype, "same_kind"):
                raise TypeError(f"Cannot cast rows of dtype {block.dtype} to {self.dtype} by the rule 'same_kind'")
            block = np.asarray(rows if literal else block, dtype=self.dtype)
        if block.shape == self.shape[1:]:
            block = block[np.newaxis]
        if block.shape[1:] != self.shape[1:]:
            raise ValueError(f"Expected rows of shape {self.shape[1:]}, not an array of shape {block.shape}")
        return np.ascontiguousarray(block)
