from libc.stdint cimport uint64_t

from .libregion cimport region_file


cdef extern from "_users.h":
    ctypedef struct users_t:
        pass
    Py_ssize_t users_count(users_t *users)
    void users_set(users_t *users, Py_ssize_t count)
    Py_ssize_t users_enter(users_t *users)
    Py_ssize_t users_leave(users_t *users)
    bint users_claim(users_t *users, Py_ssize_t state)
    Py_ssize_t USERS_RESIZING
    Py_ssize_t USERS_GONE
    Py_ssize_t USERS_OWNER_ALONE


cdef class File:
    cdef region_file handle
    cdef public object path


cdef class Region:
    cdef char *address
    cdef readonly Py_ssize_t nbytes
    cdef readonly uint64_t offset
    cdef readonly object path
    cdef File own_file
    cdef readonly bint writable
    cdef readonly bint shared
    cdef Lease parent
    cdef users_t users
    cdef unsigned int trace_domain

    cdef int enter(self) except -1
    cdef void leave(self) noexcept
    cdef void unmap(self) noexcept


cdef class Lease:
    cdef Region region


cdef Lease lease(Region region)
