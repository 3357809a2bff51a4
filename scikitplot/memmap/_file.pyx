"""File and FileInfo: open, check, create, link, resize and close files. Errors carry the file's name."""

import errno

cimport cython
from libc.stdint cimport uint64_t
from libc.string cimport strlen

from .libregion cimport (
    REGION_DEVICE, REGION_DIRECTORY, REGION_FIFO, REGION_GENERATED, REGION_NO_FILE, REGION_REGULAR, REGION_SOCKET,
    region_directory_sync, region_error_text, region_file, region_file_close, region_file_create,
    region_file_create_nameless, region_file_info, region_file_link, region_file_open, region_file_reopen,
    region_file_read, region_file_resize, region_file_sync, region_file_write, region_info, region_kind,
    region_path_info,
)

from ._limits import explain_descriptors

cdef extern from "Python.h":
    bytes PyUnicode_EncodeFSDefault(str)

cdef dict KINDS = {
    REGION_DIRECTORY: "directory", REGION_FIFO: "FIFO", REGION_SOCKET: "socket", REGION_DEVICE: "device",
    REGION_GENERATED: "generated one, whose size says nothing (/proc, /sys): read it, and map a copy",
}


cdef bytes encoded(str path):
    """Return a path encoded for the platform layer."""
    cdef bytes name = PyUnicode_EncodeFSDefault(path)
    if strlen(name) != <size_t>len(name):
        raise ValueError(f"path {path!r} has an embedded null character")
    return name


cdef int check(int code, path) except -1:
    """Raise the OSError for a system error code, with the file's name. Code 0 means success."""
    cdef char text[256]
    if code == 0:
        return 0
    region_error_text(code, text, sizeof(text))
    # On Windows, Python derives errno from the fourth argument; elsewhere it ignores it.
    error = OSError(code, (<bytes>text).decode("utf-8", "replace"), path, code)
    raise explain_descriptors(error, path) if error.errno == errno.EMFILE else error


cdef int check_regular(region_kind kind, path) except -1:
    """Raise OSError unless the kind is that of a regular file."""
    if kind == REGION_REGULAR:
        return 0
    if kind == REGION_DIRECTORY:
        raise IsADirectoryError(errno.EISDIR, "Expected a regular file, not a directory", path)
    raise OSError(errno.ENODEV, f"Expected a regular file, not a {KINDS.get(kind, 'special file')}", path)


@cython.final
cdef class FileInfo:
    """Size, identity and modification time of a regular file at one moment."""

    @staticmethod
    def at(str path):
        """Return the `FileInfo` of the file at a path, without opening it."""
        cdef region_info fields
        cdef bytes name = encoded(path)
        check(region_path_info(name, &fields), path)
        check_regular(fields.kind, path)
        return file_info(&fields)

    @property
    def size(self):
        """Size in bytes."""
        return self.fields.size

    @property
    def mtime_ns(self):
        """Time of the last modification, in nanoseconds."""
        return self.fields.mtime_ns

    @property
    def identity(self):
        """(device, inode, time of birth or 0), which identify the file on this host."""
        return self.fields.device, self.fields.inode, self.fields.birth_ns


cdef FileInfo file_info(const region_info *fields):
    cdef FileInfo info = FileInfo.__new__(FileInfo)
    info.fields = fields[0]
    return info


def sync_directory(str path):
    """Write the entries of a directory to disk, so that they survive a power cut."""
    cdef bytes name = encoded(path)
    cdef const char *raw = name
    cdef int code
    with nogil:
        code = region_directory_sync(raw)
    check(code, path)


cdef int open_with_info(const char *path, bint writable, region_file *file, region_info *info) noexcept nogil:
    cdef int code = region_file_open(path, writable, file)
    return code if code else region_file_info(file[0], info)


