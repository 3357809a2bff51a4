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

static size_t page;
static char *map;

static LONG CALLBACK fail_the_device(EXCEPTION_POINTERS *fault)
{
    EXCEPTION_RECORD *record = fault->ExceptionRecord;
    uintptr_t address = record->ExceptionInformation[1];
    if (record->ExceptionCode == EXCEPTION_ACCESS_VIOLATION && address - (uintptr_t)map < 4 * page) record->ExceptionCode = EXCEPTION_IN_PAGE_ERROR;
    return EXCEPTION_CONTINUE_SEARCH;
}

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

/* --- writes to a mapping for reading --------------------------------------------------------------------------- */

static char *read_only;
static fault_guard *its_guard;
static region_file its_file;
static int notified;

static void count_notes(fault_guard *damaged) { notified += damaged == its_guard && *fault_damage(damaged) != 0; }

/* Wine cannot make the pages of a view for reading copy-on-write: there the view is one for copying, and protected. */
static int is_wine(void) { return GetProcAddress(GetModuleHandleA("ntdll.dll"), "wine_get_version") != NULL; }

static void map_for_reading(size_t size, uint64_t offset)
{
    char path[1000];
    region_info info;
    DWORD before;
    snprintf(path, sizeof path, "%s\\reading.bin", directory);
    remove(path);
    char *sevens = malloc(size + (size_t)offset);
    memset(sevens, 7, size + (size_t)offset);
    FILE *file = fopen(path, "wb");
    if (!file || fwrite(sevens, 1, size + (size_t)offset, file) != size + (size_t)offset || fclose(file)) exit(2);
    free(sevens);
    if (region_file_open(path, 0, &its_file) || region_file_info(its_file, &info) ||
        region_map(its_file, is_wine() ? REGION_COPY : REGION_READ, offset, size, (void **)&read_only) ||
        !VirtualProtect(read_only, size, PAGE_READONLY, &before) || fault_install(count_notes) ||
        fault_watch(read_only, size, REGION_NO_FILE, 0, path, &info, REGION_READ, offset, &its_guard))
        exit(2);
    notified = 0;
}

static void unmap(size_t size)
{
    fault_unwatch(its_guard);
    CHECK(!region_unmap(read_only, size) && !region_file_close(its_file) && !fault_install(NULL));
}

static int is_in_file(uint64_t offset, char value)
{
    void *other;
    int found = !region_map(its_file, REGION_READ, offset, 1, &other) && *(char *)other == value;
    region_unmap(other, 1);
    return found;
}

static void what_is_written_to_a_mapping_for_reading_stays_out_of_the_file(void)
{
    fault_report report;
    map_for_reading(16 * page, page + 100);
    for (int i = 1; i < (is_wine() ? 2 : 3); i++) { /* once more after it was mapped again */
        read_only[5 * page] = 9;
        fault_describe(its_guard, &report);
        CHECK(report.damage == FAULT_WRITTEN && report.start == 5 * page - 100 && report.stop == 6 * page - 100);
        CHECK(read_only[5 * page] == 9 && read_only[5 * page + 1] == 7 && notified == i);
        CHECK(is_in_file(6 * page + 100, 7) && !*fault_damage(guard));
        CHECK(fault_recover(its_guard, REGION_NO_FILE) && *fault_damage(its_guard) && read_only[5 * page] == 9);
        CHECK(!fault_recover(its_guard, its_file) && !*fault_damage(its_guard));
        for (size_t at = 0; at < 16 * page; at++) CHECK(read_only[at] == 7);
    }
    unmap(16 * page);
}

static void what_is_left_of_a_revoked_mapping_for_reading_can_be_written(void)
{
    map_for_reading(16 * page, 0);
    CHECK(!fault_revoke(its_guard, read_only, 16 * page, 0) && read_only[2 * page] == 0);
    read_only[2 * page] = 9;
    CHECK(read_only[2 * page] == 9 && *fault_damage(its_guard) == (FAULT_REVOKED | FAULT_WRITTEN) && notified == 1);
    CHECK(is_in_file(2 * page, 7));
    unmap(16 * page);
}

/* Forwards, backwards, and neither. */
static void writes_all_over_a_mapping_are_few_faults_and_one_range(void)
{
    fault_report report;
    for (size_t step = 1; step < 4096; step = step == 1 ? 4095 : step == 4095 ? 1021 : 4096) {
        map_for_reading(4096 * page, 0);
        for (size_t i = 0, at = 4095; i < 4096; i++, at = (at + step) % 4096) read_only[at * page] = 9;
        fault_describe(its_guard, &report);
        CHECK(report.damage == FAULT_WRITTEN && report.start == 0 && report.stop == 4096 * page && notified < 500);
        unmap(4096 * page);
    }
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
    TEST(what_is_written_to_a_mapping_for_reading_stays_out_of_the_file),
    TEST(what_is_left_of_a_revoked_mapping_for_reading_can_be_written),
    TEST(writes_all_over_a_mapping_are_few_faults_and_one_range),
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
