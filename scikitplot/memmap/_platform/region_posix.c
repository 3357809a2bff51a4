/* region_posix.c - region.h on Linux; on macOS compiled and never run. */
#define _GNU_SOURCE           /* mremap, fallocate, sync_file_range, preadv2, memfd_create */
#define _DARWIN_C_SOURCE      /* F_FULLFSYNC, F_PREALLOCATE */
#define _FILE_OFFSET_BITS 64  /* files beyond 2 GiB on 32-bit systems */

#include "parallel.h"
#include "region.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#ifdef __linux__
#include <linux/magic.h>
#include <sys/vfs.h>
#endif
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#ifdef __linux__
#include <sys/sysmacros.h> /* makedev */
#endif
#include <sys/types.h>
#include <sys/uio.h>
#ifdef __linux__
#include <sys/utsname.h>
#endif
#include <unistd.h>

#ifndef MAP_NORESERVE
#define MAP_NORESERVE 0
#endif
#ifndef O_DIRECT
#define O_DIRECT 0
#endif

enum { LARGEST_PAGE = 1 << 30 }; /* bytes */
enum { LARGE = 1 << 22 }; /* bytes: from this size on NumPy puts its arrays in huge pages, too */

static char nothing; /* where every mapping of size 0 points */

static uintptr_t page_mask(void) { return (uintptr_t)region_page_size() - 1; }

/* The whole pages that [*address, *address + *size) meets. */
static void widen(void **address, size_t *size)
{
    uintptr_t extra = (uintptr_t)*address & page_mask();
    *address = (char *)*address - extra;
    *size = (*size + extra + page_mask()) & ~(size_t)page_mask();
}

size_t region_page_size(void)
{
    static _Atomic(size_t) size;
    if (!size) size = (size_t)sysconf(_SC_PAGESIZE);
    return size;
}

void region_error_text(int code, char *text, size_t size)
{
    snprintf(text, size, "%s", strerror(code));
}

/* --- files ---------------------------------------------------------------------------------------------------- */

static region_kind kind_of(mode_t mode)
{
    return S_ISREG(mode)                    ? REGION_REGULAR
           : S_ISDIR(mode)                  ? REGION_DIRECTORY
           : S_ISFIFO(mode)                 ? REGION_FIFO
           : S_ISSOCK(mode)                 ? REGION_SOCKET
           : S_ISCHR(mode) || S_ISBLK(mode) ? REGION_DEVICE
                                            : REGION_OTHER;
}

static void fill_info(const struct stat *st, region_info *info)
{
#ifdef __APPLE__
    struct timespec mtime = st->st_mtimespec, birth = st->st_birthtimespec;
#else
    struct timespec mtime = st->st_mtim, birth = {0, 0};
#endif
    info->kind = kind_of(st->st_mode);
    info->size = (uint64_t)st->st_size;
    info->device = (uint64_t)st->st_dev;
    info->inode = (uint64_t)st->st_ino;
    info->birth_ns = (int64_t)birth.tv_sec * 1000000000 + birth.tv_nsec;
    info->mtime_ns = (int64_t)mtime.tv_sec * 1000000000 + mtime.tv_nsec;
}

#ifdef STATX_BTIME
/* The files of /proc are empty, those of /sys have the size of a page, and none of them takes any room. */
static void note_generated(int fd, const char *path, uint64_t blocks, region_info *info)
{
    struct statfs where;
    if (info->kind != REGION_REGULAR || blocks || (info->size && info->size != region_page_size())) return;
    if (*path ? statfs(path, &where) : fstatfs(fd, &where)) return;
    switch ((unsigned long)where.f_type) {
    case PROC_SUPER_MAGIC:
    case SYSFS_MAGIC:
    case CGROUP_SUPER_MAGIC:
    case CGROUP2_SUPER_MAGIC:
    case DEBUGFS_MAGIC:
    case TRACEFS_MAGIC:
    case SECURITYFS_MAGIC: info->kind = REGION_GENERATED;
    }
}

/* As fstatat(), with the time of birth.  A sandbox may forbid the call. */
static int look_at(int fd, const char *path, int flags, region_info *info)
{
    struct statx stx;
    struct stat st;
    if (!statx(fd, path, flags, STATX_BASIC_STATS | STATX_BTIME, &stx)) {
        info->kind = kind_of(stx.stx_mode);
        info->size = stx.stx_size;
        info->device = (uint64_t)makedev(stx.stx_dev_major, stx.stx_dev_minor);
        info->inode = stx.stx_ino;
        info->birth_ns = stx.stx_mask & STATX_BTIME ? stx.stx_btime.tv_sec * 1000000000 + stx.stx_btime.tv_nsec : 0;
        info->mtime_ns = stx.stx_mtime.tv_sec * 1000000000 + stx.stx_mtime.tv_nsec;
        note_generated(fd, path, stx.stx_blocks, info);
        return 0;
    }
    if (errno != ENOSYS && errno != EPERM) return errno;
    if (fstatat(fd, path, &st, flags)) return errno;
    fill_info(&st, info);
    note_generated(fd, path, (uint64_t)st.st_blocks, info);
    return 0;
}
#endif

int region_path_info(const char *path, region_info *info)
{
#ifdef STATX_BTIME
    return look_at(AT_FDCWD, path, 0, info);
#else
    struct stat st;
    if (stat(path, &st)) return errno;
    fill_info(&st, info);
    return 0;
#endif
}

static int open_file(const char *path, int flags, mode_t permissions, region_file *file)
{
    int fd;
    do fd = open(path, flags | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, permissions);
    while (fd < 0 && errno == EINTR);
    if (fd < 0) return errno;
    *file = fd;
    return 0;
}

