from libc.stdint cimport int64_t, uint64_t

from ._guard cimport fault_guard
from .libregion cimport region_file

cdef Py_ssize_t first_outside(
    const int64_t *index, Py_ssize_t count, Py_ssize_t length, Py_ssize_t run
) noexcept nogil
cdef void request_missing(
    const char *base, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index, Py_ssize_t count,
    fault_guard *guard, bint may_touch,
) noexcept nogil
cdef bint read_rows(
    region_file file, uint64_t offset, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index,
    Py_ssize_t count, char *out,
) noexcept nogil
cdef void gather_rows(
    const char *base, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index, Py_ssize_t count,
    char *out, fault_guard *guard,
) noexcept nogil
