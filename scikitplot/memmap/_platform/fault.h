/* fault.h - the guard: what happens when a page of a mapped file vanishes, or a mapping for reading is written to.
 *
 * Another process truncates the file, the disk fills up under a hole, the device fails a read: the next touch of such a
 * page is a SIGBUS, which ends the process.  The guard is a handler for this signal.  It knows what is mapped, puts memory
 * where the page was, marks the mapping as damaged and lets the instruction that faulted go on.  A caller that finds the
 * mark afterwards must not use what it has read.
 *
 * A write to a mapping for reading is a SIGSEGV.  On Linux and Windows the page becomes copy-on-write, and the mapping is
 * marked, too.
 *
 * The handler never replaces a page that can be read, such as a private copy: it asks the system about each page.  Linux
 * before 5.14 and macOS cannot say, so there it replaces only the page that faulted.  A page that can be read again a
 * moment later is no damage.
 *
 * Lifetime and locks
 *   - Each guarded mapping has a `fault_guard`, from fault_watch() until fault_unwatch().  Guards are never freed, only
 *     used again, so the handler may look at any of them at any time.
 *   - fault_watch() publishes the address range last (release).  The handler pins a guard that covers the address, then
 *     reads the range again.  fault_pause() clears the range and returns once no handler has a pin: the handler never
 *     puts memory into a range that is about to be unmapped.
 *   - Repairs of one mapping exclude each other by a spin lock.  The kernel blocks all signals while it runs the handler,
 *     and all other code blocks them before it takes the lock, so no thread waits for a lock that it holds itself.  A
 *     foreign handler in front of ours that calls it may have blocked fewer.
 *
 * The handler makes system calls (to look at the file, map, block signals and yield) and calls `notify`.  It allocates
 * nothing and takes no lock that another thread may hold while it faults.
 *
 * No Python.h.  Functions return 0 or the system's error code, as in region.h.
 */
#ifndef SCIKITPLOT_MEMMAP_FAULT_H
#define SCIKITPLOT_MEMMAP_FAULT_H

#include "region.h"

#include <string.h>

/* What happened to a mapping; several may have. */
enum {
    FAULT_TRUNCATED = 1, /* the file became shorter: its lost tail reads as zeros */
    FAULT_NO_SPACE = 2,  /* a write found no room.  On tmpfs, writes to the pages that were replaced are kept in memory for
                          * fault_recover(); on a disk, all writes to the mapping are from then on: none reaches the file */
    FAULT_IO = 4,        /* the device failed: zeros */
    FAULT_UNKNOWN = 8,   /* the file could not be found: zeros */
    FAULT_STORED = 16,   /* a write went to memory that no file stands behind */
    FAULT_REVOKED = 32,  /* nothing was lost, but fault_revoke() has put zeros there: set before it does */
    FAULT_WRITTEN = 64   /* nothing was lost, but a mapping for reading was written to: the file is unchanged */
};

typedef struct fault_guard fault_guard;

/* Put the handler in front of those that are installed, if they are others.  They get the faults that are not ours.
 * `notify`, unless NULL, is called each time, inside the handler, in the thread that faulted. */
int fault_install(void (*notify)(fault_guard *));
/* Install the previous handlers again, where no other has been put in front of ours since. */
int fault_uninstall(void);

/* Guard a mapping of a file, made by region_map() with the same arguments.  The handler looks at the file through
 * `file`, which stays open until fault_unwatch() or fault_revoke(), or else at `path` (copied; may be NULL), if that
 * still leads to the file that `info` describes.  `shares_position` is what region_file_reopen() says of `file`. */
int fault_watch(void *address, size_t size, region_file file, int shares_position, const char *path,
                const region_info *info, region_intent intent, uint64_t offset, fault_guard **guard);
/* Repair no page of the mapping from now on: it is about to be unmapped or resized, and no thread may touch it. */
void fault_pause(fault_guard *guard);
/* Guard the mapping again, at a new address and with a new size; file and offset are the same.  The damage is cleared. */
void fault_resume(fault_guard *guard, void *address, size_t size);
/* Guard more of the mapping, which has become larger at its place.  An error, and no change, if pages were lost. */
int fault_extend(fault_guard *guard, size_t size);
/* Guard another, larger mapping of the same bytes, at `address`.  The old one stays in use, and has a guard of its own, whose
 * damage is counted as that of the new one as well.  An error, and no change, if pages were lost. */
int fault_move(fault_guard *guard, void *address, size_t size, fault_guard **old);
/* fault_pause(), for good. */
void fault_unwatch(fault_guard *guard);
/* region_revoke() while other threads may be touching lost pages; the guard (NULL: none) does not use the file again. */
int fault_revoke(fault_guard *guard, void *address, size_t size, int writable);

/* Copy bytes of a mapping, in either direction, or do other work that touches one; afterwards the damage says whether
 * pages were lost meanwhile.  Where memory cannot be put in place of a lost page, no other access is guarded, and
 * fault_run() returns 1 as soon as the work meets one: the work may hold nothing while it touches the mapping. */
#ifdef _WIN32
enum { FAULT_COPIES_ONLY = 1 };
int fault_run(void (*work)(void *), void *task);
void fault_copy(void *to, const void *from, size_t size);
#else
enum { FAULT_COPIES_ONLY = 0 };
static inline int fault_run(void (*work)(void *), void *task) { return work(task), 0; }
static inline void fault_copy(void *to, const void *from, size_t size) { memmove(to, from, size); }
#endif

/* Where to read what happened, as FAULT_ bits: 0 if nothing has. */
typedef _Atomic(uint32_t) fault_word;
const fault_word *fault_damage(const fault_guard *guard);

typedef struct {
    uint32_t damage;    /* FAULT_ bits */
    size_t start, stop; /* the bytes of the mapping that are affected, in whole pages: all of them, if writes do not reach
                         * the file */
    char path[4096];    /* terminated; empty if there is none */
} fault_report;
/* May be called by `notify`. */
void fault_describe(fault_guard *guard, fault_report *report);

/* Map the file (`file`: open, for writing if the mapping is for writing) again where pages were lost, write to it what had
 * found no room, drop what was written to a mapping for reading, and clear the damage.  FAULT_WRITTEN alone needs no
 * file on Linux (REGION_NO_FILE).  On failure the damage stays: ENODATA if the file is too short, EINVAL if `file` only appends. */
int fault_recover(fault_guard *guard, region_file file);

#endif
