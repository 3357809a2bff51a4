"""Region: the owner of one OS mapping.

Who may touch the memory is counted: the owner (a MemMap) is one user, every `Lease` is another. A lease is what keeps
an ndarray over the memory honest: it is the array's base, so it lives exactly as long as somebody can still read
through the array or anything derived from it. The last user to leave unmaps.
"""

import errno
import time

cimport cython
from libc.stdint cimport uint32_t, uint64_t, uintptr_t
from libc.string cimport strlen

from .libfault cimport (
    FAULT_IO, FAULT_NO_SPACE, FAULT_REVOKED, FAULT_STORED, FAULT_TRUNCATED, FAULT_UNKNOWN, fault_copy, fault_damage,
    fault_describe, fault_guard, fault_install, fault_recover, fault_report, fault_revoke, fault_run,
    fault_uninstall, fault_unwatch, fault_watch,
)
from .libregion cimport (
    REGION_COPY, REGION_DEVICE, REGION_DIRECTORY, REGION_FIFO, REGION_NO_FILE, REGION_NORMAL, REGION_RANDOM,
    REGION_READ, REGION_REGULAR, REGION_SEQUENTIAL, REGION_SOCKET, REGION_WRITE, region_access, region_advise,
    region_directory_sync, region_error_text, region_evict, region_file, region_file_close, region_file_create,
    region_file_create_nameless, region_file_duplicate, region_file_info, region_file_link, region_file_open,
    region_file_resize, region_flush, region_info, region_intent, region_kind, region_lock, region_map,
    region_map_anonymous, region_memory_create, region_memory_map, region_memory_open, region_page_size,
    region_path_info, region_request, region_residency, region_resize, region_resize_anonymous, region_unlock,
    region_unmap,
)

import os

from . import _damage
from ._damage import DamagedError
from ._limits import explain_memory

cdef extern from *:
    """
    #ifdef Py_GIL_DISABLED /* nobody waits for this thread, and the list of threads may change while it is walked */
    #define ALONE() 0
    #else
    #define ALONE() (PyThreadState_Next(PyInterpreterState_ThreadHead(PyInterpreterState_Get())) == NULL)
    #endif
    """
    # Whether there is no other Python thread to let run meanwhile: the offer alone takes as long as a system call.
    bint alone "ALONE"() noexcept

cdef extern from *:
    """
    static inline void read_byte(const void *address) { (void)*(const volatile char *)address; }
    """
    void read_byte(const void *address) noexcept nogil

cdef extern from "_interrupt.h":
    void interrupt(fault_guard *) noexcept nogil
    fault_report interrupt_report()
    void interrupt_done()
    void interrupt_by_caller(fault_guard *guard) noexcept nogil
    void interrupt_set_up(object raised)
    void fork_begins()
    void fork_is_over()

cdef extern from "Python.h":
    str PyUnicode_DecodeFSDefault(const char *)
    bytes PyUnicode_EncodeFSDefault(str)
    int PyTraceMalloc_Untrack(unsigned int domain, uintptr_t pointer)

PAGE_SIZE = region_page_size()

cdef enum:
    LONG_UNMAP = 1 << 22  # bytes: from here on, unmapping may take longer than letting other threads run

# tracemalloc keeps one domain per region, so that it can say where the leases of this one were taken
cdef shared_unsigned trace_domains = 0x5EA10000

cdef str RESIZED = "The map was resized while the call was under way"

cdef dict KINDS = {
    REGION_DIRECTORY: "directory", REGION_FIFO: "FIFO", REGION_SOCKET: "socket", REGION_DEVICE: "device",
}
cdef dict INTENTS = {"read": REGION_READ, "write": REGION_WRITE, "copy": REGION_COPY}
cdef tuple ACCESSES = ("normal", "random", "sequential")
assert (REGION_NORMAL, REGION_RANDOM, REGION_SEQUENTIAL) == (0, 1, 2)


cdef bytes encoded(str path):
    """A path as the platform layer wants it."""
    cdef bytes name = PyUnicode_EncodeFSDefault(path)
    if strlen(name) != <size_t>len(name):
        raise ValueError(f"path {path!r} has an embedded null character")
    return name


