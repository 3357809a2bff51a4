"""Region: the owner of one OS mapping, with its file, its size, and which of its pages are locked.

Region counts the users of its memory: the owner (a MemMap) is one, every `Lease` is another. A lease is the base of an
ndarray over the memory, so it lives exactly as long as the array and everything derived from it. The last user to
release the region unmaps.

A window is a region of its own over a part of another one, on which it holds a lease. The region at the other end of
those leases is the root: it has what exists once per mapping, such as the locks.
"""

import errno
import os
import sys
from _thread import RLock  # that of threading, which takes long to import

cimport cython
from libc.stdint cimport uint32_t, uint64_t, uintptr_t

from ._file cimport File, FileInfo, check, encoded, file_info, handle_of, is_only_thread
from ._guard cimport FAULT_REVOKED, FAULT_TRUNCATED, Guard, fault_guard, read_byte, run_for_caller
from .libregion cimport (
    REGION_COPY, REGION_NO_FILE, REGION_NORMAL, REGION_RANDOM, REGION_READ, REGION_SEQUENTIAL, REGION_WRITE,
    region_access, region_advise, region_evict, region_file, region_file_info, region_flush, region_info,
    region_intent, region_lock, region_map, region_map_anonymous, region_memory_create, region_memory_map,
    region_memory_open, region_page_size, region_request, region_residency, region_resize, region_resize_anonymous,
    region_unlock, region_unmap,
)

import time

from ._damage import DamagedError, explain
from ._file import sync_directory
from ._limits import explain_lock, explain_memory, explain_space
from ._modes import ACCESSES, INTENTS
from ._paging import PAGE_SIZE, bytes_of, pages_of, subtract

cdef extern from "Python.h":
    int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t pointer)

cdef enum:
    LONG_UNMAP = 1 << 22  # bytes: from here on, unmapping may take longer than letting other threads run

# tracemalloc keeps one domain per region, so that it can tell where the leases of this one were taken
cdef shared_unsigned trace_domains = 0x5EA10000

cdef str RESIZED = "The map was resized while the call was under way"
cdef str REPLACED = "Another file has taken the place of the one that is mapped"

# the names of region_intent and region_access, in their order
assert (REGION_READ, REGION_WRITE, REGION_COPY) == tuple(map(INTENTS.index, ("read", "write", "copy")))
assert (REGION_NORMAL, REGION_RANDOM, REGION_SEQUENTIAL) == tuple(
    map(ACCESSES.index, ("normal", "random", "sequential")))

cdef int forks = 0  # between the first process with this module and this one


def after_fork_in_child():
    global forks
    forks += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=after_fork_in_child)


cdef int check_mapped(int code, Py_ssize_t nbytes, path) except -1:
    try:
        return check(code, path)
    except OSError as error:
        raise explain_memory(error, nbytes, path) from None


cdef bint wait_for_another(Py_ssize_t found):
    """If the count says that another thread is resizing or closing, let that thread run, and return True."""
    if found >= 0:
        return False
    time.sleep(0)
    return True


