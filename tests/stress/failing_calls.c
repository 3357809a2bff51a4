/* failing_calls.c - preloaded by failing_calls.py: the n-th call of a function that the package makes fails. */
#define _GNU_SOURCE
#define fstat64 declared_fstat64 /* its argument has another type */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#undef fstat64

typedef struct {
    const char *name;
    int made, nth, error;
} call;

static call calls[32];
static int armed;

static call *entry(const char *name)
{
    call *found = calls;
    while (found->name && strcmp(found->name, name)) found++;
    if (!found->name) found->name = strdup(name);
    return found;
}

/* Have the n-th call of a function from now on fail; n = 0: count calls only. */
void failing_calls_start(const char *name, int nth, int error)
{
    for (call *each = calls; each->name; each++) each->made = each->nth = 0;
    if (nth) {
        call *chosen = entry(name);
        chosen->nth = nth;
        chosen->error = error;
    }
    armed = 1;
}

void failing_calls_stop(void) { armed = 0; }

int failing_calls_made(const char *name) { return entry(name)->made; }

/* Whether this call fails.  Only those of the package count, and renames, which Python makes for it. */
static int fails(const char *name, void *caller)
{
    Dl_info info;
    if (!armed) return 0;
    if (strcmp(name, "rename") && (!dladdr(caller, &info) || !strstr(info.dli_fname, "scikitplot"))) return 0;
    call *found = entry(name);
    if (++found->made != found->nth) return 0;
    errno = found->error;
    return 1;
}

#define REAL(name, type) ((type)dlsym(RTLD_NEXT, name))
#define WRAP(result, failed, symbol, label, parameters, arguments)                                    \
    result symbol parameters                                                                         \
    {                                                                                                \
        typedef result(*function) parameters;                                                        \
        if (fails(label, __builtin_return_address(0))) return failed;                                \
        return REAL(#symbol, function) arguments;                                                    \
    }
/* under both names: the package is compiled with _FILE_OFFSET_BITS=64 */
#define WRAP2(result, failed, symbol, parameters, arguments)                                         \
    WRAP(result, failed, symbol, #symbol, parameters, arguments)                                     \
    WRAP(result, failed, symbol##64, #symbol, parameters, arguments)

WRAP2(void *, MAP_FAILED, mmap, (void *at, size_t size, int protection, int flags, int fd, off_t offset),
      (at, size, protection, flags, fd, offset))
WRAP(int, -1, munmap, "munmap", (void *at, size_t size), (at, size))
WRAP2(int, -1, ftruncate, (int fd, off_t size), (fd, size))
WRAP2(int, -1, fallocate, (int fd, int mode, off_t from, off_t size), (fd, mode, from, size))
WRAP(int, -1, statx, "statx", (int fd, const char *path, int flags, unsigned int mask, struct statx *out),
     (fd, path, flags, mask, out))
WRAP2(int, -1, fstat, (int fd, struct stat *out), (fd, (void *)out))
WRAP(int, -1, msync, "msync", (void *at, size_t size, int flags), (at, size, flags))
WRAP(int, -1, fsync, "fsync", (int fd), (fd))
WRAP(int, -1, sync_file_range, "sync_file_range", (int fd, off_t from, off_t size, unsigned int flags),
     (fd, from, size, flags))
WRAP(int, -1, madvise, "madvise", (void *at, size_t size, int advice), (at, size, advice))
WRAP(int, -1, mlock, "mlock", (const void *at, size_t size), (at, size))
WRAP(int, -1, munlock, "munlock", (const void *at, size_t size), (at, size))
WRAP(int, -1, mincore, "mincore", (void *at, size_t size, unsigned char *flags), (at, size, flags))
WRAP(int, -1, rename, "rename", (const char *from, const char *to), (from, to))
WRAP(int, -1, linkat, "linkat", (int a, const char *from, int b, const char *to, int flags), (a, from, b, to, flags))
WRAP2(off_t, -1, lseek, (int fd, off_t at, int from), (fd, at, from))
WRAP2(ssize_t, -1, pread, (int fd, void *into, size_t size, off_t at), (fd, into, size, at))
WRAP2(ssize_t, -1, pwrite, (int fd, const void *from, size_t size, off_t at), (fd, from, size, at))
WRAP(int, -1, memfd_create, "memfd_create", (const char *name, unsigned int flags), (name, flags))

static mode_t mode_of(int flags, va_list rest)
{
    return flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define WRAP_OPEN(symbol)                                                                            \
    int symbol(const char *path, int flags, ...)                                                    \
    {                                                                                                \
        va_list rest;                                                                                \
        va_start(rest, flags);                                                                       \
        mode_t mode = mode_of(flags, rest);                                                          \
        va_end(rest);                                                                                \
        if (fails("open", __builtin_return_address(0))) return -1;                                   \
        return REAL(#symbol, int (*)(const char *, int, ...))(path, flags, mode);                    \
    }
WRAP_OPEN(open)
WRAP_OPEN(open64)

#define WRAP_OPENAT(symbol)                                                                          \
    int symbol(int folder, const char *path, int flags, ...)                                         \
    {                                                                                                \
        va_list rest;                                                                                \
        va_start(rest, flags);                                                                       \
        mode_t mode = mode_of(flags, rest);                                                          \
        va_end(rest);                                                                                \
        if (fails("openat", __builtin_return_address(0))) return -1;                                 \
        return REAL(#symbol, int (*)(int, const char *, int, ...))(folder, path, flags, mode);       \
    }
WRAP_OPENAT(openat)
WRAP_OPENAT(openat64)

void *mremap(void *at, size_t old_size, size_t size, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    void *to = flags & MREMAP_FIXED ? va_arg(rest, void *) : NULL;
    va_end(rest);
    if (fails("mremap", __builtin_return_address(0))) return MAP_FAILED;
    return REAL("mremap", void *(*)(void *, size_t, size_t, int, ...))(at, old_size, size, flags, to);
}
