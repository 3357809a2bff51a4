from .libregion cimport region_file, region_info


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED /* no thread waits for a GIL, and the list of threads may change while it is read */
    #define IS_ONLY_THREAD() 0
    #else
    #define IS_ONLY_THREAD() (PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL)
    #endif
    """
    # Whether this is the only Python thread. Then a short system call keeps the GIL: releasing it takes as long.
    bint is_only_thread "IS_ONLY_THREAD"() noexcept


cdef int check(int code, path) except -1
cdef bytes encoded(str path)


cdef class FileInfo:
    cdef region_info fields


cdef class File:
    cdef readonly region_file handle
    cdef region_info last_info  # as of opening, or of the last `resize`
    cdef public object path
    cdef bint from_caller      # made from the caller's file object, so perhaps without a name to open it by again
    cdef bint shares_position  # shares its file position with the caller's file object

    cpdef void close(self) noexcept


cdef FileInfo file_info(const region_info *fields)
cdef region_file handle_of(File file) noexcept
