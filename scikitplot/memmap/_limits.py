"""Name the limit behind an error of the system, with its number, for error messages."""

import errno
import sys

from ._system import MEMORY_PROMISE

NO_MEMORY = (errno.ENOMEM, errno.EOVERFLOW)
NO_MEMORY_ON_WINDOWS = (8, 14, 1455)  # ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_COMMITMENT_LIMIT
INVALID_PARAMETER = 87  # the error of Windows for more than the address space
NO_SPACE = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC), errno.EFBIG)

NO_MAPPING = "The file system maps no file (sysfs): copy the file"
NO_SHARED_MAPPING = (
    "The file system has no shared mappings (FUSE with direct_io), which every mode that writes to the file needs: "
    'mode "r" or "c" may do, or put the file elsewhere'
)

# user space of x86-64 with four-level page tables (others have more); 32-bit processes have at most 4 GiB
ADDRESS_SPACE = 1 << (47 if sys.maxsize > 1 << 32 else 32)


def resource_limit(name: str) -> int | None:
    """Return the soft limit that getrlimit has under a name; None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    number = getattr(resource, name, None)
    soft = resource.RLIM_INFINITY if number is None else resource.getrlimit(number)[0]
    return None if soft == resource.RLIM_INFINITY else soft


BUFFER = 8192  # bytes; the 128 KiB of CPython 3.14 would be one more mapping, where there may be no more


def kernel_setting(name: str) -> str | None:
    try:
        with open(f"/proc/sys/vm/{name}", buffering=BUFFER) as setting:
            return setting.read().strip()
    except OSError:  # not Linux
        return None


def map_count() -> int:
    try:
        with open("/proc/self/maps", "rb", buffering=BUFFER) as maps:
            return sum(1 for _ in maps)
    except OSError:  # not Linux
        return 0


def memory_limit(nbytes: int) -> str:
    """Return a description of the limit that kept the system from mapping `nbytes` bytes."""
    if nbytes >= ADDRESS_SPACE:
        return f"the address space of a process ends at {ADDRESS_SPACE} bytes"
    allowed = resource_limit("RLIMIT_AS")
    if allowed is not None:
        return f"the address space of this process is limited to {allowed} bytes (ulimit -v)"
    most = kernel_setting("max_map_count")
    if most is not None and map_count() >= int(most) - 1:
        return f"a process may have {most} mappings (vm.max_map_count)"
    promise = f"the system does not promise that much memory ({MEMORY_PROMISE})"
    if ADDRESS_SPACE == 1 << 32:
        return f"no such gap is left in the address space of a 32-bit process, {ADDRESS_SPACE} bytes, or {promise}"
    return promise


def is_out_of_memory(error: OSError, nbytes: int) -> bool:
    code = getattr(error, "winerror", None)  # errno says less
    if code is None:
        return error.errno in NO_MEMORY
    return code in NO_MEMORY_ON_WINDOWS or (code == INVALID_PARAMETER and nbytes >= ADDRESS_SPACE)


def explain_memory(error: OSError, nbytes: int, path: str | None, writes: bool = True) -> OSError:
    """Return the error to raise when mapping `nbytes` bytes, to write to them or not, failed."""
    if error.errno == errno.ENODEV:
        return OSError(error.errno, NO_SHARED_MAPPING if writes else NO_MAPPING, path)
    if not is_out_of_memory(error, nbytes):
        return error
    return OSError(errno.ENOMEM, f"Cannot map {nbytes} bytes: {memory_limit(nbytes)}", path)


def explain_descriptors(error: OSError, path: str | None) -> OSError:
    """Return the error to raise when the process has no descriptor left."""
    allowed = resource_limit("RLIMIT_NOFILE")
    limit = "" if allowed is None else f": this process may have {allowed} files open (ulimit -n)"
    way_out = 'close files, raise the limit, or open by path with mode "r" or "c": such maps keep no file open'
    return OSError(error.errno, f"{error.strerror}{limit}. Way out: {way_out}", path)


def explain_space(error: OSError, nbytes: int, path: str | None) -> OSError:
    """Return the error to raise when a file could not be made `nbytes` bytes long."""
    if error.errno not in NO_SPACE:
        return error
    return OSError(error.errno, f"{error.strerror}: the file needs {nbytes} bytes", path)


def explain_lock(error: OSError, nbytes: int, path: str | None) -> OSError:
    """Return the error to raise when `nbytes` bytes could not be locked in memory."""
    allowed = resource_limit("RLIMIT_MEMLOCK")
    limit = "" if allowed is None else f", and this process may lock {allowed} bytes (ulimit -l)"
    return OSError(error.errno, f"{error.strerror}: cannot lock {nbytes} bytes{limit}", path)


def explain_write_back(error: OSError, path: str | None) -> OSError:
    """Return the error to raise when dirty pages could not be written back."""
    hint = "what was written to the map is in memory and may not be on the disk, until recover() has succeeded"
    return OSError(error.errno, f"{error.strerror}: {hint}", path)
