/* test_region.c - the promises of region.h, the same ones on every system.  Usage: test_region DIRECTORY */
#define _GNU_SOURCE
#define _DARWIN_C_SOURCE

#include "region.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *directory;
static int failed_here; /* set by the test that runs */

#define CHECK(expression)                                                    \
    do {                                                                     \
        if (!(expression)) {                                                 \
            printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #expression);  \
            failed_here = 1;                                                 \
            return;                                                          \
        }                                                                    \
    } while (0)

static void give_up(const char *what)
{
    printf("cannot set up the test: %s\n", what);
    exit(2);
}

/* --- what C alone cannot do ----------------------------------------------------------------------------------- */

#ifdef _WIN32
#include <windows.h>
#define NULL_DEVICE "NUL"
#define STORES_BY_CALL 0

static const wchar_t *wide(const char *path, wchar_t *buffer, size_t units)
{
    wchar_t given[2000];
    if (!MultiByteToWideChar(CP_UTF8, 0, path, -1, given, 2000)) give_up("UTF-16");
    wcscpy(buffer, L"\\\\?\\");
    if (!GetFullPathNameW(given, (DWORD)units - 4, buffer + 4, NULL)) give_up("absolute path");
    return buffer;
}

static int make_directory(const char *path)
{
    wchar_t buffer[2000];
    return CreateDirectoryW(wide(path, buffer, 2000), NULL) != 0;
}

static int remove_file(const char *path)
{
    wchar_t buffer[2000];
    return DeleteFileW(wide(path, buffer, 2000)) != 0;
}

static int rename_file(const char *from, const char *to)
{
    wchar_t buffer[2000], other[2000];
    return MoveFileW(wide(from, buffer, 2000), wide(to, other, 2000)) != 0;
}

static int enter_directory(const char *path) { return SetCurrentDirectoryA(path) != 0; }

static long position_of(region_file file)
{
    LARGE_INTEGER nowhere = {.QuadPart = 0}, position;
    return SetFilePointerEx((HANDLE)file, nowhere, &position, FILE_CURRENT) ? (long)position.QuadPart : -1;
}

static void set_position(region_file file, long position)
{
    LARGE_INTEGER wanted = {.QuadPart = position};
    if (!SetFilePointerEx((HANDLE)file, wanted, NULL, FILE_BEGIN)) give_up("position");
}

static uint64_t this_process(void) { return GetCurrentProcessId(); }

static int is_inherited(region_file file)
{
    DWORD flags;
    return !GetHandleInformation((HANDLE)file, &flags) || (flags & HANDLE_FLAG_INHERIT);
}

/* Every opening takes an instance of the pipe. */
static void make_fifo(char *path, size_t size)
{
    snprintf(path, size, "\\\\.\\pipe\\test_region_%lu", GetCurrentProcessId());
    for (int i = 0; i < 3; i++)
        if (CreateNamedPipeA(path, PIPE_ACCESS_DUPLEX, PIPE_TYPE_BYTE, 3, 64, 64, 0, NULL) == INVALID_HANDLE_VALUE)
            give_up("named pipe");
}

/* There is no fork: the least that a child could see is what this process sees. */
static void in_child(void (*action)(unsigned char *), unsigned char *memory) { action(memory); }

#else
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#define NULL_DEVICE "/dev/null"
#define STORES_BY_CALL 1

static int make_directory(const char *path) { return mkdir(path, 0777) == 0; }
static int remove_file(const char *path) { return unlink(path) == 0; }
static int rename_file(const char *from, const char *to) { return rename(from, to) == 0; }
static int enter_directory(const char *path) { return chdir(path) == 0; }
static long position_of(region_file file) { return (long)lseek((int)file, 0, SEEK_CUR); }

static void set_position(region_file file, long position)
{
    if (lseek((int)file, position, SEEK_SET) != position) give_up("position");
}
static uint64_t this_process(void) { return (uint64_t)getpid(); }
static int is_inherited(region_file file) { return !(fcntl((int)file, F_GETFD) & FD_CLOEXEC); }

static void make_fifo(char *path, size_t size)
{
    snprintf(path, size, "%s/fifo", directory);
    if (mkfifo(path, 0666)) give_up("fifo");
}

static void in_child(void (*action)(unsigned char *), unsigned char *memory)
{
    pid_t child = fork();
    if (child < 0) give_up("fork");
    if (child == 0) {
        action(memory);
        _exit(0);
    }
    waitpid(child, NULL, 0);
}
#endif

/* --- files with known bytes ----------------------------------------------------------------------------------- */

/* Never 0, and not the same on every page. */
static unsigned char pattern(uint64_t i) { return (unsigned char)(1 + (i * 31 + (i >> 12) * 17) % 251); }

enum { LARGE = 8 * 65536 }; /* holds every offset and size below */

/* The first bytes of the pattern, made once. */
static const unsigned char *pattern_bytes(size_t size)
{
    static unsigned char bytes[2 * LARGE];
    if (size > sizeof bytes) give_up("pattern");
    for (size_t i = 0; !bytes[sizeof bytes - 1] && i < sizeof bytes; i++) bytes[i] = pattern(i);
    return bytes;
}

/* A name that nothing stands at yet. */
static const char *new_path(void)
{
    static char names[4][1000];
    static unsigned count;
    char *name = names[count++ % 4];
    snprintf(name, sizeof names[0], "%s/file%u", directory, count);
    return name;
}

static const char *new_file(size_t size)
{
    const char *path = new_path();
    FILE *stream = fopen(path, "wb");
    if (!stream) give_up(path);
    if (fwrite(pattern_bytes(size), 1, size, stream) != size || fclose(stream)) give_up(path);
    return path;
}

static region_file open_new_file(size_t size, const char **path)
{
    region_file file;
    const char *made = new_file(size);
    if (path) *path = made;
    if (region_file_open(made, 1, &file)) give_up(made);
    return file;
}

/* Through C's own streams, which know nothing of the layer under test; -1 past the end. */
static int byte_of_file(const char *path, long offset)
{
    FILE *stream = fopen(path, "rb");
    if (!stream) return -1;
    int byte = fseek(stream, offset, SEEK_SET) ? -1 : getc(stream);
    fclose(stream);
    return byte;
}

/* Is the file `size` bytes of the pattern and nothing else? */
static int file_is_pattern(const char *path, size_t size)
{
    FILE *stream = fopen(path, "rb");
    if (!stream) return 0;
    static unsigned char bytes[2 * LARGE + 1];
    size_t got = fread(bytes, 1, sizeof bytes, stream);
    int same = got == size && !memcmp(bytes, pattern_bytes(size), size);
    fclose(stream);
    return same;
}

static int is_pattern(const unsigned char *bytes, uint64_t offset, size_t size)
{
    if (offset + size <= 2 * LARGE) return !memcmp(bytes, pattern_bytes((size_t)offset + size) + offset, size);
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != pattern(offset + i)) return 0;
    return 1;
}

static int is_filled(const unsigned char *bytes, int value, size_t size)
{
    for (size_t i = 0; i < size; i++)
        if (bytes[i] != value) return 0;
    return 1;
}

static uint64_t size_of(region_file file)
{
    region_info info;
    return region_file_info(file, &info) ? UINT64_MAX : info.size;
}

/* Where every output starts, to see that failures leave it alone. */
static unsigned char untouched;
#define UNTOUCHED ((void *)&untouched)

/* Map and take the address as bytes, or NULL. */
static unsigned char *map(region_file file, region_intent intent, uint64_t offset, size_t size)
{
    void *address;
    return region_map(file, intent, offset, size, &address) ? NULL : address;
}

static unsigned char *map_anonymous(size_t size, int shared)
{
    void *address;
    return region_map_anonymous(size, shared, &address) ? NULL : address;
}

/* Before and behind pages, and the 64 KiB that views on Windows begin at multiples of. */
static uint64_t some_offset(int i)
{
    uint64_t page = region_page_size();
    const uint64_t offsets[] = {0, 1, page - 1, page, page + 1, 65535, 65536, 65537, 3 * 65536 + 17};
    return i < (int)(sizeof offsets / sizeof *offsets) ? offsets[i] : UINT64_MAX;
}
#define FOR_OFFSETS(offset) \
    for (uint64_t i_ = 0, offset; (offset = some_offset((int)i_)) != UINT64_MAX; i_++)

static size_t some_size(int i)
{
    size_t page = region_page_size();
    const size_t sizes[] = {0, 1, page - 1, page, page + 1, 3 * page + 5};
    return i < (int)(sizeof sizes / sizeof *sizes) ? sizes[i] : SIZE_MAX;
}
#define FOR_SIZES(size) for (size_t j_ = 0, size; (size = some_size((int)j_)) != SIZE_MAX; j_++)

static const region_intent intents[] = {REGION_READ, REGION_WRITE, REGION_COPY};
#define FOR_INTENTS(intent) \
    for (size_t k_ = 0, intent; k_ < 3 && (intent = intents[k_], 1); k_++)

/* --- the system ----------------------------------------------------------------------------------------------- */

static void the_page_size_is_a_power_of_two(void)
{
    size_t page = region_page_size();
    CHECK(page >= 4096 && (page & (page - 1)) == 0);
    CHECK(page == region_page_size());
}

