from cpython.object cimport PyObject
from libc.stdint cimport uint64_t, uintptr_t

from ._file cimport File
from ._guard cimport Guard, fault_word, may_need_rearm, rearm, shared_int
from .libregion cimport region_access, region_file, region_info


cdef extern from "Python.h":
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t pointer, size_t size)


cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED /* a thread that the child does not have may have been in a critical section */
    #define UNLOCK_AFTER_FORK(object) ((object)->ob_mutex = (PyMutex){0})
    #else
    #define UNLOCK_AFTER_FORK(object) ((void)(object))
    #endif
    """
    void unlock_after_fork "UNLOCK_AFTER_FORK"(object)


cdef extern from "_users.h":
    ctypedef unsigned int shared_unsigned
    ctypedef Py_ssize_t shared_size
    ctypedef char *shared_address
    unsigned int shared_increment(shared_unsigned *number)
    ctypedef struct users_t:
        pass
    Py_ssize_t users_count(users_t *users)
    Py_ssize_t users_state(users_t *users)
    void users_set(users_t *users, Py_ssize_t count)
    Py_ssize_t users_acquire(users_t *users)
    Py_ssize_t users_release(users_t *users)
    Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
    Py_ssize_t users_abandon(users_t *users)
    void users_after_fork_in_child(users_t *users)
    Py_ssize_t USERS_OWNER
    Py_ssize_t USERS_GONE
    Py_ssize_t USERS_RESIZING
    Py_ssize_t USERS_CLOSING
    Py_ssize_t USERS_MOVING
    Py_ssize_t USERS_LAST
    bint HAS_GIL


cdef extern from *:
    """
    typedef _Atomic(unsigned int) failure_count; /* several processes change one */
    static inline void count_failure(failure_count *count) { ++*count; }
    """
    ctypedef unsigned int failure_count
    void count_failure(failure_count *count)

cdef str RESIZED  # an error message


cdef class Region:
    # the mapping
    cdef shared_address address
    cdef readonly shared_size nbytes
    cdef size_t room                # bytes mapped or set aside from `address` on: the map can grow so far in its place
    cdef list older                 # `OldMapping`s that views may still use; None if there are none
    cdef readonly uint64_t offset   # of `address` in the file, in bytes
    cdef readonly bint writable
    cdef readonly bint shared
    cdef shared_int advised
    cdef Region whole               # of a window: the region that it is part of,
    cdef Lease parent               # and what keeps that one mapped

    # its file
    cdef readonly object path
    cdef region_info last_info      # as of mapping, or of the last `resize`
    cdef bint on_file               # maps a file, not anonymous memory
    cdef File own_file              # None: the mapping does not keep its file open
    cdef readonly object token      # by which other processes open shared memory
    cdef File memory                # keeps shared memory open
    cdef public bint sparse         # growing reserves no disk space
    cdef public object header       # of a .npy file that may change its size: see _npy.py
    cdef public shared_int unsynced_name

    # its failures to write dirty pages back, on the root only
    cdef failure_count *failures    # of the file, in this process and those that it shares open files with by fork
    cdef shared_unsigned cured      # how many of them `recover` has made good

    # its short copies, see `wait_for_pages`
    cdef int unasked                # how many more do not ask
    cdef int asking                 # how many more do, from then on
    cdef bint untold                # the system gives wrong answers
    cdef uint64_t waits             # for a disk of the thread `waiting`, which was the last to ask
    cdef unsigned long waiting
    cdef double asked_at            # in seconds

    # its users
    cdef users_t users
    cdef bint lost_in_fork          # a thread was resizing it while this process was forked
    cdef unsigned int trace_domain  # of its leases, in tracemalloc

    # its lost pages
    cdef Guard guard
    cdef const fault_word *damage   # the same as guard.damage

    # its locks, on the root only; see `forget_inherited_locks`
    cdef tuple locked               # runs of locked pages, counted from the start of the file
    cdef object size_lock_
    cdef int locks_generation       # `fork_generation` of the process that these locks belong to

    cdef Region root(self)
    cdef void forget_inherited_locks(self) noexcept
    cdef int raise_unusable(self, Py_ssize_t found) except -1
    cdef int raise_damaged(self) except -1
    cpdef object size_lock(self)
    cdef int check_end(self, uint64_t size, Py_ssize_t nbytes) except -1
    cdef int check_size_now(self) except -1
    cdef int unmap_memory(self) noexcept
    cdef void unmap(self) noexcept
    cdef void after_fork_in_child(self) noexcept
    cdef Py_ssize_t leave(self) noexcept
    cdef void unmap_last(self) noexcept
    cpdef bint close(self) except -1
    cpdef bint abandon(self) except -1
    cdef int resize(self, Py_ssize_t nbytes, bint sparse, const char *rows, Py_ssize_t added) except -1
    cdef int resize_locked(self, Py_ssize_t nbytes, bint sparse, tuple kept, int *lock_code) noexcept
    cdef int resize_mapping(self, Py_ssize_t nbytes, bint sparse) noexcept
    cdef int append(self, const char *rows, Py_ssize_t added, bint *ends_there, int *lock_code) except -1
    cdef int extend(self, File file, Py_ssize_t nbytes) except -1
    cdef int map_more(self, region_file file, Py_ssize_t nbytes, bint alone, int *lock_code) except -1
    cdef void trim(self) noexcept
    cdef void note_size(self, region_file file) noexcept
    cdef void end_resize(self) noexcept
    cdef void advise_from(self, region_access before) noexcept
    cdef int acquire_range(self, Py_ssize_t stop) except -1
    cdef void note_failure(self) noexcept
    cdef void make_dirty(self) noexcept
    cdef bint wait_if_asked(self, char *place, Py_ssize_t nbytes, const char *source) noexcept
    cdef int write_again(self, File file) except -1
    cdef int check_write_back(self, int code) except -1
    cdef void find_bytes(self, tuple run, Py_ssize_t *start, Py_ssize_t *stop) noexcept
    cdef int lock_run(self, tuple run) noexcept
    cdef int unlock_run(self, tuple run) noexcept
    cdef int relock(self) noexcept
    cdef int lock_at(self, char *address) noexcept
    cdef int check_lock(self, int code, pages) except -1


cdef class Lease:
    cdef PyObject *region           # not counted as a reference: see `Region.leave`. NULL if it could not be acquired
    cdef bint traced                # by tracemalloc


cpdef Region map_file(File file, intent, uint64_t offset, Py_ssize_t nbytes, Py_ssize_t room=*)
cpdef Region map_anonymous(Py_ssize_t nbytes, bint shared)
cpdef Region map_token(str token, uint64_t offset, Py_ssize_t nbytes)

# inline, because every access calls them

cdef inline int acquire(Region region) except -1:
    """Add a user: the memory stays valid until `release`. Raise if the region is closed or being resized."""
    cdef Py_ssize_t found = users_acquire(&region.users)
    if may_need_rearm:
        rearm()
    return 0 if found >= USERS_OWNER else region.raise_unusable(found)


cdef inline void release(Region region) noexcept:
    """Remove a user. The last one unmaps."""
    if users_release(&region.users) == 0:
        region.unmap_last()


cdef inline bint wait_for_pages(Region region, char *place, Py_ssize_t nbytes, const char *source) noexcept:
    """Wait without the GIL for the pages of a copy that is too short to release the GIL for.

    Asking the system whether they are resident takes longer than the copy. So every 129th copy reads the clock, and
    if that many took long, asks whether its thread has had to wait for a disk. If it has, the next ones ask for pages.
    `source` is what to write there; NULL: the copy is a read. A write that has to wait is made here, and True returned:
    to read its page first would hide from the guard that it writes to a page that is lost.
    """
    if HAS_GIL:
        region.unasked -= 1
        if region.unasked < 0:
            return region.wait_if_asked(place, nbytes, source)
    return False


cdef inline int check_damage(Region region) except -1:
    """Raise if pages were lost or the region was revoked."""
    return region.raise_damaged() if region.damage[0] else 0


cdef inline bint is_closed(Region region) noexcept:
    """Return whether the owner has closed, abandoned or revoked the region."""
    cdef Py_ssize_t state = users_state(&region.users)
    return state < USERS_OWNER and state != USERS_RESIZING and state != USERS_MOVING


cdef inline Lease lease_unchecked(Region region):
    """Return an object that keeps the memory mapped while it lives, also if pages were lost."""
    cdef Lease new = Lease.__new__(Lease)
    acquire(region)
    new.region = <PyObject *>region
    new.traced = PyTraceMalloc_Track(region.trace_domain, <uintptr_t><void *>new, 1) == 0
    return new


cdef inline Lease lease(Region region):
    """Return an object that keeps the memory mapped while it lives."""
    cdef Lease new = lease_unchecked(region)
    check_damage(region)
    return new
