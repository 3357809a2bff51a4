"""MapCore: the compiled half of MemMap, with the calls that programs make millions of times.

Every array over the memory has a `Lease` as its base. The library's own temporaries live in C variables only, so that
no traceback keeps one alive. Code that may run Python code (`__index__`, buffer requests) runs before the region is
entered, because it may close the map.
"""

cimport cython
cimport numpy as cnp
from cpython.buffer cimport (
    PyBUF_ANY_CONTIGUOUS, PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer,
)
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Free, PyMem_Malloc
from cpython.memoryview cimport PyMemoryView_FromObject
from cpython.object cimport PyObject, PyTypeObject, PyObject_GetItem, PyObject_SetItem
from cpython.ref cimport Py_INCREF
from cpython.weakref cimport PyWeakref_NewRef
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.string cimport memcpy

from ._file cimport File, handle_of
from ._guard cimport FAULT_COPIES_ONLY, copy_bytes, fault_guard, rearm
from ._index cimport (
    BasicIndex, MAX_NDIM, clipped, locate, locate_scalar, parse,
)
from ._kernels cimport first_outside, gather_rows, read_rows, request_missing
from .libregion cimport REGION_NO_FILE, region_file, region_store
from ._region cimport (
    Lease, Region, RESIZED, USERS_GONE, acquire, check_damage, is_closed, lease, map_file, release, unlock_after_fork,
    wait_for_pages,
)

import math
import os
import sys
from types import GenericAlias

import numpy as np

from ._layout import InferredShape, as_tuple, at_least, resolve

cdef extern from "Python.h":
    ctypedef struct PyMethodDef:
        pass
    ctypedef struct PyMethodDescrObject:
        PyMethodDef *d_method
    object PyDescr_NewMethod(type, PyMethodDef *)

cdef extern from *:
    """
    typedef SHARED(npy_intp *) shared_dims;
    """
    ctypedef cnp.npy_intp *shared_dims

cdef extern from "numpy/arrayobject.h":
    ctypedef struct Descr "PyArray_Descr":  # a dtype whose references are not counted
        pass
    cnp.npy_intp PyDataType_ELSIZE(Descr *dtype)
    object PyArray_NewFromDescr(
        type subtype, Descr *dtype, int ndim, const cnp.npy_intp *dims, const cnp.npy_intp *strides, void *data,
        int flags, PyObject *like)
    cnp.ndarray PyArray_Empty(int ndim, const cnp.npy_intp *dims, Descr *dtype, int fortran)
    object PyArray_Scalar(void *data, Descr *dtype, PyObject *base)
    int PyArray_Pack(Descr *dtype, void *item, object value) except -1
    int PyArray_CopyObject(cnp.ndarray target, object value) except -1
    enum:
        NPY_HALF

cnp.import_array()

# The open maps, as weak references by id. A dict: its methods are atomic, those of a WeakSet are not.
cdef dict OPEN = {}


def listed():
    """Return the maps that are listed as open, oldest first."""
    return [mm for mm in [reference() for reference in list(OPEN.values())] if mm is not None]


cdef object METHOD_DESCRIPTOR = type(str.join)

ROOM = 1 << 30 if sys.maxsize > 1 << 32 else 0  # bytes, behind a map whose private pages cannot move while it has views

cdef enum:
    LARGEST_SCALAR = 32     # bytes of the largest simple scalar: a complex of two long doubles
    LONG_COPY = 1 << 15     # bytes: a longer copy costs more than letting other threads run
    LONG_GATHER = 1 << 20   # bytes; a longer one has time to put the guard in front of other handlers
    LONG_WRITE = 1 << 20    # bytes: a longer write goes to the file if its pages are not resident
    WRITE_PIECE = 1 << 24   # bytes of such a write between two checks


cdef inline PyObject *borrowed(MapCore self) noexcept:
    """Return the region, not counted as a reference: threads that count those of one object wait for each other.

    The pointer is valid as long as the map, which the caller has. A map that gets another region would have to keep the
    old one until it is deallocated, because a call releases the region that it acquired.
    """
    return <PyObject *>self._region


cdef inline int check_open(MapCore self) except -1:
    cdef PyObject *region = borrowed(self)
    return (<Region>region).raise_unusable(USERS_GONE) if is_closed(<Region>region) else 0


cdef inline int check_writable(MapCore self) except -1:
    if not self._region.writable:
        raise ValueError(
            f'MemMap is read-only: {self._name()}. Open it with mode="r+" to change the file, or mode="c" for private '
            "changes")
    return 0


cdef inline object array(
    MapCore self, Lease taken, Descr *dtype, char *data, int ndim, cnp.npy_intp *dims, cnp.npy_intp *steps
):
    """Return an ndarray over memory that a lease keeps mapped."""
    Py_INCREF(<object>dtype)  # stolen by NumPy, as is the lease
    cdef object view = PyArray_NewFromDescr(cnp.ndarray, dtype, ndim, dims, steps, data, self.flags, NULL)
    Py_INCREF(taken)
    cnp.PyArray_SetBaseObject(view, taken)
    return view