int region_file_open(const char *path, int writable, region_file *file)
{
    return open_file(path, writable ? O_RDWR : O_RDONLY, 0, file);
}

int region_file_create(const char *path, int owner_only, region_file *file)
{
    return open_file(path, O_RDWR | O_CREAT | O_EXCL, owner_only ? 0600 : 0666, file);
}

int region_file_create_nameless(const char *directory, int owner_only, region_file *file)
{
#ifdef O_TMPFILE
    if (!access("/proc/self/fd", X_OK))
        return open_file(directory, O_RDWR | O_TMPFILE, owner_only ? 0600 : 0666, file);
#else
    (void)directory;
    (void)owner_only;
    (void)file;
#endif
    return ENOTSUP;
}

int region_file_link(region_file file, const char *path)
{
    char name[40]; /* a link straight from a descriptor takes special rights */
    snprintf(name, sizeof name, "/proc/self/fd/%d", (int)file);
    return linkat(AT_FDCWD, name, AT_FDCWD, path, AT_SYMLINK_FOLLOW) ? errno : 0;
}

/* Open the regular file behind a descriptor again, with no more rights than the descriptor has. */
static int open_anew(int fd, int writable, region_file *own)
{
    char name[40];
    struct stat st, found;
    int flags = fcntl(fd, F_GETFL);
    if (flags == -1 || fstat(fd, &st)) return errno;
    if (!S_ISREG(st.st_mode)) return ENOTSUP; /* opening a device or a FIFO has effects */
    if ((flags & O_ACCMODE) != O_RDWR && (writable || (flags & O_ACCMODE) != O_RDONLY)) return EBADF;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    int error = open_file(name, writable ? O_RDWR : O_RDONLY, 0, own);
    if (error) return error;
    if (fstat((int)*own, &found) == 0 && found.st_dev == st.st_dev && found.st_ino == st.st_ino) return 0;
    close((int)*own);
    return ESTALE;
}

int region_file_reopen(region_file file, int writable, region_file *own, int *shares_position)
{
    region_file fd = REGION_NO_FILE;
    int shares = open_anew((int)file, writable, &fd) != 0;
    if (shares) fd = fcntl((int)file, F_DUPFD_CLOEXEC, 0);
    if (fd < 0) return errno;
    *own = fd;
    *shares_position = shares;
    return 0;
}

int region_file_info(region_file file, region_info *info)
{
#ifdef STATX_BTIME
    return look_at((int)file, "", AT_EMPTY_PATH, info);
#else
    struct stat st;
    if (fstat((int)file, &st)) return errno;
    fill_info(&st, info);
    return 0;
#endif
}

static int truncate_file(int fd, uint64_t size)
{
    int failed;
    if (size > INT64_MAX) return EFBIG;
    do failed = ftruncate(fd, (off_t)size);
    while (failed && errno == EINTR);
    return failed ? errno : 0;
}

/* For file systems that cannot reserve blocks.  The end moves first, and at once: a process that is killed meanwhile leaves
 * the old or the new size. */
static int write_zeros(int fd, uint64_t from, uint64_t to)
{
    static const char zeros[1 << 16];
    int flags = fcntl(fd, F_GETFL);
    if (flags == -1) return errno;
    if (flags & O_APPEND) return EOPNOTSUPP; /* Linux would write at the end of the file */
    int error = truncate_file(fd, to);
    if (error) return error;
    for (size_t size; from < to && !error; from += size) {
        size = to - from < sizeof zeros ? (size_t)(to - from) : sizeof zeros;
        error = region_file_write(fd, from, zeros, size);
    }
    return error;
}

/* Allocate the blocks of [from, to) beyond the end of the file, which may move the end. */
static int reserve(int fd, uint64_t from, uint64_t to)
{
    int error;
    if (to > INT64_MAX) return EFBIG;
#if defined(__linux__)
    do error = fallocate(fd, 0, (off_t)from, (off_t)(to - from)) ? errno : 0;
    while (error == EINTR);
#elif defined(__APPLE__)
    fstore_t store = {F_ALLOCATEALL, F_PEOFPOSMODE, 0, (off_t)(to - from), 0};
    error = fcntl(fd, F_PREALLOCATE, &store) == -1 ? errno : 0;
#else
    do error = posix_fallocate(fd, (off_t)from, (off_t)(to - from));
    while (error == EINTR);
#endif
    if (error == EOPNOTSUPP || error == ENOTSUP || error == ENOSYS) return write_zeros(fd, from, to);
    return error;
}

int region_file_resize(region_file file, uint64_t size, int sparse)
{
    region_info info = {0};
    int error = region_file_info(file, &info);
    if (error) return error;
    if (size > info.size && !sparse) error = reserve((int)file, info.size, size);
    if (!error && size != info.size) error = truncate_file((int)file, size);
    if (error) truncate_file((int)file, info.size); /* a failed reservation leaves a part behind */
    return error;
}

int region_file_write(region_file file, uint64_t offset, const void *bytes, size_t size)
{
    while (size) {
        ssize_t written = pwrite((int)file, bytes, size, (off_t)offset);
        if (written > 0) {
            bytes = (const char *)bytes + written;
            offset += (uint64_t)written;
            size -= (size_t)written;
        } else if (written == 0) return ENOSPC;
        else if (errno != EINTR) return errno;
    }
    return 0;
}

