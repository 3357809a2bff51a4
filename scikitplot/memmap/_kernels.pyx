"""Loops that run without the GIL: rows by index, and a permutation of rows in constant memory."""

cimport numpy as cnp
from libc.stdint cimport int64_t, uint64_t, uintptr_t
from libc.stdlib cimport free, malloc, qsort
from libc.string cimport memcpy

from ._file cimport File, handle_of
from ._guard cimport fault_guard, read_byte, run_for_caller, shared_int
from .libregion cimport (
    REGION_NO_FILE, region_file, region_file_read, region_major_faults, region_page_size, region_read, region_request,
    region_residency,
)

import numpy as np

from ._layout import at_least

cnp.import_array()

cdef extern from "_platform/parallel.h" nogil:
    enum:
        PARALLEL_MOST
    void parallel(void (*work)(void *, int, int) noexcept nogil, void *task, int parts)
    int parallel_processors()

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long long tv_sec
        long tv_nsec
    int timespec_get(timespec *time, int base)
    enum:
        TIME_UTC

cdef extern from *:
    """
    #if defined(__GNUC__)
    #define will_read(address) __builtin_prefetch(address)
    #else
    #define will_read(address) ((void)(address))
    #endif
    """
    void will_read(const void *address) noexcept nogil

cdef enum:
    LINE = 64               # bytes in a cache line
    MOST_LINES = 4          # of a row to prefetch: the processor prefetches the rest by itself
    ROWS_AHEAD = 16         # rows to prefetch: more compete for the memory
    BLOCK = 1024            # most rows between two checks whether the thread waited for the disk
    REQUEST = 8192          # rows whose pages are requested together, if they are not too long:
    REQUEST_NBYTES = 1 << 26
    LONG_ROW = 1 << 16      # bytes; whether a longer one is resident is asked before it is touched
    SAMPLE = 4              # rows of a batch that are checked
    SLOW = 20               # microseconds: few disks answer sooner
    # Bytes that are worth a thread. If all processors are busy, a thread may start only milliseconds later;
    # if rows have to be read from the disk, that is no loss.
    PART = 1 << 23
    COLD_PART = 1 << 20

# set by set_num_threads()
cdef shared_int most_threads = min(4, parallel_processors())
cdef shared_int most_readers = 4


def set_num_threads(n):
    """Set how many threads a call uses at most to copy rows, or to read ahead.

    Parameters
    ----------
    n : int
        At least 1. The default is 4, and for copying no more than the processors that this process may use: threads
        that read only wait for the disk.

    Raises
    ------
    TypeError
        If `n` is not an integer.
    ValueError
        If `n` is less than 1.

    Examples
    --------
    >>> from scikitplot.memmap import set_num_threads
    >>> set_num_threads(2)
    """
    global most_readers, most_threads
    most_threads = most_readers = min(at_least("n", n, 1), PARALLEL_MOST)


def read_file(File file not None, uint64_t offset, size_t size, uint64_t more):
    """Read bytes of a file into the page cache, in huge pages, and perhaps some of `more` bytes behind them.

    Two calls run at once: each uses half of the threads.
    """
    cdef region_file handle = handle_of(file)
    cdef int threads = (most_readers + 1) // 2
    with nogil:
        region_read(handle, offset, size, more, threads)


cdef Py_ssize_t first_outside(
    const int64_t *index, Py_ssize_t count, Py_ssize_t length, Py_ssize_t run
) noexcept nogil:
    """Return the place of the first index from which on there are fewer than `run` rows, or -1."""
    cdef Py_ssize_t i
    cdef uint64_t last = length - run
    cdef bint outside = run > length
    for i in range(count):
        outside |= <uint64_t>(index[i] + (length if index[i] < 0 else 0)) > last
    if not outside or count == 0:
        return -1
    for i in range(count):
        if run > length or <uint64_t>(index[i] + (length if index[i] < 0 else 0)) > last:
            return i
    return -1


cdef struct Rows:
    const char *base        # of row 0
    Py_ssize_t length       # number of rows
    size_t stride           # bytes from a row to the next
    size_t nbytes           # to copy for each index: of a row, or of a run of rows
    const int64_t *index    # in range; from the end if negative
    Py_ssize_t count
    char *out
    fault_guard *guard      # of the map; the caller checks the damage


cdef inline const char *place(const Rows *rows, int64_t row) noexcept nogil:
    return rows.base + <size_t>(row + (rows.length if row < 0 else 0)) * rows.stride


cdef inline void copy_items(
    const Rows *rows, const int64_t *index, Py_ssize_t count, char *out, size_t nbytes
) noexcept nogil:
    """Copy rows of a size that the compiler knows: each copy is one load and one store."""
    cdef Py_ssize_t i
    for i in range(count):
        memcpy(out + i * nbytes, place(rows, index[i]), nbytes)