cdef int check(int code, path) except -1:
    """Raise what the system reported as the OSError it is, with the file's name."""
    cdef char text[256]
    if code == 0:
        return 0
    region_error_text(code, text, sizeof(text))
    # On Windows the fourth argument is the code, from which Python derives errno; elsewhere it is ignored.
    raise OSError(code, (<bytes>text).decode("utf-8", "replace"), path, code)


cdef int check_mapped(int code, Py_ssize_t nbytes, path) except -1:
    try:
        return check(code, path)
    except OSError as error:
        raise explain_memory(error, nbytes, path) from None


cdef int check_regular(region_kind kind, path) except -1:
    if kind == REGION_REGULAR:
        return 0
    if kind == REGION_DIRECTORY:
        raise IsADirectoryError(errno.EISDIR, "Expected a regular file, not a directory", path)
    raise OSError(errno.ENODEV, f"Expected a regular file, not a {KINDS.get(kind, 'special file')}", path)


@cython.final
cdef class FileInfo:
    """What a regular file was like when it was looked at."""

    @staticmethod
    def at(str path):
        """Look at a file without opening it."""
        cdef region_info seen
        cdef bytes name = encoded(path)
        check(region_path_info(name, &seen), path)
        check_regular(seen.kind, path)
        return file_info(&seen)

    @property
    def size(self):
        """In bytes."""
        return self.seen.size

    @property
    def mtime_ns(self):
        return self.seen.mtime_ns

    @property
    def identity(self):
        """(device, inode): what tells the file from all others on this host."""
        return self.seen.device, self.seen.inode


cdef FileInfo file_info(const region_info *seen):
    cdef FileInfo info = FileInfo.__new__(FileInfo)
    info.seen = seen[0]
    return info


def sync_directory(str path):
    """Make the entries of a directory survive a power cut."""
    cdef bytes name = encoded(path)
    cdef const char *raw = name
    cdef int code
    with nogil:
        code = region_directory_sync(raw)
    check(code, path)


cdef int open_and_look(const char *path, bint writable, region_file *file, region_info *seen) noexcept nogil:
    cdef int code = region_file_open(path, writable, file)
    return code if code else region_file_info(file[0], seen)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class File:
    """An open file of the operating system; closed when dropped.

    Only the thread that made it resizes or closes it, before anybody else gets it from a region, whose last user closes
    it.
    """

    def __cinit__(self):
        self.handle = REGION_NO_FILE

    @staticmethod
    def open(str path, bint writable):
        """Open a regular file; anything else is opened, without waiting, and refused."""
        cdef File file = File.__new__(File)
        cdef bytes name = encoded(path)
        cdef const char *raw = name
        cdef int code
        file.path = path
        if alone():
            code = open_and_look(raw, writable, &file.handle, &file.seen)
        else:
            with nogil:  # a network file system may take its time
                code = open_and_look(raw, writable, &file.handle, &file.seen)
        if code and region_path_info(raw, &file.seen) == 0:
            check_regular(file.seen.kind, path)  # what it is says more than why it did not open
        check(code, path)
        check_regular(file.seen.kind, path)
        return file

    @staticmethod
    def create(str name, str path):
        """Create a file that must not exist yet, under a name; `path` is what errors call it."""
        cdef File file = File.__new__(File)
        cdef bytes raw = encoded(name)
        file.path = path
        check(region_file_create(raw, &file.handle), path)
        return file

    @staticmethod
    def create_nameless(str directory, str path):
        """Create a file that nobody sees until it is linked; None where there are no such files."""
        cdef File file = File.__new__(File)
        cdef bytes raw = encoded(directory)
        file.path = path
        return None if region_file_create_nameless(raw, &file.handle) else file

    def link(self, str name):
        """Give a file without a name one that nobody has."""
        cdef bytes raw = encoded(name)
        check(region_file_link(self.handle, raw), self.path)

    @staticmethod
    def duplicate(region_file handle, name):
        """A second handle to a file that somebody else has open; `name` is what errors call it."""
        cdef File file = File.__new__(File)
        file.path = name
        check(region_file_duplicate(handle, &file.handle), name)
        check(region_file_info(file.handle, &file.seen), name)
        check_regular(file.seen.kind, name)
        return file

    @property
    def info(self):
        """What the file was like when it was opened, or last resized here."""
        return file_info(&self.seen)

    def look(self):
        """What the file is like now."""
        cdef region_info seen
        cdef int code
        with cython.critical_section(self):
            if self.handle == REGION_NO_FILE:
                raise ValueError(f"MemMap is closed: {self.path}")
            code = region_file_info(self.handle, &seen)
        check(code, self.path)
        return file_info(&seen)

    def fileno(self):
        return <object>self.handle

    @property
    def size(self):
        """`info.size`, in bytes."""
        return self.seen.size

    def resize(self, uint64_t size, bint sparse):
        """Set the size in bytes. Growing reserves the space on disk unless `sparse`."""
        cdef int code
        with nogil:
            code = region_file_resize(self.handle, size, sparse)
        check(code, self.path)
        check(region_file_info(self.handle, &self.seen), self.path)

    cpdef void close(self) noexcept:
        cdef region_file handle
        with cython.critical_section(self):
            handle = self.handle
            self.handle = REGION_NO_FILE
        if handle != REGION_NO_FILE:
            region_file_close(handle)

    def __dealloc__(self):
        if self.handle != REGION_NO_FILE:
            region_file_close(self.handle)


