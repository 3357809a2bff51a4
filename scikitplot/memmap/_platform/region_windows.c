/* region_windows.c - region.h on Windows 8 and later. */
#define WIN32_LEAN_AND_MEAN
#ifndef _WIN32_WINNT
#define _WIN32_WINNT 0x0602
#endif
#define PSAPI_VERSION 2 /* QueryWorkingSetEx from kernel32 */

#include "region.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wchar.h>
#include <windows.h>
#include <psapi.h>
#include <winioctl.h>

static uint64_t nothing[2]; /* where every mapping of size 0 points */

/* The error of the call that just failed; never 0, which would pass for success. */
static int last_error(void)
{
    DWORD error = GetLastError();
    return error ? (int)error : ERROR_GEN_FAILURE;
}

static uint64_t join(DWORD high, DWORD low) { return (uint64_t)high << 32 | low; }

static SYSTEM_INFO system_info(void)
{
    SYSTEM_INFO system;
    GetSystemInfo(&system);
    return system;
}

size_t region_page_size(void) { return system_info().dwPageSize; }

/* Copy as many whole UTF-8 characters as fit. */
static void copy_text(const char *from, char *text, size_t size)
{
    size_t length = strlen(from);
    if (!size) return;
    if (length >= size) {
        length = size - 1;
        while (length && ((unsigned char)from[length] & 0xC0) == 0x80) length--;
    }
    memcpy(text, from, length);
    text[length] = '\0';
}

void region_error_text(int code, char *text, size_t size)
{
    wchar_t wide[512];
    char narrow[3 * 512 + 1]; /* a UTF-16 unit is at most 3 bytes of UTF-8 */
    DWORD flags = FORMAT_MESSAGE_FROM_SYSTEM | FORMAT_MESSAGE_IGNORE_INSERTS;
    DWORD length = FormatMessageW(flags, NULL, (DWORD)code, 0, wide, 512, NULL);
    while (length && wcschr(L". \r\n", wide[length - 1])) length--;
    int bytes = length ? WideCharToMultiByte(CP_UTF8, 0, wide, (int)length, narrow, 3 * 512, NULL, NULL) : 0;
    if (bytes) narrow[bytes] = '\0';
    else snprintf(narrow, sizeof narrow, "Windows error %d", code);
    copy_text(narrow, text, size);
}

/* --- paths ---------------------------------------------------------------------------------------------------- */

static int starts_with(const wchar_t *path, const wchar_t *prefix) { return !wcsncmp(path, prefix, wcslen(prefix)); }

/* Room for `units` and for the longest prefix. */
static wchar_t *new_path(size_t units) { return malloc((units + 8) * sizeof(wchar_t)); }

static int to_wide(const char *path, wchar_t **wide)
{
    int units = MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, NULL, 0);
    if (!units) return last_error();
    if (units == 1) return ERROR_PATH_NOT_FOUND; /* as CreateFileW says of an empty path */
    wchar_t *result = new_path((size_t)units);
    if (!result) return ERROR_NOT_ENOUGH_MEMORY;
    MultiByteToWideChar(CP_UTF8, MB_ERR_INVALID_CHARS, path, -1, result, units);
    *wide = result;
    return 0;
}

/* Put `prefix` in place of the first `skip` units. */
static void set_prefix(wchar_t *path, const wchar_t *prefix, size_t skip)
{
    size_t length = wcslen(prefix);
    memmove(path + length, path + skip, (wcslen(path + skip) + 1) * sizeof *path);
    memcpy(path, prefix, length * sizeof *path);
}

/* Absolute, and with the prefix that lifts the limit of 260 characters. */
static int to_absolute(const wchar_t *path, wchar_t **absolute)
{
    DWORD units = GetFullPathNameW(path, 0, NULL, NULL);
    if (!units) return last_error();
    wchar_t *result = new_path(units);
    if (!result) return ERROR_NOT_ENOUGH_MEMORY;
    DWORD length = GetFullPathNameW(path, units, result, NULL);
    if (!length || length >= units) { /* the current directory changed in between */
        int error = length ? ERROR_FILENAME_EXCED_RANGE : last_error();
        free(result);
        return error;
    }
    int is_prefixed = starts_with(result, L"\\\\?\\") || starts_with(result, L"\\\\.\\");
    if (!starts_with(result, L"\\\\")) set_prefix(result, L"\\\\?\\", 0);
    else if (!is_prefixed) set_prefix(result, L"\\\\?\\UNC\\", 2);
    *absolute = result;
    return 0;
}

