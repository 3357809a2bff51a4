"""Basic indexing as NumPy defines it: integers, slices, `...` and None select a scalar or a view.

All of it is inline: `mm[i]` takes less than 100 ns. `parse` may run Python code (`__index__`), `locate` does not.
"""

cimport numpy as cnp
from cpython.long cimport PyLong_CheckExact
from cpython.object cimport PyObject
from cpython.slice cimport PySlice_Check
from cpython.tuple cimport PyTuple_CheckExact, PyTuple_GET_ITEM, PyTuple_GET_SIZE

cdef extern from "Python.h":
    void PyErr_Clear()
    Py_ssize_t PyLong_AsSsize_t(object) noexcept
    Py_ssize_t PyNumber_AsSsize_t(object, PyObject *) except? -1
    int PySlice_Unpack(object, Py_ssize_t *, Py_ssize_t *, Py_ssize_t *) except -1
    Py_ssize_t PySlice_AdjustIndices(Py_ssize_t, Py_ssize_t *, Py_ssize_t *, Py_ssize_t) noexcept

cdef extern from "numpy/arrayobject.h":
    """
    #define IS_NUMPY_INTEGER(key) (PyArray_IsScalar(key, Integer) && !PyArray_IsScalar(key, Timedelta))
    """
    bint is_numpy_integer "IS_NUMPY_INTEGER"(object)

cdef enum:
    MAX_NDIM = 64  # of NumPy
    MAX_ITEMS = 16  # of an index; longer ones are left to NumPy

cdef enum ItemKind:
    INTEGER, SLICE, ELLIPSIS, NEW_AXIS

cdef struct Item:
    ItemKind kind
    Py_ssize_t start, stop, step  # of an integer only the start

cdef struct BasicIndex:
    int count
    int axes        # of the array that integers and slices take
    int added       # axes of the result that None adds
    int ellipses
    bint is_scalar  # integers only
    Item items[MAX_ITEMS]


cdef inline Py_ssize_t clipped(object number) except? -1:
    """Return an integer; one too large for the type becomes its largest or smallest, which is out of every range."""
    cdef Py_ssize_t exact
    if PyLong_CheckExact(number):
        exact = PyLong_AsSsize_t(number)
        if exact != -1:
            return exact
        PyErr_Clear()
    return PyNumber_AsSsize_t(number, NULL)


cdef inline int unpack(slice key, Py_ssize_t *start, Py_ssize_t *stop, Py_ssize_t *step) except -1:
    """Do what PySlice_Unpack does, for two plain integers in half the time."""
    if key.step is None and PyLong_CheckExact(key.start) and PyLong_CheckExact(key.stop):
        start[0], stop[0], step[0] = clipped(key.start), clipped(key.stop), 1
        return 0
    return PySlice_Unpack(key, start, stop, step)


cdef inline bint parse_item(object key, BasicIndex *index) except -1:
    cdef Item *item = &index.items[index.count]
    index.count += 1
    if PyLong_CheckExact(key) or is_numpy_integer(key):
        item.kind, item.start = INTEGER, clipped(key)
        index.axes += 1
        return True
    index.is_scalar = False
    if PySlice_Check(key):
        item.kind = SLICE
        unpack(key, &item.start, &item.stop, &item.step)
        index.axes += 1
    elif key is Ellipsis:
        item.kind = ELLIPSIS
        index.ellipses += 1
    elif key is None:
        item.kind = NEW_AXIS
        index.added += 1
    else:
        return False
    return True


cdef inline bint parse(object key, BasicIndex *index) except -1:
    """Take an index apart; return False if it is not a basic one."""
    cdef Py_ssize_t i
    index.count = index.axes = index.added = index.ellipses = 0
    index.is_scalar = True
    if not PyTuple_CheckExact(key):
        return parse_item(key, index)
    if PyTuple_GET_SIZE(key) > MAX_ITEMS:
        return False
    for i in range(PyTuple_GET_SIZE(key)):
        if not parse_item(<object>PyTuple_GET_ITEM(key, i), index):
            return False
    return index.ellipses <= 1


cdef inline bint locate_integer(
    Item *item, cnp.npy_intp length, cnp.npy_intp stride, char **place
) noexcept:
    """Move `place` to an item of an axis; return False if it is out of range."""
    if item.start < 0:
        item.start += length
    if not 0 <= item.start < length:
        return False
    place[0] += item.start * stride
    return True


cdef inline bint locate_scalar(
    BasicIndex *index, const cnp.npy_intp *shape, const cnp.npy_intp *strides, char **place
) noexcept:
    """Do what `locate` does, faster, for an integer per axis."""
    cdef int i
    for i in range(index.count):
        if not locate_integer(&index.items[i], shape[i], strides[i], place):
            return False
    return True


cdef inline int locate(
    BasicIndex *index, int ndim, const cnp.npy_intp *shape, const cnp.npy_intp *strides, char **place,
    cnp.npy_intp *dims, cnp.npy_intp *steps
) noexcept:
    """Apply an index to an array: move `place` to the first item, set dims and steps, return their number.

    Return -1 if the index does not fit the array.
    """
    cdef Item *item
    cdef int axis = 0, out = 0, i
    cdef int skipped = ndim - index.axes  # axes that the ellipsis stands for; without one, it stands at the end
    if skipped < 0 or ndim + index.added > MAX_NDIM:
        return -1
    for i in range(index.count):
        item = &index.items[i]
        if item.kind == INTEGER:
            if not locate_integer(item, shape[axis], strides[axis], place):
                return -1
            axis += 1
        elif item.kind == SLICE:
            dims[out] = PySlice_AdjustIndices(shape[axis], &item.start, &item.stop, item.step)
            if dims[out] == 0:
                item.start, item.step = 0, 1  # as NumPy has it; the start may be -1, or past the end
            # overflows only if an item or none is left
            steps[out] = <cnp.npy_intp>(<size_t>strides[axis] * <size_t>item.step)
            place[0] += item.start * strides[axis]
            axis += 1
            out += 1
        elif item.kind == NEW_AXIS:
            dims[out], steps[out] = 1, 0
            out += 1
        else:
            while skipped > 0:
                dims[out], steps[out] = shape[axis], strides[axis]
                axis += 1
                out += 1
                skipped -= 1
    while axis < ndim:
        dims[out], steps[out] = shape[axis], strides[axis]
        axis += 1
        out += 1
    return out
