/* parallel_posix.c - parallel.h by POSIX threads. */
#define _GNU_SOURCE
#include "parallel.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#ifdef __linux__
#include <sched.h>
#endif

typedef struct {
    void (*work)(void *, int, int);
    void *task;
    int part, parts;
    pthread_t thread;
} piece;

static void *run(void *argument)
{
    piece *mine = argument;
    mine->work(mine->task, mine->part, mine->parts);
    return NULL;
}

void parallel(void (*work)(void *, int, int), void *task, int parts)
{
    piece pieces[PARALLEL_MOST];
    sigset_t most, before;
    int started[PARALLEL_MOST] = {0};
    if (parts > PARALLEL_MOST) parts = PARALLEL_MOST;
    sigfillset(&most); /* signals of the program are for its own threads; those of faults cannot wait */
    sigdelset(&most, SIGBUS);
    sigdelset(&most, SIGSEGV);
    sigdelset(&most, SIGFPE);
    sigdelset(&most, SIGILL);
    if (parts > 1) pthread_sigmask(SIG_SETMASK, &most, &before);
    for (int i = 1; i < parts; i++) {
        pieces[i] = (piece){.work = work, .task = task, .part = i, .parts = parts};
        started[i] = pthread_create(&pieces[i].thread, NULL, run, &pieces[i]) == 0;
    }
    if (parts > 1) pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(task, 0, parts);
    for (int i = 1; i < parts; i++) {
        if (started[i]) pthread_join(pieces[i].thread, NULL);
        else work(task, i, parts);
    }
}

int parallel_processors(void)
{
#ifdef __linux__
    cpu_set_t allowed;
    if (sched_getaffinity(0, sizeof allowed, &allowed) == 0) return CPU_COUNT(&allowed);
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}