@cython.final
@cython.no_gc
@cython.freelist(8)
cdef class File:
    """An open file of the operating system, closed at the latest when the object is freed.

    Until a region holds it, only the thread that opened it may resize or close it. Then the region's last user closes
    it.
    """

    def __cinit__(self):
        self.handle = REGION_NO_FILE

    @staticmethod
    def open(str path, bint writable):
        """Open a regular file. Raise OSError for any other kind of file, without blocking on it (a FIFO would)."""
        cdef File file = File.__new__(File)
        cdef bytes name = encoded(path)
        cdef const char *raw = name
        cdef int code
        file.path = path
        if is_only_thread():
            code = open_with_info(raw, writable, &file.handle, &file.last_info)
        else:
            with nogil:  # opening may be slow on a network file system
                code = open_with_info(raw, writable, &file.handle, &file.last_info)
        if code and region_path_info(raw, &file.last_info) == 0:
            check_regular(file.last_info.kind, path)  # the kind of the file says more than the error
        check(code, path)
        check_regular(file.last_info.kind, path)
        return file

    @staticmethod
    def create(str name, str path, *, bint owner_only=False):
        """Create a file at `name`, which must not exist. Errors name `path` instead.

        `owner_only`: with no rights for anybody else, instead of those that the umask or the directory gives (POSIX).
        """
        cdef File file = File.__new__(File)
        cdef bytes raw = encoded(name)
        file.path = path
        check(region_file_create(raw, owner_only, &file.handle), path)
        return file

    @staticmethod
    def create_nameless(str directory, str path, *, bint owner_only=False):
        """Create an unnamed file in a directory, to be named by `link`. Return None if the system has no such files."""
        cdef File file = File.__new__(File)
        cdef bytes raw = encoded(directory)
        file.path = path
        return None if region_file_create_nameless(raw, owner_only, &file.handle) else file

    def link(self, str name):
        """Give an unnamed file a name, which must not exist."""
        cdef bytes raw = encoded(name)
        check(region_file_link(self.handle, raw), self.path)

    @staticmethod
    def reopen(region_file handle, bint writable, name):
        """Return our own handle to a file that the caller has open. Errors name `name`."""
        cdef File file = File.__new__(File)
        file.path = name
        file.from_caller = True
        check(region_file_reopen(handle, writable, &file.handle, &file.shares_position), name)
        check(region_file_info(file.handle, &file.last_info), name)
        check_regular(file.last_info.kind, name)
        return file

    @property
    def info(self):
        """The `FileInfo` as of opening, or of the last `resize`."""
        return file_info(&self.last_info)

    def info_now(self):
        """Return the current `FileInfo`."""
        cdef region_info fields
        cdef int code
        with cython.critical_section(self):
            if self.handle == REGION_NO_FILE:
                raise ValueError(f"MemMap is closed: {self.path}")
            code = region_file_info(self.handle, &fields)
        check(code, self.path)
        return file_info(&fields)

    @property
    def size(self):
        """Size in bytes, as in `info`."""
        return self.last_info.size

    def resize(self, uint64_t size, bint sparse):
        """Set the size in bytes. Growing reserves disk space unless `sparse`."""
        cdef int code
        with nogil:
            code = region_file_resize(self.handle, size, sparse)
        check(code, self.path)
        if region_file_info(self.handle, &self.last_info):
            self.last_info.size = size  # the file has it, though the system does not say so

    def read(self, uint64_t offset, Py_ssize_t size):
        """Return bytes; fewer at the end of the file."""
        cdef bytearray data = bytearray(size)
        cdef char *raw = data
        cdef size_t found = 0
        cdef int code
        with nogil:
            code = region_file_read(self.handle, offset, raw, size, &found)
        check(code, self.path)
        return bytes(data[:found])

    def write(self, uint64_t offset, bytes data not None):
        """Write bytes. Those within a page stay old or become new if this process is killed meanwhile."""
        cdef const char *raw = data
        cdef size_t size = len(data)
        cdef int code
        with nogil:
            code = region_file_write(self.handle, offset, raw, size)
        check(code, self.path)

    def sync(self):
        """Make all that was written survive a power cut."""
        cdef int code
        with nogil:
            code = region_file_sync(self.handle)
        check(code, self.path)

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
    """Return the handle of a file, or REGION_NO_FILE for None."""
    return REGION_NO_FILE if file is None else file.handle