@cython.final
@cython.freelist(8)
@cython.no_gc  # nothing here can be part of a cycle: files, guards, leases and paths do not refer to what holds them
cdef class Region:
    """One mapping, and the count of its users.

    Byte ranges are relative to the start of the region and have been checked by the caller. Runs of pages count from
    the start of the file.
    """

    def __cinit__(self):
        self.trace_domain = shared_next(&trace_domains)
        users_set(&self.users, USERS_OWNER)
        self.locked = ()
        self.process = forks

    def __dealloc__(self):
        if self.address != NULL and self.parent is None:
            self.guard.end()
            region_unmap(self.address, self.nbytes)

    def window(self, Py_ssize_t start, Py_ssize_t nbytes):
        """Return a region over a part of this one. However many users it has, it is one user here."""
        cdef Region part = Region.__new__(Region)
        cdef Lease taken = lease_unchecked(self)
        if start + nbytes > self.nbytes:
            raise ValueError(RESIZED)
        part.parent = taken
        part.address = self.address + start
        part.path = self.path
        part.seen = self.seen
        part.on_file = self.on_file
        part.offset = self.offset + start
        part.nbytes = nbytes
        part.writable = self.writable
        part.shared = self.shared
        part.token = self.token
        part.guard = self.guard
        part.damage = self.damage
        return part

    cdef Region root(self):
        """Return the region that owns the mapping; a closed window is its own root."""
        cdef Lease parent
        with cython.critical_section(self):
            parent = self.parent
        return self if parent is None else parent.region.root()

    # ---- the file

    @property
    def file(self):
        """The open file behind the mapping, or None: not every mapping keeps its file open."""
        cdef Region root = self.root()
        with cython.critical_section(root):
            return root.own_file

    def reopen_file(self):
        """The file behind the mapping, open; None if there is none, or its name leads to another file."""
        cdef File file = self.file
        if file is not None or self.path is None or not self.on_file:
            return file
        try:
            file = File.open(self.path, False)
        except OSError:
            return None
        return file if file.info.identity == self.info.identity else None

    @property
    def info(self):
        """The `FileInfo` of when the file was mapped, or last resized here; None for anonymous memory."""
        cdef Region root = self.root()
        cdef region_info seen
        if not self.on_file:
            return None
        with cython.critical_section(root):
            seen = root.seen
        return file_info(&seen)

    def info_by_name(self):
        """The `FileInfo` of now, asked by name; an OSError if the name leads to another file or to none."""
        info = FileInfo.at(self.path)
        if info.identity != self.info.identity:
            raise OSError(errno.ESTALE, REPLACED, self.path)
        return info

    # ---- users

    cdef int refuse(self, Py_ssize_t found) except -1:
        name = self.path or "anonymous"
        if found == USERS_RESIZING:
            raise BufferError(f"MemMap is being resized by another thread: {name}")
        if self.was_lost:
            raise ValueError(f"MemMap was being resized when this process was forked, and is lost here: {name}")
        raise ValueError(f"MemMap is closed: {name}")

    cdef void unmap(self) noexcept:
        cdef File file, memory
        cdef void *address = self.address
        cdef size_t nbytes = self.nbytes
        self.address = NULL
        self.damage = &self.guard.last
        if self.parent is not None:
            self.advised = self.root().advised  # attributes still work after close
        else:
            self.guard.end()
            if nbytes < LONG_UNMAP or is_only_thread():
                region_unmap(address, nbytes)
            else:
                with nogil:
                    region_unmap(address, nbytes)
        with cython.critical_section(self):  # another thread may be asking for the file
            self.parent = None
            file, memory = self.own_file, self.memory
            self.own_file = self.memory = None
        if file is not None:
            file.close()  # without the GIL, the thread that made an object deallocates it, perhaps later
        if memory is not None:
            memory.close()

    cdef void lose(self) noexcept:
        """In the child of a fork, give up a region that another thread of the parent was resizing or closing."""
        cdef Py_ssize_t found = users_count(&self.users)
        if found < 0:
            self.was_lost = found == USERS_RESIZING
            self.damage = &self.guard.last
            self.guard.end()
            self.address = NULL  # it is not known which part is still mapped
            self.own_file = self.memory = None
            users_set(&self.users, USERS_GONE)

    @property
    def leases(self):
        """How many leases are alive."""
        return max(users_count(&self.users), 0) % USERS_OWNER

    def lease_sites(self):
        """Return where the leases that are alive were taken, most frequent first: "file:line (count)"."""
        cdef uintptr_t nowhere = 1
        if PyTraceMalloc_Track(self.trace_domain, nowhere, 0) != 0:
            return []  # without an import: at a fork another thread may have held its lock
        PyTraceMalloc_Untrack(self.trace_domain, nowhere)
        import tracemalloc

        only = tracemalloc.DomainFilter(True, self.trace_domain)
        sites = tracemalloc.take_snapshot().filter_traces([only]).statistics("lineno")
        return [f"{site.traceback[0].filename}:{site.traceback[0].lineno} ({site.count})" for site in sites]

    cpdef bint close(self) except -1:
        """Unmap if the owner is the only user. Returns False if leases are alive."""
        cdef Py_ssize_t state = USERS_CLOSING if self.parent is None else USERS_GONE  # a window unmaps nothing
        cdef Py_ssize_t found = users_claim(&self.users, state)
        while wait_for_another(found):
            found = users_claim(&self.users, state)
        if found == USERS_OWNER:
            self.unmap()
            users_set(&self.users, USERS_GONE)
        return found <= USERS_OWNER

    def abandon(self):
        """End the owner's use; the last lease will unmap. Returns False if it had ended already."""
        cdef Py_ssize_t found = users_abandon(&self.users)
        while wait_for_another(found):
            found = users_abandon(&self.users)
        if found == USERS_OWNER:
            self.unmap()
        return found >= USERS_OWNER

    def revoke(self):
        """End the owner's use and close the file. Leases keep the address range, which reads zero from now on.

        Returns False if the owner's use had ended already. A window is only abandoned.
        """
        cdef int code = 0
        cdef File memory
        cdef Py_ssize_t found = users_acquire(&self.users)
        while wait_for_another(found):
            found = users_acquire(&self.users)
        if found < USERS_OWNER:
            return False
        cdef bint first = users_abandon(&self.users) >= USERS_OWNER
        if first and self.parent is None:
            with nogil:
                code = self.guard.revoke(self.address, self.nbytes, self.writable)
            with cython.critical_section(self):
                memory = self.memory
                self.own_file = self.memory = None
            if memory is not None:
                memory.close()
        release(self)
        check(code, self.path)
        return first

    # ---- damage

    @property
    def damaged(self):
        return self.guard.damage[0] & ~<uint32_t>FAULT_REVOKED != 0

    def check_damage(self):
        """Raise `DamagedError` if pages were lost."""
        check_damage(self)

    cdef int refuse_damaged(self) except -1:
        damage, start, stop = self.guard.loss()
        if damage == FAULT_REVOKED:
            self.refuse(USERS_GONE)
        raise DamagedError(*explain(damage, self.path, start, stop))

    def check_size(self, info_now):
        """Raise `DamagedError` if the file has become shorter than the mapping; `info_now()` asks about it."""
        cdef Py_ssize_t first
        acquire(self)  # nobody resizes it meanwhile
        try:
            first = max(info_now().size - <object>self.offset, 0)
            if first < self.nbytes:
                raise DamagedError(*explain(FAULT_TRUNCATED, self.path, first, self.nbytes))
        finally:
            release(self)

    def recover(self):
        """Map the file again under what was lost."""
        cdef Region root = self.root()
        cdef File file = self.file
        cdef int code
        if file is None:
            try:
                file = File.open(self.path, False)
                if file.info.identity != self.info.identity:
                    raise OSError(errno.ESTALE, REPLACED, self.path)
            except OSError:
                check_damage(self)  # raises, from this error
                raise
        with root.size_lock():
            acquire(self)
            try:
                code = root.guard.recover(file)
                if code:
                    self.refuse_damaged()
                if root.advised:
                    region_advise(root.address, root.nbytes, <region_access>root.advised)
                code = root.lock_again()
            finally:
                release(self)
        self.check_locked(code, root.locked)

    # ---- size

    def size_lock(self):
        """Return the lock that a thread holds while it changes the size of the mapping, or which pages are locked."""
        cdef Region root = self.root()
        cdef object fresh = RLock()
        with cython.critical_section(root):
            root.own_locks()
            if root.size_lock_ is None:
                root.size_lock_ = fresh
            return root.size_lock_

    cdef void own_locks(self) noexcept:
        """Forget the locks of the parent process after a fork: a child inherits neither locked pages nor threads."""
        if self.process != forks:
            self.process = forks
            self.locked = ()
            self.size_lock_ = None

    cdef int resize(self, Py_ssize_t nbytes, bint sparse) except -1:
        """Grow or shrink the mapping, and the file that ends with it; the caller has the size lock.

        Returns 0 if the owner is not the only user. Otherwise no other thread can use the region until `reopen`, also
        after an error.
        """
        cdef Py_ssize_t before = self.nbytes
        cdef tuple locked = self.locked
        cdef int code, lock_code
        if users_claim(&self.users, USERS_RESIZING) != USERS_OWNER:
            return 0
        check_damage(self)
        self.guard.pause()
        if locked and nbytes > before:
            region_unlock(self.address, before)  # old and new pages together could exceed the limit
        code = self.set_size(nbytes, sparse)
        _, end = pages_of([(0, self.nbytes)], self.offset)[0]
        self.locked = tuple(subtract(locked, [(end, sys.maxsize)]))
        lock_code = self.lock_again()
        if lock_code:
            if code == 0 and nbytes > before:
                self.set_size(before, True)
            self.locked = () if self.lock_again() else locked
        if self.address == NULL:
            self.guard.end()
            self.damage = &self.guard.last
        else:
            self.guard.resume(self.address, self.nbytes)
        try:
            check(code, self.path)
        except OSError as error:
            raise explain_space(
                explain_memory(error, nbytes, self.path), self.offset + nbytes, self.path) from None
        if nbytes > before:
            self.check_locked(lock_code, locked)
        return 1

    cdef int set_size(self, Py_ssize_t nbytes, bint sparse) noexcept:
        cdef region_file handle = handle_of(self.own_file)
        cdef region_info seen = self.seen
        cdef int code
        with nogil:
            if handle == REGION_NO_FILE:
                code = region_resize_anonymous(self.nbytes, nbytes, <void **>&self.address)
            else:
                code = region_resize(handle, self.offset, self.nbytes, nbytes, sparse, <void **>&self.address)
                region_file_info(handle, &seen)
        with cython.critical_section(self):
            self.seen = seen
        if code == 0:
            self.nbytes = nbytes
            if self.advised:
                region_advise(self.address, nbytes, <region_access>self.advised)
        return code

    cdef void reopen(self) noexcept:
        if users_count(&self.users) == USERS_RESIZING:
            users_set(&self.users, USERS_GONE if self.address == NULL else USERS_OWNER)

    # ---- pages

    cdef int acquire_range(self, Py_ssize_t stop) except -1:
        """Acquire the region, unless it ends before `stop`: another thread may have resized it."""
        acquire(self)
        if stop > self.nbytes or self.damage[0]:
            release(self)
            check_damage(self)
            raise ValueError(RESIZED)
        return 0

    def flush(self, Py_ssize_t start, Py_ssize_t stop, bint wait):
        """Write dirty pages back to the file; `wait`: until they survive a power cut."""
        cdef int code
        self.acquire_range(stop)
        cdef File file = self.file  # a reference keeps it open
        cdef region_file handle = handle_of(file)
        with nogil:
            code = region_flush(handle, self.offset + start, self.address + start, stop - start, wait)
        release(self)
        check(code, self.path)

    def flush_name(self):
        """Make the name of a file that was made with this mapping survive a power cut, once."""
        cdef Region root = self.root()
        if not root.unsynced_name:
            return
        try:
            sync_directory(os.path.dirname(os.path.realpath(self.path)))
        except (FileNotFoundError, PermissionError):  # moved away, or the directory may not be read
            pass
        root.unsynced_name = False

    @property
    def access(self):
        """How the pages are meant to be used: "normal", or what was last given to `advise`."""
        return ACCESSES[self.root().advised]

    def advise(self, access):
        """Set how the pages of the whole mapping will be used: advice for a part would split it."""
        cdef Region root = self.root()
        cdef int how = ACCESSES.index(access)
        acquire(self)
        region_advise(root.address, root.nbytes, <region_access>how)
        root.advised = how
        release(self)

    def request(self, Py_ssize_t start, Py_ssize_t stop):
        """Start reading pages that are not resident."""
        self.acquire_range(stop)
        with nogil:
            region_request(self.address + start, stop - start)
        release(self)

    def touch(self, Py_ssize_t start, Py_ssize_t stop):
        """Read pages that are not resident, and wait for them."""
        cdef Range pages
        cdef fault_guard *guard
        self.acquire_range(stop)
        guard = self.guard.watcher()
        pages.start, pages.stop = self.address + start, self.address + stop
        with nogil:
            run_for_caller(guard, touch_pages, &pages)
        release(self)
        check_damage(self)

    def evict_pages(self, pages, File file):
        """Drop pages that are not locked from this process and, given the file, from the page cache."""
        cdef Region root = self.root()
        cdef region_file handle = handle_of(file)
        cdef Py_ssize_t start, stop
        acquire(self)
        try:
            check_damage(self)
            with cython.critical_section(root):
                root.own_locks()
                locked = root.locked
            for run in subtract(pages, locked):  # Windows would unlock them
                start, stop = bytes_of(run, self.offset, self.nbytes)
                with nogil:
                    region_evict(handle, self.offset + start, self.address + start, stop - start, self.shared)
        finally:
            release(self)

    def residency(self, File file, Py_ssize_t start, Py_ssize_t stop):
        """One byte per page that [start, stop), not empty, touches: 1 if the page is resident."""
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
        check(code, self.path)
        return resident

    # ---- locked pages

    def lock_pages(self, pages):
        """Keep pages resident until they are unlocked or unmapped; after an error no more are locked than before."""
        cdef Region root = self.root()
        cdef int code = 0
        with root.size_lock():
            acquire(self)
            try:
                check_damage(self)
                _, end = pages_of([(0, self.nbytes)], self.offset)[0]
                if pages and pages[-1][1] > end:
                    raise ValueError(RESIZED)
                fresh = subtract(pages, root.locked)
                for i, run in enumerate(fresh):
                    code = root.lock_run(run)
                    if code:
                        for done in fresh[:i + 1]:  # of this one, too, a part may be locked
                            root.unlock_run(done)
                        break
                else:
                    root.locked = (*root.locked, *fresh)
            finally:
                release(self)
        file = self.reopen_file() if code else None
        if file is not None:
            self.check_size(file.info_now)
        self.check_locked(code, fresh)

    def unlock_pages(self, pages):
        """Let pages be evicted again."""
        cdef Region root = self.root()
        with root.size_lock():
            acquire(self)
            try:
                for run in pages:
                    check(root.unlock_run(run), self.path)
                    root.locked = tuple(subtract(root.locked, [run]))
            finally:
                release(self)

    cdef int lock_run(self, tuple run) noexcept:
        cdef Py_ssize_t start, stop
        cdef int code
        start, stop = bytes_of(run, self.offset, self.nbytes)
        with nogil:
            code = region_lock(self.address + start, stop - start)
        return code

    cdef int unlock_run(self, tuple run) noexcept:
        cdef Py_ssize_t start, stop
        cdef int code
        start, stop = bytes_of(run, self.offset, self.nbytes)
        with nogil:
            code = region_unlock(self.address + start, stop - start)
        return code

    cdef int lock_again(self) noexcept:
        """Lock the recorded pages again, in memory that was mapped anew; return the first error code."""
        cdef int code = 0
        for run in self.locked if self.address != NULL else ():
            code = code or self.lock_run(run)
        return code

    def check_locked(self, int code, pages):
        """Raise the error for pages that could not be locked."""
        try:
            check(code, self.path)
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