static void error_texts_are_never_empty(void)
{
    const int codes[] = {1, 2, 5, 13, 22, 87, 123456, -1};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        char text[200];
        memset(text, 'x', sizeof text);
        region_error_text(codes[i], text, sizeof text);
        CHECK(memchr(text, 0, sizeof text));
        CHECK(strlen(text) > 3);
        CHECK(!strchr(".\r\n ", text[strlen(text) - 1]));
    }
}

static void error_texts_stay_within_their_buffer(void)
{
    char text[8];
    memset(text, 'x', sizeof text);
    region_error_text(2, text, 5);
    CHECK(strlen(text) == 4 && text[5] == 'x');
    region_error_text(2, text, 1);
    CHECK(text[0] == '\0');
    text[0] = 'x';
    region_error_text(2, text, 0);
    CHECK(text[0] == 'x');
}

/* --- files ---------------------------------------------------------------------------------------------------- */

static int kind_at(const char *path)
{
    region_info info;
    return region_path_info(path, &info) ? -1 : (int)info.kind;
}

static void a_path_tells_what_stands_there(void)
{
    CHECK(kind_at(new_file(10)) == REGION_REGULAR);
    CHECK(kind_at(directory) == REGION_DIRECTORY);
    CHECK(kind_at(NULL_DEVICE) == REGION_DEVICE);
}

static void a_fifo_never_blocks(void)
{
    char path[1000];
    region_file file;
    make_fifo(path, sizeof path);
    CHECK(kind_at(path) == REGION_FIFO);
    if (region_file_open(path, 0, &file) == 0) CHECK(region_file_close(file) == 0);
}

static void an_open_file_tells_what_it_is(void)
{
    region_info info;
    region_file file = open_new_file(1234, NULL);
    CHECK(region_file_info(file, &info) == 0);
    CHECK(info.kind == REGION_REGULAR && info.size == 1234);
    CHECK(region_file_close(file) == 0);
    CHECK(region_file_open(NULL_DEVICE, 0, &file) == 0);
    CHECK(region_file_info(file, &info) == 0);
    CHECK(info.kind == REGION_DEVICE);
    CHECK(region_file_close(file) == 0);
}

#ifdef __linux__
static void a_generated_file_is_told_from_an_empty_one(void)
{
    region_info info;
    region_file file;
    CHECK(kind_at(new_file(0)) == REGION_REGULAR);
    CHECK(kind_at("/proc/self/status") == REGION_GENERATED);
    CHECK(region_file_open("/proc/self/status", 0, &file) == 0);
    CHECK(region_file_info(file, &info) == 0);
    CHECK(info.kind == REGION_GENERATED);
    CHECK(region_file_close(file) == 0);
}
#endif

static void a_missing_file_is_an_error_that_touches_nothing(void)
{
    const char *paths[] = {new_path(), ""};
    for (int i = 0; i < 2; i++) {
        region_info info, before;
        region_file file = 77;
        memset(&info, 'x', sizeof info);
        memcpy(&before, &info, sizeof info);
        CHECK(region_path_info(paths[i], &info) != 0);
        CHECK(memcmp(&before, &info, sizeof info) == 0);
        CHECK(region_file_open(paths[i], 0, &file) != 0);
        CHECK(region_file_open(paths[i], 1, &file) != 0);
        CHECK(file == 77);
        CHECK(region_path_info(paths[i], &info) != 0); /* opening did not create it */
    }
}

static void no_file_is_an_error(void)
{
    region_info info;
    int shares = 77;
    region_file file = 77;
    void *address = UNTOUCHED;
    CHECK(region_file_info(REGION_NO_FILE, &info) != 0);
    CHECK(region_file_reopen(REGION_NO_FILE, 1, &file, &shares) != 0);
    CHECK(region_file_resize(REGION_NO_FILE, 10, 0) != 0);
    CHECK(region_map(REGION_NO_FILE, REGION_READ, 0, 10, &address) != 0);
    CHECK(file == 77 && shares == 77 && address == UNTOUCHED);
}

static void a_directory_cannot_be_opened_for_writing(void)
{
    region_file file = 77;
    CHECK(region_file_open(directory, 1, &file) != 0);
    CHECK(file == 77);
}

static void a_new_file_is_empty_and_writable(void)
{
    const char *path = new_path();
    region_file file;
    region_info info;
    CHECK(region_file_create(path, 0, &file) == 0);
    CHECK(region_file_info(file, &info) == 0);
    CHECK(info.kind == REGION_REGULAR && info.size == 0);
    CHECK(region_file_resize(file, 3, 0) == 0);
    unsigned char *bytes = map(file, REGION_WRITE, 0, 3);
    CHECK(bytes);
    bytes[2] = 9;
    CHECK(region_flush(file, 0, bytes, 3, 1) == 0);
    CHECK(region_unmap(bytes, 3) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(byte_of_file(path, 0) == 0 && byte_of_file(path, 2) == 9 && byte_of_file(path, 3) == EOF);
}

static void bytes_are_written_where_they_belong_and_maps_see_them(void)
{
    const char *path;
    region_file file = open_new_file(10000, &path);
    unsigned char *bytes = map(file, REGION_WRITE, 5, 9000);
    CHECK(region_file_write(file, 4090, pattern_bytes(100) + 10, 20) == 0); /* over the end of a page */
    CHECK(!memcmp(bytes + 4085, pattern_bytes(100) + 10, 20));
    CHECK(byte_of_file(path, 4090) == pattern_bytes(100)[10] && byte_of_file(path, 4109) == pattern_bytes(100)[29]);
    CHECK(region_file_write(file, 4090, pattern_bytes(5000) + 4090, 20) == 0);
    CHECK(region_file_write(file, 3, NULL, 0) == 0);
    CHECK(file_is_pattern(path, 10000));
    CHECK(region_file_sync(file) == 0 && region_file_sync(REGION_NO_FILE) != 0);
    CHECK(region_unmap(bytes, 9000) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(region_file_write(REGION_NO_FILE, 0, "x", 1) != 0);
}

static void create_never_takes_an_existing_file(void)
{
    const char *path = new_file(100);
    region_file file = 77;
    CHECK(region_file_create(path, 0, &file) != 0);
    CHECK(file == 77);
    CHECK(file_is_pattern(path, 100));
    CHECK(region_file_create(directory, 0, &file) != 0);
}

static void a_nameless_file_is_complete_when_it_is_seen(void)
{
    const char *path = new_path(), *taken = new_file(100);
    region_file file = 77;
    region_info info, linked;
    if (region_file_create_nameless(directory, 0, &file)) { /* not everywhere */
        CHECK(file == 77);
        return;
    }
    CHECK(!is_inherited(file));
    CHECK(region_file_resize(file, 3, 0) == 0);
    CHECK(region_path_info(path, &info) != 0);
    CHECK(region_file_link(file, taken) != 0);
    CHECK(file_is_pattern(taken, 100));
    CHECK(region_file_link(file, path) == 0);
    CHECK(region_file_info(file, &info) == 0 && region_path_info(path, &linked) == 0);
    CHECK(info.inode == linked.inode && linked.size == 3);
    CHECK(region_file_close(file) == 0);
    CHECK(byte_of_file(path, 2) == 0 && byte_of_file(path, 3) == EOF);
}

static void identity_is_that_of_the_file(void)
{
    const char *path, *other = new_file(10);
    region_file file = open_new_file(10, &path);
    region_info first, second, third;
    CHECK(region_file_info(file, &first) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(region_path_info(path, &second) == 0);
    CHECK(first.device == second.device && first.inode == second.inode);
    CHECK(first.size == second.size && first.mtime_ns == second.mtime_ns && first.kind == second.kind);
    CHECK(region_path_info(other, &third) == 0);
    CHECK(third.device == first.device && third.inode != first.inode);
}

static void the_modification_time_is_in_nanoseconds(void)
{
    region_info first, second;
    const int64_t second_ns = 1000000000, year = 366 * 86400 * second_ns;
    CHECK(region_path_info(new_file(1), &first) == 0);
    CHECK(region_path_info(new_file(1), &second) == 0);
    CHECK(second.mtime_ns >= first.mtime_ns && second.mtime_ns - first.mtime_ns < 60 * second_ns);
    CHECK(first.mtime_ns > 50 * year && first.mtime_ns < 200 * year); /* both systems count from 1970 */
}

static void handles_stay_in_this_process(void)
{
    region_file made, opened, copy;
    int shares;
    const char *path = new_path();
    CHECK(region_file_create(path, 0, &made) == 0);
    CHECK(region_file_open(path, 0, &opened) == 0);
    CHECK(region_file_reopen(opened, 0, &copy, &shares) == 0);
    CHECK(!is_inherited(made) && !is_inherited(opened) && !is_inherited(copy));
    CHECK(region_file_close(made) == 0 && region_file_close(opened) == 0 && region_file_close(copy) == 0);
}

static void a_duplicate_outlives_the_first_handle(void)
{
    region_file copy, file = open_new_file(100, NULL);
    region_info first, second;
    int shares;
    CHECK(region_file_info(file, &first) == 0);
    CHECK(region_file_reopen(file, 1, &copy, &shares) == 0);
    CHECK(copy != file);
    CHECK(region_file_close(file) == 0);
    CHECK(region_file_info(copy, &second) == 0);
    CHECK(first.inode == second.inode);
    unsigned char *bytes = map(copy, REGION_WRITE, 0, 100);
    CHECK(bytes && is_pattern(bytes, 0, 100));
    CHECK(region_unmap(bytes, 100) == 0);
    CHECK(region_file_close(copy) == 0);
}

static void whatever_is_done_through_a_second_handle_leaves_the_position_of_the_first(void)
{
    const char *path;
    unsigned char *resident = calloc(100, 1);
    region_file own, file = open_new_file(100000, &path);
    region_info info;
    void *address;
    int shares;
    set_position(file, 5);
    CHECK(region_file_reopen(file, 1, &own, &shares) == 0);
    CHECK(region_file_info(own, &info) == 0 && position_of(file) == 5);
    for (int sparse = 2; sparse--;) { /* growing reserves in a file that is sparse by now */
        CHECK(region_file_resize(own, 150000, sparse) == 0 && position_of(file) == 5);
        CHECK(region_file_resize(own, 100000, sparse) == 0 && position_of(file) == 5);
        CHECK(region_map(own, REGION_WRITE, 1000, 99000, &address) == 0);
        CHECK(region_resize(own, 1000, 99000, 150000, sparse, &address) == 0 && position_of(file) == 5);
        CHECK(region_resize(own, 1000, 150000, 99000, sparse, &address) == 0 && position_of(file) == 5);
        CHECK(region_store(own, 1000, address, pattern_bytes(2000) + 1000, 1000) <= 1000 && position_of(file) == 5);
        CHECK(region_flush(own, 1000, address, 99000, 1) == 0 && position_of(file) == 5);
        CHECK(region_evict(own, 1000, address, 99000, 1) == 0 && position_of(file) == 5);
        CHECK(region_residency(own, 1000, address, 99000, resident) == 0 && position_of(file) == 5);
        CHECK(region_unmap(address, 99000) == 0);
    }
    CHECK(file_is_pattern(path, 100000));
    CHECK(region_file_close(own) == 0 && position_of(file) == 5);
    CHECK(region_file_close(file) == 0);
    free(resident);
}

#ifndef _WIN32
/* Its own position and flags, and no more rights than the first; else it is a duplicate. */
static void a_file_is_opened_anew_for_what_it_is_open_for(void)
{
    static const struct {
        int flags, writable, is_anew;
    } cases[] = {{O_RDWR, 1, 1}, {O_RDWR, 0, 1}, {O_RDWR | O_APPEND, 1, 1}, {O_RDONLY, 0, 1},
                 {O_RDONLY, 1, 0}, {O_WRONLY, 1, 0}, {O_WRONLY, 0, 0}};
    int has_proc = access("/proc/self/fd", X_OK) == 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int is_removed = 0; is_removed < 2; is_removed++) {
            const char *path = new_file(100);
            int fd = open(path, cases[i].flags), shares = 77;
            region_file own;
            CHECK(fd >= 0 && (!is_removed || remove_file(path)));
            set_position(fd, 5);
            CHECK(region_file_reopen(fd, cases[i].writable, &own, &shares) == 0);
            CHECK(shares == !(cases[i].is_anew && has_proc));
            CHECK(position_of(own) == (shares ? 5 : 0) && !is_inherited(own));
            int flags = fcntl((int)own, F_GETFL);
            if (!shares) CHECK(!(flags & O_APPEND) && (flags & O_ACCMODE) == (cases[i].writable ? O_RDWR : O_RDONLY));
            else CHECK((flags & O_ACCMODE) == (cases[i].flags & O_ACCMODE));
            CHECK(region_file_close(own) == 0 && close(fd) == 0);
        }
}
#endif

static void a_file_grows_by_zeros_and_shrinks_to_its_head(void)
{
    for (int sparse = 0; sparse < 2; sparse++) {
        const char *path;
        region_file file = open_new_file(5000, &path);
        CHECK(region_file_resize(file, 5000, sparse) == 0);
        CHECK(file_is_pattern(path, 5000));
        CHECK(region_file_resize(file, 100000, sparse) == 0);
        CHECK(size_of(file) == 100000);
        CHECK(byte_of_file(path, 4999) == pattern(4999));
        CHECK(byte_of_file(path, 5000) == 0 && byte_of_file(path, 99999) == 0 && byte_of_file(path, 100000) == EOF);
        CHECK(region_file_resize(file, 4000, sparse) == 0);
        CHECK(file_is_pattern(path, 4000));
        CHECK(region_file_resize(file, 0, sparse) == 0);
        CHECK(size_of(file) == 0);
        CHECK(region_file_close(file) == 0);
    }
}

static void a_file_that_cannot_grow_stays_as_it_was(void)
{
    const uint64_t absurd[] = {(uint64_t)1 << 63, UINT64_MAX, UINT64_MAX - 4095};
    for (int i = 0; i < 6; i++) {
        const char *path;
        region_file file = open_new_file(5000, &path);
        CHECK(region_file_resize(file, absurd[i / 2], i % 2) != 0);
        CHECK(file_is_pattern(path, 5000));
        CHECK(region_file_close(file) == 0);
    }
}

static void a_read_only_file_cannot_be_resized(void)
{
    const char *path = new_file(5000);
    region_file file;
    CHECK(region_file_open(path, 0, &file) == 0);
    for (int i = 0; i < 4; i++) CHECK(region_file_resize(file, i < 2 ? 100 : 10000, i % 2) != 0);
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 5000));
}

