/* test_fault_windows.c - the promises of fault.h on Windows.  Usage: test_fault DIRECTORY
 *
 * A page that may not be touched stands for one that the device does not deliver: a handler in front of ours says so.
 */
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static const char *directory;
static int failed_here; /* set by the test that runs */

#define CHECK(expression)                                                   \
    do {                                                                    \
        if (!(expression)) {                                                \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #expression); \
            failed_here = 1;                                                \
        }                                                                   \
    } while (0)

static LONG CALLBACK fail_the_device(EXCEPTION_POINTERS *fault)
{
    EXCEPTION_RECORD *record = fault->ExceptionRecord;
    if (record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION) record->ExceptionCode = EXCEPTION_IN_PAGE_ERROR;
    return EXCEPTION_CONTINUE_SEARCH;
}

static size_t page;
static char *map;
static fault_guard *guard;

static void allow(size_t first, size_t count, int is_readable)
{
    DWORD before;
    if (!VirtualProtect(map + first * page, count * page, is_readable ? PAGE_READWRITE : PAGE_NOACCESS, &before)) exit(2);
}

static void set_up(void)
{
    char path[1000];
    region_file file;
    region_info info;
    page = region_page_size();
    snprintf(path, sizeof path, "%s\\data.bin", directory);
    remove(path);
    if (region_file_create(path, 0, &file) || region_file_resize(file, 4 * page, 0) || region_file_info(file, &info) ||
        region_map(file, REGION_WRITE, 0, 4 * page, (void **)&map) || fault_install(NULL) ||
        fault_watch(map, 4 * page, file, 0, path, &info, REGION_WRITE, 0, &guard))
        exit(2);
    AddVectoredExceptionHandler(1, fail_the_device);
    memset(map, 7, 4 * page);
    region_file_close(file);
}

static void a_copy_is_a_copy(void)
{
    char bytes[100];
    fault_copy(bytes, map + page - 50, 100);
    CHECK(bytes[0] == 7 && bytes[99] == 7);
    memcpy(map, "abcdef", 6);
    fault_copy(map + 1, map, 5);
    CHECK(memcmp(map, "aabcde", 6) == 0);
    fault_copy(map, map + 1, 5);
    CHECK(memcmp(map, "abcdee", 6) == 0);
    CHECK(*fault_damage(guard) == 0);
}

static void a_page_that_cannot_be_read_is_reported(void)
{
    fault_report report;
    char *bytes = calloc(4, page);
    allow(2, 1, 0);
    fault_copy(bytes, map, 4 * page);
    allow(2, 1, 1);
    CHECK(bytes[2 * page - 1] == 7 && bytes[2 * page] == 0);
    fault_describe(guard, &report);
    CHECK(report.damage == FAULT_IO && *fault_damage(guard) == FAULT_IO);
    CHECK(report.start == 2 * page && report.stop == 3 * page && strstr(report.path, "data.bin"));
    free(bytes);
}

static void a_store_that_fails_is_reported(void)
{
    allow(1, 1, 0);
    fault_copy(map + page, "abc", 3);
    allow(1, 1, 1);
    CHECK(*fault_damage(guard) == (FAULT_IO | FAULT_STORED) && map[page] == 7);
}

static void recovery_waits_for_the_device(void)
{
    char byte;
    allow(0, 4, 0);
    fault_copy(&byte, map + page, 1);
    fault_copy(&byte, map + 3 * page, 1);
    allow(0, 3, 1);
    CHECK(fault_recover(guard, REGION_NO_FILE) == ERROR_READ_FAULT && *fault_damage(guard));
    allow(3, 1, 1);
    CHECK(fault_recover(guard, REGION_NO_FILE) == 0 && !*fault_damage(guard));
}

static void touch_pages(void *touched)
{
    for (size_t i = 0; i < 4; i++) *(size_t *)touched += ((volatile char *)map)[i * page] == 7;
}

static void work_that_meets_a_lost_page_ends_there(void)
{
    size_t touched = 0;
    char byte;
    CHECK(fault_run(touch_pages, &touched) == 0 && touched == 4 && !*fault_damage(guard));
    allow(2, 1, 0);
    fault_copy(&byte, map, 1);
    CHECK(fault_run(touch_pages, &touched) == 1 && touched == 4 + 2 && *fault_damage(guard) == FAULT_IO);
    allow(2, 1, 1);
}

static void the_damage_of_one_mapping_is_not_that_of_another(void)
{
    fault_guard *other;
    region_info info = {0};
    char byte;
    CHECK(fault_watch(map + 8 * page, page, REGION_NO_FILE, 0, NULL, &info, REGION_READ, 0, &other) == 0);
    allow(0, 1, 0);
    fault_copy(&byte, map, 1);
    allow(0, 1, 1);
    CHECK(!*fault_damage(other) && *fault_damage(guard));
    fault_unwatch(other);
}

#define TEST(name) {#name, name}
static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
    TEST(a_copy_is_a_copy),
    TEST(a_page_that_cannot_be_read_is_reported),
    TEST(a_store_that_fails_is_reported),
    TEST(recovery_waits_for_the_device),
    TEST(work_that_meets_a_lost_page_ends_there),
    TEST(the_damage_of_one_mapping_is_not_that_of_another),
};

int main(int count, char **arguments)
{
    int passed = 0, failed = 0;
    if (count != 2) {
        printf("usage: %s DIRECTORY\n", arguments[0]);
        return 2;
    }
    directory = arguments[1];
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ); /* what was said before a crash is seen */
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        failed_here = 0;
        set_up();
        tests[i].run();
        fault_unwatch(guard);
        if (failed_here) printf("FAILED %s\n", tests[i].name);
        *(failed_here ? &failed : &passed) += 1;
        region_unmap(map, 4 * page);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
