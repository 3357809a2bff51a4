/* fault_windows.c - fault.h on Windows, by a vectored exception handler.
 *
 * Windows refuses to truncate a file that is mapped.  What remains is a network drive or a removable medium that fails, or
 * a disk that is full under a sparse file: EXCEPTION_IN_PAGE_ERROR.  Memory cannot be put into the middle of a view, so
 * the instruction that faulted cannot go on.  Only fault_run() and fault_copy(), which can end early, are guarded.
 *
 * A write to a mapping for reading is an EXCEPTION_ACCESS_VIOLATION, after which the instruction does go on.
 */
#include "fault.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <windows.h>

struct fault_guard {
    uintptr_t start, stop; /* the bytes that were asked for; both 0 while the guard is free or pauses */
    fault_word damage;
    uintptr_t first_lost, behind_last;
    region_intent intent;
    uint64_t offset; /* of `start` in the file */
    uint32_t growths;
    char *path;
    fault_guard *newer; /* after fault_move(): the guard of the mapping that has taken the place of this one */
    fault_guard *next, *next_free;
};

/* All guards there have ever been: the damage of a free one may still be read. */
static fault_guard *guards, *free_guards;
static SRWLOCK registry = SRWLOCK_INIT; /* never held while mapped memory is touched */
static void *installed;
static void (*_Atomic notify_user)(fault_guard *);

static fault_guard *find(uintptr_t address)
{
    fault_guard *guard = guards;
    while (guard && (address < guard->start || address >= guard->stop)) guard = guard->next;
    return guard;
}

/* --- work that ends early ------------------------------------------------------------------------------------- */

/* Of each thread: the CONTEXT of the fault_run() that it is in. */
static DWORD landing = TLS_OUT_OF_INDEXES;

__declspec(noinline) int fault_run(void (*work)(void *), void *task)
{
    CONTEXT here;
    volatile int has_begun = 0, has_ended = 0;
    void *outer = TlsGetValue(landing);
    RtlCaptureContext(&here); /* where the handler sends the thread back to */
    if (!has_begun) {
        has_begun = 1;
        TlsSetValue(landing, &here);
        work(task);
        has_ended = 1;
    }
    TlsSetValue(landing, outer);
    return !has_ended;
}

typedef struct {
    void *to;
    const void *from;
    size_t size;
} copy;

static void make_copy(void *task)
{
    const copy *its = task;
    memmove(its->to, its->from, its->size);
}

static int copies(void *to, const void *from, size_t size) { return !fault_run(make_copy, &(copy){to, from, size}); }

void fault_copy(void *to, const void *from, size_t size) { copies(to, from, size); }

static void note_lost(fault_guard *guard, uintptr_t from, uintptr_t to, uint32_t damage)
{
    if (from < guard->first_lost) guard->first_lost = from;
    if (to > guard->behind_last) guard->behind_last = to;
    guard->damage |= damage;
    fault_guard *newer = guard->newer;
    if (newer) note_lost(newer, from - guard->start + newer->start, to - guard->start + newer->start, damage);
}

/* The pages of a mapping for reading become copy-on-write, ever more of them at a time. */
static int allow_writes(fault_guard *guard, uintptr_t page)
{
    uint32_t doublings = guard->growths++ / 16;
    uint64_t window = (uint64_t)region_page_size() << (doublings < 30 ? doublings : 30);
    uintptr_t first = guard->start & ~(uintptr_t)(region_page_size() - 1);
    uintptr_t from = page - (uintptr_t)((page - first) % window);
    uintptr_t to = guard->stop - from < window ? guard->stop : from + (uintptr_t)window;
    DWORD before, writable = guard->damage & FAULT_REVOKED ? PAGE_READWRITE : PAGE_WRITECOPY; /* zeros are no view */
    if (!VirtualProtect((void *)from, to - from, writable, &before)) return 0;
    note_lost(guard, from, (to + region_page_size() - 1) & ~(uintptr_t)(region_page_size() - 1), FAULT_WRITTEN);
    return 1;
}

static LONG on_write(uintptr_t address)
{
    AcquireSRWLockExclusive(&registry);
    fault_guard *guard = find(address);
    int allowed = guard && guard->intent == REGION_READ &&
                  allow_writes(guard, address & ~(uintptr_t)(region_page_size() - 1));
    ReleaseSRWLockExclusive(&registry);
    if (!allowed) return EXCEPTION_CONTINUE_SEARCH;
    void (*notify)(fault_guard *) = notify_user;
    if (notify) notify(guard);
    return EXCEPTION_CONTINUE_EXECUTION;
}

static LONG CALLBACK on_fault(EXCEPTION_POINTERS *fault)
{
    const EXCEPTION_RECORD *record = fault->ExceptionRecord;
    if (record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION && record->ExceptionInformation[0] == 1)
        return on_write(record->ExceptionInformation[1]);
    if (record->ExceptionCode != EXCEPTION_IN_PAGE_ERROR) return EXCEPTION_CONTINUE_SEARCH;
    const CONTEXT *there = TlsGetValue(landing);
    if (!there) return EXCEPTION_CONTINUE_SEARCH;
    uintptr_t address = record->ExceptionInformation[1], page = address & ~(uintptr_t)(region_page_size() - 1);
    AcquireSRWLockExclusive(&registry);
    fault_guard *guard = find(address);
    if (guard) {
        note_lost(guard, page, page + region_page_size(),
                  FAULT_IO | (record->ExceptionInformation[0] == 1 ? FAULT_STORED : 0));
    }
    ReleaseSRWLockExclusive(&registry);
    if (!guard) return EXCEPTION_CONTINUE_SEARCH;
    *fault->ContextRecord = *there;
    return EXCEPTION_CONTINUE_EXECUTION;
}