static void a_directory_can_be_synchronised(void) { CHECK(region_directory_sync(directory) == 0); }

static void relative_paths_start_at_the_current_directory(void)
{
    region_file file;
    region_info first, second;
    char path[1000];
    snprintf(path, sizeof path, "%s/relative", directory);
    CHECK(enter_directory(directory));
    CHECK(region_file_create("relative", 0, &file) == 0);
    CHECK(region_file_info(file, &first) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(region_path_info(path, &second) == 0);
    CHECK(first.inode == second.inode);
    snprintf(path, sizeof path, "%s/./none/../relative", directory);
    CHECK(make_directory("none"));
    CHECK(kind_at(path) == REGION_REGULAR && kind_at("./relative") == REGION_REGULAR);
    CHECK(kind_at(".") == REGION_DIRECTORY);
}

static void names_may_be_unicode(void)
{
    char path[1000];
    region_file file;
    snprintf(path, sizeof path, "%s/%s", directory, "\xc3\xa9t\xc3\xa9 \xe6\x95\xb0\xe6\x8d\xae \xf0\x9f\x97\xba.bin");
    CHECK(region_file_create(path, 0, &file) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(kind_at(path) == REGION_REGULAR);
    CHECK(region_file_open(path, 1, &file) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(remove_file(path)); /* the same name to others */
    CHECK(kind_at(path) == -1);
}

static void paths_may_be_longer_than_260_characters(void)
{
    char path[1500];
    region_file file;
    size_t length = (size_t)snprintf(path, sizeof path, "%s", directory);
    for (int i = 0; i < 5; i++) {
        length += (size_t)snprintf(path + length, sizeof path - length, "/%0100d", i);
        CHECK(make_directory(path));
        CHECK(kind_at(path) == REGION_DIRECTORY);
    }
    CHECK(region_directory_sync(path) == 0);
    snprintf(path + length, sizeof path - length, "/file");
    CHECK(region_file_create(path, 0, &file) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(region_file_open(path, 1, &file) == 0);
    CHECK(region_file_resize(file, 10, 0) == 0);
    CHECK(size_of(file) == 10);
    CHECK(region_file_close(file) == 0);
}

static void an_open_file_may_be_renamed(void)
{
    const char *path, *other = new_path();
    region_file file = open_new_file(100, &path);
    region_info first, second;
    unsigned char *bytes = map(file, REGION_READ, 0, 100);
    CHECK(bytes);
    CHECK(rename_file(path, other));
    CHECK(is_pattern(bytes, 0, 100));
    CHECK(region_file_info(file, &first) == 0);
    CHECK(region_path_info(other, &second) == 0);
    CHECK(first.inode == second.inode && kind_at(path) == -1);
    CHECK(region_unmap(bytes, 100) == 0);
    CHECK(region_file_close(file) == 0);
}

static void an_open_file_may_be_deleted(void)
{
    const char *path;
    region_file file = open_new_file(100, &path);
    CHECK(remove_file(path));
    CHECK(size_of(file) == 100);
    CHECK(region_file_close(file) == 0);
    CHECK(kind_at(path) == -1);
}

/* --- mappings ------------------------------------------------------------------------------------------------- */

static void every_map_shows_the_bytes_of_the_file(void)
{
    const char *path;
    region_file file = open_new_file(LARGE, &path);
    FOR_INTENTS(intent) FOR_OFFSETS(offset) FOR_SIZES(size) {
        unsigned char *bytes = map(file, (region_intent)intent, offset, size);
        CHECK(bytes);
        CHECK(is_pattern(bytes, offset, size));
        CHECK(region_unmap(bytes, size) == 0);
    }
    CHECK(file_is_pattern(path, LARGE));
    CHECK(region_file_close(file) == 0);
}

static void a_map_may_reach_the_end_of_a_file_of_any_size(void)
{
    FOR_SIZES(size) {
        const char *path;
        region_file file = open_new_file(size, &path);
        FOR_INTENTS(intent) {
            unsigned char *bytes = map(file, (region_intent)intent, size / 3, size - size / 3);
            CHECK(bytes && is_pattern(bytes, size / 3, size - size / 3));
            CHECK(region_unmap(bytes, size - size / 3) == 0);
        }
        CHECK(region_file_close(file) == 0);
        CHECK(file_is_pattern(path, size));
    }
}

static void a_size_of_zero_does_nothing(void)
{
    const char *path;
    unsigned char resident = 'x';
    region_file file = open_new_file(100, &path);
    FOR_INTENTS(intent) for (int with_file = 0; with_file < 2; with_file++) {
        region_file known = with_file ? file : REGION_NO_FILE;
        unsigned char *bytes = map(file, (region_intent)intent, 50, 0);
        CHECK(bytes);
        CHECK(region_flush(known, 50, bytes, 0, 0) == 0 && region_flush(known, 50, bytes, 0, 1) == 0);
        CHECK(region_advise(bytes, 0, 0, REGION_NORMAL, REGION_RANDOM) == 0);
        CHECK(region_evict(known, 50, bytes, 0, intent != REGION_COPY) == 0);
        CHECK(region_residency(known, 50, bytes, 0, &resident) == 0);
        CHECK(region_lock(bytes, 0) == 0 && region_unlock(bytes, 0) == 0);
        CHECK(region_revoke(bytes, 0, 0) == 0 && region_revoke(bytes, 0, 1) == 0);
        CHECK(region_unmap(bytes, 0) == 0);
    }
    CHECK(resident == 'x');
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 100));
}

static void stores_reach_the_file_and_nothing_beside_it(void)
{
    FOR_OFFSETS(offset) {
        const char *path;
        size_t size = region_page_size() + 7;
        region_file file = open_new_file(LARGE, &path);
        unsigned char *bytes = map(file, REGION_WRITE, offset, size);
        CHECK(bytes);
        memset(bytes, 0, size);
        CHECK(region_flush(file, offset, bytes, size, 1) == 0);
        CHECK(byte_of_file(path, (long)offset) == 0 && byte_of_file(path, (long)(offset + size - 1)) == 0);
        CHECK(!offset || byte_of_file(path, (long)offset - 1) == pattern(offset - 1));
        CHECK(byte_of_file(path, (long)(offset + size)) == pattern(offset + size));
        for (size_t i = 0; i < size; i++) bytes[i] = pattern(offset + i);
        CHECK(region_flush(file, offset, bytes, size, 0) == 0);
        CHECK(region_unmap(bytes, size) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(file_is_pattern(path, LARGE));
    }
}

static void a_store_of_many_bytes_is_seen_by_file_and_map(void)
{
    FOR_OFFSETS(past) {
        static unsigned char source[LARGE];
        size_t page = region_page_size(), size = 2 * page + 7, stored;
        uint64_t offset = LARGE + past; /* in a hole: nothing there is in memory at first */
        size_t up_to_last_page = (size_t)((offset + size - 1) / page * page - (offset + 1));
        region_file file = open_new_file(LARGE, NULL);
        CHECK(region_file_resize(file, 2 * LARGE, 0) == 0);
        unsigned char *bytes = map(file, REGION_WRITE, offset, size);
        CHECK(bytes);
        for (int round = 0; round < 2; round++) {
            for (size_t i = 0; i < size; i++) source[i] = (unsigned char)(pattern(i) + round);
            stored = region_store(file, offset + 1, bytes + 1, source + 1, size - 2);
            CHECK(stored == (STORES_BY_CALL && round == 0 ? up_to_last_page : 0));
            memcpy(bytes + 1 + stored, source + 1 + stored, size - 2 - stored);
            CHECK(memcmp(bytes + 1, source + 1, size - 2) == 0);
            CHECK(bytes[0] == 0 && bytes[size - 1] == 0);
        }
        if (region_file_resize(file, offset + 1, 0) == 0) { /* Windows cuts nothing off that is mapped */
            region_info info;
            CHECK(region_store(file, offset, bytes, source, size) == 0);
            CHECK(region_file_info(file, &info) == 0 && info.size == offset + 1);
        }
        CHECK(region_unmap(bytes, size) == 0);
        CHECK(region_file_close(file) == 0);
    }
}

static void a_private_map_never_changes_the_file(void)
{
    FOR_OFFSETS(offset) for (int writable = 0; writable < 2; writable++) {
        const char *path = new_file(LARGE);
        size_t size = region_page_size() + 7;
        region_file file;
        CHECK(region_file_open(path, writable, &file) == 0);
        unsigned char *bytes = map(file, REGION_COPY, offset, size);
        CHECK(bytes);
        memset(bytes, 0, size);
        CHECK(is_filled(bytes, 0, size));
        CHECK(region_flush(file, offset, bytes, size, 1) == 0);
        CHECK(file_is_pattern(path, LARGE));
        CHECK(region_unmap(bytes, size) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(file_is_pattern(path, LARGE));
    }
}

static void a_read_only_file_cannot_be_mapped_for_writing(void)
{
    const char *path = new_file(5000);
    region_file file;
    void *address = UNTOUCHED;
    CHECK(region_file_open(path, 0, &file) == 0);
    CHECK(region_map(file, REGION_WRITE, 0, 5000, &address) != 0);
    CHECK(address == UNTOUCHED);
    CHECK(region_file_close(file) == 0);
}

static void maps_of_one_file_see_the_same_bytes(void)
{
    const char *path;
    region_file other, file = open_new_file(100000, &path);
    CHECK(region_file_open(path, 0, &other) == 0);
    unsigned char *writer = map(file, REGION_WRITE, 3, 99997), *reader = map(other, REGION_READ, 70000, 30000);
    CHECK(writer && reader);
    writer[70000 - 3] = 0;
    CHECK(reader[0] == 0 && reader[1] == pattern(70001));
    CHECK(region_unmap(writer, 99997) == 0 && region_unmap(reader, 30000) == 0);
    CHECK(region_file_close(file) == 0 && region_file_close(other) == 0);
}

static void a_map_outlives_its_file_handle(void)
{
    const char *path;
    region_file file = open_new_file(5000, &path);
    unsigned char *bytes = map(file, REGION_WRITE, 10, 4990);
    CHECK(bytes);
    CHECK(region_file_close(file) == 0);
    bytes[0] = 0;
    CHECK(is_pattern(bytes + 1, 11, 4989));
    CHECK(region_flush(REGION_NO_FILE, 10, bytes, 4990, 1) == 0);
    CHECK(byte_of_file(path, 10) == 0);
    CHECK(region_unmap(bytes, 4990) == 0);
}

static void offsets_may_be_beyond_four_gigabytes(void)
{
    const uint64_t base = (uint64_t)5 << 30, offset = base + 65536 + 12345;
    const size_t size = 10000;
    const char *path;
    region_file other, file = open_new_file(10, &path);
    CHECK(region_file_resize(file, offset + size, 1) == 0);
    CHECK(size_of(file) == offset + size);
    unsigned char *bytes = map(file, REGION_WRITE, offset, size);
    CHECK(bytes && is_filled(bytes, 0, size));
    for (size_t i = 0; i < size; i++) bytes[i] = pattern(i);
    CHECK(region_flush(file, offset, bytes, size, 0) == 0);
    CHECK(region_flush(file, offset, bytes, size, 1) == 0);
    CHECK(region_evict(file, offset, bytes, size, 1) == 0);
    CHECK(is_pattern(bytes, 0, size));
    CHECK(region_unmap(bytes, size) == 0);
    CHECK(region_file_open(path, 0, &other) == 0);
    bytes = map(other, REGION_READ, offset, size);
    CHECK(bytes && is_pattern(bytes, 0, size));
    CHECK(region_unmap(bytes, size) == 0);
    bytes = map(other, REGION_READ, offset & 0xffffffff, size); /* where a 32-bit offset would lead */
    CHECK(bytes && is_filled(bytes, 0, size));
    CHECK(region_unmap(bytes, size) == 0);
    CHECK(region_file_close(other) == 0);
    CHECK(region_file_resize(file, 10, 1) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 10));
}

static void mapping_never_changes_the_size_of_a_file(void)
{
    const char *path;
    region_file file = open_new_file(100, &path);
    const uint64_t offsets[] = {0, 50, 100, 101, 70000};
    for (int i = 0; i < 5; i++) FOR_INTENTS(intent) {
        unsigned char *bytes = map(file, (region_intent)intent, offsets[i], 200000); /* past the end; may be refused */
        CHECK(size_of(file) == 100);
        if (bytes) CHECK(region_unmap(bytes, 200000) == 0);
    }
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 100));
}

static void an_impossible_map_is_an_error_that_touches_nothing(void)
{
    const char *path;
    void *address = UNTOUCHED;
    region_file file = open_new_file(100, &path);
    FOR_INTENTS(intent) {
        CHECK(region_map(file, (region_intent)intent, 0, SIZE_MAX, &address) != 0);
        CHECK(region_map(file, (region_intent)intent, 99, SIZE_MAX - 50, &address) != 0);
        CHECK(region_map(file, (region_intent)intent, UINT64_MAX - 5, 100, &address) != 0);
        CHECK(region_map(file, (region_intent)intent, (uint64_t)1 << 63, 100, &address) != 0);
    }
    CHECK(region_map_anonymous(SIZE_MAX, 0, &address) != 0);
    CHECK(region_map_anonymous(SIZE_MAX - 70000, 1, &address) != 0);
    CHECK(address == UNTOUCHED);
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 100));
}

