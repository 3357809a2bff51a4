/* mend_emulator.c - works around bugs of qemu-user 7.2; preloaded before the C library. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

/* mincore: qemu writes one flag per host page, not per guest page. A guest page counts as resident if one of its host
 * pages is; the last guest page may have fewer. */
int mincore(void *address, size_t size, unsigned char *flags)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (size_t at = 0; at < size; at += page) {
        flags[at / page] = 0;
        for (size_t part = 0; part < page; part += 4096) {
            unsigned char flag[2] = {0};
            if (!syscall(SYS_mincore, (char *)address + at + part, 4096, flag)) flags[at / page] |= flag[0];
            else if (part == 0) return -1;
        }
    }
    return 0;
}

#ifdef __s390x__

/* fstat: qemu drops the nanoseconds. */
struct stat;
int fstat(int fd, struct stat *st) { return (int)syscall(SYS_newfstatat, fd, "", st, AT_EMPTY_PATH); }
int fstat64(int fd, struct stat *st) { return fstat(fd, st); }

/* SIGBUS: qemu passes the two halves of si_addr in the byte order of the host. */
int __sigaction(int, const struct sigaction *, struct sigaction *); /* in the C library */
static struct sigaction wanted;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
    uint64_t address = (uint64_t)info->si_addr;
    if (info->si_code > 0) info->si_addr = (void *)(address << 32 | address >> 32);
    if (wanted.sa_flags & SA_SIGINFO) wanted.sa_sigaction(number, info, context);
    else wanted.sa_handler(number);
}

int sigaction(int number, const struct sigaction *act, struct sigaction *old)
{
    struct sigaction ours;
    if (number != SIGBUS) return __sigaction(number, act, old);
    if (old) {
        if (__sigaction(number, NULL, old)) return -1;
        if (old->sa_flags & SA_SIGINFO && old->sa_sigaction == on_sigbus) *old = wanted;
    }
    if (!act || act->sa_handler == SIG_DFL || act->sa_handler == SIG_IGN) return __sigaction(number, act, NULL);
    ours = wanted = *act;
    ours.sa_flags |= SA_SIGINFO;
    ours.sa_sigaction = on_sigbus;
    return __sigaction(number, &ours, NULL);
}

#endif
