cimport numpy as cnp

from ._region cimport Region, shared_int


cdef class MapCore:
    cdef readonly Region _region
    cdef readonly cnp.dtype dtype
    cdef readonly tuple strides
    cdef readonly object offset
    cdef readonly object order
    # the state of MemMap; here, because setting it in Python takes as long as a system call
    cdef public object _mode
    cdef public bint _sparse
    cdef public shared_int _unsynced_name
    cdef public tuple _locked  # changed by who has the turn
    cdef readonly MapCore _window_of

    # whoever is not inside the region takes a critical section for these, which threads without a GIL need
    cdef tuple now_shape
    cdef dict windows
    cdef object turn

    cdef int ndim_
    cdef int flags
    cdef bint simple_scalars
    cdef cnp.npy_intp *dims
    cdef cnp.npy_intp *steps

    cdef object whole(self)
    cdef object exported(self)
    cdef object sound(self, result)
    cdef int gather_into(self, cnp.ndarray index, cnp.ndarray target) except -1
    cdef bint store_rows(self, key, value) except -1
    cdef void reshape(self, tuple shape)
    cdef int check_writable(self) except -1
    cdef char *enter_range(self, offset, size, Py_ssize_t *nbytes) except NULL
    cdef object exchange(self, offset, buffer, int flags)
