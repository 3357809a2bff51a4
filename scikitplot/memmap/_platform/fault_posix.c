/* fault_posix.c - fault.h on Linux, by SIGBUS and SIGSEGV; on macOS by the same code, compiled and never run. */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE
#define _FILE_OFFSET_BITS 64

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef __linux__
#include <linux/magic.h>
#include <sys/statfs.h>
#include <ucontext.h>
#endif

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#ifndef MADV_POPULATE_READ
#define MADV_POPULATE_READ 22
#endif

enum {
    CHUNK = 256,               /* guards allocated at a time */
    SAME_FAULT_LIMIT = 100000, /* faults in a row of which no repair is the end */
    SAME_PAGE_LIMIT = 16       /* tries of a page that can be read but faults again: then it counts as unreadable */
};
static const size_t MOST_IN_MEMORY = (size_t)64 << 20; /* bytes of memory for writes to one lost tail */
static const size_t LARGEST_WINDOW = (size_t)1 << 20;  /* bytes that one fault may ask the system about */

struct fault_guard {
    /* what the handler searches */
    _Atomic(uintptr_t) low, high; /* low is 0 while the guard is free */
    _Atomic(uint32_t) pins;
    atomic_flag locked;
    fault_word damage;
    /* what was mapped */
    region_file file;
    int shares_position; /* a file object of the user's has the same position: never seek */
    char *path;
    uint64_t device, inode, offset; /* of `start` in the file */
    region_intent intent;
    uintptr_t start;
    _Atomic(uintptr_t) stop; /* the bytes that were asked for end here */
    uintptr_t first, end;  /* the whole pages that they meet; low and high while the guard is published */
    /* what was repaired: written under the lock */
    uintptr_t tail;              /* from here on nothing of the file is left; `end` if all is */
    int is_private;              /* the whole mapping has become copy-on-write */
    uint64_t *rescued, *blanked; /* a bit per page: memory for writes that found no room; zeros instead of data */
    uintptr_t failed_up_to;      /* the end of the last window blanked, and its size */
    size_t window;
    uintptr_t tried; /* the page that was last tried again as it is, and how often in a row */
    uint32_t tries, growths, repeats;
    uintptr_t first_lost, behind_last;
    fault_guard *newer; /* after fault_move(): the guard of the mapping that has taken the place of this one */
    fault_guard *next_free;
};

typedef struct chunk {
    fault_guard guards[CHUNK];
    _Atomic(uint32_t) used;
    struct chunk *_Atomic next;
} chunk;

static chunk first_chunk; /* static, so that the first mapping allocates nothing */
static chunk *last_chunk = &first_chunk;
static fault_guard *free_guards;
static pthread_mutex_t registry = PTHREAD_MUTEX_INITIALIZER; /* never taken by the handler */

static void (*_Atomic notify_user)(fault_guard *);

/* The previous handlers of a signal, the last one first; never freed, since one may be running. */
typedef struct handler {
    struct sigaction act;
    struct handler *older;
} handler;

static struct handlers {
    int number;
    handler *_Atomic previous;
    /* the last one that was called, in which thread, for which fault that it cannot mend, and whether it sent the signal */
    handler *_Atomic tried;
    _Atomic(uintptr_t) thread, address;
    _Atomic(int) was_sent_again;
} signals[] = {{.number = SIGBUS}, {.number = SIGSEGV}};
enum { SIGNALS = sizeof signals / sizeof *signals };

static int sink = -1; /* a sparse file in memory, for writes to a large lost tail, which are never read */

static uintptr_t page_size(void) { return (uintptr_t)region_page_size(); }
static uintptr_t page_up(uintptr_t address) { return (address + page_size() - 1) & ~(page_size() - 1); }

/* --- in the handler: pages -------------------------------------------------------------------------------------- */

static size_t page_number(const fault_guard *guard, uintptr_t page) { return (page - guard->first) / page_size(); }

static int is_marked(const fault_guard *guard, const uint64_t *pages, uintptr_t page)
{
    size_t i = page_number(guard, page);
    return pages && pages[i / 64] >> (i % 64) & 1;
}

/* Bits come from mmap, which takes memory only for those that are set. */
static size_t bits_size(const fault_guard *guard) { return page_number(guard, guard->end) / 8 + 8; }

