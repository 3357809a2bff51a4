/* _users.h - count the users of a mapping: its owner and its leases.
 *
 * The last user to release the mapping unmaps it, so the memory is valid while there is a user.  Under the GIL plain
 * arithmetic is atomic; without it the same steps are C11 atomics (sequentially consistent, because they are not hot).
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

/* Variables that one thread may write while another reads them. */
typedef SHARED(int) shared_int;
typedef SHARED(unsigned int) shared_unsigned;
typedef SHARED(Py_ssize_t) shared_size;
typedef SHARED(char *) shared_address;

static inline unsigned int shared_increment(shared_unsigned *number) { return ++*number; }

/* The count: 1 per lease or call in progress, plus USERS_OWNER until the owner closes or abandons.  Below 0: */
#define USERS_OWNER ((Py_ssize_t)1 << (8 * sizeof(Py_ssize_t) - 2))
#define USERS_GONE ((Py_ssize_t)0)
#define USERS_RESIZING ((Py_ssize_t)-1)
#define USERS_CLOSING ((Py_ssize_t)-2) /* the owner, the only user, has closed; a thread is still unmapping the memory */
#define USERS_MOVING ((Py_ssize_t)-3)  /* a thread maps a file that has grown anew: it takes a moment */

typedef struct { shared_size count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return users->count; }
static inline void users_set(users_t *users, Py_ssize_t count) { users->count = count; }
static inline Py_ssize_t users_release(users_t *users) { return --users->count; }

static inline int users_swap(users_t *users, Py_ssize_t *expected, Py_ssize_t count)
{
#ifdef Py_GIL_DISABLED
    return atomic_compare_exchange_weak(&users->count, expected, count);
#else
    (void)expected; /* no other thread can have run since it was read */
    users->count = count;
    return 1;
#endif
}

/* The functions below return the count that they found.  If it is below USERS_OWNER they changed nothing: the mapping
 * is being resized or moved, or is closed or abandoned. */

/* Add a user. */
static inline Py_ssize_t users_acquire(users_t *users)
{
    Py_ssize_t count = users_count(users);
    while (count >= USERS_OWNER && !users_swap(users, &count, count + 1)) {}
    return count;
}

/* Set the count to `state` if the owner is the only user; then this returns USERS_OWNER. */
static inline Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
{
    Py_ssize_t count = users_count(users);
    while (count == USERS_OWNER && !users_swap(users, &count, state)) {}
    return count;
}

/* Remove the owner; other users stay. */
static inline Py_ssize_t users_abandon(users_t *users)
{
    Py_ssize_t count = users_count(users);
    while (count >= USERS_OWNER && !users_swap(users, &count, count - USERS_OWNER)) {}
    return count;
}

#endif
