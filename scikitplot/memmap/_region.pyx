"""Region: one OS mapping with its file, size, page locks and damage.

A region counts its users: the owner (a MemMap), every `Lease`, and calls in progress. A lease is the base of an ndarray
over the memory, so it lives as long as the array and everything derived from it. The last user to release the region
unmaps it.

A window is a region over part of another one, on which it holds a lease. The region that is not a window is the root of
its windows. State that exists once per mapping, such as the locks, is on the root.
"""

import errno
import os
import sys
from _thread import RLock  # the same as threading.RLock; threading is slow to import

cimport cython
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.errno cimport EBUSY, EFAULT, EINVAL, ENOMEM
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.string cimport memchr

from ._file cimport File, FileInfo, check, encoded, file_info, handle_of, is_only_thread
from ._guard cimport (
    FAULT_REVOKED, FAULT_TRUNCATED, FAULT_WRITTEN, Guard, copy_bytes, fault_guard, read_byte, run_for_caller,
    write_same_byte,
)
from .libregion cimport (
    REGION_COPY, REGION_NO_FILE, REGION_NORMAL, REGION_RANDOM, REGION_READ, REGION_SEQUENTIAL, REGION_WRITE,
    region_access, region_advise, region_cool, region_evict, region_file, region_file_append, region_file_info,
    region_file_resize, region_flush, region_info, region_intent, region_knows_residency, region_lock,
    region_major_faults, region_map, region_map_ahead, region_map_anonymous, region_memory_create,
    region_memory_map, region_memory_open, region_page_size, region_path_info, region_reads_huge_pages,
    region_request, region_residency, region_resize, region_resize_anonymous, region_rewrite, region_take_changes,
    region_trim, region_unlock, region_unmap, region_use_room,
)

import time

from ._damage import DamagedError, explain
from ._file import sync_directory
from ._limits import explain_lock, explain_memory, explain_space, explain_write_back
from ._modes import ACCESSES, INTENTS
from ._paging import PAGE_SIZE, bytes_of, pages_of, subtract

cdef extern from "Python.h":
    int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t pointer)
    unsigned long PyThread_get_thread_ident()

cdef enum:
    LONG_UNMAP = 1 << 22  # bytes; unmapping this much takes longer than releasing the GIL
    LEAST_ROOM = 1 << 20  # bytes that are set aside for a map that grows; a larger one doubles
    PAGE_BLOCK = 512      # pages whose residency is asked for at a time
    UNASKED = 128         # short copies between two that ask: see `wait_for_pages`
    ASKING = 64           # short copies that ask after a wait: at least, and
    MOST_ASKING = 1 << 20
    FAILURE_COUNTERS = 1 << 16

# each region has its own tracemalloc domain, so that `lease_sites` finds only its own leases
cdef shared_unsigned last_trace_domain = 0x5EA10000

cdef double WAIT = 1e-4  # seconds; few disks answer sooner

cdef str RESIZED = "The map was resized while the call was under way"
cdef str UNKNOWN_RESIDENCY = (
    "The system tells only the owner of this file, and those who may write to it, which of its pages are resident"
)
cdef str REPLACED = "Another file has taken the place of the one that is mapped"

# INTENTS and ACCESSES have the order of the C enums
assert (REGION_READ, REGION_WRITE, REGION_COPY) == tuple(map(INTENTS.index, ("read", "write", "copy")))
assert (REGION_NORMAL, REGION_RANDOM, REGION_SEQUENTIAL) == tuple(
    map(ACCESSES.index, ("normal", "random", "sequential")))

# The system reports a failed write-back once per open file, which a forked child shares with its parent. So failures
# are counted in memory that they share, too. Each file has a counter; two files hardly ever share one.
# The first stays 0: it is that of memory without a file.
cdef failure_count *file_failures = NULL
check(region_map_anonymous(FAILURE_COUNTERS * sizeof(failure_count), True, <void **>&file_failures), None)

cdef int fork_generation = 0  # number of forks between the process that imported this module and this one


def after_fork_in_child():
    global fork_generation
    fork_generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork_in_child)


cdef int unmap(char *address, size_t size) noexcept:
    """Unmap memory, without the GIL if that takes long. Return 0 or the system's error code."""
    if size < LONG_UNMAP or is_only_thread():
        return region_unmap(address, size)
    with nogil:
        return region_unmap(address, size)


cdef int check_mapped(int code, Py_ssize_t nbytes, path, bint writes=True) except -1:
    """Raise the OSError for a mapping call that failed; if memory ran out, it names the limit."""
    try:
        return check(code, path)
    except OSError as error:
        raise explain_memory(error, nbytes, path, writes) from None


cdef bint yield_if_busy(Py_ssize_t found):
    """Return whether the count says that another thread is resizing or closing; if so, let other threads run."""
    if found >= 0 or found == USERS_LAST:
        return False
    time.sleep(0)
    return True