static void anonymous_memory_is_zero_and_writable(void)
{
    FOR_SIZES(size) for (int shared = 0; shared < 2; shared++) {
        unsigned char *bytes = map_anonymous(size, shared);
        CHECK(bytes && is_filled(bytes, 0, size));
        if (size) memset(bytes, 7, size);
        CHECK(is_filled(bytes, 7, size));
        CHECK(region_flush(REGION_NO_FILE, 0, bytes, size, 0) == 0);
        CHECK(region_flush(REGION_NO_FILE, 0, bytes, size, 1) == 0);
        CHECK(region_unmap(bytes, size) == 0);
    }
}

static void store_five(unsigned char *bytes) { bytes[5] = 5; }

static void children_share_shared_memory(void)
{
    unsigned char *bytes = map_anonymous(10, 1);
    CHECK(bytes);
    in_child(store_five, bytes);
    CHECK(bytes[5] == 5);
    CHECK(region_unmap(bytes, 10) == 0);
}

/* --- resizing ------------------------------------------------------------------------------------------------- */

static void resized_anonymous_memory_keeps_its_contents(void)
{
    FOR_SIZES(from) {
        size_t old_size = from;
        for (size_t i = 0; some_size((int)i) != SIZE_MAX; i++) {
            size_t size = some_size((int)i), common = old_size < size ? old_size : size;
            void *address = map_anonymous(old_size, 0);
            CHECK(address);
            for (size_t k = 0; k < old_size; k++) ((unsigned char *)address)[k] = pattern(k);
            CHECK(region_resize_anonymous(old_size, size, &address) == 0);
            CHECK(address && is_pattern(address, 0, common));
            CHECK(is_filled((unsigned char *)address + common, 0, size - common));
            if (size) memset(address, 7, size);
            CHECK(region_unmap(address, size) == 0);
        }
    }
}