static int mark(fault_guard *guard, uint64_t **pages, uintptr_t from, uintptr_t to)
{
    if (!*pages) {
        void *bits = mmap(NULL, bits_size(guard), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, -1, 0);
        if (bits == MAP_FAILED) return 0;
        *pages = bits;
    }
    for (size_t i = page_number(guard, from), end = page_number(guard, to); i < end; i++)
        (*pages)[i / 64] |= (uint64_t)1 << (i % 64);
    return 1;
}

static int is_lost(const fault_guard *guard, uintptr_t page)
{
    return page >= guard->tail || is_marked(guard, guard->rescued, page) || is_marked(guard, guard->blanked, page);
}

/* The first page in (from, to) that is lost already, else `to`. */
static uintptr_t next_lost(const fault_guard *guard, uintptr_t from, uintptr_t to)
{
    uintptr_t page = from + page_size();
    while (page < to && !is_lost(guard, page)) page += page_size();
    return page < to ? page : to;
}

static int protection(const fault_guard *guard)
{
    return guard->intent == REGION_READ ? PROT_READ : PROT_READ | PROT_WRITE;
}

static int put_memory(fault_guard *guard, uintptr_t from, uintptr_t to)
{
    guard->repeats = 0;
    return mmap((void *)from, to - from, protection(guard), MAP_PRIVATE | MAP_ANON | MAP_FIXED | MAP_NORESERVE, -1, 0) !=
           MAP_FAILED;
}

/* Writes to a large lost tail must not fill up the memory: all pieces of it are the same 16 MiB (more, if there would be
 * more than 4096 pieces). */
static int put_sink(fault_guard *guard, uintptr_t from, uintptr_t to)
{
    size_t piece = (size_t)16 << 20;
    guard->repeats = 0;
    while ((to - from) / piece > 4096) piece *= 2;
    for (uintptr_t place = from; place < to; place += piece) {
        size_t size = to - place < piece ? to - place : piece;
        if (mmap((void *)place, size, protection(guard), MAP_SHARED | MAP_FIXED, sink, 0) == MAP_FAILED) return 0;
    }
    return 1;
}

static uint64_t place_in_file(const fault_guard *guard, uintptr_t page)
{
    return guard->offset + ((uint64_t)page - guard->start);
}

typedef enum { UNREADABLE, READABLE, NOT_KNOWN } readability;

/* Whether a touch of a page would fault.  A private copy of a page can be read, and stays what it is. */
static readability ask(uintptr_t page)
{
#ifdef __linux__
    if (madvise((void *)page, page_size(), MADV_POPULATE_READ) == 0) return READABLE;
    if (errno == EFAULT || errno == EHWPOISON) return UNREADABLE;
#else
    (void)page;
#endif
    return NOT_KNOWN;
}

/* `page` cannot be read: where the run of such pages ends, at most at `limit`. */
static uintptr_t unreadable_up_to(uintptr_t page, uintptr_t limit)
{
    uintptr_t end = page + page_size();
    if (limit - page > LARGEST_WINDOW) limit = page + LARGEST_WINDOW;
    while (end < limit && ask(end) == UNREADABLE) end += page_size();
    return end;
}

static void note_lost(fault_guard *guard, uintptr_t from, uintptr_t to)
{
    if (from < guard->first_lost) guard->first_lost = from;
    if (to > guard->behind_last) guard->behind_last = to;
}

/* --- in the handler: what each kind of loss needs ----------------------------------------------------------------- */

static int repair_truncated(fault_guard *guard, uint64_t size)
{
    uint64_t end = (size + page_size() - 1) / page_size() * page_size(), begin = place_in_file(guard, guard->first);
    uintptr_t from = guard->first + (end > begin ? (uintptr_t)(end - begin) : 0);
    int bounded = guard->intent == REGION_READ || guard->tail - from <= MOST_IN_MEMORY || sink < 0;
    if (!(bounded ? put_memory : put_sink)(guard, from, guard->tail)) return 0;
    guard->tail = from;
    note_lost(guard, from, guard->end);
    return 1;
}

#ifdef __linux__
static int is_in_memory(int fd)
{
    struct statfs system;
    return fstatfs(fd, &system) == 0 && system.f_type == TMPFS_MAGIC;
}
#else
static int is_in_memory(int fd)
{
    (void)fd;
    return 0;
}
#endif

static int can_pread(int fd, uint64_t place)
{
    char byte;
    return pread(fd, &byte, 1, (off_t)place) == 1;
}

