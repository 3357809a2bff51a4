/* _results.h - memory for large results, which is used again when they are gone.
 *
 * glibc gives blocks of 32 MiB and more back to the system at once (mallopt(3), M_MMAP_THRESHOLD).  Getting them anew,
 * zeroed page by page, takes as long as gathering rows into them; so the last few are kept.  Meanwhile the system may take
 * their pages, if it is short of memory.
 */
#ifndef SCIKITPLOT_MEMMAP_RESULTS_H
#define SCIKITPLOT_MEMMAP_RESULTS_H

#include <stdatomic.h>
#include <string.h>

#include <Python.h>
#include <numpy/arrayobject.h>

#include "_platform/region.h"

/* Bytes.  Larger ones are not kept; where addresses are short, none are. */
enum { RESULT_LARGE = 1 << 25, RESULT_LARGEST = sizeof(void *) < 8 ? 0 : 1 << 27 };
enum { RESULTS_KEPT = 4 };
enum { RESULT_FRONT = 64 }; /* bytes before the data, which start with the size of the block */

static _Atomic(size_t *) results_kept[RESULTS_KEPT];
static atomic_uint results_turn;

static void results_let_go(void)
{
    for (int i = 0; i < RESULTS_KEPT; i++) {
        size_t *block = atomic_exchange(&results_kept[i], NULL);
        if (block) region_unmap(block, *block);
    }
}

static void *result_malloc(void *unused, size_t size)
{
    (void)unused;
    if (size > SIZE_MAX - RESULT_FRONT) return NULL;
    size += RESULT_FRONT;
    for (int i = 0; i < RESULTS_KEPT; i++) {
        size_t *block = atomic_exchange(&results_kept[i], NULL), *none = NULL;
        if (!block) continue;
        if (size <= *block && *block / 2 <= size) return (char *)block + RESULT_FRONT;
        if (!atomic_compare_exchange_strong(&results_kept[i], &none, block)) region_unmap(block, *block);
    }
    void *block;
    if (region_map_anonymous(size, 0, &block)) {
        results_let_go();
        if (region_map_anonymous(size, 0, &block)) return NULL;
    }
    *(size_t *)block = size;
    return (char *)block + RESULT_FRONT;
}

static void result_free(void *unused, void *data, size_t unknown)
{
    (void)unused;
    (void)unknown; /* NumPy's figure need not be what was asked for */
    if (!data) return;
    size_t *block = (size_t *)((char *)data - RESULT_FRONT), size = *block;
    if (size - RESULT_FRONT <= RESULT_LARGEST && region_disown(block, size) == 0) {
        *block = size; /* again: its page may be gone */
        block = atomic_exchange(&results_kept[results_turn++ % RESULTS_KEPT], block);
    }
    if (block) region_unmap(block, *block);
}

static void *result_calloc(void *unused, size_t count, size_t size)
{
    void *data = size && count > SIZE_MAX / size ? NULL : result_malloc(unused, count * size);
    return data ? memset(data, 0, count * size) : NULL;
}

static void *result_realloc(void *unused, void *data, size_t size)
{
    void *moved = result_malloc(unused, size);
    if (!moved || !data) return moved;
    size_t had = *(size_t *)((char *)data - RESULT_FRONT) - RESULT_FRONT;
    memcpy(moved, data, had < size ? had : size);
    result_free(unused, data, 0);
    return moved;
}

static PyDataMem_Handler result_handler = {
    "scikitplot.memmap", 1, {NULL, result_malloc, result_calloc, result_realloc, result_free}};

/* What PyDataMem_SetHandler() takes. */
static PyObject *result_memory(void) { return PyCapsule_New(&result_handler, "mem_handler", NULL); }

#endif
