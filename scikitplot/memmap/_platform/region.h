/* region.h - what the package asks of an operating system.
 *
 * One implementation per family: region_posix.c, region_windows.c.  No Python.h here or there, so that this layer
 * compiles and is tested by itself on every target.
 *
 * Conventions
 *   - A function returns 0, or the system's error code (errno, GetLastError()) taken on the line that failed.
 *     On failure nothing is left open, mapped, created or changed, and outputs are untouched.
 *   - Paths are what os.fsencode() gives: the bytes of the name on POSIX, UTF-8 on Windows.
 *   - Addresses, sizes and offsets are in bytes and need no alignment: they are widened to whole pages inside.
 *   - A size of 0 is valid everywhere, and does nothing.
 *   - Files are close-on-exec.  Opening, resizing and writing back go on after a signal.
 *   - "Advisory" functions succeed where the system cannot do what they ask.
 */
#ifndef SCIKITPLOT_MEMMAP_REGION_H
#define SCIKITPLOT_MEMMAP_REGION_H

#include <stddef.h>
#include <stdint.h>

typedef intptr_t region_file; /* an open file: a descriptor on POSIX, a HANDLE on Windows */
#define REGION_NO_FILE ((region_file)-1)

/* REGION_GENERATED: the kernel makes its contents up as they are read (/proc, /sys), and its size says nothing. */
typedef enum {
    REGION_REGULAR, REGION_DIRECTORY, REGION_FIFO, REGION_SOCKET, REGION_DEVICE, REGION_GENERATED, REGION_OTHER
} region_kind;

typedef struct {
    region_kind kind;
    uint64_t size;          /* bytes */
    uint64_t device, inode; /* together with the birth: the identity of the file on this host */
    int64_t birth_ns;       /* when the file was made: inodes are used again.  0 where they are not, or nobody knows */
    int64_t mtime_ns;       /* last modification, in nanoseconds (the zero point is the system's) */
} region_info;

typedef enum {
    REGION_READ,  /* pages are read-only, and those of the file */
    REGION_WRITE, /* writes reach the file */
    REGION_COPY   /* copy-on-write: writes go to private copies of the pages; the file never changes */
} region_intent;

typedef enum { REGION_NORMAL, REGION_RANDOM, REGION_SEQUENTIAL } region_access;

size_t region_page_size(void);

/* The system's text for an error code, in UTF-8, always terminated. */
void region_error_text(int code, char *text, size_t size);

/* --- files ---------------------------------------------------------------------------------------------------- */

/* What stands at a path, without opening it (symlinks are followed). */
int region_path_info(const char *path, region_info *info);
/* Open an existing file, without blocking on one that is not regular.  Others may read, write, rename and delete it. */
int region_file_open(const char *path, int writable, region_file *file);
/* Create a file that must not exist yet, open for reading and writing.  `owner_only`: with no rights for anybody else,
 * instead of those that the umask or the directory gives (POSIX). */
int region_file_create(const char *path, int owner_only, region_file *file);
/* The same without a name: no other process sees it half made, and it is gone if this process ends.  An error where the
 * system or the file system has no such files. */
int region_file_create_nameless(const char *directory, int owner_only, region_file *file);
/* Give such a file a name in its directory, which must not be taken. */
int region_file_link(region_file file, const char *path);
/* Open the file behind a handle of the caller's again.  Where the system permits that, the new handle has a position and
 * flags of its own.  Elsewhere it is a duplicate and `*shares_position` is 1: it has the position and the flags
 * (O_APPEND) of the caller's handle, and must never be used to seek. */
int region_file_reopen(region_file file, int writable, region_file *own, int *shares_position);
int region_file_info(region_file file, region_info *info);
/* Set the size.  Growing reserves disk space unless `sparse`; if there is not enough, the old size is restored. */
int region_file_resize(region_file file, uint64_t size, int sparse);
/* Read bytes; `*found` is how many there were.  Not for a file that region_file_reopen made: see region_file_write(). */
int region_file_read(region_file file, uint64_t offset, void *bytes, size_t size, size_t *found);
/* Write bytes behind the end of a file, which must be at `end`: else `*ends_there` is 0, and nothing happens.  The size that
 * anybody sees has its bytes.  If not all of them can be written, the old size is restored.  Not for a file that
 * region_file_reopen made: this may move its position, and it may only append. */
int region_file_append(region_file file, uint64_t end, const void *bytes, size_t size, int *ends_there);
/* Write all of the bytes, which a process that is killed meanwhile leaves old or new as far as they are in one page.  Not
 * for a file that region_file_reopen made: this may move its position. */
int region_file_write(region_file file, uint64_t offset, const void *bytes, size_t size);
/* Make all that was written to a file survive a power cut. */
int region_file_sync(region_file file);
int region_file_close(region_file file);
/* Make the entries of a directory (a new or renamed file) survive a power cut.  Nothing to do on Windows. */
int region_directory_sync(const char *path);

/* --- mappings ------------------------------------------------------------------------------------------------- */

/* Map `size` bytes of a file from `offset` on; `*address` is where byte `offset` is seen.  The file must have them:
 * Windows refuses to map beyond its end, POSIX maps pages that cannot be touched. */
int region_map(region_file file, region_intent intent, uint64_t offset, size_t size, void **address);
/* region_map() of a file that may grow.  `*room`: how many bytes to set aside at this place, `size` and more; afterwards how
 * many there are: perhaps only `size`.  Those behind `size` cannot be touched before region_use_room(). */