/* The path as CreateFileW wants it; the caller frees it. */
static int system_path(const char *path, wchar_t **result)
{
    wchar_t *wide;
    int error = to_wide(path, &wide);
    if (error) return error;
    if (starts_with(wide, L"\\\\?\\")) { /* taken literally */
        *result = wide;
        return 0;
    }
    error = to_absolute(wide, result);
    free(wide);
    return error;
}

/* --- files ---------------------------------------------------------------------------------------------------- */

static int open_path(const char *path, DWORD access, DWORD disposition, DWORD flags, region_file *file)
{
    wchar_t *name;
    int error = system_path(path, &name);
    if (error) return error;
    HANDLE handle = CreateFileW(name, access, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, disposition,
                                flags, NULL);
    if (handle == INVALID_HANDLE_VALUE) error = last_error();
    else *file = (region_file)handle;
    free(name);
    return error;
}

int region_path_info(const char *path, region_info *info)
{
    region_file file;
    int error = open_path(path, 0, OPEN_EXISTING, FILE_FLAG_BACKUP_SEMANTICS, &file); /* the flag admits directories */
    if (error) return error;
    error = region_file_info(file, info);
    region_file_close(file);
    return error;
}

int region_file_open(const char *path, int writable, region_file *file)
{
    return open_path(path, writable ? GENERIC_READ | GENERIC_WRITE : GENERIC_READ, OPEN_EXISTING, FILE_ATTRIBUTE_NORMAL,
                     file);
}

int region_file_create(const char *path, int owner_only, region_file *file)
{
    (void)owner_only;
    return open_path(path, GENERIC_READ | GENERIC_WRITE, CREATE_NEW, FILE_ATTRIBUTE_NORMAL, file);
}

int region_file_create_nameless(const char *directory, int owner_only, region_file *file)
{
    (void)directory;
    (void)owner_only;
    (void)file;
    return ERROR_NOT_SUPPORTED;
}

int region_file_link(region_file file, const char *path)
{
    (void)file;
    (void)path;
    return ERROR_NOT_SUPPORTED;
}

int region_file_reopen(region_file file, int writable, region_file *own, int *shares_position)
{
    HANDLE self = GetCurrentProcess(), handle;
    (void)writable;
    if (file == REGION_NO_FILE) return ERROR_INVALID_HANDLE; /* -1 also means this process */
    if (!DuplicateHandle(self, (HANDLE)file, self, &handle, 0, FALSE, DUPLICATE_SAME_ACCESS)) return last_error();
    *own = (region_file)handle;
    *shares_position = 1;
    return 0;
}

/* Nanoseconds since 1970: those since 1601 do not fit. */
static int64_t nanoseconds(FILETIME time)
{
    return (int64_t)((join(time.dwHighDateTime, time.dwLowDateTime) - 116444736000000000u) * 100);
}

static int disk_info(HANDLE handle, region_info *info)
{
    BY_HANDLE_FILE_INFORMATION found;
    if (!GetFileInformationByHandle(handle, &found)) return last_error();
    info->kind = found.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY ? REGION_DIRECTORY : REGION_REGULAR;
    info->size = join(found.nFileSizeHigh, found.nFileSizeLow);
    info->device = found.dwVolumeSerialNumber;
    info->inode = join(found.nFileIndexHigh, found.nFileIndexLow);
    info->birth_ns = 0; /* the index counts how often it was used again, on NTFS */
    info->mtime_ns = nanoseconds(found.ftLastWriteTime);
    return 0;
}

