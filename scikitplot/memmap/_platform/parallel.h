/* parallel.h - one piece of work, done in parts by several threads.
 *
 * Threads are started for each call and joined: nothing is left for a fork to break.  No Python.h.
 */
#ifndef SCIKITPLOT_MEMMAP_PARALLEL_H
#define SCIKITPLOT_MEMMAP_PARALLEL_H

enum { PARALLEL_MOST = 64 };

/* Call work(task, part, parts) for every part, each in a thread of its own, the first in the caller's; parts whose thread
 * cannot be started are done by the caller too. */
void parallel(void (*work)(void *task, int part, int parts), void *task, int parts);

/* How many processors this process may use. */
int parallel_processors(void);

#endif
