from .libregion cimport region_file, region_info


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED /* nobody waits for this thread, and the list of threads may change during a walk */
    #define IS_ONLY_THREAD() 0
    #else
    #define IS_ONLY_THREAD() (PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL)
    #endif
    """
    # Whether no other Python thread can run meanwhile: offering the GIL alone takes as long as a system call.
    bint is_only_thread "IS_ONLY_THREAD"() noexcept


cdef int check(int code, path) except -1
cdef bytes encoded(str path)


cdef class FileInfo:
    cdef region_info seen


cdef class File:
    cdef region_file handle
    cdef region_info seen
    cdef public object path
    cdef bint is_callers       # opened by the caller: there may be no name to open it by again
    cdef bint shares_position  # with the caller's file object

    cpdef void close(self) noexcept


cdef FileInfo file_info(const region_info *seen)
cdef region_file handle_of(File file) noexcept