int region_file_info(region_file file, region_info *info)
{
    SetLastError(NO_ERROR); /* GetFileType does not when the type is unknown */
    DWORD type = GetFileType((HANDLE)file);
    if (type == FILE_TYPE_UNKNOWN && GetLastError() != NO_ERROR) return last_error();
    if (type == FILE_TYPE_DISK) return disk_info((HANDLE)file, info);
    memset(info, 0, sizeof *info);
    info->kind = type == FILE_TYPE_CHAR ? REGION_DEVICE : type == FILE_TYPE_PIPE ? REGION_FIFO : REGION_OTHER;
    return 0;
}

static int set_end(HANDLE handle, uint64_t size)
{
    FILE_END_OF_FILE_INFO end;
    end.EndOfFile.QuadPart = (LONGLONG)size;
    return SetFileInformationByHandle(handle, FileEndOfFileInfo, &end, sizeof end) ? 0 : last_error();
}

/* Not every file system can; then growing reserves. */
static void set_sparse(HANDLE handle, int sparse)
{
    FILE_SET_SPARSE_BUFFER wanted = {sparse != 0};
    DWORD unused;
    DeviceIoControl(handle, FSCTL_SET_SPARSE, &wanted, sizeof wanted, NULL, 0, &unused, NULL);
}

/* In a sparse file only written bytes get disk space. */
static int write_zeros(HANDLE handle, uint64_t from, uint64_t to)
{
    static const char zeros[1 << 16];
    while (from < to) {
        DWORD size = to - from < sizeof zeros ? (DWORD)(to - from) : (DWORD)sizeof zeros, written;
        OVERLAPPED where = {0};
        where.Offset = (DWORD)from;
        where.OffsetHigh = (DWORD)(from >> 32);
        if (!WriteFile(handle, zeros, size, &written, &where)) return last_error();
        from += written;
    }
    return 0;
}

/* Grow, in space that is reserved: NTFS does it by itself unless the file is sparse. */
static int grow_reserved(HANDLE handle, uint64_t old_size, uint64_t size, int is_sparse)
{
    LARGE_INTEGER nowhere = {.QuadPart = 0}, position;
    int error = set_end(handle, size);
    if (error || !is_sparse) return error;
    /* a write at an offset moves the position, too, which a duplicate shares */
    BOOL has_position = SetFilePointerEx(handle, nowhere, &position, FILE_CURRENT);
    error = write_zeros(handle, old_size, size);
    if (has_position) SetFilePointerEx(handle, position, NULL, FILE_BEGIN);
    if (error) set_end(handle, old_size);
    return error;
}

static int grow_sparse(HANDLE handle, uint64_t size, int is_sparse)
{
    if (!is_sparse) set_sparse(handle, 1);
    int error = set_end(handle, size);
    if (error && !is_sparse) set_sparse(handle, 0);
    return error;
}

int region_file_resize(region_file file, uint64_t size, int sparse)
{
    HANDLE handle = (HANDLE)file;
    BY_HANDLE_FILE_INFORMATION found;
    if (size > INT64_MAX) return ERROR_INVALID_PARAMETER;
    if (!GetFileInformationByHandle(handle, &found)) return last_error();
    uint64_t old_size = join(found.nFileSizeHigh, found.nFileSizeLow);
    int is_sparse = (found.dwFileAttributes & FILE_ATTRIBUTE_SPARSE_FILE) != 0;
    if (size == old_size) return 0;
    if (size < old_size) return set_end(handle, size);
    return sparse ? grow_sparse(handle, size, is_sparse) : grow_reserved(handle, old_size, size, is_sparse);
}

int region_file_write(region_file file, uint64_t offset, const void *bytes, size_t size)
{
    while (size) {
        DWORD piece = size < (1 << 24) ? (DWORD)size : 1 << 24, written;
        OVERLAPPED where = {0};
        where.Offset = (DWORD)offset;
        where.OffsetHigh = (DWORD)(offset >> 32);
        if (!WriteFile((HANDLE)file, bytes, piece, &written, &where)) return last_error();
        bytes = (const char *)bytes + written;
        offset += written;
        size -= written;
    }
    return 0;
}