static void what_anonymous_memory_lost_does_not_come_back(void)
{
    size_t page = region_page_size();
    void *address = map_anonymous(2 * page, 0);
    CHECK(address);
    memset(address, 7, 2 * page);
    CHECK(region_resize_anonymous(2 * page, 10, &address) == 0);
    CHECK(region_resize_anonymous(10, 3 * page, &address) == 0);
    CHECK(is_filled(address, 7, 10));
    CHECK(is_filled((unsigned char *)address + 10, 0, 3 * page - 10));
    CHECK(region_unmap(address, 3 * page) == 0);
}

static void anonymous_memory_that_cannot_grow_stays_as_it_was(void)
{
    void *address = map_anonymous(5000, 0), *before = address;
    CHECK(address);
    memset(address, 7, 5000);
    CHECK(region_resize_anonymous(5000, SIZE_MAX - 70000, &address) != 0);
    CHECK(region_resize_anonymous(5000, SIZE_MAX, &address) != 0);
    CHECK(address == before && is_filled(address, 7, 5000));
    CHECK(region_unmap(address, 5000) == 0);
}

#ifndef _WIN32
static void a_map_shrinks_where_it_is(void)
{
    const size_t page = region_page_size(), sizes[] = {31 * page, 17 * page + 1, page, 1};
    for (int i = 0; i < 4; i++) FOR_OFFSETS(offset) {
        region_file file = open_new_file((size_t)offset + 32 * page, NULL);
        void *mapped = map(file, REGION_WRITE, offset, 32 * page), *before = mapped;
        void *memory = map_anonymous(32 * page, 0), *memory_before = memory;
        CHECK(mapped && memory);
        memset(memory, 7, 32 * page);
        CHECK(region_resize(file, offset, 32 * page, sizes[i], 0, &mapped) == 0 && mapped == before);
        CHECK(region_resize_anonymous(32 * page, sizes[i], &memory) == 0 && memory == memory_before);
        CHECK(is_pattern(mapped, offset, sizes[i]) && is_filled(memory, 7, sizes[i]));
        uintptr_t end = ((uintptr_t)mapped + sizes[i] + page - 1) & ~(uintptr_t)(page - 1);
        CHECK(msync((void *)end, page, MS_ASYNC) != 0); /* what was there is not mapped any more */
        CHECK(region_unmap(mapped, sizes[i]) == 0 && region_unmap(memory, sizes[i]) == 0);
        CHECK(region_file_close(file) == 0);
    }
}
#endif

#ifdef __linux__
static long locked_bytes(void)
{
    char line[200];
    long locked = -1;
    FILE *status = fopen("/proc/self/status", "r");
    while (status && fgets(line, sizeof line, status))
        if (sscanf(line, "VmLck: %ld kB", &locked) == 1) break;
    if (status) fclose(status);
    return locked < 0 ? -1 : locked * 1024;
}

static void locked_pages_stay_locked_when_a_map_shrinks(void)
{
    const size_t page = region_page_size();
    const long before = locked_bytes(), two = 2 * (long)page;
    if (getenv("MEMMAP_EMULATOR")) return; /* /proc is that of the emulator */
    region_file file = open_new_file(16 * page, NULL);
    void *mapped = map(file, REGION_WRITE, 0, 16 * page), *memory = map_anonymous(16 * page, 0);
    CHECK(mapped && memory && before >= 0);
    CHECK(region_lock((char *)mapped + page, 6 * page) == 0 && region_lock((char *)memory + page, 6 * page) == 0);
    if (locked_bytes() == before) return; /* ASan makes mlock() do nothing */
    CHECK(locked_bytes() - before == 6 * two);
    CHECK(region_resize(file, 0, 16 * page, 3 * page - 10, 0, &mapped) == 0);
    CHECK(locked_bytes() - before == 4 * two);
    CHECK(region_resize_anonymous(16 * page, 3 * page - 10, &memory) == 0);
    CHECK(locked_bytes() - before == 2 * two);
    CHECK(region_unmap(mapped, 3 * page) == 0 && region_unmap(memory, 3 * page) == 0 && locked_bytes() == before);
    CHECK(region_file_close(file) == 0);
}

/* Ways to make several mappings of one; those of a region are unlocked before it grows. */
static void lock_head(unsigned char *bytes, size_t size) { region_lock(bytes, size / 4); }

static void lock_middle(unsigned char *bytes, size_t size)
{
    region_lock(bytes + size / 3, size / 3);
    region_unlock(bytes, size);
}

static void touch_and_lock_middle(unsigned char *bytes, size_t size)
{
    bytes[0] = bytes[size - 1] = 1;
    lock_middle(bytes, size);
}

static void advise_all_but_a_page(unsigned char *bytes, size_t size)
{
    madvise(bytes, size, MADV_DONTFORK);
    madvise(bytes + size / 2, region_page_size(), MADV_DOFORK);
}

static void advise_every_third_page(unsigned char *bytes, size_t size)
{
    for (size_t at = 0; at < size; at += 3 * region_page_size()) madvise(bytes + at, region_page_size(), MADV_DONTFORK);
}

static void leave_it_whole(unsigned char *bytes, size_t size) { (void)bytes, (void)size; }

static size_t count_resident(const unsigned char *bytes, size_t size)
{
    static unsigned char resident[1 << 16];
    size_t count = 0;
    if (size / region_page_size() > sizeof resident || mincore((void *)bytes, size, resident)) return SIZE_MAX;
    for (size_t i = 0; i < size / region_page_size(); i++) count += resident[i] & 1;
    return count;
}

static void memory_that_is_several_mappings_grows(void)
{
    static void (*const split[])(unsigned char *, size_t) = {
        leave_it_whole, lock_head, lock_middle, touch_and_lock_middle, advise_all_but_a_page, advise_every_third_page};
    const size_t page = region_page_size(), sizes[] = {9 * page, 256 * page, 1024 * page}; /* the last in huge pages */
    if (getenv("MEMMAP_EMULATOR")) return; /* its mremap() is its own */
    for (int i = 0; i < 6 * 3 * 2; i++) {
        size_t size = sizes[i / 2 % 3], wanted = size + (i % 2 ? size / 2 : page) + 5;
        void *address = map_anonymous(size, 0), *blocked;
        unsigned char *before = address;
        CHECK(address);
        split[i / 6](address, size);
        for (size_t at = 0; at < size; at += 8 * page) before[at] = pattern(at);
        size_t resident = count_resident(before, size);
        /* nothing else in the way: the mapping has to move, wherever the system has put it */
        blocked = mmap(before + size, page, PROT_NONE, MAP_PRIVATE | MAP_ANON | MAP_FIXED_NOREPLACE, -1, 0);
        CHECK(region_resize_anonymous(size, wanted, &address) == 0);
        unsigned char *bytes = address;
        CHECK(count_resident(bytes, size) == resident);
        if (i / 6 != 1) CHECK(count_resident(bytes + size, (wanted - size) & ~(page - 1)) <= (size < 1024 * page ? 0 : 512));
        for (size_t at = 0; at < size; at += 8 * page) CHECK(bytes[at] == pattern(at));
        CHECK(is_filled(bytes + size, 0, wanted - size));
        if (bytes != before) CHECK(count_resident(before, size) == SIZE_MAX); /* nothing stays behind */
        memset(bytes, 7, wanted);
        CHECK(region_unmap(bytes, wanted) == 0);
        if (blocked != MAP_FAILED) munmap(blocked, page);
    }
}

