"""File and FileInfo: open, check, create, link, resize and close files. Errors carry the file's name."""

import errno

cimport cython
from libc.stdint cimport uint64_t
from libc.string cimport strlen

from .libregion cimport (
    REGION_DEVICE, REGION_DIRECTORY, REGION_FIFO, REGION_NO_FILE, REGION_REGULAR, REGION_SOCKET, region_directory_sync,
    region_error_text, region_file, region_file_close, region_file_create, region_file_create_nameless,
    region_file_info, region_file_link, region_file_open, region_file_reopen, region_file_resize, region_info,
    region_kind, region_path_info,
)

from ._limits import explain_descriptors

cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(str)

cdef dict KINDS = {
    REGION_DIRECTORY: "directory", REGION_FIFO: "FIFO", REGION_SOCKET: "socket", REGION_DEVICE: "device",
}


cdef bytes encoded(str path):
    """A path as the platform layer takes it."""
    cdef bytes name = PyUnicode_EncodeFSDefault(path)
    if strlen(name) != <size_t>len(name):
        raise ValueError(f"path {path!r} has an embedded null character")
    return name


cdef int check(int code, path) except -1:
    """Raise the OSError for an error code of the system, with the file's name; do nothing for 0."""
    cdef char text[256]
    if code == 0:
        return 0
    region_error_text(code, text, sizeof(text))
    # On Windows the fourth argument is the code, from which Python derives errno; elsewhere it is ignored.
    error = OSError(code, (<bytes>text).decode("utf-8", "replace"), path, code)
    raise explain_descriptors(error, path) if error.errno == errno.EMFILE else error


cdef int check_regular(region_kind kind, path) except -1:
    if kind == REGION_REGULAR:
        return 0
    if kind == REGION_DIRECTORY:
        raise IsADirectoryError(errno.EISDIR, "Expected a regular file, not a directory", path)
    raise OSError(errno.ENODEV, f"Expected a regular file, not a {KINDS.get(kind, 'special file')}", path)


@cython.final
cdef class FileInfo:
    """Size, identity and time of a regular file, as they were when the system was asked."""

    @staticmethod
    def at(str path):
        """Ask about a file without opening it."""
        cdef region_info seen
        cdef bytes name = encoded(path)
        check(region_path_info(name, &seen), path)
        check_regular(seen.kind, path)
        return file_info(&seen)

    @property
    def size(self):
        """In bytes."""
        return self.seen.size

    @property
    def mtime_ns(self):
        return self.seen.mtime_ns

    @property
    def identity(self):
        """(device, inode): tells the file from all others on this host."""
        return self.seen.device, self.seen.inode


cdef FileInfo file_info(const region_info *seen):
    cdef FileInfo info = FileInfo.__new__(FileInfo)
    info.seen = seen[0]
    return info


def sync_directory(str path):
    """Make the entries of a directory survive a power cut."""
    cdef bytes name = encoded(path)
    cdef const char *raw = name
    cdef int code
    with nogil:
        code = region_directory_sync(raw)
    check(code, path)


cdef int open_with_info(const char *path, bint writable, region_file *file, region_info *seen) noexcept nogil:
    cdef int code = region_file_open(path, writable, file)
    return code if code else region_file_info(file[0], seen)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class File:
    """An open file of the operating system; closed when dropped.

    Only the thread that made it resizes or closes it, until a region has it: then the region's last user closes it.
    """

    def __cinit__(self):
        self.handle = REGION_NO_FILE

    @staticmethod
    def open(str path, bint writable):
        """Open a regular file; anything else is refused, without blocking on it."""
        cdef File file = File.__new__(File)
        cdef bytes name = encoded(path)
        cdef const char *raw = name
        cdef int code
        file.path = path
        if is_only_thread():
            code = open_with_info(raw, writable, &file.handle, &file.seen)
        else:
            with nogil:  # a network file system may take its time
                code = open_with_info(raw, writable, &file.handle, &file.seen)
        if code and region_path_info(raw, &file.seen) == 0:
            check_regular(file.seen.kind, path)  # the kind of the file says more than the error
        check(code, path)
        check_regular(file.seen.kind, path)
        return file

    @staticmethod
    def create(str name, str path):
        """Create a file that must not exist yet, under `name`; errors call it `path`."""
        cdef File file = File.__new__(File)
        cdef bytes raw = encoded(name)
        file.path = path
        check(region_file_create(raw, &file.handle), path)
        return file

    @staticmethod
    def create_nameless(str directory, str path):
        """Create a file that has no name until it is linked; None where the system has no such files."""
        cdef File file = File.__new__(File)
        cdef bytes raw = encoded(directory)
        file.path = path
        return None if region_file_create_nameless(raw, &file.handle) else file

    def link(self, str name):
        """Give a file without a name one that is not taken."""
        cdef bytes raw = encoded(name)
        check(region_file_link(self.handle, raw), self.path)

    @staticmethod
    def reopen(region_file handle, bint writable, name):
        """Open again a file that the caller has open; errors call it `name`."""
        cdef File file = File.__new__(File)
        file.path = name
        file.is_callers = True
        check(region_file_reopen(handle, writable, &file.handle, &file.shares_position), name)
        check(region_file_info(file.handle, &file.seen), name)
        check_regular(file.seen.kind, name)
        return file

    @property
    def info(self):
        """The `FileInfo` of when the file was opened, or last resized here."""
        return file_info(&self.seen)

    def info_now(self):
        """The `FileInfo` of now."""
        cdef region_info seen
        cdef int code
        with cython.critical_section(self):
            if self.handle == REGION_NO_FILE:
                raise ValueError(f"MemMap is closed: {self.path}")
            code = region_file_info(self.handle, &seen)
        check(code, self.path)
        return file_info(&seen)

    @property
    def size(self):
        """`info.size`, in bytes."""
        return self.seen.size

    def resize(self, uint64_t size, bint sparse):
        """Set the size in bytes. Growing reserves the space on disk unless `sparse`."""
        cdef int code
        with nogil:
            code = region_file_resize(self.handle, size, sparse)
        check(code, self.path)
        check(region_file_info(self.handle, &self.seen), self.path)

    cpdef void close(self) noexcept:
        cdef region_file handle
        with cython.critical_section(self):
            handle = self.handle
            self.handle = REGION_NO_FILE
        if handle != REGION_NO_FILE:
            region_file_close(handle)

    def __dealloc__(self):
        if self.handle != REGION_NO_FILE:
            region_file_close(self.handle)


cdef region_file handle_of(File file) noexcept:
    return REGION_NO_FILE if file is None else file.handle
