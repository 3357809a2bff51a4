"""What POSIX and Windows call by different names, outside of the platform layer in C."""

import os
import sys

if sys.platform == "win32":
    MEMORY_PROMISE = "commit limit: what it has and the paging files"

    def system_handle(descriptor: int) -> int:
        """Return the platform layer's handle of a descriptor."""
        import msvcrt

        return msvcrt.get_osfhandle(descriptor)

    def system_path(path: str) -> str:
        """Return an absolute path for Python's own calls, which end at 260 characters without this prefix."""
        return path if path.startswith("\\\\") else f"\\\\?\\{os.path.normpath(path)}"

    def set_permissions(path: str, permissions: int) -> None:
        """Do nothing: a file is read-only or it is not, and only one that is not is replaced."""

else:
    MEMORY_PROMISE = "overcommit, vm.overcommit_memory"

    def system_handle(descriptor: int) -> int:
        """Return the platform layer's handle of a descriptor."""
        return descriptor

    def system_path(path: str) -> str:
        """Return an absolute path for Python's own calls."""
        return path

    set_permissions = os.chmod
