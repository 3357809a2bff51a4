/* test_fault.c - the promises of fault.h, each in a process of its own.  Usage: test_fault DIRECTORY */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE

#include "fault.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <sys/wait.h>
#include <unistd.h>

static const char *directory;
static char path[4096];

#define CHECK(expression)                                                   \
    do {                                                                    \
        if (!(expression)) {                                                \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #expression); \
            exit(1);                                                        \
        }                                                                   \
    } while (0)

#ifdef __SANITIZE_THREAD__ /* for which mmap() in the handler is a store to what others touch */
#define UNSEEN_BY_TSAN __attribute__((no_sanitize("thread")))
#else
#define UNSEEN_BY_TSAN
#endif

/* --- a guarded map ------------------------------------------------------------------------------------------------ */

typedef struct {
    region_file file;
    volatile unsigned char *bytes;
    size_t size;
    fault_guard *guard;
} map;

static size_t page;
static int emulated; /* the emulator does not say which pages can be read: each page is lost by itself */
static _Atomic(int) notified;

static void count_notes(fault_guard *guard) { notified += *fault_damage(guard) != 0; }

/* A file full of 7s, mapped from `offset` on; a map for reading keeps no file open. */
static map open_map(size_t size, region_intent intent, uint64_t offset)
{
    map m = {.size = size};
    region_info info;
    void *address;
    CHECK(!region_file_create(path, 0, &m.file));
    CHECK(!region_file_resize(m.file, offset + size, 1));
    unsigned char *sevens = malloc(1 << 20);
    memset(sevens, 7, 1 << 20);
    size_t known = offset + size < 1 << 20 ? (size_t)offset + size : 1 << 20;
    CHECK(pwrite((int)m.file, sevens, known, 0) == (ssize_t)known);
    free(sevens);
    CHECK(!region_file_info(m.file, &info));
    CHECK(!region_map(m.file, intent, offset, size, &address));
    m.bytes = address;
    CHECK(!fault_install(count_notes));
    CHECK(!fault_watch(address, size, intent == REGION_READ ? REGION_NO_FILE : m.file, 0, path, &info, intent, offset, &m.guard));
    return m;
}

static uint32_t damage(const map *m) { return *fault_damage(m->guard); }
/* Only on x86_64 the guard can tell that a page that could be written was only read. */
static uint32_t loss(const map *m) { return damage(m) & ~(uint32_t)FAULT_STORED; }
static void cut(uint64_t size) { CHECK(!truncate(path, (off_t)size)); }

static void close_map(map *m)
{
    fault_unwatch(m->guard);
    CHECK(!region_unmap((void *)m->bytes, m->size));
}

static fault_report report_of(const map *m)
{
    fault_report report;
    fault_describe(m->guard, &report);
    return report;
}

/* --- a guard that pauses ------------------------------------------------------------------------------------------ */

static void a_guard_goes_on_at_another_place(void)
{
    for (size_t before = 0; before <= 4; before += 4) {
        map m = open_map(before * page, REGION_WRITE, 3 * page + 100);
        void *moved;
        if (before) { /* lost, and forgotten by the new beginning */
            cut(0);
            CHECK(m.bytes[0] == 0 && loss(&m) == FAULT_TRUNCATED);
        }
        fault_pause(m.guard);
        CHECK(!region_file_resize(m.file, 3 * page + 100 + 16 * page, 1));
        CHECK(!region_map(m.file, REGION_WRITE, 3 * page + 100, 16 * page, &moved));
        fault_resume(m.guard, moved, 16 * page);
        CHECK(!region_unmap((void *)m.bytes, m.size) && !damage(&m));
        m.bytes = moved;
        m.size = 16 * page;
        cut(8 * page);
        CHECK(m.bytes[6 * page] == 0 && loss(&m) == FAULT_TRUNCATED);
        CHECK(report_of(&m).start == 5 * page - 100 && report_of(&m).stop == 16 * page);
        close_map(&m);
        unlink(path);
    }
}

static void nothing_is_repaired_while_a_guard_pauses(void)
{
    int status;
    map m = open_map(4 * page, REGION_READ, 0);
    cut(0);
    fault_pause(m.guard);
    pid_t child = fork();
    if (!child) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        _exit(m.bytes[0]);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    fault_resume(m.guard, (void *)m.bytes, m.size);
    CHECK(m.bytes[0] == 0 && damage(&m) == FAULT_TRUNCATED);
    close_map(&m);
}

#ifdef __linux__
static const region_intent intents[] = {REGION_READ, REGION_WRITE, REGION_COPY};
/* --- a page that can be read again -------------------------------------------------------------------------------- */

/* What the kernel sends when it could not read a page; a thread may send itself the like. */
static void fail_once(const map *m, size_t at)
{
    siginfo_t info = {.si_signo = SIGBUS, .si_code = BUS_ADRERR};
    info.si_addr = (void *)(m->bytes + at);
    CHECK(!syscall(SYS_rt_tgsigqueueinfo, getpid(), syscall(SYS_gettid), SIGBUS, &info));
}

static void a_page_that_can_be_read_again_is_no_loss(void)
{
    for (int i = 0; i < 3; i++)
        for (int by_path = 0; by_path < 2; by_path++) {
            map m = open_map(16 * page, intents[i], 0);
            if (intents[i] == REGION_COPY) m.bytes[2 * page] = m.bytes[9 * page] = 9;
            for (size_t at = 0; at < m.size; at += page) fail_once(&m, at);
            CHECK(!damage(&m) && !notified);
            for (size_t at = 0; at < m.size; at += page)
                CHECK(m.bytes[at] == (intents[i] == REGION_COPY && (at == 2 * page || at == 9 * page) ? 9 : 7));
            if (by_path) unlink(path); /* the file cannot be looked at, in a map for reading */
            for (size_t at = 0; at < m.size; at += page) fail_once(&m, at);
            CHECK(!damage(&m) && !notified);
            close_map(&m);
            unlink(path);
        }
}

