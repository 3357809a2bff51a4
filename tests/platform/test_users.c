/* test_users.c - many threads on one mapping, without a GIL: _users.h lets the last of them unmap, once, and nobody is
 * inside while it is moved. To be run under a thread checker, which sees more than is asserted here. */
#define Py_GIL_DISABLED 1

#include "_users.h"
#include "region.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

enum { THREADS = 8, ROUNDS = 200, STEPS = 100, SMALL = 5000, LARGE = 50000 };

typedef enum { CLOSE = 1, ABANDON = 2 } ending; /* how the owner leaves: if nobody else is inside, or in any case */

static struct {
    users_t users;
    unsigned char *address;
    size_t size;
    int unmapped; /* no atomic: only one may ever come here */
    int endings;
    _Atomic int owners_left, wrong, started;
} map;

static void unmap(void)
{
    memset(map.address, 0, map.size);
    if (region_unmap(map.address, map.size)) map.wrong = 1;
    map.unmapped++;
}

static void use(void)
{
    unsigned char resident[LARGE / 4096 + 2];
    char text[100];
    Py_ssize_t found;
    while ((found = users_acquire(&map.users)) == USERS_MOVING) sched_yield();
    if (found == USERS_LAST) unmap();
    if (found < USERS_OWNER) return;
    if (map.address[0] != 7 || map.address[map.size - 1] != 7) map.wrong = 1;
    if (region_advise(map.address, map.size, 0, REGION_NORMAL, REGION_RANDOM)) map.wrong = 1;
    if (region_residency(REGION_NO_FILE, 0, map.address, map.size, resident) || !resident[0]) map.wrong = 1;
    region_error_text(2, text, sizeof text);
    if (users_release(&map.users) == 0) unmap();
}

static void resize(size_t size)
{
    if (users_claim(&map.users, size == LARGE ? USERS_MOVING : USERS_RESIZING) != USERS_OWNER) return;
    void *address = map.address;
    if (region_resize_anonymous(map.size, size, &address)) map.wrong = 1;
    map.address = address;
    map.size = size;
    memset(map.address, 7, size);
    users_set(&map.users, USERS_OWNER);
}

static void end(ending how)
{
    if (how == CLOSE && users_claim(&map.users, USERS_CLOSING) == USERS_OWNER) {
        map.owners_left++;
        unmap();
        users_set(&map.users, USERS_GONE);
    }
    if (how == ABANDON) {
        Py_ssize_t found = users_abandon(&map.users);
        if (found >= USERS_OWNER) map.owners_left++;
        if (found == USERS_OWNER) unmap();
    }
}

static void *work(void *number)
{
    int k = (int)(size_t)number;
    if (!region_page_size()) map.wrong = 1; /* the first calls of this process come at once, too */
    map.started++;
    while (map.started < THREADS) sched_yield();
    for (int i = 0; i < STEPS; i++) {
        if (k == 0) resize(i % 2 ? SMALL : LARGE);
        else if (k <= 4 || i < STEPS / 2) use();
        else if (map.endings & (k % 2 ? CLOSE : ABANDON)) end(k % 2 ? CLOSE : ABANDON);
    }
    return NULL;
}

static int round_is_right(int endings)
{
    pthread_t threads[THREADS];
    void *address;
    memset((void *)&map, 0, sizeof map);
    if (region_map_anonymous(SMALL, 0, &address)) return 0;
    map.address = address;
    map.size = SMALL;
    map.endings = endings;
    memset(map.address, 7, SMALL);
    users_set(&map.users, USERS_OWNER);
    for (size_t k = 0; k < THREADS; k++)
        if (pthread_create(&threads[k], NULL, work, (void *)k)) return 0;
    for (int k = 0; k < THREADS; k++) pthread_join(threads[k], NULL);
    end(CLOSE); /* if nobody found the owner alone */
    return !map.wrong && map.owners_left == 1 && map.unmapped == 1 && users_count(&map.users) == USERS_GONE &&
           users_acquire(&map.users) == 0;
}

int main(void)
{
    static const struct { const char *name; int endings; } tests[] = {
        {"one_close_unmaps_when_nobody_is_inside", CLOSE},
        {"the_last_to_leave_an_abandoned_map_unmaps", ABANDON},
        {"the_owner_leaves_once", CLOSE | ABANDON},
    };
    int passed = 0, failed = 0;
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        int right = 1;
        for (int round = 0; round < ROUNDS && right; round++) right = round_is_right(tests[i].endings);
        if (!right) printf("FAILED %s\n", tests[i].name);
        *(right ? &passed : &failed) += 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
