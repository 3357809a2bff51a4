"""The guard: what happens when a page of a mapped file vanishes, and which thread is told.

No other module is linked with the fault layer: a second copy would be a second registry of guarded mappings.
"""

import os

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from ._file cimport File, check, encoded, handle_of
from .libfault cimport (
    FAULT_IO, FAULT_NO_SPACE, FAULT_REVOKED, FAULT_STORED, FAULT_TRUNCATED, FAULT_UNKNOWN, fault_copy, fault_damage,
    fault_describe, fault_guard, fault_install, fault_pause, fault_recover, fault_report, fault_resume, fault_revoke,
    fault_run, fault_uninstall, fault_unwatch, fault_watch,
)
from .libregion cimport region_info, region_intent

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

# what was lost, as bits
TRUNCATED, NO_SPACE, IO, UNKNOWN, STORED = (
    FAULT_TRUNCATED, FAULT_NO_SPACE, FAULT_IO, FAULT_UNKNOWN, FAULT_STORED)

# what `set_policy` said
cdef bint guarding = True
cdef bint interrupting = True
cdef object raised = None


cdef int install() noexcept:
    return fault_install(interrupt) if interrupting else fault_install(NULL)


def set_policy(bint guards, bint interrupts):
    """Set whether maps are guarded, and whether a thread that touches a lost page is interrupted."""
    global guarding, interrupting
    guarding, interrupting = guards, interrupts
    check(install() if guards else fault_uninstall(), None)


def set_raised(error):
    """Set the exception class that interrupted threads raise; it is called without arguments."""
    global raised
    raised = error
    interrupt_set_up(error)


def last_loss():
    """(damage, path, start, stop) of what was lost last, in any map."""
    cdef fault_report report = interrupt_report()
    return report.damage, PyUnicode_DecodeFSDefault(report.path) or None, report.start, report.stop


cdef void rearm() noexcept:
    """Put the guard in front of handlers that others have installed since."""
    global maybe_behind
    maybe_behind = 0
    if guarding:
        install()


def before_fork():
    fork_begins()


def after_fork():
    fork_is_over()


def after_fork_in_child():
    global maybe_behind
    interrupt_set_up(raised)
    maybe_behind = 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child)


cdef void copy_bytes(void *target, const void *source, size_t size) noexcept nogil:
    """Copy bytes of a mapping, in either direction; the damage afterwards tells whether pages were lost."""
    fault_copy(target, source, size)


cdef void run_for_caller(fault_guard *guard, void (*work)(void *) noexcept nogil, void *task) noexcept nogil:
    """Run work that touches a mapping, in any thread, for a method that waits for it and then checks the damage."""
    interrupt_by_caller(guard)
    fault_run(work, task)
    interrupt_by_caller(NULL)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class Guard:
    """The guard of one mapping, and what was lost of it. A region and its windows share one."""

    def __cinit__(self):
        self.damage = &self.last

    def __dealloc__(self):
        self.end()

    cdef int watch(
        self, void *address, size_t nbytes, File file, path, const region_info *info, region_intent intent,
        uint64_t offset
    ) except -1:
        """Guard a mapping, of a file that stays open or None, unless guards are off."""
        global maybe_behind
        cdef bytes name
        cdef const char *raw = NULL
        if not guarding:
            return 0
        if path is not None:
            name = encoded(path)
            raw = name
        check(install(), path)
        maybe_behind = 1  # in a worker process, maps may come before the handlers of the library that started it
        check(fault_watch(
            address, nbytes, handle_of(file), file is not None and file.shares_position, raw, info, intent, offset,
            &self.its), path)
        self.damage = fault_damage(self.its)
        return 0

    cdef void pause(self) noexcept:
        """Stop guarding until `resume`: the mapping is about to move or change its size."""
        if self.its != NULL:
            fault_pause(self.its)

    cdef void resume(self, void *address, size_t nbytes) noexcept:
        """Guard the mapping of the same file at its new place and size."""
        if self.its != NULL:
            fault_resume(self.its, address, nbytes)

    cdef void end(self) noexcept:
        """Stop guarding: the mapping is about to be unmapped. What was lost stays known."""
        cdef fault_guard *its
        cdef fault_report report
        with cython.critical_section(self):  # another thread may be asking what was lost
            its = self.its
            if its == NULL:
                return
            self.last = self.damage[0]
            if self.last:
                fault_describe(its, &report)
                self.last_start, self.last_stop = report.start, report.stop
            self.damage = &self.last
            self.its = NULL
            fault_unwatch(its)

    cdef int revoke(self, void *address, size_t nbytes, bint writable) noexcept nogil:
        """Put private zero-filled memory where the mapping is."""
        cdef int code
        self.last |= FAULT_REVOKED  # first: threads that are copying check it afterwards
        code = fault_revoke(self.its, address, nbytes, writable)
        if code:
            self.last &= ~<uint32_t>FAULT_REVOKED
        return code

    cdef int recover(self, File file) noexcept:
        """Map the file again under what was lost; 0 also if nothing was."""
        cdef fault_guard *its = self.its
        cdef int code
        if its == NULL or not self.damage[0]:
            return 0
        with nogil:
            code = fault_recover(its, file.handle)
        return code

    cdef fault_guard *watcher(self) noexcept:
        with cython.critical_section(self):
            return self.its

    cdef tuple loss(self):
        """Return (damage, start, stop) for an error that the caller raises; it replaces an interrupt of this thread."""
        cdef fault_report report
        with cython.critical_section(self):
            report.damage = self.damage[0]
            report.start, report.stop = self.last_start, self.last_stop
            if self.its != NULL:
                fault_describe(self.its, &report)
        if report.damage != FAULT_REVOKED:
            interrupt_done()
        return report.damage, report.start, report.stop