static void a_page_that_faults_for_ever_is_lost_alone(void)
{
    for (int i = 0; i < 3; i++) {
        map m = open_map(16 * page, intents[i], 0);
        if (intents[i] == REGION_COPY) m.bytes[2 * page] = m.bytes[4 * page] = 9;
        for (int times = 0; times < 40; times++) fail_once(&m, 3 * page + 5);
        /* where a store cannot be told from a read, it is taken for one that found no room */
        int unsure = loss(&m) & FAULT_NO_SPACE && intents[i] == REGION_WRITE;
        CHECK(loss(&m) == FAULT_IO || unsure);
        CHECK(m.bytes[3 * page] == (loss(&m) & FAULT_IO ? 0 : 7));
        CHECK(m.bytes[2 * page] == (intents[i] == REGION_COPY ? 9 : 7) && m.bytes[4 * page] == m.bytes[2 * page]);
        CHECK(unsure || (report_of(&m).start == 3 * page && report_of(&m).stop == 4 * page));
        CHECK(!fault_recover(m.guard, m.file) && m.bytes[3 * page] == 7);
        close_map(&m);
        unlink(path);
    }
}
#endif

/* --- truncation --------------------------------------------------------------------------------------------------- */

static void a_lost_tail_reads_as_zeros_and_is_reported(void)
{
    map m = open_map(64 * page, REGION_READ, 0);
    fault_report report;
    cut(10 * page);
    CHECK(!damage(&m));
    CHECK(m.bytes[40 * page] == 0);
    CHECK(damage(&m) == FAULT_TRUNCATED);
    CHECK(m.bytes[10 * page] == 0 && m.bytes[64 * page - 1] == 0);
    CHECK(m.bytes[10 * page - 1] == 7);
    CHECK(notified == 1); /* the whole tail at once */
    fault_describe(m.guard, &report);
    CHECK(report.start == 10 * page && report.stop == 64 * page && !strcmp(report.path, path));
    close_map(&m);
}

static void an_offset_in_the_file_is_counted(void)
{
    map m = open_map(16 * page, REGION_WRITE, 3 * page + 100);
    cut(8 * page);
    m.bytes[6 * page] = 1;
    CHECK(damage(&m) == (FAULT_TRUNCATED | FAULT_STORED));
    CHECK(m.bytes[5 * page - 101] == 7 && m.bytes[5 * page - 100] == 0 && m.bytes[6 * page] == 1);
    close_map(&m);
}

static void a_file_that_is_gone_from_its_path_still_reads_as_zeros(void)
{
    map m = open_map(16 * page, REGION_READ, 0);
    char other[5000];
    snprintf(other, sizeof other, "%s.moved", path);
    CHECK(!rename(path, other) && !truncate(other, 0));
    for (size_t i = 0; i < 16; i++) CHECK(m.bytes[i * page] == 0);
    CHECK(damage(&m) == FAULT_UNKNOWN);
    CHECK(notified == 5 || emulated); /* 1, 2, 4, 8 pages and the last */
    close_map(&m);
}

static void stores_into_a_large_lost_tail_take_bounded_memory(void)
{
    size_t size = (size_t)1 << (sizeof size > 4 ? 40 : 30), piece = size > 1u << 30 ? size / 4096 : (size_t)16 << 20;
    map m = open_map(size, REGION_WRITE, 0);
    cut(0);
    for (size_t i = 0; i < piece; i += page) m.bytes[i] = 1;
    CHECK(damage(&m) == (FAULT_TRUNCATED | FAULT_STORED));
    CHECK(m.bytes[piece] == 1 && m.bytes[size - page] == 1); /* the same memory, all over */
    close_map(&m);
}

static void what_has_come_back_is_mapped_again(void)
{
    for (int i = 0; i < 3; i++) {
        map m = open_map(16 * page, (region_intent[]){REGION_READ, REGION_WRITE, REGION_COPY}[i], 0);
        if (i == 2) m.bytes[page] = 9; /* a private store, in a page that is not lost */
        cut(4 * page);
        CHECK(m.bytes[8 * page] == 0);
        CHECK(fault_recover(m.guard, m.file) == ENODATA && loss(&m) == FAULT_TRUNCATED);
        cut(16 * page);
        CHECK(pwrite((int)m.file, "x", 1, (off_t)(8 * page)) == 1);
        CHECK(!fault_recover(m.guard, m.file) && !damage(&m));
        CHECK(m.bytes[8 * page] == 'x' && m.bytes[0] == 7 && m.bytes[page] == (i == 2 ? 9 : 7));
        cut(4 * page); /* and it can happen again */
        CHECK(m.bytes[8 * page] == 0 && loss(&m) == FAULT_TRUNCATED);
        close_map(&m);
        unlink(path);
    }
}

static map shared_map;

#ifdef __linux__
/* --- writes to a map for reading ---------------------------------------------------------------------------------- */

static void expect_in_file(const map *m, unsigned char value)
{
    unsigned char bytes[3];
    CHECK(pread((int)m->file, bytes, 1, 0) == 1 && pread((int)m->file, bytes + 1, 1, (off_t)(m->size / 2)) == 1 &&
          pread((int)m->file, bytes + 2, 1, (off_t)(m->size - 1)) == 1);
    CHECK(bytes[0] == value && bytes[1] == value && bytes[2] == value);
}

static void expect_written(const map *m, size_t start, size_t stop)
{
    fault_report report = report_of(m);
    CHECK(report.damage == FAULT_WRITTEN && report.start == start && report.stop == stop && !strcmp(report.path, path));
}

static void what_is_written_to_a_map_for_reading_stays_out_of_the_file(void)
{
    map m = open_map(16 * page, REGION_READ, 0);
    for (int i = 1; i < 3; i++) { /* it can happen again */
        m.bytes[5 * page + 1] = 9;
        expect_written(&m, 5 * page, 6 * page);
        CHECK(m.bytes[5 * page + 1] == 9 && m.bytes[5 * page] == 7 && m.bytes[6 * page] == 7 && notified == i);
        m.bytes[5 * page + 2] = 9;
        CHECK(notified == i); /* once per page */
        expect_in_file(&m, 7);
        if (i == 2) unlink(path); /* what was written is dropped without the file, too */
        CHECK(!fault_recover(m.guard, i == 1 ? m.file : REGION_NO_FILE) && !damage(&m));
        for (size_t at = 0; at < m.size; at++) CHECK(m.bytes[at] == 7);
    }
    CHECK(pwrite((int)m.file, "x", 1, (off_t)(5 * page + 1)) == 1 && m.bytes[5 * page + 1] == 'x'); /* the file's pages */
    close_map(&m);
}

static void a_write_at_an_offset_reports_only_bytes_of_the_map(void)
{
    map m = open_map(2 * page, REGION_READ, page + 100);
    m.bytes[0] = 9;
    expect_written(&m, 0, page - 100);
    m.bytes[2 * page - 1] = 9;
    expect_written(&m, 0, 2 * page);
    CHECK(!fault_recover(m.guard, REGION_NO_FILE) && m.bytes[0] == 7 && m.bytes[2 * page - 1] == 7);
    close_map(&m);
}

