# region.h documents these.

from libc.stdint cimport int64_t, intptr_t, uint64_t


cdef extern from "_platform/region.h" nogil:
    ctypedef intptr_t region_file
    region_file REGION_NO_FILE

    ctypedef enum region_kind:
        REGION_REGULAR
        REGION_DIRECTORY
        REGION_FIFO
        REGION_SOCKET
        REGION_DEVICE
        REGION_GENERATED

    ctypedef struct region_info:
        region_kind kind
        uint64_t size
        uint64_t device
        uint64_t inode
        int64_t birth_ns
        int64_t mtime_ns

    ctypedef enum region_intent:
        REGION_READ
        REGION_WRITE
        REGION_COPY

    ctypedef enum region_access:
        REGION_NORMAL
        REGION_RANDOM
        REGION_SEQUENTIAL

    size_t region_page_size()
    void region_error_text(int code, char *text, size_t size)

    int region_path_info(const char *path, region_info *info)
    int region_file_open(const char *path, int writable, region_file *file)
    int region_file_create(const char *path, bint owner_only, region_file *file)
    int region_file_create_nameless(const char *directory, bint owner_only, region_file *file)
    int region_file_link(region_file file, const char *path)
    int region_file_reopen(region_file file, bint writable, region_file *own, bint *shares_position)
    int region_file_info(region_file file, region_info *info)
    int region_file_resize(region_file file, uint64_t size, int sparse)
    int region_file_read(region_file file, uint64_t offset, void *bytes, size_t size, size_t *found)
    int region_file_append(region_file file, uint64_t end, const void *bytes, size_t size, bint *ends_there)
    int region_file_write(region_file file, uint64_t offset, const void *bytes, size_t size)
    int region_file_sync(region_file file)
    int region_file_close(region_file file)
    int region_directory_sync(const char *path)

    int region_map(region_file file, region_intent intent, uint64_t offset, size_t size, void **address)
    int region_map_ahead(
        region_file file, region_intent intent, uint64_t offset, size_t size, size_t *room, void **address)
    int region_use_room(
        region_file file, region_intent intent, uint64_t offset, void *address, size_t old_size, size_t size)
    int region_trim(size_t room, size_t size, void **address)
    int region_take_changes(region_file file, uint64_t offset, void *source, size_t size, void *to, size_t new_size)
    int region_map_anonymous(size_t size, int shared, void **address)
    int region_memory_create(const char *name, size_t size, region_file *memory)
    int region_memory_open(const char *name, uint64_t maker, region_file *memory)
    int region_memory_map(region_file memory, uint64_t offset, size_t size, void **address)
    int region_unmap(void *address, size_t size)
    int region_resize_anonymous(size_t old_size, size_t size, void **address)
    int region_resize(region_file file, uint64_t offset, size_t old_size, size_t size, int sparse, void **address)

    int region_flush(region_file file, uint64_t offset, void *address, size_t size, int wait)
    int region_rewrite(region_file file, uint64_t offset, void *address, size_t size)
    size_t region_store(region_file file, uint64_t offset, void *address, const void *source, size_t size)
    int region_advise(void *address, size_t size, int is_memory, region_access before, region_access access)
    void region_request(void *address, size_t size)
    int region_reads_huge_pages(const char *path)
    int region_read(region_file file, uint64_t offset, size_t size, uint64_t more, int threads)
    uint64_t region_major_faults()
    void region_cool(void *address, size_t size)
    int region_evict(region_file file, uint64_t offset, void *address, size_t size, int shared)
    bint region_knows_residency(const char *path)
    int region_residency(region_file file, uint64_t offset, void *address, size_t size, unsigned char *resident)
    int region_lock(void *address, size_t size)
    int region_unlock(void *address, size_t size)