int fault_install(void (*notify)(fault_guard *))
{
    notify_user = notify; /* of writes; callers of fault_copy() check the damage afterwards */
    AcquireSRWLockExclusive(&registry);
    if (landing == TLS_OUT_OF_INDEXES) landing = TlsAlloc();
    if (!installed && landing != TLS_OUT_OF_INDEXES) installed = AddVectoredExceptionHandler(1, on_fault);
    int error = installed ? 0 : ERROR_NOT_ENOUGH_MEMORY;
    ReleaseSRWLockExclusive(&registry);
    return error;
}

int fault_uninstall(void)
{
    AcquireSRWLockExclusive(&registry);
    if (installed) RemoveVectoredExceptionHandler(installed);
    installed = NULL;
    ReleaseSRWLockExclusive(&registry);
    return 0;
}

/* --- guards --------------------------------------------------------------------------------------------------- */

/* Nothing is lost any more. */
static void reset(fault_guard *guard)
{
    guard->damage = 0;
    guard->first_lost = UINTPTR_MAX;
    guard->behind_last = 0;
    guard->growths = 0;
}

static void set_range(fault_guard *guard, void *address, size_t size)
{
    reset(guard);
    guard->start = (uintptr_t)address;
    guard->stop = guard->start + size;
}

int fault_watch(void *address, size_t size, region_file file, int shares_position, const char *path,
                const region_info *info, region_intent intent, uint64_t offset, fault_guard **result)
{
    (void)file, (void)shares_position, (void)info;
    AcquireSRWLockExclusive(&registry);
    fault_guard *guard = free_guards;
    if (guard) free_guards = guard->next_free;
    else if ((guard = calloc(1, sizeof *guard))) {
        guard->next = guards;
        guards = guard;
    }
    if (guard) {
        guard->path = path ? _strdup(path) : NULL;
        guard->intent = intent;
        guard->offset = offset;
        guard->newer = NULL;
        set_range(guard, address, size);
    }
    ReleaseSRWLockExclusive(&registry);
    *result = guard;
    return guard ? 0 : ERROR_NOT_ENOUGH_MEMORY;
}

int fault_extend(fault_guard *guard, size_t size)
{
    AcquireSRWLockExclusive(&registry);
    int error = guard->damage ? ERROR_READ_FAULT : 0;
    if (!error) guard->stop = guard->start + size;
    ReleaseSRWLockExclusive(&registry);
    return error;
}

int fault_move(fault_guard *guard, void *address, size_t size, fault_guard **result)
{
    fault_guard *old = NULL;
    int error = fault_watch(NULL, 0, REGION_NO_FILE, 0, guard->path, NULL, guard->intent, guard->offset, &old);
    if (error) return error;
    AcquireSRWLockExclusive(&registry);
    error = guard->damage ? ERROR_READ_FAULT : 0;
    if (!error) {
        old->newer = guard;
        set_range(old, (void *)guard->start, guard->stop - guard->start);
        set_range(guard, address, size);
    }
    ReleaseSRWLockExclusive(&registry);
    if (error) fault_unwatch(old);
    else *result = old;
    return error;
}

void fault_pause(fault_guard *guard)
{
    AcquireSRWLockExclusive(&registry);
    guard->start = guard->stop = 0;
    ReleaseSRWLockExclusive(&registry);
}

void fault_resume(fault_guard *guard, void *address, size_t size)
{
    AcquireSRWLockExclusive(&registry);
    set_range(guard, address, size);
    ReleaseSRWLockExclusive(&registry);
}

void fault_unwatch(fault_guard *guard)
{
    fault_pause(guard);
    AcquireSRWLockExclusive(&registry);
    free(guard->path);
    guard->path = NULL;
    guard->next_free = free_guards;
    free_guards = guard;
    ReleaseSRWLockExclusive(&registry);
}

int fault_revoke(fault_guard *guard, void *address, size_t size, int writable)
{
    if (guard) guard->damage |= FAULT_REVOKED; /* and it stays, though the memory that is there now needs none */
    int error = region_revoke(address, size, writable);
    if (error && guard) guard->damage &= ~(uint32_t)FAULT_REVOKED;
    return error;
}

const fault_word *fault_damage(const fault_guard *guard) { return &guard->damage; }

void fault_describe(fault_guard *guard, fault_report *report)
{
    AcquireSRWLockShared(&registry);
    report->damage = guard->damage;
    report->start = guard->first_lost > guard->start ? guard->first_lost - guard->start : 0;
    report->stop = (guard->behind_last < guard->stop ? guard->behind_last : guard->stop) - guard->start;
    report->path[0] = report->path[sizeof report->path - 1] = 0;
    if (guard->path) strncpy(report->path, guard->path, sizeof report->path - 1);
    ReleaseSRWLockShared(&registry);
}

/* Lost pages are still those of the file: see whether they can be read by now. */
int fault_recover(fault_guard *guard, region_file file)
{
    if (guard->damage & FAULT_WRITTEN) { /* pages that were copied stay so until they are unmapped */
        int error = region_map_again(file, REGION_READ, guard->offset, guard->stop - guard->start, (void *)guard->start);
        if (error) return error;
    }
    uintptr_t end = guard->behind_last < guard->stop ? guard->behind_last : guard->stop;
    for (uintptr_t page = guard->first_lost; page < end; page += region_page_size()) {
        char byte;
        if (!copies(&byte, (const void *)(page > guard->start ? page : guard->start), 1)) return ERROR_READ_FAULT;
    }
    AcquireSRWLockExclusive(&registry);
    reset(guard);
    ReleaseSRWLockExclusive(&registry);
    return 0;
}