static void a_write_across_two_pages_is_whole(void)
{
    map m = open_map(4 * page, REGION_READ, 0);
    *(volatile uint64_t *)(m.bytes + 2 * page - 8) = 1; /* aligned, beside the next page */
    expect_written(&m, page, 2 * page);
    memset((void *)(m.bytes + 2 * page - 4), 9, 8);
    expect_written(&m, page, 3 * page);
    CHECK(m.bytes[2 * page - 4] == 9 && m.bytes[2 * page + 3] == 9 && m.bytes[2 * page + 4] == 7);
    close_map(&m);
}

/* Forwards, backwards, and neither. */
static void writes_all_over_a_map_are_few_faults_and_one_range(void)
{
    for (size_t step = 1; step < 4096; step = step == 1 ? 4095 : step == 4095 ? 1021 : 4096) {
        map m = open_map(4096 * page, REGION_READ, 0);
        notified = 0;
        for (size_t i = 0, at = 4095; i < 4096; i++, at = (at + step) % 4096) m.bytes[at * page] = 9;
        CHECK(notified < 500);
        expect_written(&m, 0, m.size);
        for (size_t at = 0; at < m.size; at += page) CHECK(m.bytes[at] == 9);
        CHECK(!fault_recover(m.guard, REGION_NO_FILE));
        for (size_t at = 0; at < 1 << 20; at += page) CHECK(m.bytes[at] == 7);
        close_map(&m);
        CHECK(!region_file_close(m.file));
        unlink(path);
    }
}

UNSEEN_BY_TSAN static void *count_up(void *unused)
{
    for (size_t i = 0; i < shared_map.size; i += page)
        __atomic_fetch_add((unsigned char *)shared_map.bytes + i, 1, __ATOMIC_RELAXED);
    return unused;
}

static void threads_that_write_to_the_same_pages_lose_nothing(void)
{
    pthread_t threads[8];
    shared_map = open_map(1 << 20, REGION_READ, 0);
    for (int i = 0; i < 8; i++) CHECK(!pthread_create(&threads[i], NULL, count_up, NULL));
    for (int i = 0; i < 8; i++) CHECK(!pthread_join(threads[i], NULL));
    for (size_t at = 0; at < shared_map.size; at += page) CHECK(shared_map.bytes[at] == 15 && shared_map.bytes[at + 1] == 7);
    expect_written(&shared_map, 0, shared_map.size);
    close_map(&shared_map);
}

static void a_write_beyond_a_truncation_is_both(void)
{
    map m = open_map(16 * page, REGION_READ, 0);
    cut(8 * page);
    m.bytes[4 * page] = m.bytes[12 * page] = 9;
    CHECK(loss(&m) == (FAULT_WRITTEN | FAULT_TRUNCATED) && m.bytes[12 * page] == 9 && m.bytes[13 * page] == 0);
    m.bytes[13 * page] = 9;
    CHECK(fault_recover(m.guard, m.file) == ENODATA && damage(&m));
    cut(16 * page);
    CHECK(!fault_recover(m.guard, m.file) && m.bytes[4 * page] == 7 && m.bytes[12 * page] == 0);
    m.bytes[12 * page] = 9;
    expect_written(&m, 12 * page, 13 * page);
    close_map(&m);
}

static void locked_pages_can_be_written_and_recovered(void)
{
    map m = open_map(16 * page, REGION_READ, 0);
    CHECK(!region_lock((void *)m.bytes, 4 * page));
    m.bytes[2 * page] = m.bytes[6 * page] = 9;
    expect_written(&m, 2 * page, 7 * page);
    CHECK(!fault_recover(m.guard, REGION_NO_FILE) && m.bytes[2 * page] == 7 && m.bytes[6 * page] == 7);
    close_map(&m);
}

static void what_is_left_of_a_revoked_map_for_reading_can_be_written(void)
{
    map m = open_map(16 * page, REGION_READ, 0);
    CHECK(!fault_revoke(m.guard, (void *)m.bytes, m.size, 0));
    m.bytes[2 * page] = 9;
    CHECK(m.bytes[2 * page] == 9 && m.bytes[0] == 0 && damage(&m) == (FAULT_WRITTEN | FAULT_REVOKED));
    expect_in_file(&m, 7);
    close_map(&m);
}

static void a_child_process_writes_for_itself(void)
{
    int status;
    map m = open_map(4 * page, REGION_READ, 0);
    m.bytes[0] = 9;
    pid_t child = fork();
    if (!child) {
        m.bytes[0]++;
        m.bytes[2 * page] = 10;
        expect_written(&m, 0, 3 * page);
        CHECK(m.bytes[0] == 10 && !fault_recover(m.guard, REGION_NO_FILE) && m.bytes[0] == 7);
        _exit(0);
    }
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0);
    expect_written(&m, 0, page);
    CHECK(m.bytes[0] == 9 && m.bytes[2 * page] == 7);
    close_map(&m);
}
#endif

/* --- a disk without room, a device that fails: these mount, and so need root ---------------------------------------- */

static char disk[4096], image[4096];

static void run(const char *format, ...)
{
    char command[9000];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(command, sizeof command, format, arguments);
    va_end(arguments);
    CHECK(system(command) == 0);
}

static void unmount(void)
{
    char command[9000];
    snprintf(command, sizeof command, "umount -l %s", disk);
    if (system(command)) printf("cannot unmount %s\n", disk);
}

/* A disk of 16 MiB, which goes with the process; `path` is on it then. Nothing but the test writes to it: no journal. */
static void small_disk(const char *type)
{
    snprintf(disk, sizeof disk, "%.2000s.disk", path);
    snprintf(image, sizeof image, "%.2000s.image", path);
    CHECK(!mkdir(disk, 0700));
    if (!strcmp(type, "tmpfs")) run("mount -t tmpfs -o size=16m tmpfs %s", disk);
    else run("PATH=$PATH:/sbin:/usr/sbin mke2fs -q -F -t %s -O ^has_journal -E lazy_itable_init=0 -m 0 %s 16m 2>/dev/null"
             " && mount -o loop,noatime %s %s", type, image, image, disk);
    CHECK(!atexit(unmount));
    snprintf(path, sizeof path, "%.2000s/data", disk);
}

