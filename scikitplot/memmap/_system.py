"""What POSIX and Windows call by different names, outside of the platform layer in C."""

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator

if sys.platform == "win32":
    MEMORY_PROMISE = "commit limit: what it has and the paging files"

    def system_handle(descriptor: int) -> int:
        """Return the platform layer's handle of a descriptor."""
        import msvcrt

        return msvcrt.get_osfhandle(descriptor)

    def system_path(path: str) -> str:
        """Return an absolute path for Python's own calls, which end at 260 characters without this prefix."""
        return path if path.startswith("\\\\") else f"\\\\?\\{os.path.normpath(path)}"

    @contextlib.contextmanager
    def pinned(folder: str) -> Iterator[str]:
        """Give a name of a directory that leads to it as long as the context is open."""
        yield folder

    def is_of_another_user(handle: int, folder: str) -> bool:
        """Return False: there are no sticky directories."""
        return False

    def hand_on_rights(old: int, new: int) -> None:
        """Do nothing: a new file has the rights that its directory gives, and only a writable file is replaced."""

else:
    MEMORY_PROMISE = "overcommit, vm.overcommit_memory"

    def system_handle(descriptor: int) -> int:
        """Return the platform layer's handle of a descriptor."""
        return descriptor

    def system_path(path: str) -> str:
        """Return an absolute path for Python's own calls."""
        return path

    @contextlib.contextmanager
    def pinned(folder: str) -> Iterator[str]:
        """Give a name of a directory that leads to it as long as the context is open.

        Without /proc it is the name by which the directory was found.
        """
        descriptor = os.open(folder, getattr(os, "O_PATH", os.O_RDONLY) | os.O_DIRECTORY)
        try:
            name = f"/proc/self/fd/{descriptor}"
            yield name if os.path.exists(name) else folder
        finally:
            os.close(descriptor)

    def is_of_another_user(handle: int, folder: str) -> bool:
        """Return whether a file is another user's and its directory sticky.

        The system lets only root replace it. But root should not either: it would write to a file that the other user
        planted, which open() refuses, too (fs.protected_regular).
        """
        place = os.stat(folder)
        return bool(place.st_mode & stat.S_ISVTX) and os.fstat(handle).st_uid not in (os.geteuid(), place.st_uid)

    ACL = "system.posix_acl_access"
    LABELS = ("user.", "security.selinux", "security.SMACK64")  # "security.capability" would be a right of the new file

    def hand_on_rights(old: int, new: int) -> None:
        """Give a new file, one of its owner only, the rights on an old one: nobody has more rights than on the old one.

        Owner, group, access control list and extended attributes follow where the system lets this process set them.
        Where group or list cannot, permissions become fewer. Set-user-id and set-group-id never follow.
        """
        before = os.fstat(old)
        try:
            os.fchown(new, before.st_uid, before.st_gid)
        except OSError:  # only root may give a file away, but many a user has several groups
            with contextlib.suppress(OSError):
                os.fchown(new, -1, before.st_gid)
        same_group = os.fstat(new).st_gid == before.st_gid
        permissions = before.st_mode & 0o777
        acl = read_acl(old)
        if acl is not None:
            if same_group:
                with contextlib.suppress(OSError):
                    os.setxattr(new, ACL, acl)
            if read_acl(new) != acl:
                permissions &= stat.S_IRWXU  # entries of the list may have denied what the others may
        else:
            if read_acl(new) is not None:  # from the directory's default
                os.removexattr(new, ACL)
            if not same_group:
                both = permissions >> 3 & permissions & 0o7  # members of either group had these
                permissions = permissions & stat.S_IRWXU | both << 3 | both
        os.fchmod(new, permissions)
        copy_attributes(old, new)

    def read_acl(descriptor: int) -> bytes | None:
        """Return the access control list of a file; None if it has none."""
        if not hasattr(os, "getxattr"):  # macOS
            return None
        try:
            return os.getxattr(descriptor, ACL)
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return None
            raise

    def copy_attributes(old: int, new: int) -> None:
        """Copy the user's extended attributes and the security labels, where the system allows it."""
        with contextlib.suppress(OSError, AttributeError):  # AttributeError: macOS
            for name in os.listxattr(old):
                if name.startswith(LABELS):
                    with contextlib.suppress(OSError):
                        os.setxattr(new, name, os.getxattr(old, name))