cdef MapCore over(type cls, Region region, tuple layout, mode, access):
    """Make an object of a subclass: an array in some layout over all of a region."""
    cdef MapCore self = (<PyTypeObject *>MapCore).tp_new(cls, <PyObject *>(), NULL)
    cdef int i
    self.dtype, shape, self.strides, _, self.offset, self.order = layout
    self.descr = <Descr *>self.dtype
    self.ndim_ = len(shape)
    self.first_dims = <cnp.npy_intp *>PyMem_Malloc(max(2 * self.ndim_, 1) * sizeof(cnp.npy_intp))
    if self.first_dims == NULL:
        raise MemoryError
    self.dims = self.first_dims
    self.steps = self.first_dims + self.ndim_
    for i in range(self.ndim_):
        self.steps[i] = self.strides[i]
    self.flags = cnp.NPY_ARRAY_WRITEABLE if region.writable else 0
    # other scalars may be views (structured), have any size (S, U), or run code of a third party
    self.simple_scalars = self.dtype.type_num <= cnp.NPY_CLONGDOUBLE or (
        self.dtype.type_num in (cnp.NPY_DATETIME, cnp.NPY_TIMEDELTA, NPY_HALF))
    self._mode = mode
    self._region = region
    if access != "normal":
        region.advise(access)
    self.reshape(shape)
    return self


cdef MapCore enlist(MapCore self):
    """List a map as open."""
    OPEN[<uintptr_t><void *>self] = PyWeakref_NewRef(self, None)
    return self


cdef inline void unlist(MapCore self):
    OPEN.pop(<uintptr_t><void *>self, None)