/* Blocks that were reserved for delayed writes may be free after a sync: fill until it finds none. */
static void fill_disk(void)
{
    char name[5000];
    static char block[4096];
    size_t written;
    snprintf(name, sizeof name, "%s/filler", disk);
    int fd = open(name, O_WRONLY | O_CREAT, 0600);
    do {
        CHECK(!fsync(fd));
        for (written = 0; write(fd, block, sizeof block) > 0; written++) {}
        CHECK(errno == ENOSPC);
    } while (written);
    CHECK(!fsync(fd) && !close(fd));
}

static unsigned char value_at(size_t i) { return (unsigned char)(i / page % 251 + 1); }

/* Stores all over a sparse file while the disk is full are in the file after room was made and it recovered. */
static void stores_survive_a_full_disk(const char *type)
{
    int is_private = strcmp(type, "tmpfs") != 0;
    small_disk(type);
    size_t size = (size_t)64 << 20, count = 0;
    map m = open_map(size, REGION_WRITE, 0); /* the first MiB has blocks */
    fill_disk();
    for (size_t i = 0, at = 0; i < 1000; i++, at = (at + 7919 * page) % size) m.bytes[at] = value_at(at), count++;
    for (size_t at = 0; at < 3 * page; at++) m.bytes[at] = 8; /* where there is data already */
    CHECK(damage(&m) == (FAULT_NO_SPACE | FAULT_STORED));
    /* on a disk no later store reaches the file; on tmpfs those do that find room */
    CHECK(is_private ? report_of(&m).start == 0 && report_of(&m).stop == size : report_of(&m).start >= (size_t)1 << 20);
    CHECK(fault_recover(m.guard, m.file) == ENOSPC && damage(&m));
    run("rm %s/filler && sync", disk);
    CHECK(!fault_recover(m.guard, m.file) && !damage(&m));
    fault_unwatch(m.guard);
    CHECK(!region_unmap((void *)m.bytes, m.size));
    for (size_t i = 0, at = 0; i < count; i++, at = (at + 7919 * page) % size) {
        unsigned char byte;
        CHECK(pread((int)m.file, &byte, 1, (off_t)at) == 1 && byte == (at < 3 * page ? 8 : value_at(at)));
    }
    unsigned char byte;
    CHECK(pread((int)m.file, &byte, 1, (off_t)(4 * page + 1)) == 1 && byte == 7);
    CHECK(!region_file_close(m.file));
}

static void stores_survive_a_full_tmpfs(void) { stores_survive_a_full_disk("tmpfs"); }
static void stores_survive_a_full_ext4(void) { stores_survive_a_full_disk("ext4"); }
static void stores_survive_a_full_ext2(void) { stores_survive_a_full_disk("ext2"); }

/* Stores to a byte of its own in each page. */
UNSEEN_BY_TSAN static void *store_all(void *number)
{
    for (size_t i = 0; i < 500; i++) shared_map.bytes[i * 37 % 500 * 3 * page + (size_t)number] = value_at(i);
    return NULL;
}

static void stores_of_threads_survive_a_full_disk(const char *type)
{
    pthread_t threads[8];
    small_disk(type);
    shared_map = open_map((size_t)64 << 20, REGION_WRITE, 0);
    fill_disk();
    for (size_t i = 0; i < 8; i++) CHECK(!pthread_create(&threads[i], NULL, store_all, (void *)i));
    for (size_t i = 0; i < 8; i++) CHECK(!pthread_join(threads[i], NULL));
    CHECK(damage(&shared_map) == (FAULT_NO_SPACE | FAULT_STORED));
    run("rm %s/filler && sync", disk);
    CHECK(!fault_recover(shared_map.guard, shared_map.file));
    close_map(&shared_map);
    for (size_t i = 0; i < 500; i++) {
        unsigned char bytes[8];
        CHECK(pread((int)shared_map.file, bytes, 8, (off_t)(i * 37 % 500 * 3 * page)) == 8);
        for (int k = 0; k < 8; k++) CHECK(bytes[k] == value_at(i));
    }
    CHECK(!region_file_close(shared_map.file));
}

static void stores_of_threads_survive_a_full_tmpfs(void) { stores_of_threads_survive_a_full_disk("tmpfs"); }
static void stores_of_threads_survive_a_full_ext4(void) { stores_of_threads_survive_a_full_disk("ext4"); }

static void a_hole_in_a_full_tmpfs_reads_as_zeros(void)
{
    small_disk("tmpfs");
    map m = open_map((size_t)64 << 20, REGION_READ, 0);
    fill_disk();
    CHECK(m.bytes[0] == 7 && !damage(&m));
    for (size_t i = (size_t)1 << 20; i < m.size; i += page) CHECK(m.bytes[i] == 0);
    CHECK(damage(&m) == FAULT_NO_SPACE && notified < 300);
    close_map(&m);
    CHECK(!region_file_close(m.file));
}

#ifdef __linux__
/* Private copies on pages that are holes of the file by now, as another process has punched them. */
static void private_changes_outlast_a_full_tmpfs(void)
{
    small_disk("tmpfs");
    map m = open_map((size_t)64 << 20, REGION_COPY, 0);
    for (size_t at = 0; at < m.size; at += 64 * page) m.bytes[at] = 9;
    CHECK(!fallocate((int)m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)m.size));
    fill_disk();
    size_t changed = 0, others = 0;
    for (size_t at = 0; at < m.size; at += page) {
        if (at % (64 * page)) others += m.bytes[at] == 0;
        else changed += m.bytes[at] == 9;
    }
    CHECK(changed == m.size / page / 64 && others == m.size / page - changed);
    CHECK(loss(&m) == FAULT_NO_SPACE);
    close_map(&m);
    CHECK(!region_file_close(m.file));
}

/* The file object of somebody else, at byte 5 of a hole that ends with the last page, on a full tmpfs. */
static int open_elsewhere(int flags)
{
    int fd = open(path, O_RDWR | O_CREAT | flags, 0600);
    CHECK(fd >= 0 && !ftruncate(fd, ((off_t)4 << 20) - 1) && pwrite(fd, "x", 1, ((off_t)4 << 20) - 1) == 1);
    CHECK(lseek(fd, 5, SEEK_SET) == 5);
    fill_disk();
    return fd;
}