/* Halfway through, the process has as many mappings as it may. */
static void memory_that_is_too_many_mappings_stays_as_it_was(void)
{
    const size_t page = region_page_size();
    size_t most = 0;
    FILE *limit = fopen("/proc/sys/vm/max_map_count", "r");
    if (getenv("MEMMAP_EMULATOR") || !limit || fscanf(limit, "%zu", &most) != 1 || most > 200000) return;
    fclose(limit);
    size_t size = (most * 3 / 5) * page;
    void *address = map_anonymous(size, 0), *before = address;
    unsigned char *bytes = address;
    CHECK(address);
    for (size_t at = 0; at < size; at += 2 * page) CHECK(madvise(bytes + at, page, MADV_DONTFORK) == 0);
    for (size_t at = 0; at < size; at += 5 * page) bytes[at] = pattern(at);
    CHECK(region_resize_anonymous(size, size + 64 * page, &address) != 0);
    CHECK(address == before);
    for (size_t at = 0; at < size; at += page) CHECK(bytes[at] == (at % (5 * page) ? 0 : pattern(at)));
    memset(bytes, 7, size);
    CHECK(region_unmap(bytes, size) == 0);
}
#endif

static void named_memory_is_found_as_long_as_it_is_open(void)
{
    char name[64];
    region_file made, found;
    unsigned char *bytes, *others;
    size_t size = 3 * region_page_size() + 5;
    snprintf(name, sizeof name, "test-region-%llu", (unsigned long long)this_process());
    int error = region_memory_create(name, size, &made);
#if defined(__linux__) || defined(_WIN32)
    CHECK(error == 0);
#else
    CHECK(error != 0); /* nor is anything found then */
#endif
    CHECK(region_memory_open("test-region-nothing", this_process(), &found) != 0);
    if (error) return;
    CHECK(region_memory_map(made, 0, size, (void **)&bytes) == 0);
    for (size_t i = 0; i < size; i++) CHECK(bytes[i] == 0);
    for (size_t offset = 0; offset < size; offset += region_page_size() + 1) {
        CHECK(region_memory_open(name, this_process(), &found) == 0);
        CHECK(!is_inherited(found));
        CHECK(region_memory_map(found, offset, size - offset, (void **)&others) == 0);
        CHECK(region_file_close(found) == 0);
        others[0] = (unsigned char)(offset % 251 + 1);
        CHECK(bytes[offset] == others[0]);
        CHECK(region_unmap(others, size - offset) == 0);
    }
    CHECK(region_memory_map(made, 0, 0, (void **)&others) == 0);
    CHECK(region_memory_map(made, 0, size + 2 * region_page_size(), (void **)&others) != 0);
    CHECK(region_memory_map(made, UINT64_MAX - 4095, 8192, (void **)&others) != 0);
    CHECK(region_file_close(made) == 0);
    CHECK(region_memory_open(name, this_process(), &found) != 0);
    CHECK(bytes[0] == 1); /* a map keeps the memory, not the name */
    CHECK(region_unmap(bytes, size) == 0);
}

static void a_growing_map_keeps_its_bytes_and_gains_zeros(void)
{
    const size_t sizes[] = {1, 3000, 200000}, wanted[] = {3001, 70000, 500000};
    for (int i = 0; i < 9; i++) FOR_OFFSETS(offset) for (int sparse = 0; sparse < 2; sparse++) {
        size_t old_size = sizes[i / 3], size = wanted[i % 3];
        const char *path;
        if (size < old_size || (i && offset > 65537)) continue;
        region_file file = open_new_file((size_t)offset + old_size, &path);
        void *address = map(file, REGION_WRITE, offset, old_size);
        CHECK(address);
        *(unsigned char *)address = 0; /* not written back yet */
        CHECK(region_resize(file, offset, old_size, size, sparse, &address) == 0);
        unsigned char *bytes = address;
        CHECK(bytes[0] == 0 && is_pattern(bytes + 1, offset + 1, old_size - 1));
        CHECK(is_filled(bytes + old_size, 0, size - old_size));
        CHECK(size_of(file) == offset + size);
        bytes[0] = pattern(offset);
        for (size_t k = old_size; k < size; k++) bytes[k] = pattern(offset + k);
        CHECK(region_flush(file, offset, bytes, size, 1) == 0);
        CHECK(region_unmap(bytes, size) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(file_is_pattern(path, (size_t)offset + size));
        CHECK(remove_file(path));
    }
}

static void what_is_appended_is_behind_the_end_or_nowhere(void)
{
    const char *path;
    unsigned char read[5000];
    int ends_there = -1;
    size_t found;
    region_file file = open_new_file(1000, &path);
    const unsigned char *bytes = pattern_bytes(5000);
    CHECK(region_file_append(file, 999, bytes + 999, 1, &ends_there) == 0 && !ends_there);
    CHECK(region_file_append(file, 1001, bytes + 1001, 1, &ends_there) == 0 && !ends_there);
    CHECK(size_of(file) == 1000);
    CHECK(region_file_append(file, 1000, bytes + 1000, 4000, &ends_there) == 0 && ends_there);
    CHECK(region_file_append(file, 5000, bytes, 0, &ends_there) == 0 && ends_there);
    CHECK(region_file_read(file, 100, read, 4900, &found) == 0 && found == 4900 && is_pattern(read, 100, 4900));
    CHECK(region_file_read(file, 4990, read, 100, &found) == 0 && found == 10 && is_pattern(read, 4990, 10));
    CHECK(region_file_read(file, 6000, read, 100, &found) == 0 && found == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 5000));
}

/* Append to a file, and have its map, which has `*room`, reach to the end. */
static void follow(region_file file, region_intent intent, uint64_t offset, size_t old_size, size_t size, size_t *room, void **address)
{
    void *moved;
    int ends_there = 0;
    size_t old_room = *room;
    CHECK(region_file_append(file, offset + old_size, pattern_bytes((size_t)offset + size) + offset + old_size, size - old_size, &ends_there) == 0);
    CHECK(ends_there);
    if (size <= old_room) {
        CHECK(region_use_room(file, intent, offset, *address, old_size, size) == 0);
        return;
    }
    *room = 3 * size;
    CHECK(region_map_ahead(file, intent, offset, size, room, &moved) == 0 && *room >= size);
    if (intent == REGION_COPY) CHECK(region_take_changes(file, offset, *address, old_size, moved, size) == 0);
    CHECK(region_unmap(*address, old_room) == 0);
    *address = moved;
}