@cython.no_gc_clear  # methods may still run while the collector breaks a cycle, and need the region
cdef class MapCore:
    """The layout of an array over a `Region`, and the hot calls on it."""

    cdef readonly Region _region
    cdef readonly object _mode  # a Mode; here, because setting an attribute in Python takes as long as a system call
    cdef readonly cnp.dtype dtype
    cdef readonly tuple strides
    cdef readonly object offset
    cdef readonly object order
    cdef readonly MapCore _window_of

    cdef public bint _was_unpickled  # so that nobody could have closed it
    cdef public bint _is_inferred  # the first dimension follows from the size of the file: see `MemMap.refresh`

    # outside of `acquire` and `release`, threads without a GIL need a critical section for these
    cdef tuple now_shape
    cdef dict windows

    cdef Descr *descr  # the same as `dtype`
    cdef int ndim_
    cdef int flags
    cdef bint simple_scalars
    cdef shared_dims dims       # read before the address of the region: see `_extend`
    cdef cnp.npy_intp *steps
    cdef cnp.npy_intp *first_dims
    cdef list later_dims

    @classmethod
    def __class_getitem__(cls, item):
        return GenericAlias(cls, item)

    def _check_open(self):
        check_open(self)

    @staticmethod
    def _over_file(type cls not None, File file not None, dtype, shape, offset, order, mode, access):
        """Make a map, of a subclass: an array over an open file."""
        cdef bint is_inferred = shape is None or type(shape) is InferredShape
        if shape is not None:
            shape = as_tuple(shape)
            is_inferred = is_inferred or shape[:1] == (-1,)
        cdef tuple layout = resolve(dtype, shape, order, offset, file.last_info.size, file.path or "the file")
        _, _, _, nbytes, start, _ = layout
        cdef Py_ssize_t room = min(nbytes + ROOM, sys.maxsize) if is_inferred and mode.intent == "copy" else 0
        cdef MapCore self = over(cls, map_file(file, mode.intent, start, nbytes, room), layout, mode, access)
        self._is_inferred = is_inferred
        return enlist(self)

    @staticmethod
    def _over(type cls not None, Region region not None, tuple layout not None, mode, access):
        """Make a map, of a subclass: an array in some layout over all of a region."""
        return enlist(over(cls, region, layout, mode, access))

    def _window(self, tuple layout not None, Py_ssize_t start):
        """Make a window: an array in some layout over bytes of this map, from `start` on; closed if this map is."""
        cdef dict fresh = {}
        cdef Region region = self._region
        _, _, _, nbytes, _, _ = layout
        if not is_closed(region):
            region = region.window(start, nbytes)
        cdef MapCore window = over(type(self), region, layout, self._mode, "normal")
        with cython.critical_section(self):
            if self.windows is None:
                self.windows = fresh
        window._window_of = self
        self.windows[<uintptr_t><void *>window] = PyWeakref_NewRef(window, None)
        if is_closed(self._region):  # by another thread, which may not have known of the window
            region.close()
        return window

    cdef void reshape(self, tuple shape):
        """Set the shape. Strides do not depend on the first dimension, which is the only one that changes."""
        cdef int i
        for i in range(self.ndim_):
            self.dims[i] = shape[i]
        self.now_shape = shape

    def _append(self, rows):
        """Append to a file rows that need no conversion, unless views are alive; return whether that was done.

        If not, the caller finds out why.
        """
        cdef Region region = self._region
        cdef cnp.ndarray block
        cdef cnp.npy_intp added = 1
        cdef int i, axis
        if not (type(rows) is cnp.ndarray and region.on_file and region.shared and region.writable
                and self._window_of is None and self.ndim_ > 0 and (self.ndim_ == 1 or self.order == "C")):
            return False
        block = rows
        axis = cnp.PyArray_NDIM(block) - self.ndim_ + 1  # 1 if it has several rows
        if not ((axis == 0 or axis == 1) and cnp.PyArray_IS_C_CONTIGUOUS(block)
                and (block.dtype is self.dtype or block.dtype == self.dtype)):
            return False
        if axis == 1:
            added = cnp.PyArray_DIM(block, 0)
        for i in range(1, self.ndim_):
            if cnp.PyArray_DIM(block, i - 1 + axis) != self.dims[i]:
                return False
        if cnp.PyArray_NBYTES(block) == 0:
            return False
        with region.size_lock():
            shape = (self.dims[0] + added,) + self.now_shape[1:]
            if region.header is not None:
                return self._change_size(shape, region.nbytes + cnp.PyArray_NBYTES(block), block)
            return self.change_size(shape, region.nbytes + cnp.PyArray_NBYTES(block), block)

    def _resize(self, tuple shape not None, Py_ssize_t nbytes, cnp.ndarray rows=None):
        """Change the size of region and map, unless views are alive; return whether that was done.

        `rows`, of the map's dtype and contiguous, are written to the end. The caller has the size lock.
        """
        return self.change_size(shape, nbytes, rows)

    cdef bint change_size(self, tuple shape, Py_ssize_t nbytes, cnp.ndarray rows) except -1:
        cdef Region region = self._region
        cdef const char *source = NULL if rows is None else cnp.PyArray_BYTES(rows)
        cdef Py_ssize_t before = region.nbytes, added = 0 if rows is None else cnp.PyArray_NBYTES(rows)
        cdef bint done = False
        try:
            done = region.resize(nbytes, region.sparse and rows is None, source, added)  # rows are written at once
            return done
        finally:
            # before any other thread can use the region, and also if it could not be made as it was after an error
            if done or before != nbytes == region.nbytes:
                with cython.critical_section(self):
                    self.reshape(shape)
            region.end_resize()
            if is_closed(region):  # Windows could map neither the new size nor the old one
                unlist(self)

    def _extend(self, tuple shape not None, Py_ssize_t nbytes, File file not None):
        """Take in what was appended to the file. The caller has the size lock.

        If the region moves while there are views, calls of other threads may be under way, too. They read `dims` first
        and then the address, so there are new dims for the new address, and the old ones stay what they are.
        """
        cdef bytearray moved_dims = bytearray(self.ndim_ * sizeof(cnp.npy_intp))
        cdef list older = self._region.older
        self._region.extend(file, nbytes)
        with cython.critical_section(self):
            if self._region.older is not None and self._region.older is not older:
                memcpy(<char *>moved_dims, self.dims, len(moved_dims))
                self.later_dims = [*(self.later_dims or ()), moved_dims]
                (<cnp.npy_intp *><char *>moved_dims)[0] = shape[0]
                self.dims = <cnp.npy_intp *><char *>moved_dims
            self.reshape(shape)

    def _close(self):
        """Close the region, unless views are alive; return whether it is closed."""
        if not self._region.close():
            return False
        unlist(self)
        return True

    def _unlist(self):
        """Take this map from the list of those that are open."""
        unlist(self)

    def _known_windows(self):
        """Return the windows of this map that are alive; closed ones too."""
        cdef dict windows
        with cython.critical_section(self):
            windows = self.windows
        references = [] if windows is None else list(windows.values())
        return [window for window in [reference() for reference in references] if window is not None]

    def __del__(self):
        if self._region is not None and not is_closed(self._region):
            self._finalize()

    def __dealloc__(self):
        if self._region is not None:
            self._region.abandon()  # views may outlive the map also if `__del__` could not do its work, at exit
        if self._window_of is not None:
            self._window_of.windows.pop(<uintptr_t><void *>self, None)
        PyMem_Free(self.first_dims)

    @property
    def closed(self):
        return is_closed(self._region)

    @property
    def shape(self):
        with cython.critical_section(self):
            return self.now_shape

    @property
    def damaged(self):
        """Whether pages were lost. Every call that needs data raises `DamagedError` then."""
        return self._region.damaged

    @property
    def nbytes(self):
        return self._region.nbytes

    @property
    def path(self):
        return self._region.path

    @property
    def mode(self):
        return self._mode.name

    @property
    def access(self):
        return self._region.access

    @property
    def ndim(self):
        return self.ndim_

    @property
    def itemsize(self):
        return self.dtype.itemsize

    @property
    def size(self):
        return self._region.nbytes // self.dtype.itemsize

    @property
    def writable(self):
        return self._region.writable

    @property
    def shared(self):
        return self._region.shared

    @property
    def _row_nbytes(self):
        """Bytes in a row, of all maps but N-d Fortran-order ones contiguous."""
        return math.prod(self.shape[1:], start=self.dtype.itemsize)

    def _name(self):
        """Return what an error calls the map."""
        return self.path or "anonymous"

    def _check_rows_are_contiguous(self, way_out="use mm.T, whose rows are"):
        if self.ndim_ > 1 and self.order == "F":
            raise ValueError(
                f"The rows of an N-d Fortran-order map are not contiguous: {way_out} ({self._name()})")

    # ---- arrays

    cdef object checked(self, result):
        """Return what was computed from the map, unless pages were lost meanwhile."""
        check_damage(<Region>borrowed(self))
        return result

    cdef object rearmed_view(self):
        """Return the whole map. First put the guard in front of other handlers, which is too slow for each slice."""
        if self._region.on_file:
            rearm()
        return self.whole_view()

    cdef object verified_view(self):
        """Return the whole map, if its file still has all of it: what was cut off is lost at the first touch."""
        check_open(self)
        self._region.check_size_now()
        return self.rearmed_view()

    cdef object whole_view(self):
        cdef Lease taken = lease(<Region>borrowed(self))
        cdef cnp.npy_intp *shape = self.dims
        return array(self, taken, self.descr, (<Region>taken.region).address, self.ndim_, shape, self.steps)

    def _view(self, cnp.dtype dtype not None, tuple shape, tuple strides, Py_ssize_t nbytes, Py_ssize_t offset):
        """Return an array over `nbytes` bytes from `offset` on, in a layout that the caller has checked."""
        cdef cnp.npy_intp dims[MAX_NDIM]
        cdef cnp.npy_intp steps[MAX_NDIM]
        cdef int i, ndim = len(shape)
        if self._region.on_file:
            rearm()
        cdef Lease taken = lease(<Region>borrowed(self))
        if offset + nbytes > (<Region>taken.region).nbytes:
            raise ValueError(RESIZED)
        for i in range(ndim):
            dims[i] = shape[i]
            steps[i] = strides[i]
        return array(self, taken, <Descr *>dtype, (<Region>taken.region).address + offset, ndim, dims, steps)

    def __getitem__(self, key):
        cdef BasicIndex index
        cdef cnp.npy_intp dims[MAX_NDIM]
        cdef cnp.npy_intp steps[MAX_NDIM]
        cdef Lease taken
        cdef tuple field
        cdef cnp.npy_intp *shape
        cdef char *place
        cdef bint is_scalar
        cdef int ndim
        if key is Ellipsis:
            return self.verified_view()
        if parse(key, &index):
            is_scalar = index.is_scalar and index.axes == self.ndim_
            if is_scalar and self.simple_scalars:
                scalar = read_scalar(self, &index)
                if scalar is not None:
                    return scalar
            else:
                taken = lease(<Region>borrowed(self))
                shape = self.dims
                place = (<Region>taken.region).address
                ndim = locate(&index, self.ndim_, shape, self.steps, &place, dims, steps)
                if ndim >= 0:
                    view = array(self, taken, self.descr, place, ndim, dims, steps)
                    if is_scalar:
                        wait_for_pages(<Region>taken.region, place, PyDataType_ELSIZE(self.descr), NULL)
                        return self.checked(PyArray_Scalar(place, self.descr, <PyObject *>view))
                    return view
        elif type(key) is str and cnp.PyDataType_HASFIELDS(self.dtype):
            field = (<dict>self.dtype.fields).get(key)
            if field is not None:
                taken = lease(<Region>borrowed(self))
                shape = self.dims
                place = (<Region>taken.region).address + <Py_ssize_t>field[1]
                return array(self, taken, <Descr *>field[0], place, self.ndim_, shape, self.steps)
        return self.get_by_numpy(key)

    cdef object get_by_numpy(self, key):
        """Index with what is not a basic index, or is out of range."""
        if type(key) is list and key and type(key[0]) is int:
            key = np.asarray(key)  # as NumPy has it
        if type(key) is np.ndarray and key.dtype.kind in "iu" and self.ndim_ > 0:
            return self.gather(key)
        return self.checked(PyObject_GetItem(self.rearmed_view(), key))

    def __setitem__(self, key, value):
        cdef BasicIndex index
        check_open(self)
        check_writable(self)
        if not (parse(key, &index) and assign(self, &index, value)):
            PyObject_SetItem(self.whole_view(), key, value)
        check_damage(<Region>borrowed(self))

    def __delitem__(self, key):
        raise ValueError("cannot delete array elements")  # as NumPy says it

    def __len__(self):
        if self.ndim_ == 0:
            raise TypeError("len() of unsized object")
        with cython.critical_section(self):
            return self.dims[0]

    def __iter__(self):
        return iter(self.whole_view())

    def __contains__(self, value):
        return self.checked(value in self.whole_view())

    def __bool__(self):
        return bool(self.whole_view())

    def __array__(self, dtype=None, copy=None):
        return self.checked(np.array(self.verified_view(), dtype=dtype, copy=copy))

    def to_numpy(self, dtype=None, copy=None):
        """Return the map as an ndarray.

        Parameters
        ----------
        dtype : dtype-like, optional
            Data type of the result. Default: the map's own.
        copy : bool or None, default None
            As in `numpy.asarray`: ``None`` copies only if the dtype demands it, ``True`` always, ``False`` never.

        Returns
        -------
        ndarray
            Of the map's shape. A view of the map unless copied.

        Raises
        ------
        DamagedError
            If the file has become shorter than the map. ``mm[...]`` and ``np.asarray(mm)`` check that, too.
        ValueError
            If the map is closed, or ``copy=False`` and the dtype demands a copy.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(3, dtype="i4") as mm:
        ...     mm.to_numpy("f8")
        array([0., 0., 0.])
        """
        return self.checked(np.array(self.verified_view(), dtype=dtype, copy=copy))

    def memoryview(self):
        """Return a typed memoryview of the map, with its shape, strides and format.

        Returns
        -------
        memoryview
            With the map's shape, and read-only where the map is. It is a view: `close` refuses while it is alive.

        Raises
        ------
        TypeError
            If the buffer protocol has no format for the dtype (``datetime64``, for one).
        ValueError
            If the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous((2, 3), dtype="f4") as mm:
        ...     view = mm.memoryview()
        ...     print(view.format, view.shape)
        ...     del view
        f (2, 3)
        """
        cdef object whole = self.rearmed_view()
        try:
            return PyMemoryView_FromObject(whole)
        except (ValueError, BufferError) as error:
            raise TypeError(
                f"The buffer protocol has no format for dtype {self.dtype}: {error}. "
                "Use view() with another dtype, then memoryview() on that array") from None

    def gather(self, indices, out=None, *, length=None):
        """Copy rows, or runs of consecutive rows, by index along axis 0.

        Parameters
        ----------
        indices : array_like of int
            Row numbers, in any shape; negative ones count from the end.
        out : ndarray, optional
            Array for the result, with its shape and the map's dtype.
        length : int, optional
            Copy a run of so many consecutive rows from each index on, such as a window of tokens or of a time series.

        Returns
        -------
        ndarray
            A copy of the rows, the same as ``np.take(mm[...], indices, axis=0)``, of shape
            ``indices.shape + mm.shape[1:]``; with `length`, of shape ``indices.shape + (length,) + mm.shape[1:]``.
            `out` if it was given.

        Raises
        ------
        IndexError
            If an index is out of range, or a run ends past the map; nothing is copied.
        TypeError
            If the indices or `length` are not integers, or `out` has another dtype.
        ValueError
            If the map is closed, `out` has another shape, or `length` is less than 1.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(4, dtype="f8") as mm:
        ...     mm[:] = [10, 11, 12, 13]
        ...     mm.gather([2, 0, -1])
        array([12., 10., 13.])
        >>> with MemMap.anonymous(4, dtype="f8") as mm:
        ...     mm[:] = [10, 11, 12, 13]
        ...     mm.gather([2, 0], length=2)
        array([[12., 13.],
               [10., 11.]])
        """
        cdef Py_ssize_t run = 1 if length is None else clipped(at_least("length", length, 1))
        cdef cnp.ndarray rows = as_indices(indices)
        if self.ndim_ == 0:
            raise IndexError("A map of no dimensions has no rows")
        cdef cnp.ndarray index = index_array(rows, self.dims[0])
        if run > self.dims[0] and cnp.PyArray_SIZE(index):  # before memory is allocated for it
            raise_outside(index.flat[0], length, self.dims[0])
        cdef cnp.npy_intp dims[MAX_NDIM]
        cdef int i, axis = rows.ndim + (length is not None), ndim = axis + self.ndim_ - 1
        if ndim > MAX_NDIM:
            raise ValueError(f"Expected a result of at most {MAX_NDIM} dimensions, not {ndim}")
        for i in range(rows.ndim):
            dims[i] = rows.shape[i]
        if length is not None:
            dims[rows.ndim] = run
        for i in range(axis, ndim):
            dims[i] = self.dims[i - axis + 1]
        cdef cnp.ndarray target
        if out is None:
            Py_INCREF(<object>self.descr)
            target = PyArray_Empty(ndim, dims, self.descr, False)
        else:
            target = self.checked_out(out, ndim, dims)
        self.gather_into(index, target, run, length)
        if out is None:
            return target if ndim else target[()]
        if target is not out:
            np.copyto(out, target)
        return out

    cdef cnp.ndarray checked_out(self, out, int ndim, cnp.npy_intp *dims):
        """Return `out`, or a new array if rows cannot be copied to it as they are."""
        cdef tuple shape = tuple([dims[i] for i in range(ndim)])
        check_out(out, self.dtype, shape)
        cdef const char *start = cnp.PyArray_BYTES(out)
        cdef bint is_apart = self._region.older is None and (
            start + cnp.PyArray_NBYTES(out) <= self._region.address
            or start >= self._region.address + self._region.nbytes)
        return out if cnp.PyArray_ISCARRAY(out) and is_apart else np.empty(shape, self.dtype)

    def _read_rows(self, File file not None, cnp.ndarray index not None, Py_ssize_t run, cnp.ndarray out not None):
        """Copy runs of rows into a C-contiguous array, as `gather` does, but out of the file."""
        self.gather_into(index, out, run, run, file)

    def _request(self, cnp.ndarray index not None, Py_ssize_t run=1, bint may_touch=True):
        """Start reading runs of rows; int64, nothing if one is out of range.

        `may_touch`: not if they seem to be resident, which takes touching a few of them.
        """
        cdef cnp.ndarray whole = self.whole_view()
        cdef const int64_t *indices = <const int64_t *>cnp.PyArray_DATA(index)
        cdef Py_ssize_t count = cnp.PyArray_SIZE(index), length = cnp.PyArray_DIM(whole, 0)
        cdef const char *base = cnp.PyArray_BYTES(whole)
        cdef size_t nbytes = cnp.PyArray_NBYTES(whole) // length if length else 0
        cdef fault_guard *guard = self._region.guard.current_entry()
        with nogil:
            if first_outside(indices, count, length, run) < 0:
                request_missing(base, length, nbytes, run * nbytes, indices, count, guard, may_touch)

    cdef int gather_into(self, cnp.ndarray index, cnp.ndarray target, Py_ssize_t run, asked, File file=None) except -1:
        """Copy rows into a C-contiguous array of the right size, which shares no memory with the map.

        If the file is given, and has all of them, no page is touched.
        """
        cdef const int64_t *indices = <const int64_t *>cnp.PyArray_DATA(index)
        cdef Py_ssize_t count = cnp.PyArray_SIZE(index), length, bad
        cdef char *place = cnp.PyArray_BYTES(target)
        cdef size_t nbytes = cnp.PyArray_NBYTES(target) // count if count else 0
        cdef PyObject *region = borrowed(self)
        cdef const char *base
        cdef region_file handle
        cdef uint64_t offset
        cdef size_t row
        cdef fault_guard *guard
        cdef bint is_contiguous = self.ndim_ == 1 or self.order == "C"
        if (<Region>region).on_file and count * nbytes >= LONG_GATHER:
            rearm()
        acquire(<Region>region)
        try:
            check_damage(<Region>region)
            length = self.dims[0]
            bad = first_outside(indices, count, length, run)
            if bad >= 0:
                raise_outside(indices[bad], asked, length)
            if not is_contiguous:
                rows = np.add.outer(index, np.arange(run))
                np.copyto(target, self.whole_view()[rows].reshape((<object>target).shape))
            else:
                base, guard = (<Region>region).address, (<Region>region).guard.entry
                offset, handle = (<Region>region).offset, handle_of(file)
                row = nbytes // run
                with nogil:
                    if handle == REGION_NO_FILE or not read_rows(
                            handle, offset, length, row, nbytes, indices, count, place):
                        gather_rows(base, length, row, nbytes, indices, count, place, guard)
        finally:
            release(<Region>region)
        return check_damage(<Region>region)

    # ---- bytes

    cdef PyObject *acquire_range(self, offset, size, char **place, Py_ssize_t *nbytes) except NULL:
        """Acquire the region, which the caller releases, and return it; find a byte range in it."""
        cdef Py_ssize_t start = clipped(offset), end
        nbytes[0] = clipped(size)
        cdef PyObject *region = borrowed(self)
        acquire(<Region>region)
        end = (<Region>region).nbytes
        if start < 0 or nbytes[0] < 0 or start > end or nbytes[0] > end - start:
            release(<Region>region)
            raise ValueError(f"Expected a byte range within 0:{end}, not offset {offset} and size {size}")
        place[0] = (<Region>region).address + start
        return region

    def read_at(self, offset, size):
        """Copy bytes out of the map.

        Parameters
        ----------
        offset : int
            First byte of the range, from the start of the map.
        size : int
            Number of bytes.

        Returns
        -------
        bytes
            Exactly `size` bytes. The call touches only the pages of this range.

        Raises
        ------
        ValueError
            If the range is negative or ends past the map, or the map is closed.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(256) as mm:
        ...     mm.read_at(offset=128, size=4)
        b'\\x00\\x00\\x00\\x00'
        """
        cdef Py_ssize_t nbytes
        cdef char *source
        cdef PyObject *region = self.acquire_range(offset, size, &source, &nbytes)
        cdef bytes result
        try:
            result = PyBytes_FromStringAndSize(NULL, nbytes)
            if nbytes < LONG_COPY:
                wait_for_pages(<Region>region, source, nbytes, NULL)
            copy(PyBytes_AS_STRING(result), source, nbytes)
            check_damage(<Region>region)
        finally:
            release(<Region>region)
        return result

    def readinto_at(self, offset, buffer):
        """Copy bytes out of the map into a buffer.

        Parameters
        ----------
        offset : int
            First byte of the range, from the start of the map.
        buffer : writable contiguous buffer
            A bytearray, ndarray or memoryview; the call fills all of it.

        Returns
        -------
        int
            The length of the buffer in bytes.

        Raises
        ------
        ValueError
            If the range is negative or ends past the map, or the map is closed. Nothing is copied in part.

        Examples
        --------
        >>> import numpy as np
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(256) as mm:
        ...     mm.readinto_at(100, np.empty(4, dtype="f4"))
        16
        """
        return self.exchange(offset, buffer, PyBUF_ANY_CONTIGUOUS | PyBUF_WRITABLE)

    def write_at(self, offset, data):
        """Copy bytes into the map.

        Parameters
        ----------
        offset : int
            First byte of the range, from the start of the map.
        data : contiguous buffer
            bytes, a bytearray, an ndarray, a memoryview.

        Returns
        -------
        int
            The length of the data in bytes.

        Raises
        ------
        ValueError
            If the map is read-only or closed, or the range is negative or ends past the map. Nothing is copied in
            part.

        Examples
        --------
        >>> from scikitplot.memmap import MemMap
        >>> with MemMap.anonymous(8) as mm:
        ...     mm.write_at(2, b"abc")
        ...     mm.read_at(0, 8)
        3
        b'\\x00\\x00abc\\x00\\x00\\x00'
        """
        check_open(self)
        check_writable(self)
        return self.exchange(offset, data, PyBUF_ANY_CONTIGUOUS)

    cdef object exchange(self, offset, buffer, int flags):
        """Copy between the map and a buffer: out of the map if `flags` ask for a writable buffer, else into the map."""
        cdef Py_buffer view
        cdef Py_ssize_t nbytes
        cdef char *place
        cdef PyObject *region
        if holds_objects(buffer):
            raise TypeError("Expected a buffer of bytes or numbers, not of Python objects")
        try:
            PyObject_GetBuffer(buffer, &view, flags)
        except BufferError as error:
            if flags & PyBUF_WRITABLE and memoryview(buffer).readonly:
                raise TypeError(f"Expected a writable buffer, not {type(buffer).__name__}: {error}") from None
            raise ValueError(f"Expected a contiguous buffer: {error}") from None
        try:
            region = self.acquire_range(offset, view.len, &place, &nbytes)
            try:
                check_damage(<Region>region)
                if flags & PyBUF_WRITABLE:
                    if nbytes < LONG_COPY:
                        wait_for_pages(<Region>region, place, nbytes, NULL)
                    copy(<char *>view.buf, place, nbytes)
                elif nbytes >= LONG_COPY or not wait_for_pages(<Region>region, place, nbytes, <char *>view.buf):
                    write(<Region>region, clipped(offset), place, <char *>view.buf, nbytes)
                check_damage(<Region>region)
            finally:
                release(<Region>region)
            return nbytes
        finally:
            PyBuffer_Release(&view)


