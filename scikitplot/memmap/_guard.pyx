"""Guard: keeps the process alive when a page of a map is lost, or a read-only one written, and has the error raised.

Only this module is linked with the fault layer (fault.h): a second copy would have its own registry of mappings.
"""

import os

cimport cython
from libc.stdint cimport uint32_t, uint64_t

from ._file cimport File, check, encoded, handle_of
from .libfault cimport (
    FAULT_IO, FAULT_NO_SPACE, FAULT_REVOKED, FAULT_STORED, FAULT_TRUNCATED, FAULT_UNKNOWN, FAULT_WRITTEN, fault_copy,
    fault_damage, fault_describe, fault_extend, fault_guard, fault_install, fault_move, fault_pause, fault_recover,
    fault_report, fault_resume, fault_revoke, fault_run, fault_uninstall, fault_unwatch, fault_watch,
)
from .libregion cimport region_file, region_info, region_intent

cdef extern from "_interrupt.h":
    void interrupt_this_thread(fault_guard *guard) noexcept nogil
    void interrupt_suppress(fault_guard *guard) noexcept nogil
    void interrupt_cancel()
    fault_report interrupt_report()
    void interrupt_set_up(object error_class)
    void interrupt_before_fork()
    void interrupt_after_fork()

cdef extern from "Python.h":
    str PyUnicode_DecodeFSDefault(const char *)

# the bits of a damage, for Python
TRUNCATED, NO_SPACE, IO, UNKNOWN, STORED, REVOKED, WRITTEN = (
    FAULT_TRUNCATED, FAULT_NO_SPACE, FAULT_IO, FAULT_UNKNOWN, FAULT_STORED, FAULT_REVOKED, FAULT_WRITTEN)

# set by `set_policy` and `set_error_class`
cdef bint guarding = True
cdef bint interrupting = True
cdef object error_class = None


cdef int install() noexcept:
    return fault_install(interrupt_this_thread) if interrupting else fault_install(NULL)


def set_policy(bint guards, bint interrupts):
    """Set whether maps are guarded, and whether a thread that damages one or meets damage is interrupted."""
    global guarding, interrupting
    guarding, interrupting = guards, interrupts
    check(install() if guards else fault_uninstall(), None)


def set_error_class(error):
    """Set the exception class that interrupted threads raise. It is called without arguments."""
    global error_class
    error_class = error
    interrupt_set_up(error)


def last_damage():
    """Return (damage, path, start, stop) of the last fault in any map."""
    cdef fault_report report = interrupt_report()
    return report.damage, PyUnicode_DecodeFSDefault(report.path) or None, report.start, report.stop


cdef void rearm() noexcept:
    """Install our signal handlers in front of those that were installed after them."""
    global may_need_rearm
    may_need_rearm = 0
    if guarding:
        install()


def before_fork():
    interrupt_before_fork()


def after_fork():
    interrupt_after_fork()


def after_fork_in_child():
    global may_need_rearm
    interrupt_set_up(error_class)
    may_need_rearm = 1  # torch installs its own handlers in forked workers


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=before_fork, after_in_parent=after_fork, after_in_child=after_fork_in_child)


cdef void copy_bytes(void *target, const void *source, size_t size) noexcept nogil:
    """Copy from or to a mapping. The caller checks the damage afterwards."""
    fault_copy(target, source, size)