int region_file_read(region_file file, uint64_t offset, void *bytes, size_t size, size_t *found)
{
    *found = 0;
    while (*found < size) {
        DWORD piece = size - *found < (1 << 24) ? (DWORD)(size - *found) : 1 << 24, got;
        OVERLAPPED where = {0};
        where.Offset = (DWORD)(offset + *found);
        where.OffsetHigh = (DWORD)((offset + *found) >> 32);
        if (!ReadFile((HANDLE)file, (char *)bytes + *found, piece, &got, &where)) {
            int error = last_error();
            return error == ERROR_HANDLE_EOF ? 0 : error;
        }
        if (!got) break;
        *found += got;
    }
    return 0;
}

int region_file_append(region_file file, uint64_t end, const void *bytes, size_t size, int *ends_there)
{
    LARGE_INTEGER found;
    if (!GetFileSizeEx((HANDLE)file, &found)) return last_error();
    *ends_there = (uint64_t)found.QuadPart == end;
    if (!*ends_there || !size) return 0;
    if (size > INT64_MAX - end) return ERROR_INVALID_PARAMETER;
    int error = region_file_write(file, end, bytes, size);
    if (error) set_end((HANDLE)file, end);
    return error;
}

int region_file_sync(region_file file) { return FlushFileBuffers((HANDLE)file) ? 0 : last_error(); }

int region_file_close(region_file file) { return CloseHandle((HANDLE)file) ? 0 : last_error(); }

int region_directory_sync(const char *path)
{
    (void)path;
    return 0;
}

/* --- mappings ------------------------------------------------------------------------------------------------- */

/* Map a part of a section, with byte `offset` at `where` or anywhere (NULL); the view keeps of it what it needs. */
static int map_section(HANDLE section, DWORD access, uint64_t offset, size_t size, void *where, void **address)
{
    size_t extra = (size_t)(offset % system_info().dwAllocationGranularity); /* where a view may begin */
    if (size > SIZE_MAX - extra) return ERROR_NOT_ENOUGH_MEMORY;
    offset -= extra;
    char *view = MapViewOfFileEx(section, access, (DWORD)(offset >> 32), (DWORD)offset, size + extra,
                                 where ? (char *)where - extra : NULL);
    if (!view) return last_error();
    *address = view + extra;
    return 0;
}

/* A section as large as the file: a larger one would make the file grow. */
static int open_section(HANDLE handle, DWORD protection, uint64_t offset, size_t size, HANDLE *section)
{
    LARGE_INTEGER end;
    if (!GetFileSizeEx(handle, &end)) return last_error();
    if (offset > (uint64_t)end.QuadPart || size > (uint64_t)end.QuadPart - offset) return ERROR_HANDLE_EOF;
    HANDLE opened = CreateFileMappingW(handle, NULL, protection, 0, 0, NULL);
    if (!opened) return last_error();
    *section = opened;
    return 0;
}

/* region_map(), with byte `offset` at `where` or anywhere (NULL). */
static int map_at(region_file file, region_intent intent, uint64_t offset, size_t size, void *where, void **address)
{
    static const struct {
        DWORD protection, access;
    } intents[] = {[REGION_READ] = {PAGE_READONLY, FILE_MAP_READ},
                   [REGION_WRITE] = {PAGE_READWRITE, FILE_MAP_WRITE},
                   [REGION_COPY] = {PAGE_WRITECOPY, FILE_MAP_COPY}};
    HANDLE section;
    if (!size) {
        *address = nothing;
        return 0;
    }
    int error = open_section((HANDLE)file, intents[intent].protection, offset, size, &section);
    if (error) return error;
    error = map_section(section, intents[intent].access, offset, size, where, address);
    CloseHandle(section);
    return error;
}

int region_map(region_file file, region_intent intent, uint64_t offset, size_t size, void **address)
{
    return map_at(file, intent, offset, size, NULL, address);
}

/* No view is larger than its file. */
int region_map_ahead(region_file file, region_intent intent, uint64_t offset, size_t size, size_t *room, void **address)
{
    int error = region_map(file, intent, offset, size, address);
    if (!error) *room = size;
    return error;
}

int region_use_room(region_file file, region_intent intent, uint64_t offset, void *address, size_t old_size, size_t size)
{
    (void)file, (void)intent, (void)offset, (void)address, (void)old_size, (void)size;
    return 0;
}