cdef void copy_rows(const Rows *rows, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Copy rows, and have the processor prefetch the next ones: it cannot guess their addresses."""
    cdef const int64_t *index = rows.index + first
    cdef size_t nbytes = rows.nbytes
    cdef char *out = rows.out + first * nbytes
    cdef const char *next_row
    cdef Py_ssize_t i, line, count = last - first
    cdef Py_ssize_t lines = min(<Py_ssize_t>(nbytes + LINE - 1) // LINE, <Py_ssize_t>MOST_LINES)
    if nbytes == 1:
        copy_items(rows, index, count, out, 1)
    elif nbytes == 2:
        copy_items(rows, index, count, out, 2)
    elif nbytes == 4:
        copy_items(rows, index, count, out, 4)
    elif nbytes == 8:
        copy_items(rows, index, count, out, 8)
    elif nbytes == 16:
        copy_items(rows, index, count, out, 16)
    else:
        for i in range(count):
            if i + ROWS_AHEAD < count:
                next_row = place(rows, index[i + ROWS_AHEAD])
                for line in range(lines):
                    will_read(next_row + line * LINE)
            memcpy(out + i * nbytes, place(rows, index[i]), nbytes)


cdef inline uintptr_t place_of(const Rows *rows, Py_ssize_t i) noexcept nogil:
    return <uintptr_t>place(rows, rows.index[i])


cdef int compare(const void *one, const void *other) noexcept nogil:
    cdef uintptr_t left = (<const uintptr_t *>one)[0], right = (<const uintptr_t *>other)[0]
    return (left > right) - (left < right)


cdef void request_rows(const Rows *rows, Py_ssize_t first, Py_ssize_t last) noexcept nogil:
    """Start reading the pages of rows, each page once and neighbours by one call."""
    cdef Py_ssize_t i, count = last - first
    cdef uintptr_t start, stop, gap = region_page_size()
    cdef uintptr_t *places
    if count <= 0 or rows.nbytes == 0:
        return
    places = <uintptr_t *>malloc(count * sizeof(uintptr_t))
    if places == NULL:
        return
    for i in range(count):
        places[i] = place_of(rows, first + i)
    qsort(places, count, sizeof(uintptr_t), compare)
    start, stop = places[0], places[0] + rows.nbytes
    for i in range(1, count):
        if places[i] > stop + gap:
            region_request(<void *>start, stop - start)
            start = places[i]
        stop = places[i] + rows.nbytes
    region_request(<void *>start, stop - start)
    free(places)


cdef bint is_resident(const Rows *rows, Py_ssize_t i) noexcept nogil:
    """Return whether a row is resident. Called by `run_for_caller`, because the row may be lost.

    For files that the caller neither owns nor may write to, Linux says so of all pages: touching the row tells, by
    whether the thread has to wait.
    """
    cdef unsigned char resident[2]
    cdef void *place = <void *>place_of(rows, i)
    cdef uint64_t waits = region_major_faults()
    resident[0] = 0
    region_residency(REGION_NO_FILE, 0, place, 1, resident)
    if not resident[0]:
        return False
    read_byte(place)
    return region_major_faults() == waits


cdef bint sample_is_resident(const Rows *rows, Py_ssize_t first) noexcept nogil:
    """Return whether a few of the rows from `first` on are resident."""
    cdef Py_ssize_t i
    for i in range(SAMPLE):
        if not is_resident(rows, first + i * (rows.count - 1 - first) // (SAMPLE - 1)):
            return False
    return True


cdef void request_unless_resident(void *task) noexcept nogil:
    cdef const Rows *rows = <const Rows *>task
    if not sample_is_resident(rows, 0):
        request_rows(rows, 0, rows.count)


cdef void request_missing(
    const char *base, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index, Py_ssize_t count,
    fault_guard *guard, bint may_touch,
) noexcept nogil:
    """Start reading the pages of rows; if it may touch a sample of the rows, only unless that is resident."""
    cdef Rows rows = Rows(base, length, stride, nbytes, index, count, NULL, guard)
    if may_touch and count and nbytes:
        run_for_caller(guard, request_unless_resident, &rows)
    else:
        request_rows(&rows, 0, count)


cdef int64_t microseconds() noexcept nogil:
    cdef timespec time
    timespec_get(&time, TIME_UTC)
    return time.tv_sec * 1000000 + time.tv_nsec // 1000


cdef void gather_adaptively(void *task) noexcept nogil:
    """Gather rows. Once this thread has had to wait for the disk, request the pages of many rows before touching them.

    The first check is after one row, the next after twice as many. To read the clock costs less than to ask the system
    whether the thread waited, so that is asked only from the first time on that rows took long.
    """
    cdef const Rows *rows = <const Rows *>task
    cdef Py_ssize_t at = 0, end = rows.count, step = 1, requested
    cdef Py_ssize_t at_once = max(1, min(<Py_ssize_t>REQUEST, <Py_ssize_t>(REQUEST_NBYTES // (rows.nbytes + 1))))
    cdef int64_t now, before = microseconds()
    cdef uint64_t waits = 0
    cdef bint was_slow = False
    cdef bint is_cold = end > 0 and rows.nbytes >= LONG_ROW and not sample_is_resident(rows, 0)
    while at < end and not is_cold:
        step = min(step, end - at)
        copy_rows(rows, at, at + step)
        at += step
        if was_slow:
            is_cold = region_major_faults() != waits
        else:
            now = microseconds()
            was_slow = now - before >= SLOW
            before = now
            if was_slow and at < end:
                is_cold = not sample_is_resident(rows, at)
                waits = region_major_faults()
        step = min(2 * step, <Py_ssize_t>BLOCK)
    requested = min(at + at_once, end)
    request_rows(rows, at, requested)
    while at < end:
        step = requested
        requested = min(requested + at_once, end)
        request_rows(rows, step, requested)
        copy_rows(rows, at, step)
        at = step


cdef void gather_part(void *task, int part, int parts) noexcept nogil:
    """Gather one thread's part of the rows."""
    cdef Rows rows = (<const Rows *>task)[0]
    cdef Py_ssize_t first = rows.count * part // parts
    rows.count = rows.count * (part + 1) // parts - first
    rows.index += first
    rows.out += first * rows.nbytes
    run_for_caller(rows.guard, gather_adaptively, &rows)


cdef void gather_rows(
    const char *base, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index, Py_ssize_t count,
    char *out, fault_guard *guard,
) noexcept nogil:
    """Copy `nbytes` bytes from each of `count` rows on; the indices are in range."""
    cdef Rows rows = Rows(base, length, stride, nbytes, index, count, out, guard), first = rows
    cdef size_t size = count * max(nbytes, <size_t>LINE), part = PART
    cdef uint64_t waits
    if size >= COLD_PART:
        first.count = 1
        waits = region_major_faults()
        run_for_caller(guard, gather_adaptively, &first)
        if region_major_faults() != waits:
            part = COLD_PART
        rows.count, rows.index, rows.out = count - 1, index + 1, out + nbytes
    parallel(gather_part, &rows, <int>max(<size_t>1, min(<size_t>most_threads, size // part)))


cdef bint read_rows(
    region_file file, uint64_t offset, Py_ssize_t length, size_t stride, size_t nbytes, const int64_t *index,
    Py_ssize_t count, char *out,
) noexcept nogil:
    """Read rows from a file, whose row 0 is at `offset`. Return whether it has all of them."""
    cdef Py_ssize_t i
    cdef uint64_t row
    cdef size_t found
    for i in range(count):
        row = index[i] + (length if index[i] < 0 else 0)
        if region_file_read(file, offset + row * stride, out + i * nbytes, nbytes, &found) or found < nbytes:
            return False
    return True


cdef enum:
    STEPS = 8

ROUNDS = STEPS


cdef inline uint64_t mixed(uint64_t x) noexcept nogil:
    """The finalizer of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014)."""
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef struct Network:
    int64_t length
    int low             # bits of the half that is not the high one
    uint64_t low_mask, high_mask
    uint64_t keys[STEPS]


cdef Network network_of(keys, int64_t length):
    cdef Network network
    cdef int bits = 0, step
    while bits < 63 and <uint64_t>1 << bits < <uint64_t>length:
        bits += 1
    network.length = length
    network.low = bits // 2
    network.low_mask = (<uint64_t>1 << network.low) - 1
    network.high_mask = (<uint64_t>1 << (bits - network.low)) - 1
    for step in range(STEPS):
        network.keys[step] = keys[step]
    return network


cdef int64_t permuted(const Network *network, uint64_t x, bint back) noexcept nogil:
    """Return the image of x under the permutation, or with `back` its preimage.

    A Feistel network permutes the smallest range of a power of two that holds the length. A result that is not less
    than the length is permuted again until it is ("cycle walking": Black, Rogaway, "Ciphers with arbitrary finite
    domains", CT-RSA 2002), on average at most twice.
    """
    cdef int count, step, low = network.low
    while True:
        for count in range(STEPS):
            step = STEPS - 1 - count if back else count
            if step % 2:
                x ^= mixed((x >> low) + network.keys[step]) & network.low_mask
            else:
                x ^= (mixed((x & network.low_mask) + network.keys[step]) & network.high_mask) << low
        if x < <uint64_t>network.length:
            return x


def shuffled(keys, int64_t length, int64_t start, int64_t stop):
    """Return the rows at positions start to stop of a permutation of range(length), in constant memory.

    `keys`, `ROUNDS` integers of 64 bits, choose the permutation; it is the same on every platform.
    """
    cdef int64_t i, count = max(stop - start, 0)
    cdef cnp.ndarray rows = np.empty(count, np.int64)
    cdef int64_t *row = <int64_t *>cnp.PyArray_DATA(rows)
    cdef Network network = network_of(keys, length)
    with nogil:
        for i in range(count):
            row[i] = permuted(&network, start + i, False)
    return rows


def position(keys, int64_t length, int64_t row):
    """Return the position of a row in the permutation that `keys` choose."""
    cdef Network network = network_of(keys, length)
    return permuted(&network, row, True)
