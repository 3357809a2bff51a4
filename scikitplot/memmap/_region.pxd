from libc.stdint cimport uint64_t, uintptr_t

from ._file cimport File
from ._guard cimport Guard, fault_word, maybe_behind, rearm, shared_int
from .libregion cimport region_info


cdef extern from "Python.h":
    int PyTraceMalloc_Track(unsigned int domain, uintptr_t pointer, size_t size)


cdef extern from "_users.h":
    ctypedef unsigned int shared_unsigned
    ctypedef Py_ssize_t shared_size
    unsigned int shared_next(shared_unsigned *number)
    ctypedef struct users_t:
        pass
    Py_ssize_t users_count(users_t *users)
    void users_set(users_t *users, Py_ssize_t count)
    Py_ssize_t users_acquire(users_t *users)
    Py_ssize_t users_release(users_t *users)
    Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
    Py_ssize_t users_abandon(users_t *users)
    Py_ssize_t USERS_OWNER
    Py_ssize_t USERS_GONE
    Py_ssize_t USERS_RESIZING
    Py_ssize_t USERS_CLOSING


cdef str RESIZED


cdef class Region:
    # the mapping
    cdef char *address
    cdef readonly shared_size nbytes
    cdef readonly uint64_t offset   # of `address` in the file
    cdef readonly bint writable
    cdef readonly bint shared
    cdef shared_int advised
    cdef readonly Lease parent      # of a window: keeps the region mapped that it is a part of

    # its file
    cdef readonly object path
    cdef region_info seen
    cdef bint on_file
    cdef File own_file
    cdef readonly object token      # the name of shared memory
    cdef File memory                # holds it open
    cdef public bint sparse         # growing reserves no disk space
    cdef public shared_int unsynced_name

    # its users
    cdef users_t users
    cdef bint was_lost              # another thread was resizing it during the fork that made this process
    cdef unsigned int trace_domain

    # what was lost of it
    cdef Guard guard
    cdef const fault_word *damage   # that of the guard

    # of a region that is no window; see `own_locks`
    cdef tuple locked               # runs of pages, counted from the start of the file
    cdef object size_lock_
    cdef int process

    cdef Region root(self)
    cdef void own_locks(self) noexcept
    cdef int refuse(self, Py_ssize_t found) except -1
    cdef int refuse_damaged(self) except -1
    cdef void unmap(self) noexcept
    cdef void lose(self) noexcept
    cpdef bint close(self) except -1
    cdef int resize(self, Py_ssize_t nbytes, bint sparse) except -1
    cdef int set_size(self, Py_ssize_t nbytes, bint sparse) noexcept
    cdef void reopen(self) noexcept
    cdef int acquire_range(self, Py_ssize_t stop) except -1
    cdef int lock_run(self, tuple run) noexcept
    cdef int unlock_run(self, tuple run) noexcept
    cdef int lock_again(self) noexcept


cdef class Lease:
    cdef Region region
    cdef bint traced


cpdef Region map_file(File file, intent, uint64_t offset, Py_ssize_t nbytes)
cpdef Region map_anonymous(Py_ssize_t nbytes, bint shared)
cpdef Region map_token(str token, uint64_t offset, Py_ssize_t nbytes)

# Inline, because they run at every access.

cdef inline int acquire(Region region) except -1:
    """Become a user of the region, whose memory is valid from now on until `release`."""
    cdef Py_ssize_t found = users_acquire(&region.users)
    if maybe_behind:
        rearm()
    return 0 if found >= USERS_OWNER else region.refuse(found)


cdef inline void release(Region region) noexcept:
    if users_release(&region.users) == 0:
        region.unmap()


cdef inline int check_damage(Region region) except -1:
    """Refuse to go on, or to hand out what was read, if pages were lost."""
    return region.refuse_damaged() if region.damage[0] else 0


cdef inline bint is_closed(Region region) noexcept:
    """Whether the owner has closed or abandoned the region."""
    cdef Py_ssize_t count = users_count(&region.users)
    return count < USERS_OWNER and count != USERS_RESIZING


cdef inline Lease lease_unchecked(Region region):
    """Return a user of the region, for as long as the object lives; also if pages were lost."""
    cdef Lease taken = Lease.__new__(Lease)
    acquire(region)
    taken.region = region
    taken.traced = PyTraceMalloc_Track(region.trace_domain, <uintptr_t><void *>taken, 1) == 0
    return taken


cdef inline Lease lease(Region region):
    """Return a user of the region, for as long as the object lives."""
    cdef Lease taken = lease_unchecked(region)
    check_damage(region)
    return taken