int region_trim(size_t room, size_t size, void **address)
{
    (void)room, (void)size, (void)address;
    return 0;
}

/* Copy the pages that differ: private ones, for the others are those of the same file. */
int region_take_changes(region_file file, uint64_t offset, void *from, size_t size, void *to, size_t new_size)
{
    size_t page = region_page_size();
    (void)file, (void)offset, (void)new_size;
    for (size_t at = 0, part; at < size; at += part) {
        part = size - at < page ? size - at : page;
        if (memcmp((char *)to + at, (char *)from + at, part)) memcpy((char *)to + at, (char *)from + at, part);
    }
    return 0;
}

static int map_private(size_t size, void **address)
{
    void *memory = VirtualAlloc(NULL, size, MEM_RESERVE | MEM_COMMIT, PAGE_READWRITE);
    if (!memory) return last_error();
    *address = memory;
    return 0;
}

/* What may fail is tried at another place first. */
int region_map_again(region_file file, region_intent intent, uint64_t offset, size_t size, void *address)
{
    void *elsewhere, *again;
    if (!size) return 0;
    int error = map_at(file, intent, offset, size, NULL, &elsewhere);
    if (error) return error;
    region_unmap(elsewhere, size);
    error = region_unmap(address, size);
    if (error) return error;
    error = map_at(file, intent, offset, size, address, &again);
    if (error) VirtualAlloc(address, size, MEM_RESERVE, PAGE_NOACCESS); /* no other memory shall take the place */
    return error;
}

/* Zero-filled memory; a name without "Global\\" is seen within the user's session. */
static HANDLE make_section(size_t size, const wchar_t *name)
{
    return CreateFileMappingW(INVALID_HANDLE_VALUE, NULL, PAGE_READWRITE, (DWORD)((uint64_t)size >> 32), (DWORD)size, name);
}

int region_map_anonymous(size_t size, int shared, void **address)
{
    if (!size) {
        *address = nothing;
        return 0;
    }
    if (!shared) return map_private(size, address);
    HANDLE section = make_section(size, NULL);
    if (!section) return last_error();
    int error = map_section(section, FILE_MAP_WRITE, 0, size, NULL, address);
    CloseHandle(section);
    return error;
}

int region_memory_create(const char *name, size_t size, region_file *memory)
{
    wchar_t *wide;
    int error = to_wide(name, &wide);
    if (error) return error;
    HANDLE section = make_section(size ? size : 1, wide);
    if (!section) error = last_error();
    else *memory = (region_file)section;
    free(wide);
    return error;
}

int region_memory_open(const char *name, uint64_t maker, region_file *memory)
{
    wchar_t *wide;
    (void)maker; /* the name goes with its handle */
    int error = to_wide(name, &wide);
    if (error) return error;
    HANDLE section = OpenFileMappingW(FILE_MAP_WRITE, FALSE, wide);
    if (!section) error = last_error();
    else *memory = (region_file)section;
    free(wide);
    return error;
}

int region_memory_map(region_file memory, uint64_t offset, size_t size, void **address)
{
    if (!size) {
        *address = nothing;
        return 0;
    }
    return map_section((HANDLE)memory, FILE_MAP_WRITE, offset, size, NULL, address);
}

/* The allocation that an address is in. */
static int find_allocation(void *address, MEMORY_BASIC_INFORMATION *found)
{
    if (!VirtualQuery(address, found, sizeof *found)) return last_error();
    return found->State != MEM_FREE && found->Type != MEM_IMAGE ? 0 : ERROR_INVALID_ADDRESS;
}

int region_unmap(void *address, size_t size)
{
    MEMORY_BASIC_INFORMATION found;
    if (!size) return 0;
    int error = find_allocation(address, &found);
    if (error) return error;
    BOOL done = found.Type == MEM_MAPPED ? UnmapViewOfFile(found.AllocationBase)
                                         : VirtualFree(found.AllocationBase, 0, MEM_RELEASE);
    return done ? 0 : last_error();
}

int region_resize_anonymous(size_t old_size, size_t size, void **address)
{
    void *moved;
    int error = region_map_anonymous(size, 0, &moved);
    if (error) return error;
    memcpy(moved, *address, old_size < size ? old_size : size);
    error = region_unmap(*address, old_size);
    if (error) region_unmap(moved, size);
    else *address = moved;
    return error;
}

