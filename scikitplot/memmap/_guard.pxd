from libc.stdint cimport uint64_t

from ._file cimport File
from .libfault cimport FAULT_COPIES_ONLY, FAULT_REVOKED, FAULT_TRUNCATED, FAULT_WRITTEN, fault_guard, fault_word
from .libregion cimport region_info, region_intent


cdef extern from *:
    """
    #include <stdatomic.h>
    static inline void read_byte(const void *address) { (void)*(const volatile char *)address; }
    static inline void write_same_byte(void *address)
    {
        _Atomic(unsigned char) *byte = (_Atomic(unsigned char) *)address;
        unsigned char value = *byte;
        while (!atomic_compare_exchange_weak(byte, &value, value)) {}
    }
    """
    void read_byte(const void *address) noexcept nogil
    void write_same_byte(void *address) noexcept nogil  # makes the page dirty


cdef extern from "_users.h":
    ctypedef int shared_int


cdef shared_int may_need_rearm  # a handler may have been installed in front of ours
cdef void rearm() noexcept
cdef void run_for_caller(fault_guard *guard, void (*work)(void *) noexcept nogil, void *task) noexcept nogil
cdef void copy_bytes(void *target, const void *source, size_t size) noexcept nogil


cdef class Guard:
    cdef fault_guard *entry         # in the registry of fault.h; NULL: not guarded
    cdef const fault_word *damage   # FAULT_ bits, 0: undamaged. Points into `entry`, or to `kept_damage` without one
    cdef fault_word kept_damage     # the damage of a mapping that is gone or not guarded, and its byte range
    cdef size_t kept_start
    cdef size_t kept_stop

    cdef int watch(
        self, void *address, size_t nbytes, File file, path, const region_info *info, region_intent intent,
        uint64_t offset) except -1
    cdef void pause(self) noexcept
    cdef void resume(self, void *address, size_t nbytes) noexcept
    cdef int extend(self, size_t nbytes) noexcept
    cdef int move(self, void *address, size_t nbytes, Guard old) noexcept
    cdef void unwatch(self) noexcept
    cdef int revoke(self, void *address, size_t nbytes, bint writable) noexcept nogil
    cdef int recover(self, File file) noexcept
    cdef fault_guard *current_entry(self) noexcept
    cdef tuple damage_to_raise(self)
