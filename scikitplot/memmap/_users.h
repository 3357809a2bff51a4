/* _users.h - counts who uses a mapping: its owner, and everybody who holds a lease on it.
 *
 * The last user to release it unmaps, so the memory is valid for as long as there is a user. With the GIL plain
 * arithmetic is atomic; without it the same steps are C11 atomics (sequentially consistent: these paths are not hot there).
 */
#ifndef SCIKITPLOT_MEMMAP_USERS_H
#define SCIKITPLOT_MEMMAP_USERS_H

#include <Python.h>

#ifdef Py_GIL_DISABLED
#include <stdatomic.h>
#define SHARED(type) _Atomic(type)
#else
#define SHARED(type) type
#endif

/* What one thread may write while another reads it. */
typedef SHARED(int) shared_int;
typedef SHARED(unsigned int) shared_unsigned;
typedef SHARED(Py_ssize_t) shared_size;

static inline unsigned int shared_next(shared_unsigned *number) { return ++*number; }

/* The count: one for every lease, and USERS_OWNER for the owner, which tells the owner from a last lease. */
#define USERS_OWNER ((Py_ssize_t)1 << (8 * sizeof(Py_ssize_t) - 2))
#define USERS_GONE ((Py_ssize_t)0)
#define USERS_RESIZING ((Py_ssize_t)-1)
#define USERS_CLOSING ((Py_ssize_t)-2) /* the owner was the only user and has closed; the memory is still being unmapped */

typedef struct { shared_size count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return users->count; }
static inline void users_set(users_t *users, Py_ssize_t count) { users->count = count; }
static inline Py_ssize_t users_release(users_t *users) { return --users->count; }

static inline int users_swap(users_t *users, Py_ssize_t *expected, Py_ssize_t count)
{
#ifdef Py_GIL_DISABLED
    return atomic_compare_exchange_weak(&users->count, expected, count);
#else
    (void)expected; /* just read, and nobody else runs */
    users->count = count;
    return 1;
#endif
}

/* The rest return the count that they found. Below USERS_OWNER it says why nothing was done: the mapping is being
 * resized, or closed or abandoned. */

/* Add a user. */
static inline Py_ssize_t users_acquire(users_t *users)
{
    Py_ssize_t count = users_count(users);
    while (count >= USERS_OWNER && !users_swap(users, &count, count + 1)) {}
    return count;
}

/* If the owner is the only user (USERS_OWNER is found), set the count to `state`. */
static inline Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
{
    Py_ssize_t count = users_count(users);
    while (count == USERS_OWNER && !users_swap(users, &count, state)) {}
    return count;
}

/* End the owner's use. */
static inline Py_ssize_t users_abandon(users_t *users)
{
    Py_ssize_t count = users_count(users);
    while (count >= USERS_OWNER && !users_swap(users, &count, count - USERS_OWNER)) {}
    return count;
}

#endif
