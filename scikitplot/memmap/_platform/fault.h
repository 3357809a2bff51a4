/* fault.h - the guard: what happens when a page of a mapped file vanishes.
 *
 * Another process cuts the file, the disk fills up under a hole, the device fails a read: the next touch of such a page
 * is a SIGBUS, which ends the process.  The guard is a handler for it.  It knows what is mapped, puts memory where the
 * page was, marks the mapping as damaged and lets the instruction that faulted go on; whoever reads the damage mark
 * afterwards must not use what was read.  It never replaces a page that can be read, such as a private copy; the system
 * is asked about every page (Linux before 5.14 cannot say, and then the page that faulted is replaced alone).  A page
 * that can be read again a moment later is no damage.
 *
 * Who holds what
 *   - Each guarded mapping has a `fault_guard`, from fault_watch() until fault_unwatch().  Guards are never freed, only
 *     used again, so the handler may look at any of them at any time.
 *   - fault_watch() publishes the address range last (release); the handler pins a guard that covers the address, then
 *     reads the range again; fault_pause() clears the range, waits until no handler has a pin, and only then returns:
 *     nobody puts memory into a range that is about to be unmapped.
 *   - Repairs of one mapping exclude each other by a spin lock.  The kernel blocks all signals while it runs the
 *     handler, and whatever else takes the lock blocks them first, so nobody waits for the lock in the thread that holds
 *     it.  A foreign handler in front of ours that calls it may have blocked fewer.
 *
 * What the handler calls: system calls only (to look at the file, map, block signals and yield), and `notify`.  No
 * allocation, no lock that others hold while they may fault.
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
    FAULT_NO_SPACE = 2,  /* a store found no room on the disk: stores are kept in memory, for fault_recover(); all stores
                          * into the mapping from then on, unless the file is in memory itself (tmpfs) */
    FAULT_IO = 4,        /* the device failed: zeros */
    FAULT_UNKNOWN = 8,   /* the file could not be looked at: zeros */
    FAULT_STORED = 16,   /* a store went to memory that no file stands behind */
    FAULT_REVOKED = 32   /* nothing was lost, but fault_revoke() has put zeros there: set before it does */
};

typedef struct fault_guard fault_guard;

/* Put the handler in front of whichever other one there is; at once if it is there already.  Faults that are not ours
 * go on to the other.  `notify`, unless NULL, is called in the thread that faulted, inside the handler, each time. */
int fault_install(void (*notify)(fault_guard *));
/* Take the handler away again, if no other has been put in front of it since. */
int fault_uninstall(void);

/* Guard a mapping of a file, made by region_map() with the same arguments.  The handler looks at the file through
 * `file`, which stays open until fault_unwatch() or fault_revoke(), or else at `path` (copied; may be NULL), if that
 * still leads to the file that `info` describes.  `shares_position` is what region_file_reopen() says of `file`. */
int fault_watch(void *address, size_t size, region_file file, int shares_position, const char *path,
                const region_info *info, region_intent intent, uint64_t offset, fault_guard **guard);
/* Before the mapping is unmapped or resized, and nobody may touch it any more: no page of it is repaired from now on. */
void fault_pause(fault_guard *guard);
/* Guard the mapping again, at a new place and of a new size; of the same offset in the same file.  Nothing is lost now. */
void fault_resume(fault_guard *guard, void *address, size_t size);
/* fault_pause(), for good. */
void fault_unwatch(fault_guard *guard);
/* region_revoke() while others may be touching lost pages; the guard (NULL: there is none) uses the file no more. */
int fault_revoke(fault_guard *guard, void *address, size_t size, int writable);

/* Copy bytes of a mapping, in either direction, or do other work that touches one; whether pages were lost meanwhile is
 * in the damage afterwards.  Where memory cannot be put in their place, no other access is guarded, and fault_run()
 * returns 1 as soon as one was met: the work may hold nothing while it touches the mapping. */
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
    size_t start, stop; /* the bytes of the mapping that are affected, from the first to behind the last: the whole of it
                         * if all further stores are kept in memory */
    char path[4096];    /* terminated; empty if there is none */
} fault_report;
/* May be called by `notify`. */
void fault_describe(fault_guard *guard, fault_report *report);

/* Map the file (`file`: open, for writing if the mapping is for writing) again under what was lost, write stores that
 * had found no room back, and clear the damage.  On failure the damage stays: ENODATA if the file is too short. */
int fault_recover(fault_guard *guard, region_file file);

#endif