/* How much of the file, from a page on, is a hole: 0 if the page is not in one, or that takes a seek that is not allowed. */
static uint64_t hole_size(const fault_guard *guard, int fd, uint64_t place)
{
    if (guard->shares_position) return 0;
    off_t data = lseek(fd, (off_t)place, SEEK_DATA);
    if (data < 0) return errno == ENXIO ? UINT64_MAX - place : 0;
    return (uint64_t)data - place;
}

/* How many bytes to change at a time: more and more, since the system limits the number of mappings. */
static uint64_t growing_window(fault_guard *guard)
{
    uint32_t doublings = guard->growths++ / 16;
    return (uint64_t)page_size() << (doublings < 30 ? doublings : 30);
}

/* A hole of a full tmpfs cannot even be read: memory replaces it.  A copy-on-write mapping may have a private copy of a page
 * where the file has a hole by now. */
static int repair_hole(fault_guard *guard, int fd, uintptr_t page)
{
    uint64_t window = growing_window(guard);
    uint64_t hole = hole_size(guard, fd, place_in_file(guard, page));
    if (window > hole) window = hole & ~(uint64_t)(page_size() - 1);
    if (window < page_size()) window = page_size();
    uintptr_t to = guard->tail - page < window ? guard->tail : page + (uintptr_t)window;
    to = next_lost(guard, page, to);
    if (guard->intent == REGION_COPY) to = unreadable_up_to(page, to);
    if (!mark(guard, &guard->rescued, page, to) || !put_memory(guard, page, to)) return 0;
    note_lost(guard, page, to);
    return 1;
}

/* A write finds no room on a disk: the whole mapping becomes a copy-on-write one of the same file.  The contents stay, and
 * from now on writes stay in memory. */
static int make_private(fault_guard *guard, int fd)
{
    for (uintptr_t from = guard->first, to; from < guard->tail; from = to) {
        to = next_lost(guard, from, guard->tail);
        if (!is_lost(guard, from) &&
            mmap((void *)from, to - from, protection(guard), MAP_PRIVATE | MAP_FIXED | MAP_NORESERVE, fd,
                 (off_t)place_in_file(guard, from)) == MAP_FAILED)
            return 0;
    }
    guard->is_private = 1;
    guard->repeats = 0;
    note_lost(guard, guard->first, guard->end);
    return 1;
}

/* Zeros, in windows that double while one fault follows the other. */
static int repair_blank(fault_guard *guard, uintptr_t page)
{
    if (page != guard->failed_up_to) guard->window = page_size();
    else if (guard->window < LARGEST_WINDOW) guard->window *= 2;
    uintptr_t to = guard->tail - page < guard->window ? guard->tail : page + guard->window;
    to = guard->failed_up_to = unreadable_up_to(page, next_lost(guard, page, to));
    if (!mark(guard, &guard->blanked, page, to) || !put_memory(guard, page, to)) return 0;
    note_lost(guard, page, to);
    return 1;
}

/* A write to a mapping for reading: where it is private (see region_map()), its pages become copy-on-write, in windows that
 * are aligned, because the next write may be behind this one or before it. */
static int allow_writes(fault_guard *guard, uintptr_t page)
{
    uint64_t window = growing_window(guard);
    uintptr_t from = page - (uintptr_t)((page - guard->first) % window);
    uintptr_t to = guard->end - from < window ? guard->end : from + (uintptr_t)window;
    if (mprotect((void *)from, to - from, PROT_READ | PROT_WRITE)) return 0;
    note_lost(guard, from, to);
    guard->damage |= FAULT_WRITTEN;
    return 1;
}

static void lock(fault_guard *guard)
{
    for (unsigned tries = 0; atomic_flag_test_and_set_explicit(&guard->locked, memory_order_acquire); tries++)
        if (tries % 64 == 63) sched_yield();
}

static void unlock(fault_guard *guard) { atomic_flag_clear_explicit(&guard->locked, memory_order_release); }

/* With all signals blocked: else the handler could wait for a lock that its own thread holds. */
static void lock_from_outside(fault_guard *guard, sigset_t *before)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, before);
    lock(guard);
}

static void unlock_from_outside(fault_guard *guard, const sigset_t *before)
{
    unlock(guard);
    pthread_sigmask(SIG_SETMASK, before, NULL);
}

void fault_describe(fault_guard *guard, fault_report *report)
{
    sigset_t before;
    lock_from_outside(guard, &before);
    report->damage = guard->damage;
    report->start = guard->first_lost > guard->start ? guard->first_lost - guard->start : 0;
    report->stop = (guard->behind_last < guard->stop ? guard->behind_last : guard->stop) - guard->start;
    report->path[0] = report->path[sizeof report->path - 1] = 0;
    if (guard->path) strncpy(report->path, guard->path, sizeof report->path - 1);
    unlock_from_outside(guard, &before);
}

