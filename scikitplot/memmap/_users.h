/* _users.h - count the users of a mapping: its owner and its leases.
 *
 * The last user to release the mapping unmaps it, so the memory is valid while there is a user.  Under the GIL plain
 * arithmetic is atomic; without it the same steps are C11 atomics (sequentially consistent), and the count is in parts.
 */
#ifndef SCIKITPLOT_MEMMAP_USERS_H
#define SCIKITPLOT_MEMMAP_USERS_H

#include <Python.h>

#ifdef Py_GIL_DISABLED
#include <stdatomic.h>
#define SHARED(type) _Atomic(type)
enum { HAS_GIL = 0 };
#else
#define SHARED(type) type
enum { HAS_GIL = 1 };
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
#define USERS_LAST ((Py_ssize_t)-4)    /* see users_acquire() */

/* What the functions do.  The last three, and users_acquire(), return the count that they found.  If it is below
 * USERS_OWNER they changed nothing: the mapping is being resized or moved, or is closed or abandoned.
 *
 *   users_count      the count
 *   users_state      the count, perhaps without leases and calls: cheap
 *   users_set        set it; the caller has claimed it, or no other thread knows of it
 *   users_acquire    add a user.  USERS_LAST: failed, and kept the last user from unmapping, which the caller now does
 *   users_release    remove a user; 0: it was the last one, and unmaps
 *   users_claim      set the count to `state` if the owner is the only user; then this returns USERS_OWNER
 *   users_abandon    remove the owner; other users stay.  USERS_OWNER: there were none, and the caller unmaps */

#ifndef Py_GIL_DISABLED

typedef struct { Py_ssize_t count; } users_t;

static inline Py_ssize_t users_count(users_t *users) { return users->count; }
static inline Py_ssize_t users_state(users_t *users) { return users->count; }
static inline void users_set(users_t *users, Py_ssize_t count) { users->count = count; }
static inline Py_ssize_t users_release(users_t *users) { return --users->count; }

static inline Py_ssize_t users_acquire(users_t *users)
{
    Py_ssize_t count = users->count;
    if (count >= USERS_OWNER) users->count = count + 1;
    return count;
}

static inline Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
{
    Py_ssize_t count = users->count;
    if (count == USERS_OWNER) users->count = state;
    return count;
}

static inline Py_ssize_t users_abandon(users_t *users)
{
    Py_ssize_t count = users->count;
    if (count >= USERS_OWNER) users->count = count - USERS_OWNER;
    return count;
}

static inline void users_after_fork_in_child(users_t *users) { (void)users; }

#else

/* Threads that change one count wait for each other's cache line, so each thread adds and removes users in a part of
 * its own (a few may share one).  A part may be negative: another thread may have released a lease.  The state says
 * which users are allowed.
 *
 * Adding a user adds to the part, then reads the state; who claims sets the state, then reads the parts: at least one
 * sees the other.  Once the state forbids new users the parts only become less, but for threads that have added a user,
 * see the state, and take it back.  So a sum of 0, however slowly it was read, means that there is no user. */
enum { USERS_PARTS = 8, USERS_LINE = 64 };
#define USERS_COUNTING (USERS_OWNER + 1) /* state: a thread that claims is reading the parts */
#define USERS_ABANDONED ((Py_ssize_t)1)  /* state: no owner, but other users */

typedef struct {
    shared_size count;
    char apart[USERS_LINE - sizeof(Py_ssize_t)];
} users_part;

typedef struct {
    shared_size state;
    char apart[USERS_LINE];
    users_part parts[USERS_PARTS];
} users_t;

static inline shared_size *users_own_part(users_t *users)
{
    static shared_unsigned threads;
    static _Thread_local unsigned int number;
    if (!number) number = shared_increment(&threads);
    return &users->parts[number % USERS_PARTS].count;
}

static inline Py_ssize_t users_sum(users_t *users)
{
    Py_ssize_t sum = 0;
    for (int i = 0; i < USERS_PARTS; i++) sum += users->parts[i].count;
    return sum > 0 ? sum : 0; /* less if a lease is released elsewhere meanwhile, while users are allowed */
}

static inline Py_ssize_t users_state(users_t *users) { return users->state; }
static inline void users_set(users_t *users, Py_ssize_t count) { users->state = count; }

static inline Py_ssize_t users_count(users_t *users)
{
    Py_ssize_t state = users->state;
    if (state >= USERS_OWNER) return USERS_OWNER + users_sum(users);
    return state == USERS_ABANDONED ? users_sum(users) : state;
}

/* Whether there is neither an owner nor another user, and nobody else has been told so. */
static inline int users_is_last(users_t *users)
{
    Py_ssize_t abandoned = USERS_ABANDONED;
    return users->state == USERS_ABANDONED && users_sum(users) == 0 &&
           atomic_compare_exchange_strong(&users->state, &abandoned, USERS_GONE);
}

static inline Py_ssize_t users_release(users_t *users)
{
    --*users_own_part(users);
    return !users_is_last(users);
}

static inline Py_ssize_t users_acquire(users_t *users)
{
    shared_size *part = users_own_part(users);
    Py_ssize_t state;
    while ((state = users->state) >= USERS_OWNER) {
        if (state == USERS_COUNTING) continue;
        ++*part;
        if ((state = users->state) == USERS_OWNER) return state;
        --*part;
        if (users_is_last(users)) return USERS_LAST;
    }
    return state;
}

/* Change the state from USERS_OWNER, and return what it was. */
static inline Py_ssize_t users_change(users_t *users, Py_ssize_t state)
{
    Py_ssize_t found;
    do found = USERS_OWNER;
    while (!atomic_compare_exchange_weak(&users->state, &found, state) && found >= USERS_OWNER);
    return found;
}

static inline Py_ssize_t users_claim(users_t *users, Py_ssize_t state)
{
    Py_ssize_t sum, found = users_change(users, USERS_COUNTING);
    if (found != USERS_OWNER) return found;
    sum = users_sum(users);
    users->state = sum ? USERS_OWNER : state;
    return USERS_OWNER + sum;
}

static inline Py_ssize_t users_abandon(users_t *users)
{
    Py_ssize_t found = users_change(users, USERS_ABANDONED);
    return found == USERS_OWNER && !users_is_last(users) ? USERS_OWNER + 1 : found;
}

/* The thread that was reading the parts may not exist here. */
static inline void users_after_fork_in_child(users_t *users)
{
    if (users->state == USERS_COUNTING) users->state = USERS_OWNER;
}

#endif

#endif
