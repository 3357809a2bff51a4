from libc.stdint cimport uint64_t, uintptr_t

from .libfault cimport fault_guard, fault_word
from .libregion cimport region_file, region_info, region_intent


cdef extern from "Python.h":
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t pointer, size_t size)


cdef extern from "_users.h":
    ctypedef int shared_int
    ctypedef unsigned int shared_unsigned
    ctypedef Py_ssize_t shared_size
    unsigned int shared_next(shared_unsigned *number)
    ctypedef struct users_t:
        pass
    Py_ssize_t users_count(users_t *users)
    void users_set(users_t *users, Py_ssize_t count)
    Py_ssize_t users_enter(users_t *users)
    Py_ssize_t users_leave(users_t *users)
    Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
    Py_ssize_t users_disown(users_t *users)
    Py_ssize_t USERS_OWNER
    Py_ssize_t USERS_GONE
    Py_ssize_t USERS_RESIZING
    Py_ssize_t USERS_CLOSING


cdef str RESIZED


cdef class FileInfo:
    cdef region_info seen


cdef class File:
    cdef region_file handle
    cdef region_info seen
    cdef public object path

    cpdef void close(self) noexcept


cdef class Region:
    cdef char *address
    cdef readonly shared_size nbytes
    cdef readonly uint64_t offset
    cdef readonly object path
    cdef File own_file
    cdef File memory  # what shared memory is found by, as long as it is open
    cdef readonly object token  # and by which name
    cdef region_info seen
    cdef bint on_file
    cdef shared_int advised
    cdef readonly bint writable
    cdef readonly bint shared
    cdef bint is_orphan  # of a fork: see `orphan`
    cdef Lease parent
    cdef users_t users
    cdef fault_guard *guard
    cdef const fault_word *damage  # where the guard says what was lost: 0 as long as nothing is
    cdef fault_word last_damage  # what was lost, and which bytes, when nobody watches any more
    cdef size_t last_start
    cdef size_t last_stop
    cdef unsigned int trace_domain

    cdef int refuse(self, Py_ssize_t found) except -1
    cdef Region root(self)
    cdef fault_guard *watcher(self)
    cdef int refuse_damaged(self) except -1
    cdef int watch(self, File file, region_intent intent) except -1
    cdef void unwatch(self) noexcept
    cdef void unmap(self) noexcept
    cdef void orphan(self) noexcept
    cpdef bint close(self) except -1
    cdef int resize(self, Py_ssize_t nbytes, bint sparse) except -1
    cdef void reopen(self) noexcept
    cdef int enter_range(self, Py_ssize_t stop) except -1


cdef class Lease:
    cdef Region region
    cdef bint traced


cdef void copy_bytes(void *target, const void *source, size_t size) noexcept nogil
cpdef Region map_file(File file, intent, uint64_t offset, Py_ssize_t nbytes, bint keep_file)
cpdef Region map_anonymous(Py_ssize_t nbytes, bint shared)
cpdef Region map_token(str token, uint64_t offset, Py_ssize_t nbytes)

cdef shared_int maybe_behind  # others may have put a handler in front of ours, since a fork or since a map was opened
cdef void rearm() noexcept
cdef void run_for_caller(fault_guard *guard, void (*work)(void *) noexcept nogil, void *task) noexcept nogil

# Inline, because they run at every access.

cdef inline int enter(Region region) except -1:
    """Become a user of the region, whose memory is valid from now on until `leave`."""
    cdef Py_ssize_t found = users_enter(&region.users)
    if maybe_behind:
        rearm()
    return 0 if found >= USERS_OWNER else region.refuse(found)


cdef inline void leave(Region region) noexcept:
    if users_leave(&region.users) == 0:
        region.unmap()


cdef inline int check_damage(Region region) except -1:
    """Refuse to go on, or to hand out what was read, if pages were lost."""
    return region.refuse_damaged() if region.damage[0] else 0


cdef inline bint is_closed(Region region) noexcept:
    """Whether the owner has left."""
    cdef Py_ssize_t count = users_count(&region.users)
    return count < USERS_OWNER and count != USERS_RESIZING


cdef inline Lease lease(Region region):
    """A user of the region for as long as the returned object lives."""
    cdef Lease taken = Lease.__new__(Lease)
    enter(region)
    taken.region = region
    check_damage(region)
    taken.traced = PyTraceMalloc_Track(region.trace_domain, <uintptr_t><void *>taken, 1) == 0
    return taken