cdef bint wait_for_another(Py_ssize_t found):
    """If the count says that another thread is resizing or closing, let it get on with that: True then."""
    if found >= 0:
        return False
    time.sleep(0)
    return True


# what set_fault_policy() says
cdef bint guarding = True
cdef bint interrupting = True


cdef int install() noexcept:
    return fault_install(interrupt) if interrupting else fault_install(NULL)


def set_guard(bint guards, bint interrupts):
    """Whether maps are guarded, and whether a thread that touches a lost page is interrupted."""
    global guarding, interrupting
    guarding, interrupting = guards, interrupts
    check(install() if guards else fault_uninstall(), None)


def last_report():
    """(damage, path, start, stop) of the last loss."""
    cdef fault_report report = interrupt_report()
    return report.damage, PyUnicode_DecodeFSDefault(report.path) or None, report.start, report.stop


cdef void rearm() noexcept:
    """Put the guard in front of handlers that others have installed since."""
    global maybe_behind
    maybe_behind = 0
    if guarding:
        install()


def set_up_interrupts():
    interrupt_set_up(DamagedError)


def before_fork():
    fork_begins()


def after_fork():
    fork_is_over()


def after_fork_in_child():
    global maybe_behind
    set_up_interrupts()
    maybe_behind = 1


assert (FAULT_TRUNCATED, FAULT_NO_SPACE, FAULT_IO, FAULT_UNKNOWN, FAULT_STORED) == (
    _damage.TRUNCATED, _damage.NO_SPACE, _damage.IO, _damage.UNKNOWN, _damage.STORED)
DamagedError._last = staticmethod(last_report)
set_up_interrupts()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child)


cdef region_file handle_of(File file) noexcept:
    return REGION_NO_FILE if file is None else file.handle