int region_file_read(region_file file, uint64_t offset, void *bytes, size_t size, size_t *found)
{
    *found = 0;
    while (*found < size) {
        ssize_t got = pread((int)file, (char *)bytes + *found, size - *found, (off_t)(offset + *found));
        if (got == 0) break;
        if (got > 0) *found += (size_t)got;
        else if (errno != EINTR) return errno;
    }
    return 0;
}

int region_file_append(region_file file, uint64_t end, const void *bytes, size_t size, int *ends_there)
{
    off_t size_now = lseek((int)file, 0, SEEK_END); /* quicker than fstat() */
    if (size_now < 0) return errno;
    *ends_there = (uint64_t)size_now == end;
    if (!*ends_there || !size) return 0;
    if (end > INT64_MAX || size > INT64_MAX - end) return EFBIG;
    int error = region_file_write(file, end, bytes, size);
    if (error) truncate_file((int)file, end);
    return error;
}

int region_file_close(region_file file)
{
    return close((int)file) && errno != EINTR ? errno : 0; /* after EINTR it is closed all the same */
}

static int sync_mapping(void *address, size_t size, int flags)
{
    int failed;
    do failed = msync(address, size, flags);
    while (failed && errno == EINTR);
    return failed ? errno : 0;
}

/* macOS: fsync and msync stop at the drive's cache, and network file systems have no more than those. */
static int sync_to_disk(int fd)
{
    int failed;
#ifdef F_FULLFSYNC
    do failed = fcntl(fd, F_FULLFSYNC) == -1;
    while (failed && errno == EINTR);
    if (!failed) return 0;
#endif
    do failed = fsync(fd);
    while (failed && errno == EINTR);
    return failed ? errno : 0;
}

int region_file_sync(region_file file) { return sync_to_disk((int)file); }

int region_directory_sync(const char *path)
{
    region_file fd = REGION_NO_FILE;
    int error = open_file(path, O_RDONLY | O_DIRECTORY, 0, &fd);
    if (error) return error;
    error = sync_to_disk((int)fd);
    close((int)fd);
    return error == EINVAL ? 0 : error; /* some network file systems cannot */
}

/* --- mappings ------------------------------------------------------------------------------------------------- */

static int map_pages(void *where, size_t size, int protection, int flags, region_file file, uint64_t offset, void **base)
{
    if (offset > INT64_MAX) return EOVERFLOW;
    void *pages = mmap(where, size, protection, flags, (int)file, (off_t)offset);
    if (pages == MAP_FAILED) return errno;
    *base = pages;
    return 0;
}

/* region_map(), with byte `offset` at `where` or anywhere (NULL).
 * A private mapping that is only read has the pages of the file, on Linux: what others write is seen.  The guard (fault.h)
 * can make its pages copy-on-write. */
static int map_at(region_file file, region_intent intent, uint64_t offset, size_t size, char *where, void **address)
{
#ifdef __linux__
    int is_private = intent != REGION_WRITE;
#else
    int is_private = intent == REGION_COPY;
#endif
    size_t extra = (size_t)(offset & page_mask());
    void *base = NULL;
    if (!size) {
        *address = &nothing;
        return 0;
    }
    if (size > SIZE_MAX - extra) return ENOMEM;
    int error = map_pages(where ? where - extra : NULL, size + extra,
                          intent == REGION_READ ? PROT_READ : PROT_READ | PROT_WRITE,
                          (is_private ? MAP_PRIVATE | MAP_NORESERVE : MAP_SHARED) | (where ? MAP_FIXED : 0), file,
                          offset - extra, &base);
    if (!error) *address = (char *)base + extra;
    return error;
}

int region_map(region_file file, region_intent intent, uint64_t offset, size_t size, void **address)
{
    return map_at(file, intent, offset, size, NULL, address);
}

int region_map_again(region_file file, region_intent intent, uint64_t offset, size_t size, void *address)
{
    return map_at(file, intent, offset, size, address, &address);
}

/* What is set aside counts against a limit of the address space, and there is not much of it in 32 bits. */
static size_t affordable(size_t size, size_t room)
{
    const size_t most = (size_t)1 << 26;
    struct rlimit space;
    size_t more = room - size;
    if (sizeof(void *) < 8 && more > most) more = most;
    if (getrlimit(RLIMIT_AS, &space) || space.rlim_cur != RLIM_INFINITY) more = 0;
    return size + more;
}

/* Pages of the file that it does not have yet.  Those of a private mapping, which the system might count as memory that is
 * promised, can be neither read nor written. */
static int map_with_room(region_file file, region_intent intent, uint64_t offset, size_t size, size_t room, void **address)
{
    size_t extra = (size_t)(offset & page_mask());
    void *base = NULL;
    if (room > SIZE_MAX - extra) return ENOMEM;
    if (intent != REGION_COPY) return map_at(file, intent, offset, room, NULL, address);
    int error = map_pages(NULL, room + extra, PROT_NONE, MAP_PRIVATE | MAP_NORESERVE, file, offset - extra, &base);
    if (error) return error;
    if (mprotect(base, (size + extra + page_mask()) & ~(size_t)page_mask(), PROT_READ | PROT_WRITE)) {
        error = errno;
        region_unmap(base, room + extra);
        return error;
    }
    *address = (char *)base + extra;
    return 0;
}

int region_map_ahead(region_file file, region_intent intent, uint64_t offset, size_t size, size_t *room, void **address)
{
    size_t extra = (size_t)(offset & page_mask()), wanted = size ? affordable(size, *room) : 0;
    size_t least = size ? ((size + extra + page_mask()) & ~(size_t)page_mask()) - extra : 0; /* to the end of the last page */
    int error = ENOMEM;
    if (wanted > least && (uint64_t)wanted <= INT64_MAX - offset) {
        wanted = ((wanted + extra) & ~(size_t)page_mask()) - extra;
        error = map_with_room(file, intent, offset, size, wanted, address);
    }
    if (error) error = region_map(file, intent, offset, size, address);
    else least = wanted;
    if (!error) *room = least;
    return error;
}

