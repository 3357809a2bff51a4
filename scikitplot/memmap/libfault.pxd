# fault.h documents these.

from libc.stdint cimport uint32_t, uint64_t

from .libregion cimport region_file, region_info, region_intent


cdef extern from "_platform/fault.h" nogil:
    int FAULT_TRUNCATED
    int FAULT_NO_SPACE
    int FAULT_IO
    int FAULT_UNKNOWN
    int FAULT_STORED
    int FAULT_REVOKED
    int FAULT_WRITTEN
    bint FAULT_COPIES_ONLY

    ctypedef struct fault_guard:
        pass

    ctypedef struct fault_report:
        uint32_t damage
        size_t start
        size_t stop
        char *path

    int fault_install(void (*notify)(fault_guard *))
    int fault_uninstall()
    int fault_watch(
        void *address, size_t size, region_file file, bint shares_position, const char *path, const region_info *info,
        region_intent intent, uint64_t offset, fault_guard **guard)
    void fault_pause(fault_guard *guard)
    void fault_resume(fault_guard *guard, void *address, size_t size)
    int fault_extend(fault_guard *guard, size_t size)
    int fault_move(fault_guard *guard, void *address, size_t size, fault_guard **old)
    void fault_unwatch(fault_guard *guard)
    int fault_revoke(fault_guard *guard, void *address, size_t size, bint writable)
    int fault_run(void (*work)(void *) noexcept nogil, void *task)
    void fault_copy(void *to, const void *source, size_t size)
    ctypedef uint32_t fault_word
    const fault_word *fault_damage(const fault_guard *guard)
    void fault_describe(fault_guard *guard, fault_report *report)
    int fault_recover(fault_guard *guard, region_file file)