/* --- the handler ------------------------------------------------------------------------------------------------ */

/* A guard that covers the address, pinned, so that the range stays what it is. */
static fault_guard *find(uintptr_t address)
{
    for (chunk *part = &first_chunk; part; part = atomic_load_explicit(&part->next, memory_order_acquire)) {
        uint32_t used = atomic_load_explicit(&part->used, memory_order_acquire);
        for (fault_guard *guard = part->guards; guard < part->guards + used; guard++) {
            uintptr_t low = atomic_load_explicit(&guard->low, memory_order_acquire);
            if (!low || address < low || address >= atomic_load_explicit(&guard->high, memory_order_relaxed)) continue;
            atomic_fetch_add(&guard->pins, 1);
            low = atomic_load(&guard->low); /* again: fault_pause() clears it first, and looks at the pins then */
            if (low && address >= low && address < atomic_load(&guard->high)) return guard;
            atomic_fetch_sub(&guard->pins, 1);
        }
    }
    return NULL;
}

static int was_store(const fault_guard *guard, const void *context)
{
#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__))
    (void)guard;
    return (((const ucontext_t *)context)->uc_mcontext.gregs[REG_ERR] & 2) != 0; /* the error code of the page fault */
#else
    (void)context;
    return guard->intent != REGION_READ; /* not known: it may have been */
#endif
}

/* Whether a fault is a write to memory that may only be read.  Execution is refused in the same way: some systems tell it
 * apart by where it happened; elsewhere it faults again until SAME_FAULT_LIMIT. */
static int was_refused(const fault_guard *guard, int number, const siginfo_t *info, const void *context)
{
    if (guard->intent != REGION_READ || number != SIGSEGV || info->si_code != SEGV_ACCERR) return 0;
#if defined(__linux__) && (defined(__x86_64__) || defined(__i386__))
    return was_store(guard, context);
#else
#if defined(__linux__) && defined(__aarch64__)
    uintptr_t at = (uintptr_t)((const ucontext_t *)context)->uc_mcontext.pc;
#elif defined(__linux__) && defined(__riscv)
    uintptr_t at = (uintptr_t)((const ucontext_t *)context)->uc_mcontext.__gregs[REG_PC];
#elif defined(__linux__) && defined(__s390x__)
    uintptr_t at = (uintptr_t)((const ucontext_t *)context)->uc_mcontext.psw.addr;
#else
    uintptr_t at = 0;
    (void)context;
#endif
    return at < guard->first || at >= guard->end;
#endif
}

/* The file behind a guard, open: its own, or that at its path, if it is the same still. */
static int open_file(const fault_guard *guard, struct stat *st)
{
    int fd = guard->file != REGION_NO_FILE ? (int)guard->file
             : guard->path ? open(guard->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)
                           : -1;
    if (fd < 0) return -1;
    if (fstat(fd, st) == 0 && (uint64_t)st->st_dev == guard->device && (uint64_t)st->st_ino == guard->inode) return fd;
    if (guard->file == REGION_NO_FILE) close(fd);
    return -1;
}

static int may_try_again(fault_guard *guard, uintptr_t page, uint32_t limit)
{
    if (page != guard->tried) guard->tries = 0;
    guard->tried = page;
    return guard->tries++ < limit;
}

/* What happened to a page that is not beyond the end of the file; 0 if it can be read by now and the access is to be tried
 * again.  A write that finds no room faults on a page that can be read: it is taken for one at the second try. */
static int kind_of_loss(fault_guard *guard, int fd, uintptr_t page, int stored)
{
    uint64_t place = place_in_file(guard, page);
    readability found = ask(page);
    int in_memory = fd >= 0 && is_in_memory(fd);
    int may_be_hole = in_memory && (guard->shares_position || hole_size(guard, fd, place));
    int may_lack_room = stored && guard->intent == REGION_WRITE && !guard->is_private && fd >= 0 && !in_memory;
    if (found == NOT_KNOWN) found = fd >= 0 && !may_be_hole && can_pread(fd, place) ? READABLE : UNREADABLE;
    if (found == READABLE && may_try_again(guard, page, may_lack_room ? 1 : SAME_PAGE_LIMIT)) return 0;
    if (may_lack_room && found == READABLE) return FAULT_NO_SPACE;
    if (in_memory && (may_be_hole || found == UNREADABLE) && can_pread(fd, place)) return FAULT_NO_SPACE;
    return fd < 0 ? FAULT_UNKNOWN : FAULT_IO;
}