cdef Region new_region(char *address, uint64_t offset, Py_ssize_t nbytes, region_intent intent):
    """Return the owner of a mapping; unmap it if there is no memory for one."""
    cdef Region region
    try:
        region = Region.__new__(Region)
        region.guard = Guard.__new__(Guard)
    except MemoryError:
        region_unmap(address, nbytes)
        raise
    region.damage = region.guard.damage
    region.address = address
    region.offset = offset
    region.nbytes = nbytes
    region.writable = intent != REGION_READ
    region.shared = intent != REGION_COPY
    return region


cpdef Region map_file(File file, intent, uint64_t offset, Py_ssize_t nbytes):
    """Map `nbytes` bytes of a file; `intent` is "read", "write" or "copy".

    The mapping keeps the file open if it writes to it, and if the caller had it open: no name may lead back to it.
    """
    cdef region_intent how = <region_intent><int>INTENTS.index(intent)
    cdef char *address
    check_mapped(region_map(file.handle, how, offset, nbytes, <void **>&address), nbytes, file.path)
    cdef Region region = new_region(address, offset, nbytes, how)
    region.path = file.path
    region.seen = file.seen
    region.on_file = True
    if how == REGION_WRITE or file.is_callers:
        region.own_file = file
    else:
        file.close()
    region.guard.watch(address, nbytes, region.own_file, region.path, &region.seen, how, offset)
    region.damage = region.guard.damage
    return region