static void a_map_with_room_follows_its_file_and_keeps_private_changes(void)
{
    const region_intent intents[] = {REGION_READ, REGION_WRITE, REGION_COPY};
    const size_t sizes[] = {1, 3000, 3001, 70000, 90001, 500000};
    /* with pages larger than the host's, qemu maps a copy of the last one, which does not follow the file */
    if (getenv("MEMMAP_EMULATOR") && region_page_size() > 4096) return;
    for (int i = 0; i < 3; i++) FOR_OFFSETS(offset) {
        const char *path;
        size_t room = 80000;
        void *address;
        if (offset > 65537) continue;
        region_file file = open_new_file((size_t)offset + 1, &path);
        CHECK(region_map_ahead(file, intents[i], offset, 1, &room, &address) == 0 && room >= 1);
        if (intents[i] == REGION_COPY) *(unsigned char *)address = (unsigned char)~pattern(offset);
        for (size_t k = 1; k < sizeof sizes / sizeof *sizes; k++) {
            follow(file, intents[i], offset, sizes[k - 1], sizes[k], &room, &address);
            if (failed_here) return;
            const unsigned char *bytes = address;
            CHECK(is_pattern(bytes + 1, offset + 1, sizes[k] - 1));
            CHECK(bytes[0] == (intents[i] == REGION_COPY ? (unsigned char)~pattern(offset) : pattern(offset)));
        }
        CHECK(region_trim(room, 500000, &address) == 0);
        CHECK(is_pattern((unsigned char *)address + 1, offset + 1, 499999));
        CHECK(region_unmap(address, 500000) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(file_is_pattern(path, (size_t)offset + 500000));
        CHECK(remove_file(path));
    }
}

static void a_shrinking_map_keeps_its_head(void)
{
    const size_t sizes[] = {1, 3000, 70000, 199999, 200000};
    for (int i = 0; i < 5; i++) FOR_OFFSETS(offset) {
        const char *path;
        region_file file = open_new_file((size_t)offset + 200000, &path);
        void *address = map(file, REGION_WRITE, offset, 200000);
        CHECK(address);
        CHECK(region_resize(file, offset, 200000, sizes[i], 0, &address) == 0);
        CHECK(is_pattern(address, offset, sizes[i]));
        CHECK(size_of(file) == offset + sizes[i]);
        CHECK(region_unmap(address, sizes[i]) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(file_is_pattern(path, (size_t)offset + sizes[i]));
        CHECK(remove_file(path));
    }
}

static void a_map_may_shrink_to_nothing_and_grow_again(void)
{
    FOR_OFFSETS(offset) {
        const char *path;
        region_file file = open_new_file((size_t)offset + 5000, &path);
        void *address = map(file, REGION_WRITE, offset, 5000);
        CHECK(address);
        CHECK(region_resize(file, offset, 5000, 0, 0, &address) == 0);
        CHECK(address && size_of(file) == offset);
        CHECK(region_resize(file, offset, 0, 9000, 0, &address) == 0);
        CHECK(is_filled(address, 0, 9000) && size_of(file) == offset + 9000);
        CHECK(region_unmap(address, 9000) == 0);
        CHECK(region_file_close(file) == 0);
    }
}

static void check_that_resizing_fails(region_file file, const char *path, size_t size, int sparse)
{
    const uint64_t offset = 65537;
    unsigned char *gaps[3]; /* on either side, so that the old place is not the only one that is free */
    for (int i = 0; i < 3; i++) gaps[i] = map(file, REGION_WRITE, offset, 5000);
    CHECK(gaps[0] && gaps[1] && gaps[2]);
    void *address = gaps[1], *before = address;
    CHECK(region_unmap(gaps[0], 5000) == 0 && region_unmap(gaps[2], 5000) == 0);
    CHECK(region_resize(file, offset, 5000, size, sparse, &address) != 0);
    CHECK(address == before);
    CHECK(is_pattern(address, offset, 5000));
    CHECK(file_is_pattern(path, (size_t)offset + 5000));
    *(unsigned char *)address = 0;
    CHECK(byte_of_file(path, (long)offset) == 0); /* still mapped to the file */
    *(unsigned char *)address = pattern(offset);
    CHECK(region_unmap(address, 5000) == 0);
}

static void a_map_that_cannot_grow_stays_as_it_was(void)
{
    const char *path;
    region_file file = open_new_file(65537 + 5000, &path);
    check_that_resizing_fails(file, path, SIZE_MAX, 0);
    check_that_resizing_fails(file, path, SIZE_MAX - 70000, 1); /* 32 bits: the file can grow, the map cannot */
    if (sizeof(size_t) > 4)
        for (int sparse = 0; sparse < 2; sparse++)
            for (int bits = 50; bits < 63; bits += 2)
                check_that_resizing_fails(file, path, (size_t)((uint64_t)1 << bits), sparse);
    CHECK(region_file_close(file) == 0);
}

/* --- revoking ------------------------------------------------------------------------------------------------- */

static void a_revoked_map_is_zero_and_the_file_is_not(void)
{
    FOR_INTENTS(intent) FOR_OFFSETS(offset) FOR_SIZES(size) for (int writable = 0; writable < 2; writable++) {
        const char *path;
        region_file file = open_new_file(LARGE, &path);
        unsigned char *bytes = map(file, (region_intent)intent, offset, size);
        CHECK(bytes);
        CHECK(region_revoke(bytes, size, writable) == 0);
        CHECK(is_filled(bytes, 0, size));
        if (writable && size) memset(bytes, 7, size);
        CHECK(region_flush(file, offset, bytes, size, 1) == 0);
        CHECK(file_is_pattern(path, LARGE));
        CHECK(region_revoke(bytes, size, writable) == 0);
        CHECK(is_filled(bytes, 0, size));
        CHECK(region_file_resize(file, 0, 0) == 0); /* nothing maps the file any more */
        CHECK(is_filled(bytes, 0, size));
        CHECK(region_unmap(bytes, size) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(remove_file(path));
    }
}

static void revoking_leaves_other_maps_alone(void)
{
    const char *path;
    region_file file = open_new_file(200000, &path);
    unsigned char *revoked = map(file, REGION_WRITE, 100, 150000), *kept = map(file, REGION_WRITE, 100, 150000);
    CHECK(revoked && kept);
    CHECK(region_revoke(revoked, 150000, 1) == 0);
    revoked[1] = 9;
    CHECK(is_pattern(kept, 100, 150000));
    kept[0] = 0;
    CHECK(revoked[0] == 0 && byte_of_file(path, 100) == 0);
    CHECK(region_unmap(kept, 150000) == 0 && region_unmap(revoked, 150000) == 0);
    CHECK(region_file_close(file) == 0);
}

static void anonymous_memory_can_be_revoked(void)
{
    FOR_SIZES(size) for (int kind = 0; kind < 4; kind++) {
        int shared = kind & 1, writable = kind >> 1;
        unsigned char *bytes = map_anonymous(size, shared);
        CHECK(bytes);
        if (size) memset(bytes, 7, size);
        CHECK(region_revoke(bytes, size, writable) == 0);
        CHECK(is_filled(bytes, 0, size));
        if (writable && size) memset(bytes, 8, size);
        CHECK(region_unmap(bytes, size) == 0);
    }
}

/* --- pages ---------------------------------------------------------------------------------------------------- */

static void any_part_of_a_map_can_be_flushed(void)
{
    const char *path;
    const uint64_t offset = 65543;
    region_file file = open_new_file(200000, &path);
    FOR_INTENTS(intent) {
        unsigned char *bytes = map(file, (region_intent)intent, offset, 100000);
        CHECK(bytes);
        for (int wait = 0; wait < 2; wait++)
            for (size_t from = 0; from < 90000; from += 12345) {
                CHECK(region_flush(file, offset + from, bytes + from, 100000 - from, wait) == 0);
                CHECK(region_flush(file, offset + from, bytes + from, 1, wait) == 0);
                CHECK(region_flush(REGION_NO_FILE, offset + from, bytes + from, 5000, wait) == 0);
            }
        CHECK(region_unmap(bytes, 100000) == 0);
    }
    CHECK(region_file_close(file) == 0);
    CHECK(file_is_pattern(path, 200000));
}

static void a_read_only_file_can_be_flushed(void)
{
    const char *path = new_file(5000);
    region_file file;
    CHECK(region_file_open(path, 0, &file) == 0);
    unsigned char *bytes = map(file, REGION_READ, 0, 5000);
    CHECK(bytes);
    CHECK(region_flush(file, 0, bytes, 5000, 0) == 0 && region_flush(file, 0, bytes, 5000, 1) == 0);
    CHECK(region_unmap(bytes, 5000) == 0);
    CHECK(region_file_close(file) == 0);
}

static void reading_ahead_leaves_a_file_as_it_is(void)
{
    enum { SIZE = 1000001 };
    const char *path;
    region_file file = open_new_file(SIZE, &path);
    int reads = region_reads_huge_pages(path);
    CHECK(!region_reads_huge_pages("no such file"));
    for (int threads = 1; threads < 4; threads++) {
        CHECK(region_read(file, 0, 0, 0, threads) == 0 || !reads);
        CHECK(region_read(file, 0, SIZE, 0, threads) == 0 || !reads);
        CHECK(region_read(file, 4097, 700000, 2000, threads) == 0 || !reads);
        CHECK(region_read(file, SIZE - 1, 1 << 23, 0, threads) == 0 || !reads); /* past the end: no signal */
    }
    CHECK(file_is_pattern(path, SIZE));
    CHECK(region_file_close(file) == 0);
}

static void advice_changes_no_byte(void)
{
    const region_access all[] = {REGION_RANDOM, REGION_SEQUENTIAL, REGION_NORMAL};
    region_file file = open_new_file(100000, NULL);
    unsigned char *bytes = map(file, REGION_READ, 4097, 90000), *memory = map_anonymous(90000, 0);
    CHECK(bytes && memory);
    memset(memory, 7, 90000);
    for (int i = 0; i < 3; i++) {
        region_access before = all[(i + 2) % 3];
        CHECK(region_advise(bytes, 90000, 0, before, all[i]) == 0 && region_advise(bytes + 777, 1, 0, before, all[i]) == 0);
        CHECK(region_advise(memory, 90000, 1, before, all[i]) == 0);
    }
    CHECK(is_pattern(bytes, 4097, 90000) && is_filled(memory, 7, 90000));
    CHECK(region_unmap(bytes, 90000) == 0 && region_unmap(memory, 90000) == 0);
    CHECK(region_file_close(file) == 0);
}

static void evicting_a_map_keeps_its_stores(void)
{
    const uint64_t offset = 65543;
    FOR_INTENTS(intent) for (int with_file = 0; with_file < 2; with_file++) {
        const char *path;
        region_file file = open_new_file(200000, &path), known = with_file ? file : REGION_NO_FILE;
        unsigned char *bytes = map(file, (region_intent)intent, offset, 100000);
        CHECK(bytes);
        if (intent != REGION_READ) memset(bytes + 1000, 7, 50000);
        CHECK(region_evict(known, offset, bytes, 100000, intent != REGION_COPY) == 0);
        CHECK(region_evict(known, offset + 2000, bytes + 2000, 10, intent != REGION_COPY) == 0);
        CHECK(is_pattern(bytes, offset, 1000) && is_pattern(bytes + 51000, offset + 51000, 49000));
        if (intent == REGION_READ) CHECK(is_pattern(bytes, offset, 100000));
        else CHECK(is_filled(bytes + 1000, 7, 50000));
        CHECK(region_unmap(bytes, 100000) == 0);
        CHECK(region_file_close(file) == 0);
        CHECK(byte_of_file(path, (long)offset + 1000) == (intent == REGION_WRITE ? 7 : pattern(offset + 1000)));
    }
}

static void rewriting_pages_keeps_the_file_and_what_is_around_the_map(void)
{
    const uint64_t offset = 65543;
    const char *path;
    region_info info;
    region_file file = open_new_file(1000000, &path); /* the last page is not whole */
    unsigned char *bytes = map(file, REGION_WRITE, offset, 900000);
    CHECK(bytes);
    memset(bytes + 1000, 7, 50000);
    CHECK(region_flush(file, offset, bytes, 900000, 1) == 0);
    int error = region_rewrite(file, offset, bytes, 900000);
    CHECK(error == 0 || error == EBUSY); /* a file system in memory evicts nothing */
    CHECK(region_rewrite(file, offset, bytes, 0) == 0);
    CHECK(region_flush(file, offset, bytes, 900000, 1) == 0);
    CHECK(is_pattern(bytes, offset, 1000) && is_filled(bytes + 1000, 7, 50000));
    CHECK(is_pattern(bytes + 51000, offset + 51000, 849000));
    CHECK(region_file_info(file, &info) == 0 && info.size == 1000000);
    CHECK(region_unmap(bytes, 900000) == 0);
    CHECK(region_file_close(file) == 0);
    CHECK(byte_of_file(path, (long)offset - 1) == pattern(offset - 1));
    CHECK(byte_of_file(path, (long)offset + 1000) == 7);
    CHECK(byte_of_file(path, 999999) == pattern(999999));
}

static void evicting_anonymous_memory_keeps_its_stores(void)
{
    for (int shared = 0; shared < 2; shared++) {
        unsigned char *bytes = map_anonymous(100000, shared);
        CHECK(bytes);
        memset(bytes, 7, 90000);
        CHECK(region_evict(REGION_NO_FILE, 0, bytes, 100000, shared) == 0);
        CHECK(is_filled(bytes, 7, 90000) && is_filled(bytes + 90000, 0, 10000));
        CHECK(region_unmap(bytes, 100000) == 0);
    }
}

/* The pages that [address, address + size) meets. */
static size_t pages_met(const unsigned char *bytes, size_t size)
{
    size_t page = region_page_size(), first = (size_t)((uintptr_t)bytes / page);
    return (size_t)(((uintptr_t)bytes + size - 1) / page) - first + 1;
}

static void check_residency(region_file file, uint64_t offset, unsigned char *bytes, size_t size)
{
    unsigned char resident[600];
    size_t pages = pages_met(bytes, size);
    volatile unsigned char sum = 0;
    memset(resident, 'x', sizeof resident);
    for (size_t i = 0; i < size; i++) sum = (unsigned char)(sum + bytes[i]);
    CHECK(pages < sizeof resident);
    CHECK(region_residency(file, offset, bytes, size, resident) == 0);
    CHECK(is_filled(resident, 1, pages));
    CHECK(is_filled(resident + pages, 'x', sizeof resident - pages));
}

static void touched_pages_are_resident(void)
{
    const size_t page = region_page_size(), size = 300 * page;
    region_file file = open_new_file(0, NULL);
    CHECK(region_file_resize(file, 65536 + size, 0) == 0);
    FOR_INTENTS(intent) for (int with_file = 0; with_file < 2; with_file++) FOR_OFFSETS(offset) {
        if (offset > 65536) continue;
        region_file known = with_file ? file : REGION_NO_FILE;
        unsigned char *bytes = map(file, (region_intent)intent, offset, size);
        CHECK(bytes);
        check_residency(known, offset, bytes, size);
        check_residency(known, offset, bytes, 1);
        check_residency(known, offset + page - 1, bytes + page - 1, 2);
        CHECK(region_unmap(bytes, size) == 0);
    }
    CHECK(region_file_close(file) == 0);
    for (int shared = 0; shared < 2; shared++) {
        unsigned char *bytes = map_anonymous(size, shared);
        CHECK(bytes);
        memset(bytes, 7, size);
        check_residency(REGION_NO_FILE, 0, bytes, size);
        CHECK(region_unmap(bytes, size) == 0);
    }
}

static void residency_is_known_to_the_owner_of_a_file(void)
{
    const char *path = new_file(1);
    CHECK(region_knows_residency(path));
#ifdef __linux__
    if (geteuid() == 0 && seteuid(65534) == 0) {
        int known = region_knows_residency(path);
        CHECK(seteuid(0) == 0 && !known);
    }
#endif
}

static void untouched_memory_is_not_resident(void)
{
    unsigned char resident[4];
    size_t page = region_page_size();
    unsigned char *bytes = map_anonymous(4 * page, 1); /* shared: not joined to large pages */
    CHECK(bytes);
    bytes[page] = 7;
    CHECK(region_residency(REGION_NO_FILE, 0, bytes, 4 * page, resident) == 0);
    CHECK(resident[0] == 0 && resident[1] == 1 && resident[3] == 0);
    CHECK(region_unmap(bytes, 4 * page) == 0);
}

static void pages_can_be_locked_and_unlocked(void)
{
    region_file file = open_new_file(100000, NULL);
    unsigned char *bytes = map(file, REGION_READ, 4097, 90000), *memory = map_anonymous(90000, 0);
    CHECK(bytes && memory);
    CHECK(region_lock(bytes + 100, 1) == 0 && region_lock(memory, 1) == 0);
    check_residency(file, 4097, bytes, 1);
    CHECK(is_pattern(bytes, 4097, 90000));
    CHECK(region_unlock(bytes + 100, 1) == 0 && region_unlock(memory, 1) == 0);
    CHECK(region_unlock(memory, 1) == 0); /* once more does no harm */
    CHECK(region_lock(memory, 90000) == 0);
    CHECK(region_unmap(memory, 90000) == 0); /* locked pages go, too */
    CHECK(region_unmap(bytes, 90000) == 0);
    CHECK(region_file_close(file) == 0);
}

/* -------------------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    void (*run)(void);
} tests[] = {
#define TEST(name) {#name, name}
    TEST(the_page_size_is_a_power_of_two),
    TEST(error_texts_are_never_empty),
    TEST(error_texts_stay_within_their_buffer),
    TEST(a_path_tells_what_stands_there),
    TEST(a_fifo_never_blocks),
    TEST(an_open_file_tells_what_it_is),
#ifdef __linux__
    TEST(a_generated_file_is_told_from_an_empty_one),
#endif
    TEST(a_missing_file_is_an_error_that_touches_nothing),
    TEST(no_file_is_an_error),
    TEST(a_directory_cannot_be_opened_for_writing),
    TEST(a_new_file_is_empty_and_writable),
    TEST(bytes_are_written_where_they_belong_and_maps_see_them),
    TEST(create_never_takes_an_existing_file),
    TEST(a_nameless_file_is_complete_when_it_is_seen),
    TEST(identity_is_that_of_the_file),
    TEST(the_modification_time_is_in_nanoseconds),
    TEST(handles_stay_in_this_process),
    TEST(a_duplicate_outlives_the_first_handle),
    TEST(whatever_is_done_through_a_second_handle_leaves_the_position_of_the_first),
#ifndef _WIN32
    TEST(a_file_is_opened_anew_for_what_it_is_open_for),
#endif
    TEST(a_file_grows_by_zeros_and_shrinks_to_its_head),
    TEST(a_file_that_cannot_grow_stays_as_it_was),
    TEST(a_read_only_file_cannot_be_resized),
    TEST(a_directory_can_be_synchronised),
    TEST(relative_paths_start_at_the_current_directory),
    TEST(names_may_be_unicode),
    TEST(paths_may_be_longer_than_260_characters),
    TEST(an_open_file_may_be_renamed),
    TEST(an_open_file_may_be_deleted),
    TEST(every_map_shows_the_bytes_of_the_file),
    TEST(a_map_may_reach_the_end_of_a_file_of_any_size),
    TEST(a_size_of_zero_does_nothing),
    TEST(stores_reach_the_file_and_nothing_beside_it),
    TEST(a_store_of_many_bytes_is_seen_by_file_and_map),
    TEST(a_private_map_never_changes_the_file),
    TEST(a_read_only_file_cannot_be_mapped_for_writing),
    TEST(maps_of_one_file_see_the_same_bytes),
    TEST(a_map_outlives_its_file_handle),
    TEST(offsets_may_be_beyond_four_gigabytes),
    TEST(mapping_never_changes_the_size_of_a_file),
    TEST(an_impossible_map_is_an_error_that_touches_nothing),
    TEST(anonymous_memory_is_zero_and_writable),
    TEST(children_share_shared_memory),
    TEST(resized_anonymous_memory_keeps_its_contents),
    TEST(what_anonymous_memory_lost_does_not_come_back),
    TEST(anonymous_memory_that_cannot_grow_stays_as_it_was),
#ifndef _WIN32
    TEST(a_map_shrinks_where_it_is),
#endif
#ifdef __linux__
    TEST(locked_pages_stay_locked_when_a_map_shrinks),
    TEST(memory_that_is_several_mappings_grows),
    TEST(memory_that_is_too_many_mappings_stays_as_it_was),
#endif
    TEST(named_memory_is_found_as_long_as_it_is_open),
    TEST(a_growing_map_keeps_its_bytes_and_gains_zeros),
    TEST(what_is_appended_is_behind_the_end_or_nowhere),
    TEST(a_map_with_room_follows_its_file_and_keeps_private_changes),
    TEST(a_shrinking_map_keeps_its_head),
    TEST(a_map_may_shrink_to_nothing_and_grow_again),
    TEST(a_map_that_cannot_grow_stays_as_it_was),
    TEST(a_revoked_map_is_zero_and_the_file_is_not),
    TEST(revoking_leaves_other_maps_alone),
    TEST(anonymous_memory_can_be_revoked),
    TEST(any_part_of_a_map_can_be_flushed),
    TEST(a_read_only_file_can_be_flushed),
    TEST(advice_changes_no_byte),
    TEST(reading_ahead_leaves_a_file_as_it_is),
    TEST(evicting_a_map_keeps_its_stores),
    TEST(rewriting_pages_keeps_the_file_and_what_is_around_the_map),
    TEST(evicting_anonymous_memory_keeps_its_stores),
    TEST(touched_pages_are_resident),
    TEST(residency_is_known_to_the_owner_of_a_file),
    TEST(untouched_memory_is_not_resident),
    TEST(pages_can_be_locked_and_unlocked),
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
        tests[i].run();
        if (failed_here) printf("FAILED %s\n", tests[i].name);
        *(failed_here ? &failed : &passed) += 1;
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed != 0;
}