/* A private copy of the last page that the file had has zeros where the file has its next bytes now. */
static int show_appended(region_file file, uint64_t offset, char *address, size_t old_size, size_t size)
{
    char bytes[512];
    size_t end = old_size + (-((uintptr_t)address + old_size) & page_mask());
    if (!old_size) return 0;
    if (end > size) end = size;
    for (size_t at = old_size, part; at < end; at += part) {
        part = end - at < sizeof bytes ? end - at : sizeof bytes;
        size_t found;
        int error = region_file_read(file, offset + at, bytes, part, &found);
        if (error || found < part) return error ? error : ENODATA; /* the file became shorter */
        if (memcmp(address + at, bytes, part)) memcpy(address + at, bytes, part);
    }
    return 0;
}

int region_use_room(region_file file, region_intent intent, uint64_t offset, void *address, size_t old_size, size_t size)
{
    if (intent != REGION_COPY) return 0;
    uintptr_t start = (uintptr_t)address, from = (start + old_size + page_mask()) & ~page_mask();
    uintptr_t to = (start + size + page_mask()) & ~page_mask();
    if (to > from && mprotect((void *)from, to - from, PROT_READ | PROT_WRITE)) return errno;
    return show_appended(file, offset, address, old_size, size);
}

static void offer_huge_pages(void *address, size_t size)
{
#ifdef MADV_HUGEPAGE
    if (size >= LARGE) madvise(address, size, MADV_HUGEPAGE);
#else
    (void)address;
    (void)size;
#endif
}

int region_map_anonymous(size_t size, int shared, void **address)
{
    if (!size) {
        *address = &nothing;
        return 0;
    }
    int error = map_pages(NULL, size, PROT_READ | PROT_WRITE,
                          MAP_ANON | (shared ? MAP_SHARED : MAP_PRIVATE | MAP_NORESERVE), REGION_NO_FILE, 0, address);
    if (!error && !shared) offer_huge_pages(*address, size);
    return error;
}

#if defined(__linux__) && defined(MFD_ALLOW_SEALING)
int region_memory_create(const char *name, size_t size, region_file *memory)
{
    int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0) return errno;
    int error = ftruncate(fd, (off_t)size) || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) ? errno : 0;
    if (error) close(fd);
    else *memory = fd;
    return error;
}

/* Whether an entry of a folder of /proc is the memory of some name. */
static int is_memory(int folder, const char *entry, const char *name)
{
    char target[300], wanted[300];
    ssize_t length = readlinkat(folder, entry, target, sizeof target);
    int size = snprintf(wanted, sizeof wanted, "/memfd:%s (deleted)", name);
    return length == size && memcmp(target, wanted, (size_t)size) == 0;
}

int region_memory_open(const char *name, uint64_t maker, region_file *memory)
{
    char path[64];
    struct dirent *entry;
    int error = ENOENT;
    snprintf(path, sizeof path, "/proc/%llu/fd", (unsigned long long)maker);
    DIR *open_there = opendir(path);
    if (!open_there) return errno;
    while (error == ENOENT && (entry = readdir(open_there))) {
        if (!is_memory(dirfd(open_there), entry->d_name, name)) continue;
        int fd;
        do fd = openat(dirfd(open_there), entry->d_name, O_RDWR | O_CLOEXEC);
        while (fd < 0 && errno == EINTR);
        if (fd < 0) {
            error = errno;
            continue;
        }
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        int seals = fcntl(fd, F_GET_SEALS); /* of a foreign one, which could be cut off: perhaps none, or -1 */
        /* still: another thread there may have closed it meanwhile */
        if (seals > 0 && seals & F_SEAL_SHRINK && is_memory(AT_FDCWD, path, name)) {
            *memory = fd;
            error = 0;
        } else {
            close(fd);
        }
    }
    closedir(open_there);
    return error;
}
#else
int region_memory_create(const char *name, size_t size, region_file *memory)
{
    (void)name;
    (void)size;
    (void)memory;
    return ENOSYS;
}

int region_memory_open(const char *name, uint64_t maker, region_file *memory)
{
    (void)name;
    (void)maker;
    (void)memory;
    return ENOSYS;
}
#endif

int region_memory_map(region_file memory, uint64_t offset, size_t size, void **address)
{
    region_info info = {0};
    int error = region_file_info(memory, &info);
    if (!error && (offset > info.size || size > info.size - offset)) error = EINVAL;
    return error ? error : region_map(memory, REGION_WRITE, offset, size, address);
}

/* The size of the whole pages of a mapping whose pages may be huge (hugetlbfs): for others the system says EINVAL. */
static size_t larger_pages(size_t size, size_t *page)
{
    *page *= 2;
    return (size + *page - 1) & ~(*page - 1);
}

int region_unmap(void *address, size_t size)
{
    if (!size) return 0;
    widen(&address, &size);
    size_t page = region_page_size();
    while (munmap(address, size)) {
        if (errno != EINVAL || page > LARGEST_PAGE) return errno;
        size = larger_pages(size, &page);
    }
    return 0;
}