@cython.final
@cython.freelist(8)
@cython.no_gc  # nothing here can be part of a cycle: files, leases and paths do not refer to what holds them
cdef class Region:
    """One mapping, and the count of those who use it.

    Byte ranges are relative to the start of the region and have been checked by the caller.
    """

    def __cinit__(self):
        self.trace_domain = shared_next(&trace_domains)
        users_set(&self.users, USERS_OWNER)
        self.damage = &self.last_damage

    def __dealloc__(self):
        self.unwatch()
        if self.address != NULL and self.parent is None:
            region_unmap(self.address, self.nbytes)

    def window(self, Py_ssize_t start, Py_ssize_t nbytes):
        """A part of this region with users of its own, who together count as one user here."""
        cdef Region part = Region.__new__(Region)
        cdef Lease taken = lease(self)
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
        part.damage = self.damage
        return part

    @property
    def file(self):
        """The open file behind the mapping, or None: not every mapping keeps its file open."""
        cdef File file
        cdef Lease parent
        with cython.critical_section(self):
            file = self.own_file
            parent = self.parent
        return file if parent is None else parent.region.file

    @property
    def info(self):
        """What the file was like when it was mapped, or last resized here; None for anonymous memory."""
        cdef region_info seen
        if not self.on_file:
            return None
        with cython.critical_section(self):
            seen = self.seen
        return file_info(&seen)

    # ---- users

    cdef int refuse(self, Py_ssize_t found) except -1:
        name = self.path or "anonymous"
        if found == USERS_RESIZING:
            raise BufferError(f"MemMap is being resized by another thread: {name}")
        if self.is_orphan:
            raise ValueError(f"MemMap was being resized when this process was forked, and is lost here: {name}")
        raise ValueError(f"MemMap is closed: {name}")

    cdef void unmap(self) noexcept:
        cdef File file, memory
        cdef void *address = self.address
        cdef size_t nbytes = self.nbytes
        self.address = NULL
        self.unwatch()
        if self.parent is not None:
            pass
        elif nbytes < LONG_UNMAP or alone():
            region_unmap(address, nbytes)
        else:
            with nogil:
                region_unmap(address, nbytes)
        with cython.critical_section(self):  # somebody may be asking for the file
            self.parent = None
            file, memory = self.own_file, self.memory
            self.own_file = self.memory = None
        if file is not None:
            file.close()  # without the GIL, an object dies only when the thread that made it gets to that
        if memory is not None:
            memory.close()

    cdef void orphan(self) noexcept:
        """In the child of a fork: a thread that was resizing or closing this region does not exist here."""
        cdef Py_ssize_t found = users_count(&self.users)
        if found < 0:
            self.is_orphan = found == USERS_RESIZING
            self.unwatch()
            self.address = NULL  # nobody knows which part of which mapping is still there
            self.own_file = self.memory = None
            users_set(&self.users, USERS_GONE)

    @property
    def leases(self):
        """How many leases are alive."""
        return max(users_count(&self.users), 0) % USERS_OWNER

    def lease_sites(self):
        """Where the leases that are alive were taken, most frequent first: "file:line (count)"."""
        cdef uintptr_t nowhere = 1
        if PyTraceMalloc_Track(self.trace_domain, nowhere, 0) != 0:
            return []  # and imports nothing: at a fork another thread may have held the lock of an import
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
        """Let the owner leave; the last lease will unmap. Returns False if the owner was gone already."""
        cdef Py_ssize_t found = users_disown(&self.users)
        while wait_for_another(found):
            found = users_disown(&self.users)
        if found == USERS_OWNER:
            self.unmap()
        return found >= USERS_OWNER

    def revoke(self):
        """Let the owner leave and the file go. Leases keep the address range, which reads zero from now on.

        Returns False if the owner was gone already. A part of another region is only left.
        """
        cdef int code = 0
        cdef File memory
        cdef Py_ssize_t found = users_enter(&self.users)
        while wait_for_another(found):
            found = users_enter(&self.users)
        if found < USERS_OWNER:
            return False
        cdef bint first = users_disown(&self.users) >= USERS_OWNER
        if first and self.parent is None:
            self.last_damage |= FAULT_REVOKED  # what counts without a guard: set before, for who is at work
            with nogil:
                code = fault_revoke(self.guard, self.address, self.nbytes, self.writable)
            with cython.critical_section(self):
                memory = self.memory
                self.own_file = self.memory = None
            if memory is not None:
                memory.close()
        leave(self)
        check(code, self.path)
        return first

    # ---- damage

    cdef int watch(self, File file, region_intent intent) except -1:
        """Guard the mapping, of a file that is kept open from now on or None, unless guards are off."""
        cdef bytes name
        cdef const char *raw = NULL
        global maybe_behind
        if not guarding or self.nbytes == 0 or not self.on_file:
            return 0
        if self.path is not None:
            name = encoded(self.path)
            raw = name
        check(install(), self.path)
        maybe_behind = 1  # a worker process has its maps first, and then the handlers of whoever started it
        check(fault_watch(
            self.address, self.nbytes, handle_of(file), raw, &self.seen,
            intent, self.offset, &self.guard), self.path)
        self.damage = fault_damage(self.guard)
        return 0

    cdef void unwatch(self) noexcept:
        cdef fault_guard *guard
        cdef fault_report report
        with cython.critical_section(self):  # somebody may be asking what was lost
            guard = self.guard
            self.last_damage = self.damage[0]
            if guard != NULL and self.last_damage:
                fault_describe(guard, &report)
                self.last_start, self.last_stop = report.start, report.stop
            self.damage = &self.last_damage
            self.guard = NULL
            if guard != NULL:
                fault_unwatch(guard)

    cdef Region root(self):
        """The region that owns the mapping, as long as this one uses it."""
        cdef Lease parent
        with cython.critical_section(self):
            parent = self.parent
        return self if parent is None else parent.region.root()

    cdef fault_guard *watcher(self):
        """The guard of the mapping, NULL if there is none."""
        cdef Region root = self.root()
        with cython.critical_section(root):
            return root.guard

    def check_damage(self):
        """Raise `DamagedError` if pages were lost."""
        check_damage(self)

    def check_whole(self, look):
        """Raise `DamagedError` if the file has become shorter than the mapping; `look()` says what it is like now."""
        cdef Py_ssize_t first
        enter(self)  # nobody resizes it meanwhile
        try:
            first = max(look().size - <object>self.offset, 0)
            if first < self.nbytes:
                raise DamagedError(*_damage.explain(FAULT_TRUNCATED, self.root().path, first, self.nbytes))
        finally:
            leave(self)

    @property
    def damaged(self):
        return self.root().damage[0] & ~<uint32_t>FAULT_REVOKED != 0

    cdef int refuse_damaged(self) except -1:
        cdef Region root = self.root()
        cdef fault_report report
        with cython.critical_section(root):
            report.damage = root.damage[0]
            report.start, report.stop = root.last_start, root.last_stop
            if root.guard != NULL:
                fault_describe(root.guard, &report)
        if report.damage == FAULT_REVOKED:
            root.refuse(USERS_GONE)
        interrupt_done()
        raise DamagedError(*_damage.explain(report.damage, root.path, report.start, report.stop))

    def recover(self, File file not None):
        """Map the file, which is open as the map needs it, again under what was lost."""
        cdef Region root = self.root()
        cdef int code
        enter(root)
        try:
            if root.guard == NULL or not root.damage[0]:
                return
            with nogil:
                code = fault_recover(root.guard, file.handle)
            if root.advised:
                region_advise(root.address, root.nbytes, <region_access>root.advised)
            if code:
                root.refuse_damaged()
        finally:
            leave(root)

    # ---- size

    cdef int resize(self, Py_ssize_t nbytes, bint sparse) except -1:
        """Grow or shrink the mapping, and the file that ends with it.

        Returns 0 if the owner is not the only user. Otherwise nobody can enter until `reopen`, also after an error.
        """
        cdef int code
        cdef region_file handle
        cdef region_info seen
        if users_claim(&self.users, USERS_RESIZING) != USERS_OWNER:
            return 0
        handle = handle_of(self.own_file)
        seen = self.seen
        self.unwatch()
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
        if self.address != NULL:
            self.watch(self.own_file, REGION_WRITE)
        check(code, self.path)
        return 1

    cdef void reopen(self) noexcept:
        if users_count(&self.users) == USERS_RESIZING:
            users_set(&self.users, USERS_GONE if self.address == NULL else USERS_OWNER)

    # ---- pages

    cdef int enter_range(self, Py_ssize_t stop) except -1:
        """Enter, if the region still reaches that far: it may have been resized since the range was computed."""
        enter(self)
        if stop > self.nbytes or self.damage[0]:
            leave(self)
            check_damage(self)
            raise ValueError(RESIZED)
        return 0

    def flush(self, Py_ssize_t start, Py_ssize_t stop, bint wait):
        cdef int code
        self.enter_range(stop)
        cdef File file = self.file  # held, so that nobody closes it meanwhile
        cdef region_file handle = handle_of(file)
        with nogil:
            code = region_flush(handle, self.offset + start, self.address + start, stop - start, wait)
        leave(self)
        check(code, self.path)

    @property
    def access(self):
        """How the pages are meant to be used: "normal", or what was last given to `advise`."""
        return ACCESSES[self.advised]

    def advise(self, access):
        cdef int how = ACCESSES.index(access)
        enter(self)
        region_advise(self.address, self.nbytes, <region_access>how)
        self.advised = how
        leave(self)

    def request(self, Py_ssize_t start, Py_ssize_t stop):
        """Have pages read, without waiting for them."""
        self.enter_range(stop)
        with nogil:
            region_request(self.address + start, stop - start)
        leave(self)

    def touch(self, Py_ssize_t start, Py_ssize_t stop):
        """Have pages read, and wait for them."""
        cdef Range pages
        cdef fault_guard *guard
        self.enter_range(stop)
        guard = self.watcher()
        pages.start, pages.stop = self.address + start, self.address + stop
        with nogil:
            run_for_caller(guard, touch_pages, &pages)
        leave(self)
        check_damage(self)

    def evict(self, File file, Py_ssize_t start, Py_ssize_t stop):
        """`file` is the mapped file, open, or None if it cannot be had."""
        cdef region_file handle = handle_of(file)
        self.enter_range(stop)
        with nogil:
            region_evict(handle, self.offset + start, self.address + start, stop - start, self.shared)
        leave(self)

    def residency(self, File file, Py_ssize_t start, Py_ssize_t stop):
        """One byte per page that [start, stop), not empty, meets: 1 if it is in memory."""
        cdef size_t page = region_page_size()
        cdef size_t skew = (self.offset + start) % page
        cdef bytearray resident = bytearray((skew + stop - start - 1) // page + 1)
        cdef unsigned char *flags = resident
        cdef region_file handle = handle_of(file)
        cdef int code
        self.enter_range(stop)
        with nogil:
            code = region_residency(handle, self.offset + start, self.address + start, stop - start, flags)
        leave(self)
        check(code, self.path)
        return resident

    def lock(self, Py_ssize_t start, Py_ssize_t stop):
        cdef int code
        self.enter_range(stop)
        with nogil:
            code = region_lock(self.address + start, stop - start)
        leave(self)
        check(code, self.path)

    def unlock(self, Py_ssize_t start, Py_ssize_t stop):
        cdef int code
        self.enter_range(stop)
        with nogil:
            code = region_unlock(self.address + start, stop - start)
        leave(self)
        check(code, self.path)


cdef void copy_bytes(void *target, const void *source, size_t size) noexcept nogil:
    """For all modules: each has a copy of the guard's code, of which only this one's is at work."""
    fault_copy(target, source, size)


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


cdef void run_for_caller(fault_guard *guard, void (*work)(void *) noexcept nogil, void *task) noexcept nogil:
    """Do work that touches a mapping, in any thread, for a method that waits for it and looks at the damage then."""
    interrupt_by_caller(guard)
    fault_run(work, task)
    interrupt_by_caller(NULL)


cpdef Region map_file(File file, intent, uint64_t offset, Py_ssize_t nbytes, bint keep_file):
    """Map `nbytes` bytes of a file; `intent` is "read", "write" or "copy"."""
    cdef Region region = Region.__new__(Region)
    cdef region_intent how = INTENTS[intent]
    check_mapped(region_map(file.handle, how, offset, nbytes, <void **>&region.address), nbytes, file.path)
    region.path = file.path
    region.seen = file.seen
    region.on_file = True
    if keep_file:
        region.own_file = file
    else:
        file.close()
    region.offset = offset
    region.nbytes = nbytes
    region.writable = how != REGION_READ
    region.shared = how != REGION_COPY
    region.watch(region.own_file, how)
    return region


cpdef Region map_anonymous(Py_ssize_t nbytes, bint shared):
    """Map zero-filled memory; `shared`: with the children of a later fork, and with who has its token."""
    cdef Region region = Region.__new__(Region)
    cdef File memory = File.__new__(File)
    cdef bytes name = b""
    if shared:
        name = b"memmap-" + os.urandom(16).hex().encode()
    if shared and region_memory_create(name, nbytes, &memory.handle) == 0:
        check_mapped(region_memory_map(memory.handle, 0, nbytes, <void **>&region.address), nbytes, None)
        region.memory = memory
        region.token = f"{os.getpid()}:{name.decode()}"
    else:  # without a token, where that is more than the system can or lets us do
        check_mapped(region_map_anonymous(nbytes, shared, <void **>&region.address), nbytes, None)
    region.nbytes = nbytes
    region.writable = True
    region.shared = shared
    return region


cpdef Region map_token(str token, uint64_t offset, Py_ssize_t nbytes):
    """Map a part of the memory that a token names."""
    cdef Region region = Region.__new__(Region)
    cdef File memory = File.__new__(File)
    maker, _, name = token.partition(":")
    check(region_memory_open(encoded(name), int(maker), &memory.handle), None)
    check_mapped(region_memory_map(memory.handle, offset, nbytes, <void **>&region.address), nbytes, None)
    region.token = token
    region.offset = offset
    region.nbytes = nbytes
    region.writable = True
    region.shared = True
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
        leave(self.region)