/* Map again what had to be unmapped: in its old place, or anywhere if that was taken, or not at all (NULL). */
static void *map_back(region_file file, uint64_t offset, size_t size, void *where)
{
    void *address = NULL;
    if (map_at(file, REGION_WRITE, offset, size, where, &address))
        map_at(file, REGION_WRITE, offset, size, NULL, &address);
    return address;
}

/* Unmap, set the size of the file and map: nothing of a mapped file can be cut off. */
static int resize_unmapped(region_file file, uint64_t offset, size_t old_size, size_t size, uint64_t old_end,
                           void **address)
{
    void *moved = NULL;
    int error = region_unmap(*address, old_size);
    if (error) return error;
    error = region_file_resize(file, offset + size, 1);
    if (!error) error = region_map(file, REGION_WRITE, offset, size, &moved);
    if (error) { /* bytes that were cut off come back as zeros */
        region_file_resize(file, old_end, 0);
        moved = map_back(file, offset, old_size, *address);
    }
    *address = moved;
    return error;
}

/* If the new size cannot be mapped and the old one not again, `*address` is NULL. */
int region_resize(region_file file, uint64_t offset, size_t old_size, size_t size, int sparse, void **address)
{
    region_info before;
    void *moved;
    if (offset > INT64_MAX || size > INT64_MAX - offset) return ERROR_INVALID_PARAMETER;
    int error = region_file_info(file, &before);
    if (error) return error;
    if (size > old_size) {
        error = region_file_resize(file, offset + size, sparse);
        if (error) return error;
        if (!region_map(file, REGION_WRITE, offset, size, &moved)) {
            region_unmap(*address, old_size);
            *address = moved;
            return 0;
        } /* else there may be room once the old view is gone */
    }
    return resize_unmapped(file, offset, old_size, size, before.size, address);
}

/* Fresh pages in memory that is private already. */
static int revoke_private(void *base, size_t size, DWORD protection)
{
    if (!VirtualFree(base, size, MEM_DECOMMIT)) return last_error();
    return VirtualAlloc(base, size, MEM_COMMIT, protection) ? 0 : last_error();
}

/* Between unmapping and allocating, another thread may take the range: Windows has no single step for it. */
static int revoke_view(void *base, size_t size, DWORD protection)
{
    void *promise; /* there is memory: now the view may go */
    int error = map_private(size, &promise);
    if (error) return error;
    error = UnmapViewOfFile(base) ? 0 : last_error();
    VirtualFree(promise, 0, MEM_RELEASE);
    if (error || VirtualAlloc(base, size, MEM_RESERVE | MEM_COMMIT, protection)) return error;
    error = last_error();
    VirtualAlloc(base, size, MEM_RESERVE, PAGE_NOACCESS); /* no other memory shall take the place */
    return error;
}

int region_revoke(void *address, size_t size, int writable)
{
    MEMORY_BASIC_INFORMATION found;
    DWORD protection = writable ? PAGE_READWRITE : PAGE_READONLY;
    if (!size) return 0;
    int error = find_allocation(address, &found);
    if (error) return error;
    size += (size_t)((char *)address - (char *)found.AllocationBase);
    return found.Type == MEM_MAPPED ? revoke_view(found.AllocationBase, size, protection)
                                    : revoke_private(found.AllocationBase, size, protection);
}

/* --- pages ---------------------------------------------------------------------------------------------------- */

/* The whole pages that [*address, *address + *size) meets. */
static void widen(void **address, size_t *size)
{
    size_t mask = region_page_size() - 1;
    size_t extra = (uintptr_t)*address & mask;
    *address = (char *)*address - extra;
    *size = (*size + extra + mask) & ~mask;
}

static int flush_view(void *address, size_t size)
{
    widen(&address, &size);
    for (int tries = 0;; tries++) {
        if (FlushViewOfFile(address, size)) return 0;
        int error = last_error();
        if (error == ERROR_INVALID_ADDRESS) return 0; /* shared memory that no file stands behind */
        if (error != ERROR_LOCK_VIOLATION || tries == 8) return error;
        Sleep(1); /* the system is writing these pages itself */
    }
}

