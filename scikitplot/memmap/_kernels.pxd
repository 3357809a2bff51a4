from libc.stdint cimport int64_t

from ._guard cimport fault_guard

cdef Py_ssize_t first_outside(
    const int64_t *index, Py_ssize_t count, Py_ssize_t length, Py_ssize_t run
) noexcept nogil
cdef void request_missing(
    const char *base, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index, Py_ssize_t count,
    fault_guard *guard,
) noexcept nogil
cdef void gather_rows(
    const char *base, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index, Py_ssize_t count,
    char *out, fault_guard *guard,
) noexcept nogil