typedef enum { NOT_REPAIRED, TO_BE_TRIED_AGAIN, REPLACED } outcome;

static outcome replace_page(fault_guard *guard, uintptr_t page, int stored)
{
    struct stat st;
    int kind, done, fd = open_file(guard, &st);
    if (fd >= 0 && place_in_file(guard, page) >= (uint64_t)st.st_size) kind = FAULT_TRUNCATED;
    else kind = kind_of_loss(guard, fd, page, stored);
    if (kind == 0) done = 1;
    else if (kind == FAULT_TRUNCATED) done = repair_truncated(guard, (uint64_t)st.st_size);
    else if (kind == FAULT_NO_SPACE) done = is_in_memory(fd) ? repair_hole(guard, fd, page) : make_private(guard, fd);
    else done = repair_blank(guard, page);
    if (fd >= 0 && guard->file == REGION_NO_FILE) close(fd);
    if (kind == 0 || !done) return done ? TO_BE_TRIED_AGAIN : NOT_REPAIRED;
    guard->damage |= (uint32_t)kind | (stored ? FAULT_STORED : 0);
    return REPLACED;
}

static int repair(int number, const siginfo_t *info, const void *context)
{
    uintptr_t address = (uintptr_t)info->si_addr, page = address & ~(page_size() - 1);
    fault_guard *guard = find(address);
    if (!guard) return 0;
    outcome found = REPLACED;
    lock(guard);
    if (address < guard->first || address >= guard->end) found = TO_BE_TRIED_AGAIN; /* it has moved meanwhile */
    else if (guard->repeats++ > SAME_FAULT_LIMIT) found = NOT_REPAIRED;
    else if (was_refused(guard, number, info, context)) found = allow_writes(guard, page) ? REPLACED : NOT_REPAIRED;
    else if (number == SIGSEGV) found = NOT_REPAIRED;
    else if (!is_lost(guard, page)) found = replace_page(guard, page, was_store(guard, context));
    /* else another thread was first */
    fault_guard *newer = guard->newer;
    uint32_t damage = guard->damage;
    uintptr_t from = guard->first_lost - guard->first, to = guard->behind_last - guard->first;
    unlock(guard);
    if (newer && found == REPLACED) {
        lock(newer);
        note_lost(newer, newer->first + from, newer->first + to);
        newer->damage |= damage;
        unlock(newer);
    }
    void (*notify)(fault_guard *) = atomic_load(&notify_user);
    if (found == REPLACED && guard->damage & ~(uint32_t)FAULT_REVOKED && notify) notify(guard);
    atomic_fetch_sub(&guard->pins, 1);
    return found != NOT_REPAIRED;
}

/* --- faults of others --------------------------------------------------------------------------------------------- */

/* Ask for the default action.  A fault happens again when the handler returns, with its true context in the core. */
static void let_it_end(int number, int is_fault)
{
    struct sigaction act = {.sa_handler = SIG_DFL};
    sigset_t only;
    sigaction(number, &act, NULL);
    if (is_fault) return;
    raise(number);
    sigemptyset(&only);
    sigaddset(&only, number);
    pthread_sigmask(SIG_UNBLOCK, &only, NULL);
}

/* The last of the previous handlers is called.  Most print something, then return or send the signal again for the handlers
 * before them: these come next.  One that is told the address may have mended the fault, as runtimes do, and is called each
 * time: the same address may fault again later. */
static void pass_on(struct handlers *its, siginfo_t *info, void *context, int is_fault)
{
    uintptr_t address = (uintptr_t)info->si_addr, thread = (uintptr_t)pthread_self();
    int again = is_fault ? its->address == address : atomic_exchange(&its->was_sent_again, 0);
    again &= its->thread == thread;
    handler *other = atomic_load(again ? &its->tried : &its->previous);
    if (again && other) other = other->older;
    its->tried = other;
    if (!other || other->act.sa_handler == SIG_DFL) {
        let_it_end(its->number, is_fault);
        return;
    }
    if (other->act.sa_handler == SIG_IGN) {
        if (is_fault) let_it_end(its->number, 1); /* a fault cannot be ignored */
        return;
    }
    int may_mend = (other->act.sa_flags & SA_SIGINFO) != 0;
    if (is_fault) its->address = UINTPTR_MAX; /* in case it jumps out */
    if (may_mend) other->act.sa_sigaction(its->number, info, context);
    else other->act.sa_handler(its->number);
    sigset_t waiting;
    sigpending(&waiting);
    its->was_sent_again = sigismember(&waiting, its->number) == 1;
    if (is_fault && !may_mend) its->address = address;
    its->thread = thread;
}