int region_map_ahead(region_file file, region_intent intent, uint64_t offset, size_t size, size_t *room, void **address);
/* Make more of a mapping usable, within its room: `size` bytes instead of `old_size`.  The file has them. */
int region_use_room(region_file file, region_intent intent, uint64_t offset, void *address, size_t old_size, size_t size);
/* Give the room behind `size` bytes of a mapping back. */
int region_trim(size_t room, size_t size, void **address);
/* Take the private changes of a REGION_COPY mapping of `size` bytes over into another, larger one of the same bytes.
 * Nobody may use either; the first one is only good for region_unmap() then. */
int region_take_changes(region_file file, uint64_t offset, void *from, size_t size, void *to, size_t new_size);
/* Map the same again in the place of the whole, or on POSIX a part, of a mapping.  On Windows no other thread may use the
 * memory meanwhile, and on failure the range may be left unmapped, but taken. */
int region_map_again(region_file file, region_intent intent, uint64_t offset, size_t size, void *address);
/* Map zero-filled memory; `shared`: with the children of a later fork.  Much private memory is in huge pages where the
 * system has them, until region_advise(REGION_RANDOM). */
int region_map_anonymous(size_t size, int shared, void **address);
/* Unmap the whole of a mapping. */
int region_unmap(void *address, size_t size);

/* Make zero-filled memory that other processes of the user can open by its name, for as long as this handle is open here.
 * An error where the system knows no such memory. */
int region_memory_create(const char *name, size_t size, region_file *memory);
/* Open what process `maker` has made. */
int region_memory_open(const char *name, uint64_t maker, region_file *memory);
/* An error if the memory ends before these bytes. */
int region_memory_map(region_file memory, uint64_t offset, size_t size, void **address);

/* Change the size of a private anonymous mapping.  Its contents are kept, new bytes are zero.  On POSIX it may move when
 * it grows, but not when it shrinks.  Before it grows, the caller unlocks its pages: else new ones may be locked, too. */
int region_resize_anonymous(size_t old_size, size_t size, void **address);
/* Change the size of a file and of the REGION_WRITE mapping that reaches from `offset` to its end.  On POSIX it moves
 * when it grows, which unlocks its pages, but not when it shrinks.  On Windows it may always move, also on failure; if
 * it cannot be mapped again then, `*address` is NULL. */
int region_resize(region_file file, uint64_t offset, size_t old_size, size_t size, int sparse, void **address);

/* Put private zero-filled memory where the whole of a mapping is; the address range stays taken until region_unmap.
 * On Windows no other thread may use the memory meanwhile. */
int region_revoke(void *address, size_t size, int writable);

/* --- pages ---------------------------------------------------------------------------------------------------- */

/* Write dirty pages back.  `wait`: return when they survive a power cut; else: start writing. */
int region_flush(region_file file, uint64_t offset, void *address, size_t size, int wait);
/* After a failed flush and one that succeeded: put the resident pages of a REGION_WRITE mapping into the page cache anew.
 * Linux remembers of a page that its disk block was once written, also if that failed (ext4: the block reads as zeros); so
 * pages are copied, evicted and written again, with those around the mapping that are evicted together with its own.
 * EBUSY: a page could not be evicted.  Nobody may write to the file meanwhile, and no page may be locked.  Does nothing
 * where pages stay dirty after a failure. */
int region_rewrite(region_file file, uint64_t offset, void *address, size_t size);
/* Write into a REGION_WRITE mapping of a file through the file: `address` is its byte `offset`.  Then no page has to be
 * read or zeroed first; if the first and the last page are resident, a copy is as good, and nothing is written.  A part
 * of a page is copied, too: Linux keeps it only if it can be written back.  The file grows only if it is truncated
 * meanwhile.  Returns how many bytes were written, perhaps none; the caller copies the rest. */
size_t region_store(region_file file, uint64_t offset, void *address, const void *source, size_t size);
/* Advisory: how the pages of a mapping will be used; `before` is the last advice, or REGION_NORMAL.  `is_memory`: they are
 * not those of a file. */
int region_advise(void *address, size_t size, int is_memory, region_access before, region_access access);
/* Advisory: start reading pages that are not resident. */
void region_request(void *address, size_t size);
/* Whether region_read reads the file at a path in huge pages. */
int region_reads_huge_pages(const char *path);
/* Advisory: have several threads read bytes of such a file into the page cache; return when they are there.  As fast at any
 * read-ahead that the device is set to.  Some of the `more` bytes behind them may be read, too, because they are next. */
int region_read(region_file file, uint64_t offset, size_t size, uint64_t more, int threads);
/* How often this thread has had to wait for a page to be read; always 0 where the system does not say. */
uint64_t region_major_faults(void);
/* Advisory: pages were used and will not be soon; where memory is short, they are to go before others. */
void region_cool(void *address, size_t size);
/* Advisory: evict pages from this process and, given a file (or REGION_NO_FILE), from the page cache.
 * `shared`: the mapping shares its pages with a file or with other processes.  No write is lost: an error says that pages
 * could not be written back, and they stay in the page cache.  Not for locked pages: Windows would unlock them. */
int region_evict(region_file file, uint64_t offset, void *address, size_t size, int shared);
/* One byte per page that [address, address + size) meets: 1 if it is resident.  `file` (or REGION_NO_FILE) is asked
 * where the system does not answer for the mapping; EOPNOTSUPP if it does not answer for the file either. */
int region_residency(region_file file, uint64_t offset, void *address, size_t size, unsigned char *resident);
/* Whether the system answers for mappings of the file of this name, so that region_residency() needs no file.  FUSE drops
 * the pages of a file when it is opened. */
int region_knows_residency(const char *path);
int region_lock(void *address, size_t size);
int region_unlock(void *address, size_t size);

#endif