@cython.final
@cython.freelist(8)
@cython.no_gc  # cannot be in a reference cycle: files, guards, leases and paths never refer to their holders
cdef class Region:
    """One mapping, and the count of its users.

    Byte ranges count from the start of the region, and callers have checked them. Page runs count from the start of the
    file.
    """

    def __cinit__(self):
        self.trace_domain = shared_increment(&last_trace_domain)
        users_set(&self.users, USERS_OWNER)
        self.locked = ()
        self.locks_generation = fork_generation
        self.failures = file_failures
        self.asking = ASKING

    def __dealloc__(self):
        if self.whole is not None:
            self.parent = None  # before `whole`
        elif self.address != NULL:
            self.guard.unwatch()
            region_unmap(self.address, self.room)

    def window(self, Py_ssize_t start, Py_ssize_t nbytes):
        """Return a region over part of this one. It counts its own users, and is one user of this region."""
        cdef Region part = Region.__new__(Region)
        cdef Lease taken = lease_unchecked(self)
        if start + nbytes > self.nbytes:
            raise ValueError(RESIZED)
        part.whole = self
        part.parent = taken
        part.address = self.address + start
        part.path = self.path
        part.last_info = self.last_info
        part.on_file = self.on_file
        part.offset = self.offset + start
        part.nbytes = part.room = nbytes
        part.writable = self.writable
        part.shared = self.shared
        part.token = self.token
        part.guard = self.guard
        part.damage = self.damage
        return part

    cdef Region root(self):
        """Return the region that is not a window. (Of a closed window: the window itself.)"""
        cdef Region whole
        with cython.critical_section(self):
            whole = self.whole
        return self if whole is None else whole.root()

    # ---- the file

    @property
    def file(self):
        """The open file of the mapping, or None if the mapping does not keep one open."""
        cdef Region root = self.root()
        with cython.critical_section(root):
            return root.own_file

    def reopen_file(self):
        """Return the mapped file, opened again if needed; None if there is none or its path leads to another file."""
        cdef File file = self.file
        if file is not None or self.path is None or not self.on_file:
            return file
        try:
            file = File.open(self.path, False)
        except OSError:
            return None
        return file if file.info.identity == self.info.identity else None

    def opened_file(self):
        """Return the mapped file, perhaps opened again. Raise OSError if its path leads to another file or to none."""
        cdef File file = self.file
        if file is None:
            file = File.open(self.path, False)
            if file.info.identity != self.info.identity:
                file.close()
                raise OSError(errno.ESTALE, REPLACED, self.path)
        return file

    @property
    def reads_huge_pages(self):
        """Whether `read_file` is the way to read its file."""
        return self.on_file and self.path is not None and region_reads_huge_pages(encoded(self.path)) != 0

    @property
    def info(self):
        """The `FileInfo` as of mapping, or of the last `resize`; None for anonymous memory."""
        cdef Region root = self.root()
        cdef region_info info
        if not self.on_file:
            return None
        with cython.critical_section(root):
            info = root.last_info
        return file_info(&info)

    def info_by_name(self):
        """Return the current `FileInfo` of the path. Raise OSError if the path leads to another file or to none."""
        info = FileInfo.at(self.path)
        if info.identity != self.info.identity:
            raise OSError(errno.ESTALE, REPLACED, self.path)
        return info

    # ---- users

    cdef int raise_unusable(self, Py_ssize_t found) except -1:
        """Raise the error for a count below USERS_OWNER. While the region is being moved, wait, and acquire it."""
        while found == USERS_MOVING:
            time.sleep(0)
            found = users_acquire(&self.users)
            if found >= USERS_OWNER:
                return 0
        name = self.path or "anonymous"
        if found == USERS_LAST:
            self.unmap_last()
        if found == USERS_RESIZING:
            raise BufferError(f"MemMap is being resized by another thread: {name}")
        if self.lost_in_fork:
            raise ValueError(f"MemMap was being resized when this process was forked, and is lost here: {name}")
        raise ValueError(f"MemMap is closed: {name}")

    cdef int unmap_memory(self) noexcept:
        """Unmap the memory of a root. Return 0, or the system's error code: then it stays mapped."""
        self.guard.pause()
        cdef int code = unmap(self.address, self.room)
        if code == 0:
            self.address = NULL
        elif not self.damage[0]:
            self.guard.resume(self.address, self.nbytes)
            return code
        self.damage = &self.guard.kept_damage
        self.guard.unwatch()
        return code

    cdef void unmap(self) noexcept:
        """Unmap the memory and close the file, or release the parent of a window. No user is left."""
        cdef File file, memory
        if self.whole is not None:
            self.address = NULL
            self.damage = &self.guard.kept_damage
            self.advised = self.root().advised  # `access` still works on a closed window
        elif self.address != NULL:
            self.unmap_memory()  # if it fails, __dealloc__ tries again
        self.older = None
        with cython.critical_section(self):  # another thread may be asking for the file
            self.parent = None
            self.whole = None  # after the lease on it
            file, memory = self.own_file, self.memory
            self.own_file = self.memory = None
        if file is not None:
            file.close()  # now: free-threaded Python may free the object later
        if memory is not None:
            memory.close()

    cdef void after_fork_in_child(self) noexcept:
        """Unlock what other threads of the parent had locked; close the region if one was resizing or closing it."""
        users_after_fork_in_child(&self.users)
        cdef Py_ssize_t found = users_count(&self.users)
        for part in (self, self.guard, self.own_file, self.memory):
            unlock_after_fork(part)
        if found < 0:
            Py_INCREF(self)  # nobody knows how many leases there are
            self.lost_in_fork = found == USERS_RESIZING
            self.damage = &self.guard.kept_damage
            self.guard.unwatch()
            self.address = NULL  # unknown: the mapping may be half unmapped or moved
            self.own_file = self.memory = None
            users_set(&self.users, USERS_GONE)

    @property
    def leases(self):
        """The number of users other than the owner: leases, and calls in progress."""
        return max(users_count(&self.users), 0) % USERS_OWNER

    def lease_sites(self):
        """Return where the live leases were made, most frequent first, as "file:line (count)"."""
        cdef uintptr_t nowhere = 1
        if PyTraceMalloc_Track(self.trace_domain, nowhere, 0) != 0:
            return []  # tracemalloc is off. To import it and ask could deadlock on an import lock after a fork
        PyTraceMalloc_Untrack(self.trace_domain, nowhere)
        import tracemalloc

        only = tracemalloc.DomainFilter(True, self.trace_domain)
        sites = tracemalloc.take_snapshot().filter_traces([only]).statistics("lineno")
        return [f"{site.traceback[0].filename}:{site.traceback[0].lineno} ({site.count})" for site in sites]

    def has_lease(self, Lease taken not None):
        """Return whether a lease keeps this region mapped: it is one on the region, or on a window of it."""
        cdef Region region = <Region>taken.region
        while region is not self and region is not None:
            region = region.whole
        return region is self

    def has_address(self, uintptr_t address):
        """Return whether memory of the region is at an address."""
        return address - <uintptr_t>self.address < <size_t>self.nbytes

    cpdef bint close(self) except -1:
        """Close the region if the owner is the only user. Return False if there are other users."""
        cdef Py_ssize_t state = USERS_CLOSING if self.whole is None else USERS_GONE  # a window unmaps nothing
        cdef Py_ssize_t found = users_claim(&self.users, state)
        cdef int code = 0
        while yield_if_busy(found):
            found = users_claim(&self.users, state)
        if found == USERS_OWNER:
            if self.whole is None and self.address != NULL:
                code = self.unmap_memory()
            if code == 0:
                self.unmap()
            users_set(&self.users, USERS_OWNER if code else USERS_GONE)
        check(code, self.path)
        return found <= USERS_OWNER

    cdef Py_ssize_t leave(self) noexcept:
        """Do `users_abandon`. From then on the other users keep this object alive.

        A lease counts as a user of the mapping, but as no reference to this object: threads that count references to
        the same one wait for each other. The owner has a reference; this one takes its place.
        """
        Py_INCREF(self)
        cdef Py_ssize_t found = users_abandon(&self.users)
        if found <= USERS_OWNER:
            Py_DECREF(self)
        return found

    cdef void unmap_last(self) noexcept:
        """Do `unmap` for the last user of an abandoned region."""
        self.unmap()
        Py_DECREF(self)  # see `leave`

    cpdef bint abandon(self) except -1:
        """Remove the owner; the last user will unmap. Return False if the owner was removed before."""
        cdef Py_ssize_t found = self.leave()
        while yield_if_busy(found):
            found = self.leave()
        if found == USERS_OWNER:
            self.unmap()
        return found >= USERS_OWNER

    def revoke(self):
        """Remove the owner, replace the memory by zeros and close the file. A window is only abandoned.

        The address range stays valid for the leases. Return False if the owner was removed before.
        """
        cdef int code = 0
        cdef bint first
        cdef File memory
        cdef OldMapping old
        cdef object one_at_a_time = self.size_lock()  # Windows cannot replace the memory twice
        cdef Py_ssize_t found = users_acquire(&self.users)
        while yield_if_busy(found):
            found = users_acquire(&self.users)
        if found == USERS_LAST:
            self.unmap_last()
        if found < USERS_OWNER:
            return False
        try:
            with one_at_a_time:
                if self.whole is None and not is_closed(self):
                    self.trim()
                    with nogil:
                        code = self.guard.revoke(self.address, self.nbytes, self.writable)
                    for old in self.older or ():
                        code = code or old.guard.revoke(old.address, old.room, self.writable)
                first = code == 0 and self.leave() >= USERS_OWNER
            if first and self.whole is None:
                with cython.critical_section(self):
                    memory = self.memory
                    self.own_file = self.memory = None
                if memory is not None:
                    memory.close()
        finally:
            release(self)
        check(code, self.path)
        return first

    # ---- damage

    @property
    def damaged(self):
        """Whether pages were lost, or written although the map is read-only."""
        return self.guard.damage[0] & ~<uint32_t>FAULT_REVOKED != 0

    def check_damage(self):
        """Raise `DamagedError` if pages were lost, ValueError if the region was revoked."""
        check_damage(self)

    cdef int raise_damaged(self) except -1:
        """Raise the error for the damage."""
        damage, start, stop = self.guard.damage_to_raise()
        if damage == FAULT_REVOKED:
            self.raise_unusable(USERS_GONE)
        raise DamagedError(*explain(damage, self.path, start, stop))

    def check_size(self, current_info):
        """Raise `DamagedError` if the file is too short for the mapping; `current_info()` returns its `FileInfo`."""
        cdef Py_ssize_t nbytes
        acquire(self)  # keeps other threads from resizing it
        try:
            nbytes = self.nbytes  # first: it may grow together with the file
            self.check_end(current_info().size, nbytes)
        finally:
            release(self)

    cdef int check_end(self, uint64_t size, Py_ssize_t nbytes) except -1:
        """Raise `DamagedError` if a file of this size is too short for so many bytes of the mapping."""
        first = max(size - <object>self.offset, 0)
        if first < nbytes:
            raise DamagedError(*explain(FAULT_TRUNCATED, self.path, first, nbytes))
        return 0

    cdef int check_size_now(self) except -1:
        """Raise `DamagedError` if the file has become too short for the mapping, and its name still leads to it."""
        cdef region_info info, mapped
        cdef Region root
        cdef bytes name
        cdef const char *raw
        cdef Py_ssize_t nbytes = self.nbytes  # before the size of the file, which may grow meanwhile
        cdef File file
        cdef int code
        if not self.on_file:
            return 0
        file = self.file
        if file is not None:
            self.check_size(file.info_now)
        elif self.path is not None:
            name = encoded(self.path)
            raw = name
            with nogil:  # may be slow on a network file system
                code = region_path_info(raw, &info)
            root = self.root()
            with cython.critical_section(root):
                mapped = root.last_info
            if code == 0 and info.device == mapped.device and info.inode == mapped.inode:
                self.check_end(info.size, nbytes)
        return 0

    def recover(self):
        """Map lost pages again, write again what could not be written back, and drop writes to a read-only map.

        Raise `DamagedError` if pages stay lost.
        """
        cdef Region root = self.root()
        cdef File file = self.file
        cdef OldMapping old
        cdef int code = 0
        cdef bint unwritten = root.cured != root.failures[0] and root.writable and root.shared
        if not (self.damaged or unwritten):
            return
        if file is None:
            try:
                file = File.open(self.path, False)
                if file.info.identity != self.info.identity:
                    raise OSError(errno.ESTALE, REPLACED, self.path)
            except OSError:
                file = None
                if self.guard.damage[0] != FAULT_WRITTEN:  # dropping writes needs no file
                    check_damage(self)  # raises DamagedError, whose context is this error
                    raise
        with root.size_lock():
            locked = root.locked
            acquire(self)
            try:
                for old in root.older or ():  # first: its damage is the root's until that has recovered
                    if old.guard.recover(file):
                        self.raise_damaged()
                if root.guard.recover(file):
                    self.raise_damaged()
                if unwritten:
                    region_unlock(root.address, root.nbytes)  # locked pages cannot be evicted
                    root.write_again(file)
                root.advise_from(REGION_NORMAL)
            finally:
                code = root.relock()  # also of a recovery that stopped half way
                release(self)
        self.check_lock(code, locked)

    # ---- size

    cpdef object size_lock(self):
        """Return the lock that a thread holds while it changes the size, or the set of locked pages."""
        cdef Region root = self.root()
        cdef object new
        with cython.critical_section(root):
            root.forget_inherited_locks()
            if root.size_lock_ is not None:
                return root.size_lock_
        new = RLock()
        with cython.critical_section(root):
            if root.size_lock_ is None:
                root.size_lock_ = new
            return root.size_lock_

    cdef void forget_inherited_locks(self) noexcept:
        """Forget the locks of the parent process after a fork: a child inherits neither locked pages nor threads."""
        if self.locks_generation != fork_generation:
            self.locks_generation = fork_generation
            self.locked = ()
            self.size_lock_ = None

    cdef int resize(self, Py_ssize_t nbytes, bint sparse, const char *rows, Py_ssize_t added) except -1:
        """Resize the mapping and its file, which ends with it; `added` bytes of `rows` become the last ones.

        The caller holds the size lock. Return 0 if the owner is not the only user, or the file has another size.
        Otherwise the caller must call `end_resize`, also after an error; until then no other thread can use the region.
        """
        cdef Py_ssize_t before = self.nbytes
        cdef tuple locked = self.locked
        cdef tuple kept = locked
        cdef bint ends_there = True, is_appended = False
        cdef int code = 0, lock_code = 0
        if locked:
            _, end = pages_of([(0, nbytes)], self.offset)[0]
            kept = tuple(subtract(locked, [(end, sys.maxsize)]))  # without pages past the new end
        if users_claim(&self.users, USERS_RESIZING) != USERS_OWNER:
            return 0
        check_damage(self)
        self.older = None  # nobody has views
        if added and self.own_file is not None and not self.own_file.shares_position:  # O_APPEND, perhaps
            code = self.append(rows, added, &ends_there, &lock_code)
            is_appended = code != EINVAL and code != EFAULT  # hugetlbfs; a lost page of another map
        if not ends_there:
            return 0
        if not is_appended:
            code = self.resize_locked(nbytes, sparse, kept, &lock_code)
        if code:
            check_damage(self)
        try:
            check(code, self.path)
        except OSError as error:
            raise explain_space(
                explain_memory(error, nbytes, self.path), self.offset + nbytes, self.path) from None
        if nbytes > before:
            self.check_lock(lock_code, locked)
        if added and not is_appended:
            if added < LONG_UNMAP:
                copy_bytes(self.address + nbytes - added, rows, added)
            else:
                with nogil:
                    copy_bytes(self.address + nbytes - added, rows, added)
        return 1

    cdef int append(self, const char *rows, Py_ssize_t added, bint *ends_there, int *lock_code) except -1:
        """Write bytes behind the end of the file, and map them. Return 0 or the system's error code."""
        cdef region_file handle = self.own_file.handle
        cdef uint64_t end = self.offset + self.nbytes
        cdef int code
        with nogil:
            code = region_file_append(handle, end, rows, added, ends_there)
        if code or not ends_there[0]:
            return code
        with cython.critical_section(self):
            self.last_info.size = end + added
        try:
            code = self.map_more(handle, self.nbytes + added, True, lock_code)
        except MemoryError:
            code = ENOMEM
        if code or lock_code[0]:
            region_file_resize(handle, end, True)
            self.note_size(handle)
        return code

    cdef int extend(self, File file, Py_ssize_t nbytes) except -1:
        """Map more of the file, which has grown. The caller holds the size lock.

        Views and calls in progress keep the memory that they have. Other threads wait for a moment at most.
        """
        cdef bint alone = users_claim(&self.users, USERS_MOVING) == USERS_OWNER
        cdef tuple locked = self.locked
        cdef int code, lock_code = 0
        if not alone:
            acquire(self)
        try:
            check_damage(self)
            if alone:
                self.older = None
            self.check_end(self.offset + nbytes, self.nbytes)
            if nbytes > self.nbytes:
                code = self.map_more(file.handle, nbytes, alone, &lock_code)
                if code == EBUSY:
                    raise BufferError(
                        'Cannot refresh a map of mode "c" while views of it are alive, and there is no room behind it '
                        f"in the address space: {self.path}. Drop them (del), or copy what you keep (.copy())")
                if code:
                    check_damage(self)
                check_mapped(code, nbytes, self.path)
                self.check_lock(lock_code, locked)
            self.note_size(file.handle)
        finally:
            if alone:
                users_set(&self.users, USERS_OWNER)
            else:
                release(self)
        return 0

    cdef int map_more(self, region_file file, Py_ssize_t nbytes, bint alone, int *lock_code) except -1:
        """Map more of a file that has grown, at the same address or at a new one. Return 0 or the system's error code.

        Unless `alone`, old memory stays mapped. EBUSY: it would have to go, for the sake of private changes.
        """
        cdef region_intent intent = REGION_READ if not self.writable else REGION_WRITE if self.shared else REGION_COPY
        cdef size_t room = nbytes, old_room = self.room
        cdef char *old_address = self.address
        cdef char *address
        cdef OldMapping old
        cdef int code
        if <size_t>nbytes <= old_room:
            code = region_use_room(file, intent, self.offset, old_address, self.nbytes, nbytes)
            if code == 0:
                code = self.guard.extend(nbytes)
            if code == 0:
                self.nbytes = nbytes
            return code
        alone = alone or self.nbytes == 0
        if intent == REGION_COPY and not alone:
            return EBUSY
        old = OldMapping.__new__(OldMapping)
        old.guard = Guard.__new__(Guard)
        older = [*(self.older or ()), old]
        room += max(room, <size_t>LEAST_ROOM)  # of two sizes, so that this does not overflow
        code = region_map_ahead(file, intent, self.offset, nbytes, &room, <void **>&address)
        if code:
            return code
        if self.locked:
            region_unlock(old_address, self.nbytes)  # else they count twice against the limit
            lock_code[0] = self.lock_at(address)
        if lock_code[0] == 0 and not alone:
            code = self.guard.move(address, nbytes, old.guard)
        elif lock_code[0] == 0:
            self.guard.pause()
            if intent == REGION_COPY:
                code = region_take_changes(file, self.offset, old_address, self.nbytes, address, nbytes)
            if code:
                self.guard.resume(old_address, self.nbytes)
            else:
                self.guard.resume(address, nbytes)
        if code or lock_code[0]:
            region_unmap(address, room)
            self.relock()
            return code
        old.address, old.room = old_address, old_room
        self.address = address  # first: a thread that sees the new size sees this, too
        self.room = room
        self.advise_from(REGION_NORMAL)
        self.nbytes = nbytes
        if not alone or old.unmap():
            with cython.critical_section(self):
                self.older = older
        return 0

    cdef void trim(self) noexcept:
        """Give the room behind the region back."""
        if self.room > <size_t>self.nbytes and region_trim(self.room, self.nbytes, <void **>&self.address) == 0:
            self.room = self.nbytes

    cdef void note_size(self, region_file file) noexcept:
        """Note the size of the file, and when it was modified."""
        cdef region_info now
        if region_file_info(file, &now) == 0:  # of a file that was renamed, Wine no longer knows the device
            with cython.critical_section(self):
                self.last_info.size, self.last_info.mtime_ns = now.size, now.mtime_ns

    cdef int resize_locked(self, Py_ssize_t nbytes, bint sparse, tuple kept, int *lock_code) noexcept:
        """Resize the mapping and its file, and lock the pages again that are `kept`. Return 0 or an error code."""
        cdef Py_ssize_t before = self.nbytes
        cdef tuple locked = self.locked
        cdef int code
        self.guard.pause()
        if locked and nbytes > before:
            region_unlock(self.address, before)  # while mremap moves locked pages, they count twice against the limit
        self.trim()
        code = self.resize_mapping(nbytes, sparse)
        if code == 0:
            self.locked = kept
        lock_code[0] = self.relock()
        if lock_code[0]:
            if code == 0 and nbytes > before:  # undo the growth
                self.resize_mapping(before, True)
            self.locked = locked
            self.relock()
        if self.address == NULL:
            self.guard.unwatch()
            self.damage = &self.guard.kept_damage
        else:
            self.guard.resume(self.address, self.nbytes)
        return code

    cdef int resize_mapping(self, Py_ssize_t nbytes, bint sparse) noexcept:
        """Resize the mapping and its file. Return 0 or the system's error code; `address` is NULL if it is lost."""
        cdef region_file handle = handle_of(self.own_file)
        cdef region_info now, info = self.last_info
        cdef int code
        with nogil:
            if handle == REGION_NO_FILE:
                code = region_resize_anonymous(self.nbytes, nbytes, <void **>&self.address)
            else:
                code = region_resize(handle, self.offset, self.nbytes, nbytes, sparse, <void **>&self.address)
                if region_file_info(handle, &now) == 0:  # of a file that was renamed, Wine no longer knows the device
                    info.size, info.mtime_ns = now.size, now.mtime_ns
                elif code == 0:
                    info.size = self.offset + nbytes
        with cython.critical_section(self):
            self.last_info = info
        if code == 0:
            self.nbytes = nbytes
            self.room = nbytes
            self.advise_from(REGION_NORMAL)
        return code

    cdef void end_resize(self) noexcept:
        """Let other threads use the region again after `resize`."""
        if users_state(&self.users) == USERS_RESIZING:
            users_set(&self.users, USERS_GONE if self.address == NULL else USERS_OWNER)

    def cut(self, Py_ssize_t nbytes):
        """Cut off the end of the region, and of the file that ends with it."""
        try:
            if not self.resize(nbytes, True, NULL, 0):
                raise BufferError(f"Cannot cut off the end of a map that another thread uses: {self.path}")
        finally:
            self.end_resize()

    # ---- pages

    cdef int acquire_range(self, Py_ssize_t stop) except -1:
        """Acquire the region. Raise if it now ends before `stop`: it may have been resized since the caller checked."""
        acquire(self)
        if stop > self.nbytes or self.damage[0]:
            release(self)
            check_damage(self)
            raise ValueError(RESIZED)
        return 0

    def flush(self, Py_ssize_t start, Py_ssize_t stop, bint wait):
        """Start writing dirty pages back; if `wait`, return when they survive a power cut.

        After a failure, raise until `recover` has succeeded: the system does not say which pages it failed to write,
        takes them for clean, and may write them in vain.
        """
        cdef Region root
        cdef bint failed_before
        cdef int code
        self.acquire_range(stop)
        cdef File file = self.file  # this reference keeps it open if another thread revokes
        cdef region_file handle = handle_of(file)
        try:
            root = self.root()
            failed_before = root.cured != root.failures[0]
            if failed_before:
                root.make_dirty()
            with nogil:
                code = region_flush(handle, self.offset + start, self.address + start, stop - start, wait)
            if code:
                root.note_failure()
        finally:
            release(self)
        self.check_write_back(code)
        if failed_before:
            raise explain_write_back(OSError(errno.EIO, "An earlier write to the disk has failed"), self.path)

    cdef void note_failure(self) noexcept:
        """Have later calls know that something could not be written back, and the system keep it in memory."""
        count_failure(self.failures)
        self.make_dirty()

    cdef void make_dirty(self) noexcept:
        """Mark all resident pages as dirty, if they are the file's."""
        cdef Range pages
        cdef fault_guard *guard = self.guard.current_entry()
        pages.start, pages.stop = self.address, self.address + self.nbytes
        if self.writable and self.shared:
            with nogil:
                run_for_caller(guard, make_pages_dirty, &pages)

    cdef int write_again(self, File file) except -1:
        """Write all that is resident to the file again, as new pages. No page is locked."""
        cdef Again task
        cdef fault_guard *guard = self.guard.current_entry()
        cdef unsigned int failures = self.failures[0]
        self.make_dirty()
        check_damage(self)
        task.file, task.offset, task.address, task.nbytes = file.handle, self.offset, self.address, self.nbytes
        for _ in range(2):  # the first error may be that of an attempt which the system made before
            with nogil:
                run_for_caller(guard, flush_and_rewrite, &task)
            check_damage(self)
            if not task.code:
                break
            self.make_dirty()
        if task.code:
            self.note_failure()
        else:
            self.cured = failures
        return self.check_write_back(task.code)

    cdef int check_write_back(self, int code) except -1:
        """Raise the OSError for pages that could not be written back. Code 0 means success."""
        try:
            return check(code, self.path)
        except OSError as error:
            raise explain_write_back(error, self.path) from None

    def sync_name(self):
        """Make the name of a file that was created for this mapping survive a power cut. Does its work only once."""
        cdef Region root = self.root()
        if not root.unsynced_name:
            return
        try:
            sync_directory(os.path.dirname(os.path.realpath(self.path)))
        except (FileNotFoundError, PermissionError):  # the file was moved, or the directory is not readable
            pass
        root.unsynced_name = False

    @property
    def access(self):
        """The access intent last given to `advise`, else "normal"."""
        return ACCESSES[self.root().advised]

    def advise(self, access):
        """Set the access intent of the whole mapping. Advice for a part would split the kernel's mapping (VMA)."""
        cdef Region root = self.root()
        cdef int how = ACCESSES.index(access), before = root.advised
        acquire(self)
        root.advised = how
        root.advise_from(<region_access>before)
        release(self)

    def switch_advice(self, before, access):
        """Have the system treat the whole mapping as if it had another access intent, for a while."""
        cdef Region root = self.root()
        cdef int old = ACCESSES.index(before), new = ACCESSES.index(access)
        acquire(self)
        region_advise(root.address, root.room, not root.on_file, <region_access>old, <region_access>new)
        release(self)

    def switch_advice_of(self, Py_ssize_t start, Py_ssize_t stop, before, access):
        """Do the same for a range, which splits the kernel's mapping: no page fault maps more than its part."""
        cdef int old = ACCESSES.index(before), new = ACCESSES.index(access)
        self.acquire_range(stop)
        region_advise(
            self.address + start, stop - start, not self.on_file, <region_access>old, <region_access>new)
        release(self)

    cdef void advise_from(self, region_access before) noexcept:
        """Give the whole mapping its access intent, in the place of another."""
        if self.advised != before:
            region_advise(self.address, self.room, not self.on_file, before, <region_access>self.advised)

    def request(self, Py_ssize_t start, Py_ssize_t stop):
        """Start reading the pages that are not resident."""
        self.acquire_range(stop)
        with nogil:
            region_request(self.address + start, stop - start)
        release(self)

    def cool(self, Py_ssize_t start, Py_ssize_t stop):
        """Say that pages were used and will not be soon: where memory is short, they go before others."""
        self.acquire_range(stop)
        with nogil:
            region_cool(self.address + start, stop - start)
        release(self)

    def touch(self, Py_ssize_t start, Py_ssize_t stop):
        """Read a byte of every page, and so wait until all pages have been read."""
        cdef Range pages
        cdef fault_guard *guard
        self.acquire_range(stop)
        guard = self.guard.current_entry()
        pages.start, pages.stop = self.address + start, self.address + stop
        with nogil:
            run_for_caller(guard, touch_pages, &pages)
        release(self)
        check_damage(self)

    cdef bint wait_if_asked(self, char *place, Py_ssize_t nbytes, const char *source) noexcept:
        """Do the work of `wait_for_pages`."""
        cdef double now = time.perf_counter(), before = self.asked_at
        self.asked_at = now
        self.unasked = UNASKED
        if not self.on_file or (self.asking == 0 and now - before < WAIT):  # asking the system takes ten times longer
            return False
        cdef uint64_t waits = region_major_faults()
        cdef unsigned long thread = PyThread_get_thread_ident()
        cdef fault_guard *guard = self.guard.entry
        cdef bint done = False
        cdef Range pages
        pages.start, pages.stop = place, place + nbytes
        if thread == self.waiting and waits != self.waits:
            self.asking = max(self.asking, <int>ASKING)
        if self.asking == 0:
            self.waits, self.waiting = waits, thread
            return False
        self.asking -= 1
        self.unasked = 0
        if not self.untold and is_resident(&pages):
            if source == NULL:
                run_for_caller(guard, touch_pages, &pages)
                self.untold = region_major_faults() != waits
        else:
            with nogil:
                if source == NULL:
                    run_for_caller(guard, touch_pages, &pages)
                else:
                    copy_bytes(place, source, nbytes)
            done = source != NULL
            if not self.untold or region_major_faults() != waits:
                # asking takes half a microsecond: less in all than the wait did, or than ASKING
                self.asking = max(<int>ASKING, min(<int>MOST_ASKING, <int>(1e6 * (time.perf_counter() - now))))
        self.waits, self.waiting = region_major_faults(), thread
        return done

    def evict_pages(self, pages, File file):
        """Drop unlocked pages from this process and, if the file is given, from the page cache.

        Pages that cannot be written back stay there, and the error is raised.
        """
        cdef Region root = self.root()
        cdef OldMapping old
        cdef region_file handle
        cdef Py_ssize_t start, stop, skipped = self.offset - root.offset
        cdef int code = 0
        acquire(self)
        self.unasked, self.asking = 0, ASKING  # the next reads will wait
        try:
            check_damage(self)
            if file is not None and root.cured != root.failures[0]:  # pages that seem clean may be unwritten
                if root.writable and root.shared:
                    root.flush(0, root.nbytes, True)  # raises
                else:
                    file = None
            handle = handle_of(file)
            with cython.critical_section(root):
                root.forget_inherited_locks()
                locked, older = root.locked, root.older
            for run in subtract(pages, locked):  # Windows would unlock locked pages
                start, stop = bytes_of(run, self.offset, self.nbytes)
                for old in older or ():
                    old.evict(skipped + start, skipped + stop, self.shared)
                with nogil:
                    code = region_evict(handle, self.offset + start, self.address + start, stop - start, self.shared)
                if code:
                    root.note_failure()
                    break
        finally:
            release(self)
        self.check_write_back(code)

    @property
    def knows_residency(self):
        """Whether the system tells which pages are resident without the file."""
        return self.path is None or region_knows_residency(encoded(self.path)) != 0

    def residency_file(self):
        """Return the file that `residency` needs, or None. FUSE drops the pages of a file when it is opened."""
        return self.file if self.file is not None or self.knows_residency else self.reopen_file()

    def residency(self, File file, Py_ssize_t start, Py_ssize_t stop):
        """Return one byte per page of the non-empty range [start, stop): 1 if the page is resident."""
        cdef size_t page = region_page_size()
        cdef size_t skew = (self.offset + start) % page
        cdef bytearray resident = bytearray((skew + stop - start - 1) // page + 1)
        cdef unsigned char *flags = resident
        cdef region_file handle = handle_of(file)
        cdef int code
        self.acquire_range(stop)
        with nogil:
            code = region_residency(handle, self.offset + start, self.address + start, stop - start, flags)
        release(self)
        if code == errno.EOPNOTSUPP:
            raise OSError(code, UNKNOWN_RESIDENCY, self.path)
        check(code, self.path)
        return resident

    # ---- locked pages

    def lock_pages(self, pages):
        """Lock pages: they stay resident until they are unlocked or unmapped. An error locks none of them."""
        cdef Region root = self.root()
        cdef int code = 0
        with root.size_lock():
            acquire(self)
            try:
                check_damage(self)
                _, end = pages_of([(0, self.nbytes)], self.offset)[0]
                if pages and pages[-1][1] > end:
                    raise ValueError(RESIZED)
                unlocked = subtract(pages, root.locked)
                for i, run in enumerate(unlocked):
                    code = root.lock_run(run)
                    if code:
                        for done in unlocked[:i + 1]:  # the run that failed may be partly locked
                            root.unlock_run(done)
                        break
                else:
                    root.locked = (*root.locked, *unlocked)
            finally:
                release(self)
        # pages beyond the end of a truncated file cannot be locked: raise DamagedError then
        file = self.reopen_file() if code else None
        if file is not None:
            self.check_size(file.info_now)
        self.check_lock(code, unlocked)

    def unlock_pages(self, pages):
        """Unlock pages."""
        cdef Region root = self.root()
        with root.size_lock():
            acquire(self)
            try:
                for run in pages:
                    check(root.unlock_run(run), self.path)
                    root.locked = tuple(subtract(root.locked, [run]))
            finally:
                release(self)

    cdef void find_bytes(self, tuple run, Py_ssize_t *start, Py_ssize_t *stop) noexcept:
        """Find the bytes of a page run that are in the region, without an object that takes memory."""
        cdef uint64_t page = region_page_size(), first = run[0], last = run[1], end = self.offset + self.nbytes
        first, last = max(first * page, self.offset), min(last * page, end)
        start[0], stop[0] = min(first, end) - self.offset, max(last, self.offset) - self.offset

    cdef int lock_run(self, tuple run) noexcept:
        """Lock a page run. Return 0 or the system's error code."""
        cdef Py_ssize_t start, stop
        cdef int code
        self.find_bytes(run, &start, &stop)
        with nogil:
            code = region_lock(self.address + start, stop - start)
        return code

    cdef int unlock_run(self, tuple run) noexcept:
        """Unlock a page run. Return 0 or the system's error code."""
        cdef Py_ssize_t start, stop
        cdef int code
        self.find_bytes(run, &start, &stop)
        with nogil:
            code = region_unlock(self.address + start, stop - start)
        return code

    cdef int relock(self) noexcept:
        """Lock the pages in `locked` again, after they were mapped again. Return 0 or the first error code.

        Runs that could not be locked are not in `locked` afterwards.
        """
        cdef int code, first_code = 0
        for run in self.locked if self.address != NULL else ():
            code = self.lock_run(run)
            if code:
                self.unlock_run(run)  # a part of it may be locked
                self.locked = tuple(subtract(self.locked, [run]))
                first_code = first_code or code
        return first_code

    cdef int lock_at(self, char *address) noexcept:
        """Lock the pages in `locked` in another mapping of the same bytes. Return 0 or the first error code."""
        cdef Py_ssize_t start, stop
        cdef int code
        for run in self.locked:
            self.find_bytes(run, &start, &stop)
            code = region_lock(address + start, stop - start)
            if code:
                return code
        return 0

    cdef int check_lock(self, int code, pages) except -1:
        """Raise the OSError, with the limit, for page runs that could not be locked. Code 0 means success."""
        try:
            return check(code, self.path)
        except OSError as error:
            nbytes = sum([last - first for first, last in pages]) * PAGE_SIZE
            raise explain_lock(error, nbytes, self.path) from None


cdef struct Range:
    const char *start
    const char *stop


cdef void touch_pages(void *task) noexcept nogil:
    cdef const Range *pages = <const Range *>task
    cdef const char *place = pages.start
    cdef size_t page = region_page_size()
    while place < pages.stop:
        read_byte(place)
        place = <const char *>((<uintptr_t>place & ~(page - 1)) + page)


cdef bint is_resident(const Range *pages) noexcept:
    """Return whether all of a few pages are resident, as far as the system tells."""
    cdef unsigned char resident[PAGE_BLOCK]
    cdef size_t page = region_page_size(), skew = <uintptr_t>pages.start & (page - 1), nbytes = pages.stop - pages.start
    resident[0] = 0
    region_residency(REGION_NO_FILE, 0, <void *>pages.start, nbytes, resident)
    return memchr(resident, 0, (skew + nbytes + page - 1) // page) == NULL


cdef void make_pages_dirty(void *task) noexcept nogil:
    cdef const Range *pages = <const Range *>task
    cdef char *place = <char *>pages.start
    cdef size_t page = region_page_size()
    cdef char *behind
    cdef char *end
    cdef unsigned char resident[PAGE_BLOCK]
    cdef bint known
    cdef int i
    while place < pages.stop:
        behind = <char *>((<uintptr_t>place & ~(page - 1)) + PAGE_BLOCK * page)
        end = behind if behind < pages.stop else <char *>pages.stop
        known = region_residency(REGION_NO_FILE, 0, place, end - place, resident) == 0
        for i in range(PAGE_BLOCK):
            if place >= end:
                break
            if resident[i] or not known:
                write_same_byte(place)
            place = <char *>((<uintptr_t>place & ~(page - 1)) + page)


cdef struct Again:
    region_file file
    uint64_t offset
    char *address
    Py_ssize_t nbytes
    int code


cdef void flush_and_rewrite(void *argument) noexcept nogil:
    cdef Again *task = <Again *>argument
    task.code = region_flush(task.file, task.offset, task.address, task.nbytes, True)
    if task.code == 0:
        task.code = region_rewrite(task.file, task.offset, task.address, task.nbytes)
    if task.code == 0:
        task.code = region_flush(task.file, task.offset, task.address, task.nbytes, True)


cdef Region new_region(char *address, uint64_t offset, Py_ssize_t nbytes, size_t room, region_intent intent):
    """Return a region that owns a mapping. Unmap it if memory runs out."""
    cdef Region region
    try:
        region = Region.__new__(Region)
        region.guard = Guard.__new__(Guard)
    except MemoryError:
        region_unmap(address, room)
        raise
    region.damage = region.guard.damage
    region.address = address
    region.offset = offset
    region.nbytes = nbytes
    region.room = room
    region.writable = intent != REGION_READ
    region.shared = intent != REGION_COPY
    return region


cpdef Region map_file(File file, intent, uint64_t offset, Py_ssize_t nbytes, Py_ssize_t room=0):
    """Map `nbytes` bytes of a file from `offset` on; `intent` is "read", "write" or "copy".

    `room`: how many bytes to set aside, if the system can, for what others append to the file. The region keeps the
    file open if it writes to it, or if the file came from the caller and may have no name.
    """
    cdef region_intent how = <region_intent><int>INTENTS.index(intent)
    cdef size_t mapped = nbytes
    cdef char *address
    cdef int code
    if room > nbytes:
        mapped = room
        code = region_map_ahead(file.handle, how, offset, nbytes, &mapped, <void **>&address)
    else:
        code = region_map(file.handle, how, offset, nbytes, <void **>&address)
    check_mapped(code, nbytes, file.path, how == REGION_WRITE)
    cdef Region region = new_region(address, offset, nbytes, mapped, how)
    region.path = file.path
    region.last_info = file.last_info
    region.on_file = True
    region.failures = file_failures + 1 + file.last_info.inode % (FAILURE_COUNTERS - 1)
    region.cured = region.failures[0]
    if how == REGION_WRITE or file.from_caller:
        region.own_file = file
    else:
        file.close()
    region.guard.watch(address, nbytes, region.own_file, region.path, &region.last_info, how, offset)
    region.damage = region.guard.damage
    return region


cpdef Region map_anonymous(Py_ssize_t nbytes, bint shared):
    """Map zero-filled memory; if `shared`, with children forked later and with processes that have its token."""
    cdef File memory = File.__new__(File)
    cdef bytes name = b""
    cdef char *address
    cdef Region region
    if shared:
        name = b"memmap-" + os.urandom(16).hex().encode()
    if shared and region_memory_create(name, nbytes, &memory.handle) == 0:
        check_mapped(region_memory_map(memory.handle, 0, nbytes, <void **>&address), nbytes, None)
        region = new_region(address, 0, nbytes, nbytes, REGION_WRITE)
        region.memory = memory
        region.token = f"{os.getpid()}:{name.decode()}"
        return region
    # not shared, or the system cannot create named memory: no token
    check_mapped(region_map_anonymous(nbytes, shared, <void **>&address), nbytes, None)
    return new_region(address, 0, nbytes, nbytes, REGION_WRITE if shared else REGION_COPY)


cpdef Region map_token(str token, uint64_t offset, Py_ssize_t nbytes):
    """Map part of the shared memory of another process, by its token "process id:name"."""
    cdef File memory = File.__new__(File)
    cdef char *address
    creator, _, name = token.partition(":")
    check(region_memory_open(encoded(name), int(creator), &memory.handle), None)
    check_mapped(region_memory_map(memory.handle, offset, nbytes, <void **>&address), nbytes, None)
    cdef Region region = new_region(address, offset, nbytes, nbytes, REGION_WRITE)
    region.token = token
    return region


@cython.final
@cython.no_gc
cdef class OldMapping:
    """Memory that views of a region may still use, though the region has moved; unmapped with this object."""

    cdef char *address  # NULL: nothing to unmap
    cdef size_t room
    cdef Guard guard

    cdef void evict(self, Py_ssize_t start, Py_ssize_t stop, bint shared) noexcept:
        """Drop pages from this process."""
        stop = min(stop, <Py_ssize_t>self.room)
        if start < stop:
            region_evict(REGION_NO_FILE, 0, self.address + start, stop - start, shared)

    cdef int unmap(self) noexcept:
        """Return 0, or the system's error code: then it stays mapped."""
        if self.address == NULL:
            return 0
        self.guard.unwatch()
        cdef int code = unmap(self.address, self.room)
        if code == 0:
            self.address = NULL
        return code

    def __dealloc__(self):
        self.unmap()


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Lease:
    """One user of a region, as long as this object lives."""

    def __dealloc__(self):
        if self.region == NULL:
            return
        if self.traced:
            PyTraceMalloc_Untrack((<Region>self.region).trace_domain, <uintptr_t><void *>self)
        release(<Region>self.region)