cdef inline bint holds_objects(buffer) except -1:
    """Whether a buffer holds addresses of Python objects."""
    if isinstance(buffer, cnp.ndarray):
        return (<cnp.ndarray>buffer).dtype.hasobject
    return isinstance(buffer, memoryview) and "O" in buffer.format


cpdef cnp.ndarray as_indices(indices):
    """Return row numbers as an array of integers."""
    cdef cnp.ndarray rows = indices if isinstance(indices, cnp.ndarray) else np.asarray(indices)
    if cnp.PyArray_SIZE(rows) == 0 and not isinstance(indices, cnp.ndarray):
        rows = rows.astype(np.intp)  # an empty list has no dtype of its own
    if not (cnp.PyArray_ISINTEGER(rows) or cnp.PyArray_ISBOOL(rows)):
        raise TypeError(f"Expected integers as indices, not {rows.dtype}")
    return rows


cpdef int check_out(out, cnp.dtype dtype, tuple shape) except -1:
    """Raise if `out` cannot take an array of this dtype and shape."""
    if not isinstance(out, cnp.ndarray):
        raise TypeError(f"Expected out to be an ndarray, not {type(out).__name__}")
    if out.dtype != dtype:
        raise TypeError(f"Expected out to have the dtype {dtype}, not {out.dtype}")
    if out.shape != shape:
        raise ValueError(f"Expected out to have the shape {shape}, not {out.shape}")
    return 0


