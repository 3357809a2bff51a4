/* _users.h - counts who uses a mapping: its owner, and everybody who holds a lease on it.
 *
 * Whoever leaves last unmaps, so the memory is valid for as long as one is inside. With the GIL plain arithmetic is
 * atomic already; without it the same steps are C11 atomics (sequentially consistent: these paths are not hot there).
 */
#ifndef SCIKITPLOT_MEMMAP_USERS_H
#define SCIKITPLOT_MEMMAP_USERS_H

#include <Python.h>

enum { USERS_RESIZING = -1, USERS_GONE = 0, USERS_OWNER_ALONE = 1 };

#ifdef Py_GIL_DISABLED

#include <stdatomic.h>
typedef struct { _Atomic(Py_ssize_t) count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return atomic_load(&users->count); }
static inline void users_set(users_t *users, Py_ssize_t count) { atomic_store(&users->count, count); }
static inline Py_ssize_t users_leave(users_t *users) { return atomic_fetch_sub(&users->count, 1) - 1; }

/* Come in, unless nobody is inside any more or the mapping is being moved: returns the count found, > 0 on success. */
static inline Py_ssize_t users_enter(users_t *users)
{
    Py_ssize_t count = atomic_load(&users->count);
    while (count > 0 && !atomic_compare_exchange_weak(&users->count, &count, count + 1)) {}
    return count;
}

/* If the owner is alone, set the count to `state`. */
static inline int users_claim(users_t *users, Py_ssize_t state)
{
    Py_ssize_t alone = USERS_OWNER_ALONE;
    return atomic_compare_exchange_strong(&users->count, &alone, state);
}

#else

typedef struct { Py_ssize_t count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return users->count; }
static inline void users_set(users_t *users, Py_ssize_t count) { users->count = count; }
static inline Py_ssize_t users_leave(users_t *users) { return --users->count; }

static inline Py_ssize_t users_enter(users_t *users)
{
    return users->count > 0 ? users->count++ : users->count;
}

static inline int users_claim(users_t *users, Py_ssize_t state)
{
    if (users->count != USERS_OWNER_ALONE) return 0;
    users->count = state;
    return 1;
}

#endif
#endif
