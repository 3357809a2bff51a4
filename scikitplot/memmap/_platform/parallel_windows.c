/* parallel_windows.c - parallel.h by threads of Windows. */
#include "parallel.h"

#include <windows.h>

typedef struct {
    void (*work)(void *, int, int);
    void *task;
    int part, parts;
    HANDLE thread;
} piece;

static DWORD WINAPI run(void *argument)
{
    piece *mine = argument;
    mine->work(mine->task, mine->part, mine->parts);
    return 0;
}

void parallel(void (*work)(void *, int, int), void *task, int parts)
{
    piece pieces[PARALLEL_MOST];
    if (parts > PARALLEL_MOST) parts = PARALLEL_MOST;
    for (int i = 1; i < parts; i++) {
        pieces[i] = (piece){.work = work, .task = task, .part = i, .parts = parts};
        pieces[i].thread = CreateThread(NULL, 0, run, &pieces[i], 0, NULL);
    }
    work(task, 0, parts);
    for (int i = 1; i < parts; i++) {
        if (pieces[i].thread) {
            WaitForSingleObject(pieces[i].thread, INFINITE);
            CloseHandle(pieces[i].thread);
        } else {
            work(task, i, parts);
        }
    }
}

int parallel_processors(void)
{
    DWORD_PTR allowed, all;
    int count = 0;
    if (GetProcessAffinityMask(GetCurrentProcess(), &allowed, &all))
        for (; allowed; allowed &= allowed - 1) count++;
    return count ? count : 1;
}