cdef int raise_outside(index, run, length) except -1:
    what = "" if run is None else f" with length {run}"
    raise IndexError(f"index {index}{what} is out of bounds for axis 0 with size {length}")


cdef cnp.ndarray index_array(cnp.ndarray rows, Py_ssize_t length):
    """Return indices for the kernels: a contiguous int64 copy, which no other code can change after the check."""
    if cnp.PyArray_TYPE(rows) == cnp.NPY_INT64 and cnp.PyArray_ISNOTSWAPPED(rows):
        return cnp.PyArray_NewCopy(rows, cnp.NPY_CORDER)
    if rows.dtype.kind == "u" and rows.size and rows.max() >= length:  # may be too large for int64
        raise IndexError(f"index {rows.max()} is out of bounds for axis 0 with size {length}")
    return np.array(rows, np.int64, order="C")


cdef inline void copy(char *target, const char *source, Py_ssize_t nbytes) noexcept:
    if nbytes < LONG_COPY:
        copy_bytes(target, source, nbytes)
    else:
        with nogil:
            copy_bytes(target, source, nbytes)


cdef inline object read_scalar(MapCore self, BasicIndex *index):
    """Return the item at an index of one integer per axis; None if an integer is out of range."""
    cdef char item[LARGEST_SCALAR]
    cdef cnp.npy_intp *shape
    cdef char *place
    cdef PyObject *region = borrowed(self)
    acquire(<Region>region)
    try:
        shape = self.dims
        place = (<Region>region).address
        if not locate_scalar(index, shape, self.steps, &place):
            return None
        wait_for_pages(<Region>region, place, PyDataType_ELSIZE(self.descr), NULL)
        if FAULT_COPIES_ONLY:
            copy_bytes(item, place, PyDataType_ELSIZE(self.descr))
            place = item
        scalar = PyArray_Scalar(place, self.descr, NULL)
        check_damage(<Region>region)
        return scalar
    finally:
        release(<Region>region)


