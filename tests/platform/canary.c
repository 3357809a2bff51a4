/* canary.c - mistakes that checkers have to find; one that does not would not find ours. See tools/ci/sanitizers.sh. */
#include <limits.h>
#include <stdatomic.h>
#include <stdlib.h>

static volatile int number = INT_MAX; /* volatile: the compiler neither sees through these mistakes nor removes them */
static volatile size_t size = 10;

void write_past_the_end(void)
{
    volatile char *bytes = malloc(size);
    if (bytes) bytes[size] = 1;
    free((void *)bytes);
}

void read_what_was_never_written(void)
{
    static char *volatile bytes;
    bytes = malloc(size);
    if (bytes && bytes[size / 2] == 1) number = 1;
    free(bytes);
}

int overflow(void) { return number + 1; }

/* To be called by two threads, who wait for each other: one after the other they would be ordered by the GIL. */
void race(void)
{
    static atomic_int inside;
    atomic_fetch_add_explicit(&inside, 1, memory_order_relaxed); /* relaxed: orders nothing else */
    while (atomic_load_explicit(&inside, memory_order_relaxed) < 2) {}
    for (int i = 0; i < 1000; i++) number = i;
}
