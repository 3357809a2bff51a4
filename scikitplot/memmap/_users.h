/* _users.h - counts who uses a mapping: its owner, and everybody who holds a lease on it.
 *
 * Whoever leaves last unmaps, so the memory is valid for as long as one is inside. With the GIL plain arithmetic is
 * atomic already; without it the same steps are C11 atomics (sequentially consistent: these paths are not hot there).
 */
#ifndef SCIKITPLOT_MEMMAP_USERS_H
#define SCIKITPLOT_MEMMAP_USERS_H

#include <Python.h>

/* The count: one for every lease, and USERS_OWNER for the owner, who can thus be told from a last lease. */
#define USERS_OWNER ((Py_ssize_t)1 << (8 * sizeof(Py_ssize_t) - 2))
#define USERS_GONE ((Py_ssize_t)0)
#define USERS_RESIZING ((Py_ssize_t)-1)

#ifdef Py_GIL_DISABLED

#include <stdatomic.h>
typedef struct { _Atomic(Py_ssize_t) count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return atomic_load(&users->count); }
static inline void users_set(users_t *users, Py_ssize_t count) { atomic_store(&users->count, count); }
static inline Py_ssize_t users_leave(users_t *users) { return atomic_fetch_sub(&users->count, 1) - 1; }

static inline int users_swap(users_t *users, Py_ssize_t *expected, Py_ssize_t count)
{
    return atomic_compare_exchange_weak(&users->count, expected, count);
}

#else

typedef struct { Py_ssize_t count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return users->count; }
static inline void users_set(users_t *users, Py_ssize_t count) { users->count = count; }
static inline Py_ssize_t users_leave(users_t *users) { return --users->count; }

static inline int users_swap(users_t *users, Py_ssize_t *expected, Py_ssize_t count)
{
    (void)expected; /* just read, and nobody else runs */
    users->count = count;
    return 1;
}

#endif

/* Come in, unless nobody is inside any more or the mapping is being moved: returns the count found, > 0 on success. */
static inline Py_ssize_t users_enter(users_t *users)
{
    Py_ssize_t count = users_count(users);
    while (count > 0 && !users_swap(users, &count, count + 1)) {}
    return count;
}

/* If the owner is inside and alone, set the count to `state`. */
static inline int users_claim(users_t *users, Py_ssize_t state)
{
    Py_ssize_t count = users_count(users);
    while (count == USERS_OWNER) {
        if (users_swap(users, &count, state)) return 1;
    }
    return 0;
}

/* The owner leaves: returns how many leases are left, or -1 if there is no owner (any more). */
static inline Py_ssize_t users_disown(users_t *users)
{
    Py_ssize_t count = users_count(users);
    while (count >= USERS_OWNER) {
        if (users_swap(users, &count, count - USERS_OWNER)) return count - USERS_OWNER;
    }
    return -1;
}

#endif