/* `apart`: the file can be opened anew; else there is no /proc, and it is a duplicate. */
static void recover_beside_a_file_object(int apart, int flags)
{
    char name[5000];
    region_info info;
    int shares;
    map m = {.size = (size_t)4 << 20};
    small_disk("tmpfs");
    snprintf(name, sizeof name, "%s/filler", disk);
    int fd = open_elsewhere(flags), root = open("/", O_RDONLY);
    CHECK(root >= 0);
    if (!apart) CHECK(!chroot(disk));
    CHECK(!region_file_reopen(fd, 1, &m.file, &shares) && shares == !apart);
    if (!apart) CHECK(!fchdir(root) && !chroot("."));
    CHECK(!region_file_info(m.file, &info) && !region_map(m.file, REGION_WRITE, 0, m.size, (void **)&m.bytes));
    CHECK(!fault_install(count_notes));
    CHECK(!fault_watch((void *)m.bytes, m.size, m.file, shares, path, &info, REGION_WRITE, 0, &m.guard));
    for (size_t at = 0; at < m.size; at += page) m.bytes[at] = value_at(at);
    CHECK(loss(&m) == FAULT_NO_SPACE && lseek(fd, 0, SEEK_CUR) == 5);
    CHECK(!unlink(name));
    int error = fault_recover(m.guard, m.file);
    CHECK(lseek(fd, 0, SEEK_CUR) == 5 && !region_file_info(m.file, &info) && info.size == m.size);
    CHECK(error == (!apart && flags & O_APPEND ? EINVAL : 0)); /* never a byte in the wrong place */
    for (size_t at = 0; at < m.size; at += page) {
        unsigned char byte;
        CHECK(m.bytes[at] == value_at(at));
        CHECK(error || (pread(fd, &byte, 1, (off_t)at) == 1 && byte == value_at(at)));
    }
    close_map(&m);
    CHECK(!region_file_close(m.file) && !close(fd) && !close(root));
}

static void a_file_object_keeps_its_position(void) { recover_beside_a_file_object(1, 0); }
static void a_file_object_that_appends_keeps_its_position(void) { recover_beside_a_file_object(1, O_APPEND); }
static void a_file_object_keeps_its_position_without_proc(void) { recover_beside_a_file_object(0, 0); }
static void a_file_object_that_appends_is_never_written_through(void) { recover_beside_a_file_object(0, O_APPEND); }

/* A file of 8 MiB of 7s on a disk that has lost what is behind its first 6 MiB. */
static map open_on_failing_disk(region_intent intent, size_t size)
{
    region_info info;
    void *address;
    small_disk("ext4");
    map m = open_map(size, REGION_WRITE, 0);
    for (size_t i = 0; i < size; i++) m.bytes[i] = 7;
    close_map(&m);
    CHECK(!fsync((int)m.file) && !region_file_close(m.file));
    run("umount %s && mount -o loop,noatime %s %s", disk, image, disk);
    CHECK(!region_file_open(path, intent == REGION_WRITE, &m.file) && !region_file_info(m.file, &info));
    CHECK(!region_map(m.file, intent, 0, size, &address));
    CHECK(!region_advise(address, size, 0, REGION_NORMAL, REGION_RANDOM)); /* so that pages are read one by one */
    m.bytes = address;
    CHECK(!fault_watch(address, size, m.file, 0, NULL, &info, intent, 0, &m.guard));
    notified = 0;
    return m;
}

static void fail_disk(const map *m)
{
    CHECK(!syncfs((int)m->file)); /* a later write to the image would make it longer, with zeros that can be read */
    CHECK(!posix_fadvise((int)m->file, 0, 0, POSIX_FADV_DONTNEED));
    run("truncate -s 6m %s", image);
}

static void a_device_that_fails_reads_as_zeros(void)
{
    size_t size = (size_t)8 << 20, zeros = 0, first = 0, last = 0;
    map m = open_on_failing_disk(REGION_READ, size);
    fail_disk(&m);
    for (size_t i = 0; i < size; i += page) {
        if (m.bytes[i]) continue;
        if (!zeros++) first = i;
        last = i;
        CHECK(report_of(&m).start == first && report_of(&m).stop > i); /* the whole window from the first touch on */
    }
    CHECK(damage(&m) == FAULT_IO && zeros > 0 && zeros < size / page);
    CHECK(report_of(&m).stop == last + page);
    CHECK(notified < 100);
    CHECK(fault_recover(m.guard, m.file) == EIO);
    close_map(&m);
    CHECK(!region_file_close(m.file));
}

/* Every third page has a private copy before the device fails; in a map that writes, because the disk is full. */
static void private_copies_outlast_a_device_that_fails(region_intent intent)
{
    size_t size = (size_t)8 << 20, zeros = 0;
    map m = open_on_failing_disk(intent, size);
    if (intent == REGION_WRITE) {
        CHECK(!fallocate((int)m.file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)page));
        fill_disk();
        m.bytes[0] = 9;
        CHECK(loss(&m) == FAULT_NO_SPACE);
    }
    for (size_t i = 0; i < size; i += 3 * page) m.bytes[i] = 9;
    fail_disk(&m);
    for (size_t i = 0; i < size; i += page) {
        if (i % (3 * page)) zeros += m.bytes[i] == 0;
        else CHECK(m.bytes[i] == 9);
    }
    CHECK(zeros > 0 && damage(&m) & FAULT_IO);
    for (size_t i = 0; i < size; i += 3 * page) CHECK(m.bytes[i] == 9);
    close_map(&m);
    CHECK(!region_file_close(m.file));
}

static void private_changes_outlast_a_device_that_fails(void) { private_copies_outlast_a_device_that_fails(REGION_COPY); }
static void rescued_stores_outlast_a_device_that_fails(void) { private_copies_outlast_a_device_that_fails(REGION_WRITE); }
#endif

/* --- many threads ------------------------------------------------------------------------------------------------- */

UNSEEN_BY_TSAN static void *read_all(void *unused)
{
    size_t sum = 0;
    (void)unused;
    for (size_t i = 0; i < shared_map.size; i += page) sum += shared_map.bytes[i];
    return (void *)sum;
}

static void threads_that_meet_the_same_lost_pages_all_go_on(void)
{
    pthread_t threads[8];
    shared_map = open_map(256 * page, REGION_READ, 0);
    cut(16 * page);
    for (int i = 0; i < 8; i++) CHECK(!pthread_create(&threads[i], NULL, read_all, NULL));
    for (int i = 0; i < 8; i++) {
        void *sum;
        CHECK(!pthread_join(threads[i], &sum) && (size_t)sum == 7 * 16);
    }
    close_map(&shared_map);
}

static _Atomic(int) stop_opening;