int region_flush(region_file file, uint64_t offset, void *address, size_t size, int wait)
{
    MEMORY_BASIC_INFORMATION found;
    (void)offset;
    if (!size) return 0;
    int error = find_allocation(address, &found);
    if (!error && found.Type == MEM_MAPPED) error = flush_view(address, size); /* private memory has no file */
    if (error || !wait || file == REGION_NO_FILE || FlushFileBuffers((HANDLE)file)) return error;
    error = last_error();
    return error == ERROR_ACCESS_DENIED ? 0 : error; /* through a handle that cannot write nothing was stored */
}

int region_rewrite(region_file file, uint64_t offset, void *address, size_t size)
{
    (void)file, (void)offset, (void)address, (void)size;
    return 0;
}

/* Windows promises no coherence of mappings and writes. */
size_t region_store(region_file file, uint64_t offset, void *address, const void *source, size_t size)
{
    (void)file;
    (void)offset;
    (void)address;
    (void)source;
    (void)size;
    return 0;
}

int region_advise(void *address, size_t size, int is_memory, region_access before, region_access access)
{
    (void)address, (void)size, (void)is_memory, (void)before, (void)access; /* Windows knows such advice for reads only */
    return 0;
}

void region_request(void *address, size_t size)
{
    WIN32_MEMORY_RANGE_ENTRY range = {address, size};
    PrefetchVirtualMemory(GetCurrentProcess(), 1, &range, 0);
}

int region_reads_huge_pages(const char *path)
{
    (void)path;
    return 0;
}

int region_read(region_file file, uint64_t offset, size_t size, uint64_t more, int threads)
{
    (void)file, (void)offset, (void)size, (void)more, (void)threads;
    return ERROR_NOT_SUPPORTED;
}

uint64_t region_major_faults(void) { return 0; }

void region_cool(void *address, size_t size) { (void)address, (void)size; }

int region_evict(region_file file, uint64_t offset, void *address, size_t size, int shared)
{
    (void)file, (void)offset, (void)shared;
    if (size) VirtualUnlock(address, size); /* takes pages out of the working set that are not locked */
    return 0;
}

int region_knows_residency(const char *path)
{
    (void)path;
    return 1;
}

int region_residency(region_file file, uint64_t offset, void *address, size_t size, unsigned char *resident)
{
    enum { BLOCK = 128 };
    PSAPI_WORKING_SET_EX_INFORMATION pages[BLOCK];
    size_t page = region_page_size();
    (void)file, (void)offset;
    if (!size) return 0;
    widen(&address, &size);
    for (size_t done = 0, total = size / page; done < total; done += BLOCK) {
        size_t count = total - done < BLOCK ? total - done : BLOCK;
        for (size_t i = 0; i < count; i++) pages[i].VirtualAddress = (char *)address + (done + i) * page;
        if (!QueryWorkingSetEx(GetCurrentProcess(), pages, (DWORD)(count * sizeof *pages))) return last_error();
        for (size_t i = 0; i < count; i++) resident[done + i] = pages[i].VirtualAttributes.Valid;
    }
    return 0;
}

int region_lock(void *address, size_t size)
{
    HANDLE self = GetCurrentProcess();
    SIZE_T least, most;
    if (!size || VirtualLock(address, size)) return 0;
    int error = last_error();
    if (error != ERROR_WORKING_SET_QUOTA) return error;
    /* the minimum of the working set bounds what may be locked */
    size_t more = size + 2 * region_page_size();
    if (!GetProcessWorkingSetSize(self, &least, &most)) return error;
    if (!SetProcessWorkingSetSize(self, least + more, most + more)) return error;
    if (VirtualLock(address, size)) return 0;
    error = last_error();
    SetProcessWorkingSetSize(self, least, most);
    return error;
}

int region_unlock(void *address, size_t size)
{
    if (!size || VirtualUnlock(address, size)) return 0;
    int error = last_error();
    return error == ERROR_NOT_LOCKED ? 0 : error; /* already as wanted */
}