/* Unmap the pages of a mapping that its first `size` bytes do not meet. */
static int unmap_end(size_t old_size, size_t size, void **address)
{
    char *kept = *address, *end = kept + old_size;
    if (size) kept += size + (-((uintptr_t)kept + size) & page_mask());
    int error = kept < end ? region_unmap(kept, (size_t)(end - kept)) : 0;
    if (!error && !size) *address = &nothing;
    return error;
}

static int shrink_anonymous(size_t old_size, size_t size, void **address)
{
    int error = unmap_end(old_size, size, address);
    /* the rest of the last page would come back when the mapping grows again */
    if (!error && size) memset((char *)*address + size, 0, -size & page_mask());
    return error;
}

static int grow_by_copying(size_t old_size, size_t size, void **address)
{
    void *moved = NULL;
    int error = region_map_anonymous(size, 0, &moved);
    if (error) return error;
    memcpy(moved, *address, old_size);
    region_unmap(*address, old_size);
    *address = moved;
    return 0;
}

/* Copy the pages that differ: private ones, for the others are those of the same file. */
static void copy_changes(const char *from, size_t size, char *to)
{
    size_t page = region_page_size();
    for (size_t at = 0, part; at < size; at += part) {
        part = page - ((uintptr_t)(from + at) & page_mask());
        if (part > size - at) part = size - at;
        if (memcmp(to + at, from + at, part)) memcpy(to + at, from + at, part);
    }
}

#ifdef __linux__
static size_t whole_pages(size_t size) { return (size + page_mask()) & ~(size_t)page_mask(); }

/* The kernel splits a mapping when a part of it is locked or advised, and may never merge it again; mremap() takes one at a
 * time.  This asks for one page more, which is refused in either case, unless the page behind is free. */
static int is_one_mapping(char *from, size_t size)
{
    if (mremap(from, size, size + region_page_size(), 0) == MAP_FAILED) return errno != EFAULT;
    munmap(from + size, region_page_size()); /* it was free */
    return 1;
}

/* Move pages to `to`, where others are mapped; `from` stays mapped, and empty.  On failure nothing has moved.  Some kernels
 * unmap `to` before they find that `from` is several mappings, and another thread might map something there: ask first. */