cdef inline bint assign(MapCore self, BasicIndex *index, value) except -1:
    """Assign to what an index selects; return False if the index does not fit, or for other than simple scalars."""
    cdef char item[LARGEST_SCALAR]
    cdef cnp.npy_intp dims[MAX_NDIM]
    cdef cnp.npy_intp steps[MAX_NDIM]
    cdef bint is_scalar = index.is_scalar and index.axes == self.ndim_
    cdef cnp.npy_intp *shape
    cdef char *start
    cdef char *place
    cdef int ndim
    cdef cnp.ndarray part
    cdef PyObject *region
    if is_scalar:
        if not self.simple_scalars:
            return False
        PyArray_Pack(self.descr, item, value)  # may run Python code
    region = borrowed(self)
    acquire(<Region>region)
    try:
        check_damage(<Region>region)
        shape = self.dims
        place = start = (<Region>region).address
        if is_scalar:
            if not locate_scalar(index, shape, self.steps, &place):
                return False
            if not wait_for_pages(<Region>region, place, PyDataType_ELSIZE(self.descr), item):
                copy_bytes(place, item, PyDataType_ELSIZE(self.descr))
            return True
        ndim = locate(index, self.ndim_, shape, self.steps, &place, dims, steps)
        if ndim < 0:
            return False
        Py_INCREF(<object>self.descr)
        part = PyArray_NewFromDescr(cnp.ndarray, self.descr, ndim, dims, steps, place, self.flags, NULL)
        if (<Region>region).on_file and type(value) is np.ndarray and has_same_bytes(part, value):
            write(<Region>region, place - start, place, cnp.PyArray_BYTES(value), cnp.PyArray_NBYTES(value))
        else:
            PyArray_CopyObject(part, value)
        return True
    finally:
        release(<Region>region)