static void on_fault(int number, siginfo_t *info, void *context)
{
    int error = errno;
    int is_fault = info->si_code > 0; /* one without an address has 0 */
    if (!is_fault || !repair(number, info, context)) pass_on(&signals[number == SIGSEGV], info, context, is_fault);
    errno = error;
}

/* --- from outside the handler ------------------------------------------------------------------------------------- */

static void for_all_guards(void (*change)(fault_guard *))
{
    for (chunk *part = &first_chunk; part; part = part->next)
        for (fault_guard *guard = part->guards; guard < part->guards + part->used; guard++) change(guard);
}

static void unpin(fault_guard *guard) { guard->pins = 0; }

/* A child must find no repair half done. */
static void before_fork(void)
{
    pthread_mutex_lock(&registry);
    for_all_guards(lock);
}

static void in_parent(void)
{
    for_all_guards(unlock);
    pthread_mutex_unlock(&registry);
}

/* Threads that were in the handler do not exist here. */
static void in_child(void)
{
    for_all_guards(unpin);
    in_parent();
}

static int is_ours(const struct sigaction *act) { return act->sa_flags & SA_SIGINFO && act->sa_sigaction == on_fault; }

static int put_in_front(struct handlers *its)
{
    struct sigaction now, act = {.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    if (sigaction(its->number, NULL, &now)) return errno;
    if (is_ours(&now)) return 0;
    handler *last = atomic_load(&its->previous);
    if (!last || last->act.sa_sigaction != now.sa_sigaction) { /* else it has only been put in front again */
        handler *other = malloc(sizeof *other);
        if (!other) return ENOMEM;
        *other = (handler){now, last};
        atomic_store(&its->previous, other); /* first: ours may run at once */
    }
    act.sa_sigaction = on_fault;
    sigfillset(&act.sa_mask); /* nothing comes in between while the lock of a guard is held */
    return sigaction(its->number, &act, NULL) ? errno : 0;
}

static int is_in_front(void)
{
    struct sigaction now;
    for (int i = 0; i < SIGNALS; i++)
        if (sigaction(signals[i].number, NULL, &now) || !is_ours(&now)) return 0;
    return 1;
}

int fault_install(void (*notify)(fault_guard *))
{
    static int is_prepared;
    int error = 0;
    atomic_store(&notify_user, notify);
    if (is_in_front()) return 0;
    pthread_mutex_lock(&registry);
    if (!is_prepared) {
        is_prepared = 1;
        pthread_atfork(before_fork, in_parent, in_child);
#ifdef __linux__
        sink = memfd_create("lost stores", MFD_CLOEXEC);
        if (sink >= 0 && ftruncate(sink, (off_t)1 << 40)) { /* RLIMIT_FSIZE: memory is not bounded then */
            close(sink);
            sink = -1;
        }
#endif
    }
    for (int i = 0; i < SIGNALS && !error; i++) error = put_in_front(&signals[i]);
    pthread_mutex_unlock(&registry);
    return error;
}

int fault_uninstall(void)
{
    struct sigaction now;
    for (int i = 0; i < SIGNALS; i++) {
        if (sigaction(signals[i].number, NULL, &now)) return errno;
        if (is_ours(&now) && sigaction(signals[i].number, &atomic_load(&signals[i].previous)->act, NULL)) return errno;
    }
    return 0;
}

static fault_guard *take_guard(void)
{
    fault_guard *guard = free_guards;
    if (guard) {
        free_guards = guard->next_free;
        return guard;
    }
    if (last_chunk->used == CHUNK) {
        chunk *more = calloc(1, sizeof *more);
        if (!more) return NULL;
        atomic_store_explicit(&last_chunk->next, more, memory_order_release);
        last_chunk = more;
    }
    guard = &last_chunk->guards[last_chunk->used];
    atomic_store_explicit(&last_chunk->used, last_chunk->used + 1, memory_order_release);
    return guard;
}

static void give_back(fault_guard *guard)
{
    pthread_mutex_lock(&registry);
    guard->next_free = free_guards;
    free_guards = guard;
    pthread_mutex_unlock(&registry);
}

/* Forget all repairs: there were none, or the pages are those of the file again. */
static void reset(fault_guard *guard)
{
    if (guard->rescued) munmap(guard->rescued, bits_size(guard));
    if (guard->blanked) munmap(guard->blanked, bits_size(guard));
    guard->rescued = guard->blanked = NULL;
    guard->tail = guard->end;
    guard->is_private = 0;
    guard->failed_up_to = guard->behind_last = 0;
    guard->first_lost = UINTPTR_MAX;
    guard->tried = 0;
    guard->growths = guard->repeats = 0;
    guard->damage = 0;
}

/* The guard is not published. */
static void set_range(fault_guard *guard, void *address, size_t size)
{
    reset(guard); /* the bits are those of the old range */
    guard->start = (uintptr_t)address;
    guard->stop = guard->start + size;
    guard->first = guard->start & ~(page_size() - 1);
    guard->end = guard->tail = page_up(guard->stop);
}

static void publish(fault_guard *guard)
{
    if (guard->start == guard->stop) return; /* nothing to guard */
    atomic_store(&guard->high, guard->end);
    atomic_store(&guard->low, guard->first); /* last */
}

int fault_watch(void *address, size_t size, region_file file, int shares_position, const char *path,
                const region_info *info, region_intent intent, uint64_t offset, fault_guard **result)
{
    pthread_mutex_lock(&registry);
    fault_guard *guard = take_guard();
    pthread_mutex_unlock(&registry);
    if (!guard) return ENOMEM;
    guard->path = path ? strdup(path) : NULL;
    guard->file = file;
    guard->shares_position = shares_position;
    guard->device = info->device;
    guard->inode = info->inode;
    guard->intent = intent;
    guard->offset = offset;
    guard->newer = NULL;
    set_range(guard, address, size);
    publish(guard);
    *result = guard;
    return 0;
}

int fault_extend(fault_guard *guard, size_t size)
{
    sigset_t before;
    uintptr_t stop = guard->start + size;
    if (page_up(stop) == guard->end && !guard->damage) { /* most often */
        guard->stop = stop;
        return 0;
    }
    lock_from_outside(guard, &before);
    int error = guard->damage ? ENODATA : 0;
    if (!error) {
        guard->stop = stop;
        guard->end = guard->tail = page_up(stop);
        publish(guard);
    }
    unlock_from_outside(guard, &before);
    return error;
}

int fault_move(fault_guard *guard, void *address, size_t size, fault_guard **result)
{
    sigset_t before;
    region_info same = {.device = guard->device, .inode = guard->inode};
    fault_guard *old = NULL;
    int error = fault_watch(NULL, 0, guard->file, guard->shares_position, guard->path, &same, guard->intent, guard->offset, &old);
    if (error) return error;
    lock_from_outside(guard, &before);
    error = guard->damage ? ENODATA : 0;
    if (!error) {
        old->newer = guard;
        set_range(old, (void *)guard->start, guard->stop - guard->start);
        publish(old); /* first: no fault is to meet no guard */
        atomic_store(&guard->low, 0);
        set_range(guard, address, size);
        publish(guard);
    }
    unlock_from_outside(guard, &before);
    if (error) fault_unwatch(old);
    else *result = old;
    return error;
}

void fault_pause(fault_guard *guard)
{
    atomic_store(&guard->low, 0);
    while (atomic_load(&guard->pins)) sched_yield();
}

void fault_resume(fault_guard *guard, void *address, size_t size)
{
    sigset_t before;
    lock_from_outside(guard, &before); /* another thread may be in fault_describe() */
    set_range(guard, address, size);
    publish(guard);
    unlock_from_outside(guard, &before);
}

void fault_unwatch(fault_guard *guard)
{
    fault_pause(guard);
    reset(guard);
    free(guard->path);
    give_back(guard);
}

/* A thread that has already faulted finds afterwards that another one has repaired its page. */
int fault_revoke(fault_guard *guard, void *address, size_t size, int writable)
{
    sigset_t before;
    if (!guard) return region_revoke(address, size, writable);
    lock_from_outside(guard, &before);
    guard->damage |= FAULT_REVOKED;
    int error = region_revoke(address, size, writable);
    if (!error) guard->tail = guard->first;
    else guard->damage &= ~(uint32_t)FAULT_REVOKED;
    unlock_from_outside(guard, &before);
    return error;
}

const fault_word *fault_damage(const fault_guard *guard) { return &guard->damage; }

/* --- recovery ----------------------------------------------------------------------------------------------------- */

/* Which of `count` pages are private copies of this process. */
static int find_copies(uintptr_t page, size_t count, unsigned char *is_copy)
{
    memset(is_copy, 1, count);
#ifdef __linux__
    uint64_t entries[CHUNK]; /* Documentation/admin-guide/mm/pagemap.rst: bit 63 present, 62 swapped, 61 of a file */
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno;
    ssize_t got = pread(fd, entries, count * sizeof *entries, (off_t)(page / page_size() * sizeof *entries));
    close(fd);
    if (got != (ssize_t)(count * sizeof *entries)) return EIO;
    for (size_t i = 0; i < count; i++) is_copy[i] = entries[i] >> 62 && !(entries[i] >> 61 & 1);
#else
    (void)page;
#endif
    return 0;
}

static int is_zero(const char *bytes, size_t size) { return !size || (!*bytes && !memcmp(bytes, bytes + 1, size - 1)); }

static int write_page(const fault_guard *guard, int fd, uint64_t file_size, uintptr_t page)
{
    uint64_t place = place_in_file(guard, page);
    size_t size = file_size - place < page_size() ? (size_t)(file_size - place) : page_size();
    const char *bytes = (const char *)page;
    if (is_zero(bytes, size) && hole_size(guard, fd, place)) return 0;
    return region_file_write(fd, place, bytes, size);
}

/* Write to the file what had found no room. */
static int write_back(const fault_guard *guard, int fd, uint64_t file_size)
{
    unsigned char is_copy[CHUNK];
    if (!guard->is_private && !guard->rescued) return 0;
    if (fcntl(fd, F_GETFL) & O_APPEND) return EINVAL; /* writes would go to the end of the file */
    for (uintptr_t page = guard->first; page < guard->tail;) {
        size_t left = (guard->tail - page) / page_size(), count = left < CHUNK ? left : CHUNK;
        int error = find_copies(page, count, is_copy);
        for (size_t i = 0; i < count && !error; i++, page += page_size())
            if (is_copy[i] && (guard->is_private || is_marked(guard, guard->rescued, page)) &&
                !is_marked(guard, guard->blanked, page))
                error = write_page(guard, fd, file_size, page);
        if (error) return error;
    }
    return 0;
}

/* Whether the device can be read again where it had failed. */
static int can_read(const fault_guard *guard, int fd)
{
    for (uintptr_t page = guard->first; guard->blanked && page < guard->tail; page += page_size())
        if (is_marked(guard, guard->blanked, page) && !can_pread(fd, place_in_file(guard, page))) return 0;
    return 1;
}

static int map_again(const fault_guard *guard, int fd, uintptr_t from, uintptr_t to)
{
    if (from == to) return 0;
    return region_map_again(fd, guard->intent, place_in_file(guard, from), to - from, (void *)from);
}

/* Locked pages are not dropped: the caller locks them again. */
static int drop_written(const fault_guard *guard)
{
    void *first = (void *)guard->first;
    size_t size = guard->end - guard->first;
    return munlock(first, size) || mprotect(first, size, PROT_READ) || madvise(first, size, MADV_DONTNEED) ? errno : 0;
}

static int recover(fault_guard *guard, int fd)
{
    struct stat st;
    int error = guard->damage & FAULT_WRITTEN ? drop_written(guard) : 0;
    if (error || guard->damage == FAULT_WRITTEN) return error;
    if (fstat(fd, &st)) return errno;
    uint64_t end = place_in_file(guard, guard->end), size = (uint64_t)st.st_size;
    if ((size + page_size() - 1) / page_size() * page_size() < end) return ENODATA;
    error = guard->intent == REGION_WRITE ? write_back(guard, fd, size) : 0;
    if (error) return error;
    if (!can_read(guard, fd)) return EIO;
    if (guard->is_private) return map_again(guard, fd, guard->first, guard->end);
    for (uintptr_t page = guard->first; page < guard->tail && !error; page += page_size())
        if (is_marked(guard, guard->blanked, page) ||
            (guard->intent != REGION_COPY && is_marked(guard, guard->rescued, page))) /* copies are what they should be */
            error = map_again(guard, fd, page, page + page_size());
    return error ? error : map_again(guard, fd, guard->tail, guard->end);
}

int fault_recover(fault_guard *guard, region_file file)
{
    sigset_t before;
    lock_from_outside(guard, &before);
    int error = guard->damage ? recover(guard, (int)file) : 0;
    if (!error) reset(guard);
    unlock_from_outside(guard, &before);
    return error;
}