/* Maps and unmaps, so that faults and fault_unwatch() meet. */
static void *open_and_close(void *number)
{
    char name[5000];
    size_t rounds = 0;
    snprintf(name, sizeof name, "%s.%zu", path, (size_t)number);
    int fd = open(name, O_RDWR | O_CREAT | O_TRUNC, 0600);
    CHECK(fd >= 0);
    for (; !stop_opening; rounds++) {
        region_info info;
        void *address;
        fault_guard *guard;
        CHECK(!ftruncate(fd, (off_t)(8 * page)) && !region_file_info(fd, &info));
        CHECK(!region_map(fd, REGION_READ, 0, 8 * page, &address));
        CHECK(!fault_watch(address, 8 * page, rounds % 2 ? fd : REGION_NO_FILE, 0, name, &info, REGION_READ, 0, &guard));
        CHECK(!ftruncate(fd, 0));
        CHECK(((volatile char *)address)[rounds % 8 * page] == 0);
        CHECK(*fault_damage(guard) == FAULT_TRUNCATED);
        fault_unwatch(guard);
        CHECK(!region_unmap(address, 8 * page));
    }
    close(fd);
    return (void *)rounds;
}

static void opening_closing_and_faulting_go_together(void)
{
    pthread_t threads[4];
    size_t rounds = 0;
    CHECK(!fault_install(NULL));
    for (size_t i = 0; i < 4; i++) CHECK(!pthread_create(&threads[i], NULL, open_and_close, (void *)i));
    sleep(1);
    stop_opening = 1;
    for (int i = 0; i < 4; i++) {
        void *done;
        CHECK(!pthread_join(threads[i], &done));
        rounds += (size_t)done;
    }
    CHECK(rounds > 100);
}

static void a_revoked_map_reads_zeros(void)
{
    map m = open_map(16 * page, REGION_WRITE, 0);
    cut(8 * page);
    CHECK(m.bytes[8 * page] == 0 && m.bytes[0] == 7 && loss(&m) == FAULT_TRUNCATED && notified == 1);
    CHECK(!fault_revoke(m.guard, (void *)m.bytes, m.size, 1) && !region_file_close(m.file));
    m.bytes[9 * page] = 1;
    CHECK(m.bytes[0] == 0 && m.bytes[9 * page] == 1 && notified == 1);
    CHECK(loss(&m) == (FAULT_TRUNCATED | FAULT_REVOKED));
    close_map(&m);
}

static void a_revoke_is_told_apart_from_a_loss(void)
{
    map m = open_map(16 * page, REGION_WRITE, 0);
    CHECK(!fault_revoke(m.guard, (void *)m.bytes, m.size, 1) && !region_file_close(m.file));
    CHECK(m.bytes[0] == 0 && loss(&m) == FAULT_REVOKED && !notified);
    close_map(&m);
}

static void what_an_old_mapping_loses_damages_the_new_one_as_well(void)
{
    map m = open_map(4 * page, REGION_WRITE, 0), old = m;
    void *moved;
    CHECK(!region_file_resize(m.file, 16 * page, 1));
    CHECK(!region_map(m.file, REGION_WRITE, 0, 16 * page, &moved));
    CHECK(!fault_move(m.guard, moved, 16 * page, &old.guard));
    m.bytes = moved;
    m.size = 16 * page;
    CHECK(m.bytes[3 * page] == 7 && old.bytes[3 * page] == 7 && !damage(&m) && !damage(&old));
    cut(2 * page);
    CHECK(old.bytes[3 * page] == 0 && loss(&old) == FAULT_TRUNCATED && loss(&m) == FAULT_TRUNCATED);
    CHECK(report_of(&m).start == 2 * page && report_of(&m).stop == 4 * page);
    CHECK(fault_recover(old.guard, m.file) == ENODATA);
    cut(16 * page);
    CHECK(!fault_recover(old.guard, m.file) && !fault_recover(m.guard, m.file) && !damage(&m) && !damage(&old));
    old.bytes[3 * page] = 5;
    CHECK(m.bytes[3 * page] == 5);
    cut(page);
    CHECK(m.bytes[5 * page] == 0 && loss(&m) == FAULT_TRUNCATED && !damage(&old));
    CHECK(fault_extend(m.guard, 17 * page) == ENODATA);
    close_map(&old);
    close_map(&m);
}

static void a_mapping_that_grows_in_its_place_is_guarded_to_its_end(void)
{
    map m = open_map(4 * page, REGION_WRITE, 0);
    void *ahead;
    size_t room = 64 * page;
    CHECK(!region_map_ahead(m.file, REGION_WRITE, 0, 4 * page, &room, &ahead) && room >= 4 * page);
    fault_pause(m.guard);
    CHECK(!region_unmap((void *)m.bytes, m.size));
    fault_resume(m.guard, ahead, 4 * page);
    m.bytes = ahead;
    m.size = room;
    if (room > 16 * page) {
        CHECK(!region_file_resize(m.file, 16 * page, 1) && !fault_extend(m.guard, 16 * page - 1));
        m.bytes[15 * page] = 1;
        CHECK(!damage(&m));
        cut(8 * page);
        CHECK(m.bytes[15 * page] == 0 && loss(&m) == FAULT_TRUNCATED && report_of(&m).stop == 16 * page - 1);
    }
    close_map(&m);
}

/* --- faults of others --------------------------------------------------------------------------------------------- */

static volatile unsigned char *unguarded(void)
{
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    volatile unsigned char *bytes;
    CHECK(fd >= 0 && !ftruncate(fd, (off_t)page));
    bytes = mmap(NULL, page, PROT_READ, MAP_SHARED, fd, 0);
    CHECK(bytes != MAP_FAILED && !ftruncate(fd, 0) && !close(fd));
    return bytes;
}

/* Runs in a child: returns how it ended. */
static int end_of(void (*prepare)(void), void (*fault)(void))
{
    int status;
    pid_t child = fork();
    if (!child) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        prepare();
        fault();
        _exit(100);
    }
    CHECK(waitpid(child, &status, 0) == child);
    return status;
}

static int ends_by(int number, void (*prepare)(void), void (*fault)(void))
{
    int status = end_of(prepare, fault);
    return WIFSIGNALED(status) && WTERMSIG(status) == number;
}

static volatile unsigned char *nowhere;
static void touch_a_lost_page(void) { (void)*unguarded(); }
static void write_to_a_page_for_reading(void)
{
    unsigned char *bytes = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(bytes != MAP_FAILED);
    *(volatile unsigned char *)bytes = 1;
}
__attribute__((no_sanitize("undefined"))) static void write_to_nowhere(void) { *nowhere = 1; }

