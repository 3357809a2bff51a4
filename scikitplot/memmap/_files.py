"""Find, make and replace the files that are mapped; a call that fails leaves nothing behind."""

import contextlib
import errno
import io
import os
from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol, TypeVar

from ._file import File, FileInfo
from ._limits import explain_descriptors, explain_space
from ._modes import Mode
from ._region import Region, map_file
from ._system import hand_on_rights, is_of_another_user, pinned, system_handle, system_path


class Closable(Protocol):
    """What this module needs of a map."""

    def _close(self) -> bool: ...


_Map = TypeVar("_Map", bound=Closable)

ROOT = "/" if os.sep == "/" else None  # the start of every absolute path on POSIX
REFUSED = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EXDEV)
REPLACES = ': mode "w+" replaces the old file by a new one; remove the file first, or open it with mode "r+"'


def absolute(path: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str:
    """Return the path as an absolute str. Only the system resolves links and ".."."""
    name = path if type(path) is str else str.__str__(os.fsdecode(path))  # of no subclass
    if not name:
        raise FileNotFoundError(errno.ENOENT, "The path is empty", name)
    if name[0] == ROOT or os.path.isabs(name):
        return name
    return os.path.join(os.getcwd(), name) if ".." in name else os.path.abspath(name)


def explain_denied(error: PermissionError, mode: Mode) -> PermissionError:
    hint = '; mode "r" or "c" may do' if mode.writes_file else ""
    return PermissionError(error.errno, f'{error.strerror} (mode "{mode.name}"){hint}', error.filename)


def duplicate(opened: BinaryIO, mode: Mode) -> File:
    """Open again a file that the caller has open."""
    inner = getattr(opened, "file", opened)  # tempfile wraps its files
    if not isinstance(getattr(inner, "raw", inner), io.FileIO):  # text, or a decompressor: not the bytes of the file
        raise TypeError(f"Expected a path or a file opened in binary mode, not {type(opened).__name__}")
    name = getattr(opened, "name", None)
    name = name if isinstance(name, str | bytes) else None  # the descriptor of a file without a name
    if mode.creates and not mode.replaces:
        raise FileExistsError(errno.EEXIST, f'mode "{mode.name}" creates a file, but this one exists', name)
    if not (opened.readable() and (opened.writable() or not mode.writes_file)):
        needed = "r+b" if mode.writes_file else "rb"
        hint = f'mode "{mode.name}" needs a file object that is opened with "{needed}"'
        raise PermissionError(errno.EACCES, hint, name)
    descriptor = opened.fileno()
    opened.flush()
    file = File.reopen(system_handle(descriptor), mode.writes_file, name if isinstance(name, str) else None)
    file.path = path_of(opened, file)
    return file


def path_of(opened: BinaryIO, file: File) -> str | None:
    """Return the absolute path of an open file; None if its name does not lead to it."""
    name = getattr(opened, "name", None)
    if not isinstance(name, str | bytes):
        return None
    try:
        path = absolute(name)
        return path if FileInfo.at(path).identity == file.info.identity else None
    except (OSError, ValueError):
        return None


def set_size(file: File, nbytes: int, sparse: bool) -> None:
    try:
        file.resize(nbytes, sparse)
    except OSError as error:
        raise explain_space(error, nbytes, file.path) from None


def resize_open(file: File, offset: int, nbytes: int, sparse: bool, make_map: Callable[[Region], _Map]) -> _Map:
    """Set the size of an open file to `offset` and `nbytes` bytes more, and make a map of these."""
    size, region = file.size, None
    if offset + nbytes < size:
        return _cut_open(file, offset, nbytes, sparse, make_map)
    set_size(file, offset + nbytes, sparse)
    try:
        region = map_file(file, "write", offset, nbytes)
        region.sparse = sparse
        return make_map(region)
    except BaseException:
        region = None  # unmaps; Windows does not cut off the end of a mapped file
        set_size(file, size, sparse=True)
        raise


def _cut_open(file: File, offset: int, nbytes: int, sparse: bool, make_map: Callable[[Region], _Map]) -> _Map:
    """Make a map, and only then cut off what is behind it: nothing that can fail comes after that."""
    region = map_file(file, "write", offset, file.size - offset)
    region.sparse = sparse
    mm = make_map(region)
    try:
        region.cut(nbytes)
    except BaseException:
        mm._close()
        raise
    return mm


def create(
    path: str, offset: int, nbytes: int, sparse: bool, make_map: Callable[[Region], _Map], header: bytes = b""
) -> _Map:
    """Create a file that must not exist yet and begins with `header`, and make a map of it from `offset` on."""
    return _build(path, path, offset, nbytes, sparse, make_map, header)


def replace(
    path: str, offset: int, nbytes: int, sparse: bool, make_map: Callable[[Region], _Map], header: bytes = b""
) -> _Map:
    """Create a file, with the rights of the old one if there is one, and give it its name once there is a map of it."""
    old = None
    with contextlib.suppress(FileNotFoundError):
        old = File.open(path, False)
    try:
        with naming(path, "" if old is None else REPLACES), target_of(path) as (name, by_link):
            if old is None and by_link:

                def check() -> None:
                    check_link(path, name, FileInfo.at(path))

                return _build(name, path, offset, nbytes, sparse, make_map, header, finish=check)
            if old is not None:
                if by_link:
                    check_link(path, name, old.info)
                check_replaceable(old, name)
            # not a longer form of the old name, which may already have the greatest length
            temporary = os.path.join(os.path.dirname(name), f".memmap-{os.urandom(8).hex()}.tmp")

            def take_name() -> None:
                if old is not None:
                    old.close()  # Windows does not replace a file that is open
                os.replace(temporary, name)

            return _build(temporary, path, offset, nbytes, sparse, make_map, header, old, take_name)
    finally:
        if old is not None:
            old.close()


def check_link(path: str, name: str, found: FileInfo) -> None:
    """Raise OSError if the file that the system found by a link is not the one of the name that we found."""
    if FileInfo.at(name).identity != found.identity:
        raise OSError(errno.ESTALE, "The link was changed during the call", path)


@contextlib.contextmanager
def naming(path: str, hint: str = "") -> Iterator[None]:
    """Let errors name the path of the caller, not names of ours; the hint is for what the system refuses."""
    try:
        yield
    except OSError as error:
        hint = hint if error.errno in REFUSED else ""
        if error.filename == path and not hint:
            raise
        if error.errno == errno.EMFILE:
            raise explain_descriptors(error, path) from None
        raise OSError(error.errno, f"{error.strerror}{hint}", path) from None


@contextlib.contextmanager
def target_of(path: str) -> Iterator[tuple[str, bool]]:
    """Give a name of the file that a path leads to, and whether that was by a link.

    The system refuses to follow some links (fs.protected_symlinks), and others may change a link at any time. So the
    file of this name is to be compared with the one that the system finds.
    """
    target = system_path(path)
    by_link = os.path.islink(target)
    if by_link:
        target = os.path.realpath(target)
    with pinned(os.path.dirname(target)) as folder:
        yield os.path.join(folder, os.path.basename(target)), by_link


def check_replaceable(old: File, name: str) -> None:
    """Raise OSError if an old file may not be written to, or replaced in its directory."""
    if hasattr(os, "statvfs") and os.statvfs(name).f_flag & os.ST_RDONLY:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
    if not os.access(name, os.W_OK, effective_ids=os.access in os.supports_effective_ids):
        raise PermissionError(errno.EACCES, "The file is read-only", name)
    if is_of_another_user(old.handle, os.path.dirname(name)):
        raise PermissionError(errno.EACCES, "The file is another user's, in a sticky directory", name)


def _build(
    name: str,
    path: str,
    offset: int,
    nbytes: int,
    sparse: bool,
    make_map: Callable[[Region], _Map],
    header: bytes,
    old: File | None = None,
    finish: Callable[[], None] = lambda: None,
) -> _Map:
    """Create a file, make a map of it, and only then give it its name where the system can.

    A kill leaves nothing behind, and neither does running out of memory.
    """
    owner_only = old is not None  # until it has the rights of the old file
    taken = os.path.lexists(system_path(name))
    nameless = None if taken else File.create_nameless(os.path.dirname(name), path, owner_only=owner_only)
    file = nameless or File.create(name, path, owner_only=owner_only)
    has_name, region, mm = nameless is None, None, None
    try:
        if old is not None:
            hand_on_rights(old.handle, file.handle)
        set_size(file, offset + nbytes, sparse)
        if header:
            file.write(0, header)
            file.sync()  # a power cut must not leave a name with no header, least of all in the place of an old file
        region = map_file(file, "write", offset, nbytes)
        region.sparse = sparse
        region.unsynced_name = True
        mm = make_map(region)
        if not has_name:
            file.link(name)
            has_name = True
        finish()
    except BaseException:
        with contextlib.suppress(OSError):  # the error under way says more
            if mm is not None:
                mm._close()
            elif region is not None:
                region.close()  # Windows does not delete a mapped file
        file.close()
        if has_name:
            with contextlib.suppress(OSError):
                os.unlink(system_path(name))
        raise
    return mm