cdef bint has_same_bytes(cnp.ndarray part, cnp.ndarray value):
    """Return whether a large array can be written to a part of the map as its bytes are."""
    return (cnp.PyArray_NBYTES(value) >= LONG_WRITE and cnp.PyArray_IS_C_CONTIGUOUS(value)
            and cnp.PyArray_IS_C_CONTIGUOUS(part) and cnp.PyArray_SAMESHAPE(part, value) and part.dtype == value.dtype)


cdef void write(Region region, Py_ssize_t start, char *place, const char *source, Py_ssize_t nbytes):
    """Copy to a place, the byte `start` of a region that the caller has acquired. The source may overlap the target."""
    cdef uint64_t offset = region.offset + start
    cdef uintptr_t here = <uintptr_t>place, there = <uintptr_t>source
    cdef bint overlaps = max(here, there) - min(here, there) < <size_t>nbytes
    cdef Py_ssize_t at = 0, piece, written
    cdef region_file handle
    cdef File file
    if nbytes >= LONG_WRITE and region.on_file and region.shared and not overlaps:
        file = region.file
        if file is not None:
            handle = file.handle
            # in pieces: meanwhile another thread may close the map, or the map may lose pages
            while at < nbytes and not is_closed(region) and not region.damage[0]:
                piece = min(nbytes - at, <Py_ssize_t>WRITE_PIECE)
                with nogil:
                    written = region_store(handle, offset + at, place + at, source + at, piece)
                copy(place + at + written, source + at + written, piece - written)
                at += piece
    copy(place + at, source + at, nbytes - at)


def after_fork_in_child():
    """Make the maps that other threads were using usable here, where those threads do not exist."""
    cdef MapCore mm
    cdef list maps = listed()
    for mm in maps:  # which grows
        unlock_after_fork(mm)
        mm._region.after_fork_in_child()
        if is_closed(mm._region):
            unlist(mm)
        maps += mm._known_windows()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork_in_child)


def own_methods(type cls):
    """Give a subclass of MapCore its own method descriptors; a class decorator.

    The interpreter specialises a call only if the descriptor belongs to exactly the type of the object. An inherited
    `read_at` takes a third longer.
    """
    for name, method in MapCore.__dict__.items():
        if type(method) is METHOD_DESCRIPTOR and name not in cls.__dict__:
            setattr(cls, name, PyDescr_NewMethod(cls, (<PyMethodDescrObject *>method).d_method))
    return cls