static const struct {
    int number;
    void (*happens)(void);
} faults[] = {{SIGBUS, touch_a_lost_page}, {SIGSEGV, write_to_a_page_for_reading}, {SIGSEGV, write_to_nowhere}};

static void install_alone(void) { CHECK(!fault_install(NULL)); }

static volatile int calls;
static void say_and_return(int number)
{
    (void)number;
    calls++;
    if (calls > 1) _exit(3);
}

static void say_and_leave(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    _exit(info->si_addr != nowhere ? 42 : 43);
}

static void install_over(struct sigaction act)
{
    CHECK(!sigaction(SIGBUS, &act, NULL) && !sigaction(SIGSEGV, &act, NULL) && !fault_install(NULL));
}

static void install_over_a_plain_handler(void) { install_over((struct sigaction){.sa_handler = say_and_return}); }
static void install_over_ignorance(void) { install_over((struct sigaction){.sa_handler = SIG_IGN}); }
static void install_over_an_informed_handler(void)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    act.sa_sigaction = say_and_leave;
    install_over(act);
}

static void install_and_uninstall(void) { CHECK(!fault_install(NULL) && !fault_uninstall()); }

static void faults_of_others_end_as_they_would_have(void)
{
    void (*deadly[])(void) = {install_alone, install_over_a_plain_handler, install_over_ignorance, install_and_uninstall};
    for (size_t k = 0; k < sizeof faults / sizeof *faults; k++) {
        for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
            CHECK(ends_by(faults[k].number, deadly[i], faults[k].happens));
        int status = end_of(install_over_an_informed_handler, faults[k].happens);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == (faults[k].happens == write_to_nowhere ? 43 : 42));
    }
}

static map guarded;
static void map_for(region_intent intent)
{
    unlink(path);
    guarded = open_map(4 * page, intent, 0);
}
static void map_for_reading(void) { map_for(REGION_READ); }
static void map_for_writing(void) { map_for(REGION_WRITE); }
static void map_for_copying(void) { map_for(REGION_COPY); }
static void map_and_uninstall(void)
{
    map_for_reading();
    CHECK(!fault_uninstall());
}
static void protect_and_write(void)
{
    CHECK(!mprotect((void *)guarded.bytes, page, PROT_READ));
    guarded.bytes[0] = 1;
}
static void write_to_it(void) { guarded.bytes[0] = 1; }
static void execute_it(void)
{
    void (*function)(void);
    void *address = (void *)guarded.bytes;
    memcpy(&function, &address, sizeof address);
    function();
}

static void other_faults_in_a_map_are_not_ours(void)
{
    CHECK(ends_by(SIGSEGV, map_for_writing, protect_and_write));
    CHECK(ends_by(SIGSEGV, map_for_copying, protect_and_write));
    CHECK(ends_by(SIGSEGV, map_for_reading, execute_it));
    CHECK(ends_by(SIGSEGV, map_and_uninstall, write_to_it));
}

static unsigned char *toggled; /* a page that a handler of others protects and allows, as runtimes do */
static void allow_it(int number, siginfo_t *info, void *context)
{
    (void)number, (void)context;
    CHECK(info->si_addr >= (void *)toggled && info->si_addr < (void *)(toggled + page));
    CHECK(!mprotect(toggled, page, PROT_READ | PROT_WRITE));
    calls++;
}

static void a_handler_that_mends_its_own_faults_is_called_each_time(void)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO};
    toggled = mmap(NULL, page, PROT_READ, MAP_PRIVATE | MAP_ANON, -1, 0);
    CHECK(toggled != MAP_FAILED);
    act.sa_sigaction = allow_it;
    install_over(act);
    for (int i = 1; i < 10; i++) {
        *(volatile unsigned char *)toggled = (unsigned char)i;
        CHECK(calls == i && *toggled == i && !mprotect(toggled, page, PROT_READ));
    }
}

static sigjmp_buf landing;
static void jump_out(int number)
{
    calls++;
    siglongjmp(landing, number);
}

static void a_handler_that_jumps_out_is_called_each_time(void)
{
    install_over((struct sigaction){.sa_handler = jump_out});
    for (volatile int i = 1; i < 10; i++) {
        if (!sigsetjmp(landing, 1)) write_to_nowhere();
        CHECK(calls == i);
    }
}

static int (*volatile deeper)(int);
static int descend(int depth)
{
    volatile char frame[1 << 14];
    frame[0] = (char)depth;
    return deeper(depth + 1) + frame[0];
}
static void overflow_the_stack(void)
{
    deeper = descend;
    descend(0);
}

static void take_another_stack(void)
{
    static char memory[1 << 16];
    stack_t stack = {.ss_sp = memory, .ss_size = sizeof memory};
    CHECK(!sigaltstack(&stack, NULL));
}
static void install_beside_another_stack(void)
{
    take_another_stack();
    install_alone();
}
static void install_over_a_handler_on_another_stack(void)
{
    struct sigaction act = {.sa_flags = SA_SIGINFO | SA_ONSTACK};
    take_another_stack();
    act.sa_sigaction = say_and_leave;
    install_over(act);
}

static void a_stack_that_overflows_ends_as_it_would_have(void)
{
    CHECK(ends_by(SIGSEGV, install_alone, overflow_the_stack));
    CHECK(ends_by(SIGSEGV, install_beside_another_stack, overflow_the_stack));
    int status = end_of(install_over_a_handler_on_another_stack, overflow_the_stack);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
}

static void a_handler_put_in_front_later_is_passed_again(void)
{
    map m = open_map(4 * page, REGION_READ, 0);
    install_over((struct sigaction){.sa_handler = say_and_return});
    CHECK(!fault_install(count_notes));
#ifdef __linux__
    m.bytes[0] = 1;
    CHECK(damage(&m) == FAULT_WRITTEN && !calls);
    CHECK(!fault_recover(m.guard, REGION_NO_FILE));
#endif
    cut(0);
    CHECK(m.bytes[0] == 0 && damage(&m) == FAULT_TRUNCATED && !calls);
    CHECK(!raise(SIGBUS) && calls == 1); /* a signal that is no fault is theirs */
    calls = 0;
    CHECK(!raise(SIGSEGV) && calls == 1);
    close_map(&m);
}

static void a_child_process_is_guarded_too(void)
{
    int status;
    map m = open_map(4 * page, REGION_READ, 0);
    cut(0);
    pid_t child = fork();
    if (!child) _exit(m.bytes[page] + (int)damage(&m));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == FAULT_TRUNCATED);
    CHECK(!damage(&m));
    close_map(&m);
}