cpdef Region map_anonymous(Py_ssize_t nbytes, bint shared):
    """Map zero-filled memory; `shared`: with children of a later fork, and with processes that have its token."""
    cdef File memory = File.__new__(File)
    cdef bytes name = b""
    cdef char *address
    cdef Region region
    if shared:
        name = b"memmap-" + os.urandom(16).hex().encode()
    if shared and region_memory_create(name, nbytes, &memory.handle) == 0:
        check_mapped(region_memory_map(memory.handle, 0, nbytes, <void **>&address), nbytes, None)
        region = new_region(address, 0, nbytes, REGION_WRITE)
        region.memory = memory
        region.token = f"{os.getpid()}:{name.decode()}"
        return region
    # without a token, where the system has no named memory or refuses it
    check_mapped(region_map_anonymous(nbytes, shared, <void **>&address), nbytes, None)
    return new_region(address, 0, nbytes, REGION_WRITE if shared else REGION_COPY)


cpdef Region map_token(str token, uint64_t offset, Py_ssize_t nbytes):
    """Map a part of the memory that a token names."""
    cdef File memory = File.__new__(File)
    cdef char *address
    maker, _, name = token.partition(":")
    check(region_memory_open(encoded(name), int(maker), &memory.handle), None)
    check_mapped(region_memory_map(memory.handle, offset, nbytes, <void **>&address), nbytes, None)
    cdef Region region = new_region(address, offset, nbytes, REGION_WRITE)
    region.token = token
    return region


@cython.final
@cython.no_gc
@cython.freelist(64)
cdef class Lease:
    """One user of a region, for as long as this object lives."""

    def __dealloc__(self):
        if self.region is None:
            return
        if self.traced:
            PyTraceMalloc_Untrack(self.region.trace_domain, <uintptr_t><void *>self)
        release(self.region)
