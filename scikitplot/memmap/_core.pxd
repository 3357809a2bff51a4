cimport numpy as cnp

from ._region cimport Region


cdef class MapCore:
    cdef readonly Region _region
    cdef readonly bint closed
    cdef readonly cnp.dtype dtype
    cdef readonly tuple shape
    cdef readonly tuple strides
    cdef readonly Py_ssize_t nbytes
    cdef readonly object offset
    cdef readonly object order
    # the state of MemMap; here, because setting it in Python takes as long as a system call
    cdef public object _mode
    cdef public object _access
    cdef public bint _sparse
    cdef public bint _unsynced_name
    cdef public object _window_of
    cdef public tuple _windows
    cdef public tuple _locked

    cdef int ndim_
    cdef int flags
    cdef bint simple_scalars
    cdef cnp.npy_intp *dims
    cdef cnp.npy_intp *steps

    cdef object whole(self)
    cdef void reshape(self, tuple shape)
    cdef int check_writable(self) except -1
    cdef char *enter_range(self, offset, size, Py_ssize_t *nbytes) except NULL
    cdef object exchange(self, offset, buffer, int flags)