UNSEEN_BY_TSAN static void *read_first(void *unused)
{
    CHECK(!shared_map.bytes[0]);
    return unused;
}

static void a_child_finds_a_repair_done_or_not_begun(void)
{
    int status;
    pthread_t thread;
    size_t size = (size_t)1 << (sizeof size > 4 ? 40 : 28); /* so large that the repair takes its time */
    shared_map = open_map(size, REGION_WRITE, 0);
    cut(0);
    CHECK(!pthread_create(&thread, NULL, read_first, NULL));
    usleep(2000); /* it is under way now, very likely */
    pid_t child = fork();
    if (!child) _exit(shared_map.bytes[0] + (int)loss(&shared_map));
    CHECK(waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == FAULT_TRUNCATED);
    CHECK(!pthread_join(thread, NULL));
    close_map(&shared_map);
}

static void a_thousand_maps_are_found(void)
{
    map maps[1000];
    char first[4096];
    strcpy(first, path);
    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "%.4000s.%d", first, i);
        maps[i] = open_map(page, REGION_READ, 0);
        CHECK(!region_file_close(maps[i].file));
    }
    cut(0); /* the last */
    CHECK(maps[999].bytes[0] == 0 && damage(&maps[999]) == FAULT_TRUNCATED && !damage(&maps[998]));
    for (int i = 0; i < 1000; i++) close_map(&maps[i]);
    for (int i = 0; i < 1000; i++) {
        snprintf(path, sizeof path, "%.4000s.%d", first, i);
        CHECK(!unlink(path));
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */

/* what a test needs */
enum { ROOT = 1, NATIVE = 2 /* no emulator: its address space is small, its pagemap that of another system */ };

#define TEST(name) {#name, name, 0}
#define NATIVE_TEST(name) {#name, name, NATIVE}
#define MOUNTS(name) {#name, name, ROOT}
#define NATIVE_MOUNTS(name) {#name, name, ROOT | NATIVE}
static const struct {
    const char *name;
    void (*run)(void);
    int needs;
} tests[] = {
    TEST(a_guard_goes_on_at_another_place),
    TEST(nothing_is_repaired_while_a_guard_pauses),
#ifdef __linux__
    NATIVE_TEST(a_page_that_can_be_read_again_is_no_loss),
    NATIVE_TEST(a_page_that_faults_for_ever_is_lost_alone),
#endif
    TEST(a_lost_tail_reads_as_zeros_and_is_reported),
    TEST(an_offset_in_the_file_is_counted),
    TEST(a_file_that_is_gone_from_its_path_still_reads_as_zeros),
    NATIVE_TEST(stores_into_a_large_lost_tail_take_bounded_memory),
    TEST(what_has_come_back_is_mapped_again),
#ifdef __linux__
    TEST(what_is_written_to_a_map_for_reading_stays_out_of_the_file),
    NATIVE_TEST(a_write_at_an_offset_reports_only_bytes_of_the_map),
    TEST(a_write_across_two_pages_is_whole),
    TEST(writes_all_over_a_map_are_few_faults_and_one_range),
    TEST(threads_that_write_to_the_same_pages_lose_nothing),
    TEST(a_write_beyond_a_truncation_is_both),
    TEST(locked_pages_can_be_written_and_recovered),
    TEST(what_is_left_of_a_revoked_map_for_reading_can_be_written),
    TEST(a_child_process_writes_for_itself),
#endif
    NATIVE_MOUNTS(stores_survive_a_full_tmpfs),
    NATIVE_MOUNTS(stores_survive_a_full_ext4),
    NATIVE_MOUNTS(stores_survive_a_full_ext2),
    NATIVE_MOUNTS(stores_of_threads_survive_a_full_tmpfs),
    NATIVE_MOUNTS(stores_of_threads_survive_a_full_ext4),
    MOUNTS(a_hole_in_a_full_tmpfs_reads_as_zeros),
#ifdef __linux__
    NATIVE_MOUNTS(private_changes_outlast_a_full_tmpfs),
    NATIVE_MOUNTS(a_file_object_keeps_its_position),
    NATIVE_MOUNTS(a_file_object_that_appends_keeps_its_position),
    NATIVE_MOUNTS(a_file_object_keeps_its_position_without_proc),
    NATIVE_MOUNTS(a_file_object_that_appends_is_never_written_through),
    NATIVE_MOUNTS(a_device_that_fails_reads_as_zeros), /* qemu-user takes advice it does not know for granted */
    NATIVE_MOUNTS(private_changes_outlast_a_device_that_fails),
    NATIVE_MOUNTS(rescued_stores_outlast_a_device_that_fails),
#endif
    TEST(threads_that_meet_the_same_lost_pages_all_go_on),
    TEST(opening_closing_and_faulting_go_together),
    TEST(a_revoked_map_reads_zeros),
    TEST(a_revoke_is_told_apart_from_a_loss),
    TEST(what_an_old_mapping_loses_damages_the_new_one_as_well),
    NATIVE_TEST(a_mapping_that_grows_in_its_place_is_guarded_to_its_end),
    TEST(faults_of_others_end_as_they_would_have),
    TEST(other_faults_in_a_map_are_not_ours),
    TEST(a_handler_that_mends_its_own_faults_is_called_each_time),
    TEST(a_handler_that_jumps_out_is_called_each_time),
    NATIVE_TEST(a_stack_that_overflows_ends_as_it_would_have),
    TEST(a_handler_put_in_front_later_is_passed_again),
    TEST(a_child_process_is_guarded_too),
    NATIVE_TEST(a_child_finds_a_repair_done_or_not_begun),
    TEST(a_thousand_maps_are_found),
};

int main(int count, char **arguments)
{
    int passed = 0, failed = 0;
    if (count != 2) {
        printf("usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    directory = arguments[1];
    page = region_page_size();
    emulated = getenv("MEMMAP_EMULATOR") != NULL;
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        int status, needs_root = tests[i].needs & ROOT && geteuid();
        if (needs_root || (tests[i].needs & NATIVE && emulated)) {
            printf("skipped, needs %s: %s\n", needs_root ? "root" : "a system that is not emulated", tests[i].name);
            continue;
        }
        snprintf(path, sizeof path, "%.2000s/%zu.bin", directory, i);
        pid_t child = fork();
        if (!child) {
            tests[i].run();
            exit(0);
        }
        waitpid(child, &status, 0);
        if (status) printf("FAILED %s (%s %d)\n", tests[i].name, WIFSIGNALED(status) ? "signal" : "status",
                           WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        *(status ? &failed : &passed) += 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