cdef void run_for_caller(fault_guard *guard, void (*work)(void *) noexcept nogil, void *task) noexcept nogil:
    """Run `work(task)`, which accesses a mapping, without interrupting this thread for lost pages.

    The method that waits for the work checks the damage afterwards.
    """
    interrupt_suppress(guard)
    fault_run(work, task)
    interrupt_suppress(NULL)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class Guard:
    """The protection of one mapping against lost pages, and its damage. A region and its windows share one."""

    def __cinit__(self):
        self.damage = &self.kept_damage

    def __dealloc__(self):
        self.unwatch()

    cdef int watch(
        self, void *address, size_t nbytes, File file, path, const region_info *info, region_intent intent,
        uint64_t offset
    ) except -1:
        """Guard a mapping, unless the policy is "off". `file`, if given, must stay open until `unwatch` or `revoke`."""
        global may_need_rearm
        cdef bytes name
        cdef const char *raw = NULL
        if not guarding:
            return 0
        if path is not None:
            name = encoded(path)
            raw = name
        check(install(), path)
        may_need_rearm = 1  # torch: a DataLoader worker unpickles a map before torch installs its handlers
        check(fault_watch(
            address, nbytes, handle_of(file), file is not None and file.shares_position, raw, info, intent, offset,
            &self.entry), path)
        self.damage = fault_damage(self.entry)
        return 0

    cdef void pause(self) noexcept:
        """Stop handling faults until `resume`, because the mapping will change. No thread may access it."""
        if self.entry != NULL:
            fault_pause(self.entry)

    cdef void resume(self, void *address, size_t nbytes) noexcept:
        """Guard the mapping at its new address and size."""
        if self.entry != NULL:
            fault_resume(self.entry, address, nbytes)

    cdef int extend(self, size_t nbytes) noexcept:
        """Guard more of the mapping. Return 0, or an error code if pages were lost."""
        return 0 if self.entry == NULL else fault_extend(self.entry, nbytes)

    cdef int move(self, void *address, size_t nbytes, Guard old) noexcept:
        """Guard a new mapping of the same bytes; `old` then guards the old one, and its damage counts as ours, too.

        Return 0, or an error code if pages were lost or memory is short.
        """
        cdef int code
        if self.entry == NULL:
            return 0
        code = fault_move(self.entry, address, nbytes, &old.entry)
        if code == 0:
            old.damage = fault_damage(old.entry)
        return code

    cdef void unwatch(self) noexcept:
        """Stop guarding, because the mapping will be unmapped. Keep its damage."""
        cdef fault_guard *entry
        cdef fault_report report
        with cython.critical_section(self):  # another thread may be in `damage_to_raise`
            entry = self.entry
            if entry == NULL:
                return
            self.kept_damage = self.damage[0]
            if self.kept_damage:
                fault_describe(entry, &report)
                self.kept_start, self.kept_stop = report.start, report.stop
            self.damage = &self.kept_damage
            self.entry = NULL
            fault_unwatch(entry)

    cdef int revoke(self, void *address, size_t nbytes, bint writable) noexcept nogil:
        """Replace the mapping by private zero-filled memory. Return 0 or the system's error code."""
        cdef int code
        self.kept_damage |= FAULT_REVOKED  # set first, because threads that are copying check it afterwards
        code = fault_revoke(self.entry, address, nbytes, writable)
        if code:
            self.kept_damage &= ~<uint32_t>FAULT_REVOKED
        return code

    cdef int recover(self, File file) noexcept:
        """Map the file again in place of lost pages. Return 0 or the system's error code; 0 if undamaged."""
        cdef fault_guard *entry = self.entry
        cdef region_file handle = handle_of(file)
        cdef int code
        if entry == NULL or not self.damage[0]:
            return 0
        with nogil:
            code = fault_recover(entry, handle)
        return code

    cdef fault_guard *current_entry(self) noexcept:
        with cython.critical_section(self):
            return self.entry

    cdef tuple damage_to_raise(self):
        """Return (damage, start, stop) for an error that the caller raises now, and cancel this thread's interrupt."""
        cdef fault_report report
        with cython.critical_section(self):
            report.damage = self.damage[0]
            report.start, report.stop = self.kept_start, self.kept_stop
            if self.entry != NULL:
                fault_describe(self.entry, &report)
        if report.damage != FAULT_REVOKED:
            interrupt_cancel()
        return report.damage, report.start, report.stop