static int move_pages(char *from, char *to, size_t size)
{
    if (size == region_page_size() || is_one_mapping(from, size))
        return mremap(from, size, size, MREMAP_MAYMOVE | MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED ? errno : 0;
    size_t half = whole_pages(size / 2);
    int error = move_pages(from, to, half);
    if (error) return error;
    error = move_pages(from + half, to + half, size - half);
    if (error && move_pages(to, from, half)) memcpy(from, to, half); /* the process has as many mappings as it may */
    return error;
}

int region_take_changes(region_file file, uint64_t offset, void *from, size_t size, void *to, size_t new_size)
{
    size_t extra = (size_t)(offset & page_mask());
    int error = size ? move_pages((char *)from - extra, (char *)to - extra, whole_pages(size + extra)) : 0;
    if (error == EINVAL) { /* Linux before 5.13 */
        copy_changes(from, size, to);
        return 0;
    }
    if (error) return error;
    error = show_appended(file, offset, to, size, new_size);
    if (error) move_pages((char *)to - extra, (char *)from - extra, whole_pages(size + extra));
    return error;
}

static int grow_by_moving(size_t old_size, size_t size, void **address)
{
    void *moved = NULL;
    int error = region_map_anonymous(size, 0, &moved);
    if (error) return error;
    error = move_pages(*address, moved, whole_pages(old_size));
    if (error) {
        region_unmap(moved, size);
        return error;
    }
    region_unmap(*address, old_size);
    *address = moved;
    return 0;
}

static int grow_anonymous(size_t old_size, size_t size, void **address)
{
    if (size > SIZE_MAX - page_mask()) return ENOMEM;
    if (!old_size) return grow_by_copying(old_size, size, address);
    /* whole pages, which are those of the kernel; qemu-user, with larger ones, does not round up */
    void *moved = mremap(*address, whole_pages(old_size), whole_pages(size), MREMAP_MAYMOVE);
    if (moved == MAP_FAILED && errno != EFAULT) return errno == EINVAL ? ENOMEM : errno; /* beyond all addresses */
    if (moved == MAP_FAILED) {
        int error = grow_by_moving(old_size, size, address);
        return error == EINVAL ? grow_by_copying(old_size, size, address) : error; /* Linux before 5.7 */
    }
    *address = moved;
    offer_huge_pages(moved, size);
    return 0;
}
#else
static int grow_anonymous(size_t old_size, size_t size, void **address) { return grow_by_copying(old_size, size, address); }

int region_take_changes(region_file file, uint64_t offset, void *from, size_t size, void *to, size_t new_size)
{
    (void)file, (void)offset, (void)new_size;
    copy_changes(from, size, to);
    return 0;
}
#endif

int region_trim(size_t room, size_t size, void **address) { return unmap_end(room, size, address); }

int region_resize_anonymous(size_t old_size, size_t size, void **address)
{
    return (size > old_size ? grow_anonymous : shrink_anonymous)(old_size, size, address);
}

static int grow_file(region_file file, uint64_t offset, size_t old_size, size_t size, int sparse, void **address)
{
    void *mapped;
    int error = region_file_resize(file, offset + size, sparse);
    if (error) return error;
    error = region_map(file, REGION_WRITE, offset, size, &mapped);
    if (!error) {
        error = region_unmap(*address, old_size);
        if (error) region_unmap(mapped, size);
        else *address = mapped;
    }
    if (error) truncate_file((int)file, offset + old_size);
    return error;
}

int region_resize(region_file file, uint64_t offset, size_t old_size, size_t size, int sparse, void **address)
{
    if (offset > INT64_MAX || size > INT64_MAX - offset) return EFBIG;
    if (size > old_size) return grow_file(file, offset, old_size, size, sparse, address);
    int error = truncate_file((int)file, offset + size);
    if (!error) unmap_end(old_size, size, address); /* no error: the file has its new size */
    return error;
}

int region_revoke(void *address, size_t size, int writable)
{
    if (!size) return 0;
    widen(&address, &size);
    size_t page = region_page_size(), whole = size;
    for (;;) {
        int error = map_pages(address, whole, writable ? PROT_READ | PROT_WRITE : PROT_READ,
                              MAP_FIXED | MAP_PRIVATE | MAP_ANON | MAP_NORESERVE, REGION_NO_FILE, 0, &address);
        if (!error) break;
        if (error != EINVAL || page > LARGEST_PAGE) return error;
        whole = larger_pages(size, &page);
    }
    if (whole > size) munmap((char *)address + size, whole - size); /* region_unmap() will not meet it */
    return 0;
}

/* --- pages ---------------------------------------------------------------------------------------------------- */

#ifdef __linux__
static int sync_range(region_file file, uint64_t offset, size_t size, unsigned int flags)
{
    int failed;
    do failed = sync_file_range((int)file, (off_t)offset, (off_t)size, flags);
    while (failed && errno == EINTR);
    return failed ? errno : 0;
}
#endif

int region_flush(region_file file, uint64_t offset, void *address, size_t size, int wait)
{
    if (!size) return 0;
#ifdef __linux__
    /* MS_ASYNC starts nothing on Linux */
    if (!wait && file != REGION_NO_FILE) return sync_range(file, offset, size, SYNC_FILE_RANGE_WRITE);
#else
    (void)offset;
#endif
    widen(&address, &size);
    int error = sync_mapping(address, size, wait ? MS_SYNC : MS_ASYNC);
    if (error) return error;
#ifdef F_FULLFSYNC
    if (wait && file != REGION_NO_FILE) return sync_to_disk((int)file);
#endif
    return 0;
}

#ifdef __linux__
enum { REWRITE_BLOCK = 1 << 21 }; /* bytes: the largest folio, of which the page cache drops all or nothing */

static int read_at(int fd, char *bytes, size_t size, uint64_t offset)
{
    size_t found;
    int error = region_file_read(fd, offset, bytes, size, &found);
    return error || found == size ? error : ENODATA; /* the file became shorter */
}

/* Rewrite the block of a file from `offset` on, `size` bytes of it, of which `part` bytes from `skip` on are mapped at
 * `pages`, and need it if they are resident.  `copy` has room for the block. */
static int rewrite_block(int fd, uint64_t offset, size_t size, char *pages, size_t skip, size_t part, char *copy)
{
    unsigned char before[REWRITE_BLOCK / 4096], after[REWRITE_BLOCK / 4096];
    size_t page = region_page_size(), count = (part + page - 1) / page;
    int any = 0, still = 0;
    if (mincore(pages, part, before)) return errno;
    for (size_t i = 0; i < count; i++) any |= before[i] & 1;
    if (!any) return 0;
    int error = read_at(fd, copy, size, offset);
    if (error) return error;
    madvise(pages, part, MADV_DONTNEED);
    posix_fadvise(fd, (off_t)offset, (off_t)size, POSIX_FADV_DONTNEED);
    if (mincore(pages, part, after)) return errno;
    for (size_t i = 0; i < count; i++) still |= after[i] & 1;
    error = still ? EBUSY : 0;
    for (size_t at = 0; at < size; at += page) {
        int is_mapped = at >= skip && at < skip + part;
        if (is_mapped && !(before[(at - skip) / page] & 1)) continue;
        size_t length = size - at < page ? size - at : page;
        int failed = region_file_write(fd, offset + at, copy + at, length);
        if (failed && is_mapped) memcpy(pages + (at - skip), copy + at, length); /* back into memory */
        else if (length < page) read_at(fd, copy + at, 1, offset + at); /* else a part of a page is lost if this fails again */
        error = error ? error : failed;
    }
    return error;
}

int region_rewrite(region_file file, uint64_t offset, void *address, size_t size)
{
    struct stat st;
    if (!size) return 0;
    if (fcntl((int)file, F_GETFL) & O_APPEND) return EINVAL; /* writes would go to the end of the file */
    if (fstat((int)file, &st)) return errno;
    offset &= ~(uint64_t)page_mask();
    widen(&address, &size);
    char *copy = malloc(REWRITE_BLOCK), *pages = address;
    int error = copy ? 0 : ENOMEM;
    for (size_t part; size && offset < (uint64_t)st.st_size && !error; offset += part, pages += part, size -= part) {
        size_t skip = (size_t)(offset % REWRITE_BLOCK);
        uint64_t left = (uint64_t)st.st_size - (offset - skip);
        part = size < REWRITE_BLOCK - skip ? size : REWRITE_BLOCK - skip;
        error = rewrite_block((int)file, offset - skip, left < REWRITE_BLOCK ? (size_t)left : REWRITE_BLOCK, pages, skip, part, copy);
    }
    free(copy);
    return error;
}
#else
int region_rewrite(region_file file, uint64_t offset, void *address, size_t size)
{
    (void)file, (void)offset, (void)address, (void)size;
    return 0;
}
#endif

static int is_resident(void *address)
{
    unsigned char resident = 0;
    size_t size = 1;
    widen(&address, &size);
    return mincore(address, size, (void *)&resident) == 0 && (resident & 1);
}

size_t region_store(region_file file, uint64_t offset, void *address, const void *source, size_t size)
{
    struct stat st;
    struct rlimit most;
    size_t stored = (size_t)(-offset & page_mask()), end = size - (size_t)((offset + size) & page_mask());
    int fd = (int)file, flags = fcntl(fd, F_GETFL);
    if (flags == -1 || flags & (O_APPEND | O_SYNC | O_DIRECT)) return 0; /* of a duplicate: it would write elsewhere, or wait */
    if (fstat(fd, &st) || (uint64_t)st.st_size < offset + size) return 0;
    if (getrlimit(RLIMIT_FSIZE, &most) || most.rlim_cur < offset + size) return 0; /* would be sent SIGXFSZ */
    if (is_resident(address) && is_resident((char *)address + size - 1)) return 0;
    if (stored >= size || stored >= end) return 0;
    memcpy(address, source, stored); /* up to the first whole page */
    while (stored < end) {
        ssize_t written = pwrite(fd, (const char *)source + stored, end - stored, (off_t)(offset + stored));
        if (written > 0) stored += (size_t)written;
        else if (written == 0 || errno != EINTR) break;
    }
    return stored;
}

#ifdef MADV_HUGEPAGE
/* A fault reads 2 MiB of a file and starts to read as much again; in memory it fills 2 MiB. */
static int wants_huge_pages(int is_memory, region_access access)
{
    return is_memory ? access != REGION_RANDOM : access == REGION_SEQUENTIAL;
}
#endif

int region_advise(void *address, size_t size, int is_memory, region_access before, region_access access)
{
    static const int advice[] = {
        [REGION_NORMAL] = MADV_NORMAL, [REGION_RANDOM] = MADV_RANDOM, [REGION_SEQUENTIAL] = MADV_SEQUENTIAL};
    if (!size) return 0;
    widen(&address, &size);
    madvise(address, size, advice[access]);
#ifdef MADV_HUGEPAGE
    int huge = wants_huge_pages(is_memory, access);
    if (huge != wants_huge_pages(is_memory, before)) madvise(address, size, huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
#else
    (void)is_memory, (void)before;
#endif
    return 0;
}

void region_request(void *address, size_t size)
{
    /* Linux cuts a larger request off at the read-ahead of the device, which is this by default */
    const size_t most = 1 << 17;
    widen(&address, &size);
    for (size_t at = 0; at < size; at += most) madvise((char *)address + at, size - at < most ? size - at : most, MADV_WILLNEED);
}

#if defined(__linux__) && defined(MADV_POPULATE_READ)
enum { FOLIO = 1 << 21 }; /* bytes of a huge page, which a fault in a mapping with MADV_HUGEPAGE reads at once */

int region_reads_huge_pages(const char *path)
{
    struct utsname kernel;
    unsigned major = 0, minor = 0;
    struct statfs fs;
    if (uname(&kernel) || sscanf(kernel.release, "%u.%u", &major, &minor) != 2) return 0;
    if (major < 5 || (major == 5 && minor < 18) || statfs(path, &fs)) return 0;
    /* tmpfs would fill holes with memory; FUSE may empty its page cache when the file is opened again; btrfs, which has no
     * large folios yet, is faster by requests; 9p, like FUSE, leaves a mapping split that once was */
    uint32_t kind = (uint32_t)fs.f_type;
    return kind != TMPFS_MAGIC && kind != FUSE_SUPER_MAGIC && kind != BTRFS_SUPER_MAGIC && kind != V9FS_MAGIC;
}

typedef struct {
    char *address;
    size_t size, first; /* bytes up to the first whole huge page */
    size_t huge;        /* bytes up to where faults would read ahead too far */
} reading;

static void read_part(void *task, int part, int parts)
{
    const reading *all = task;
    for (size_t i = (size_t)part;; i += (size_t)parts) {
        size_t start = i ? all->first + (i - 1) * FOLIO : 0, stop = all->first + i * FOLIO;
        if (start >= all->size) return;
        if (stop > all->size) stop = all->size;
        if (!i || start >= all->huge) region_request(all->address + start, stop - start);
        madvise(all->address + start, stop - start, MADV_POPULATE_READ);
    }
}

int region_read(region_file file, uint64_t offset, size_t size, uint64_t more, int threads)
{
    enum { AHEAD = 4 * FOLIO }; /* what a fault may read in all */
    int fd = (int)file;
    struct stat st;
    uint64_t first = offset & ~(uint64_t)page_mask(), end = offset + size;
    if (!size) return 0;
    if (fstat(fd, &st)) return errno;
    size = (size_t)(end - first);
    /* a mapping of its own, because the advice would stay with the caller's */
    void *address = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, (off_t)first);
    if (address == MAP_FAILED) return errno;
    int error = madvise(address, size, MADV_HUGEPAGE) ? errno : 0;
    if (!error) {
        uint64_t last = end + more >= (uint64_t)st.st_size ? UINT64_MAX : end + more;
        size_t pieces = size / FOLIO + 1;
        reading all = {address, size, (size_t)(-first & (FOLIO - 1)), 0};
        if (last - first > AHEAD) all.huge = last - first - AHEAD > size ? size : (size_t)(last - first - AHEAD);
        madvise(address, size, MADV_DONTFORK);
        parallel(read_part, &all, pieces < (size_t)threads ? (int)pieces : threads);
    }
    munmap(address, size);
    return error;
}
#else
int region_reads_huge_pages(const char *path)
{
    (void)path;
    return 0;
}

int region_read(region_file file, uint64_t offset, size_t size, uint64_t more, int threads)
{
    (void)file, (void)offset, (void)size, (void)more, (void)threads;
    return EOPNOTSUPP;
}
#endif

uint64_t region_major_faults(void)
{
#ifdef RUSAGE_THREAD
    struct rusage usage;
    if (getrusage(RUSAGE_THREAD, &usage) == 0) return (uint64_t)usage.ru_majflt;
#endif
    return 0;
}

void region_cool(void *address, size_t size)
{
#ifdef MADV_COLD
    widen(&address, &size);
    madvise(address, size, MADV_COLD);
#else
    (void)address;
    (void)size;
#endif
}

/* MADV_DONTNEED would lose private copies; this swaps them out, if there is swap space. */
static void page_out(void *address, size_t size)
{
#ifdef MADV_PAGEOUT
    madvise(address, size, MADV_PAGEOUT);
#else
    (void)address;
    (void)size;
#endif
}

#ifdef __linux__
/* On overlayfs the pages are those of a file in another file system, which the mapping leads to and the descriptor does not. */
static int is_on_overlay(int fd)
{
    struct statfs fs;
    return fstatfs(fd, &fs) == 0 && fs.f_type == OVERLAYFS_SUPER_MAGIC;
}
#endif

int region_evict(region_file file, uint64_t offset, void *address, size_t size, int shared)
{
    if (!size) return 0;
    uint64_t first = offset & ~(uint64_t)page_mask();
    widen(&address, &size);
    if (shared) madvise(address, size, MADV_DONTNEED); /* shared pages stay in the file or the shared object */
    else page_out(address, size);
    if (file == REGION_NO_FILE) return 0;
#ifdef __linux__
    int error = shared && is_on_overlay((int)file) ? sync_mapping(address, size, MS_SYNC) : 0;
    if (error) return error;
    /* only clean pages can be dropped, and pages whose write-back has failed count as clean */
    if (shared)
        error = sync_range(file, first, size,
                           SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
    if (error && error != ENOSYS) return error;
#endif
#ifdef POSIX_FADV_DONTNEED
    posix_fadvise((int)file, (off_t)first, (off_t)size, POSIX_FADV_DONTNEED);
    if (!shared) page_out(address, size); /* again: Linux passes over pages in the lists that fadvise has now emptied */
#else
    (void)first;
#endif
    return 0;
}

#ifdef __linux__
/* Linux answers mincore() truthfully only to users who own the file or may write to it; to others it answers "all". */
static int mincore_is_truthful(int fd, const char *path)
{
    struct stat st;
    uid_t user = geteuid();
    return user == 0 || (fstatat(fd, path, &st, AT_EMPTY_PATH) == 0 && st.st_uid == user) ||
           faccessat(fd, path, W_OK, AT_EMPTY_PATH | AT_EACCESS) == 0;
}

/* How many blocks this thread had read from devices. */
static long blocks_read(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) ? 0 : usage.ru_inblock;
}

/* A read that may not wait succeeds on pages in the page cache.  On others it starts to read, and succeeds if that is
 * quick, so the thread's count of blocks tells them apart.  Afterwards they are read to the end and evicted again, a block
 * at a time, so that the page cache is as it was.  An error where the file system has no such reads. */
static int ask_by_reading(int fd, uint64_t first, size_t pages, unsigned char *resident)
{
    enum { BLOCK = 256 };
    size_t page = region_page_size();
    long blocks = blocks_read();
    char byte;
    int error = 0;
    struct iovec target = {&byte, 1};
    posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM); /* one page per request */
    for (size_t start = 0; start < pages; start += BLOCK) {
        size_t stop = pages - start < BLOCK ? pages : start + BLOCK;
        for (size_t i = start; i < stop; i++) {
            ssize_t got = preadv2(fd, &target, 1, (off_t)(first + i * page), RWF_NOWAIT);
            if (got < 0 && errno != EAGAIN) {
                error = errno;
                goto done;
            }
            long blocks_now = blocks_read();
            resident[i] = got > 0 && blocks_now == blocks;
            blocks = blocks_now;
        }
        for (size_t i = start; i < stop; i++) {
            if (resident[i]) continue;
            off_t offset = (off_t)(first + i * page);
            if (pread(fd, &byte, 1, offset) >= 0) posix_fadvise(fd, offset, (off_t)page, POSIX_FADV_DONTNEED);
        }
        blocks = blocks_read();
    }
done:
    posix_fadvise(fd, 0, 0, POSIX_FADV_NORMAL);
    return error;
}
#endif

int region_knows_residency(const char *path)
{
#ifdef __linux__
    return mincore_is_truthful(AT_FDCWD, path);
#else
    (void)path;
    return 1;
#endif
}

int region_residency(region_file file, uint64_t offset, void *address, size_t size, unsigned char *resident)
{
    if (!size) return 0;
    widen(&address, &size);
    size_t pages = size / region_page_size();
    if (mincore(address, size, (void *)resident)) return errno;
    for (size_t i = 0; i < pages; i++) resident[i] &= 1;
#ifdef __linux__
    if (file != REGION_NO_FILE && !memchr(resident, 0, pages) && !mincore_is_truthful((int)file, ""))
        return ask_by_reading((int)file, offset & ~(uint64_t)page_mask(), pages, resident);
#else
    (void)file;
    (void)offset;
#endif
    return 0;
}

int region_lock(void *address, size_t size)
{
    if (!size) return 0;
    widen(&address, &size);
    return mlock(address, size) ? errno : 0;
}

int region_unlock(void *address, size_t size)
{
    if (!size) return 0;
    widen(&address, &size);
    return munlock(address, size) ? errno : 0;
}
