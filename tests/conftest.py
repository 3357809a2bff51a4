"""What the test modules share: markers, hypothesis profiles, files, subprocesses, and what a call left behind."""

import contextlib
import gc
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import hypothesis
import numpy as np
import pytest

from scikitplot.memmap import MemMap, _files
from scikitplot.memmap._limits import NO_SHARED_MAPPING

sys.path.insert(0, str(Path(__file__).parent))  # for `import real_data`, which --import-mode=importlib does not offer

import file_system
import page_cache

quiet = [hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow]
hypothesis.settings.register_profile("dev", deadline=None, suppress_health_check=quiet)
hypothesis.settings.register_profile("ci", deadline=None, suppress_health_check=quiet, derandomize=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "dev")


def runs_under_wine() -> bool:
    if sys.platform != "win32":
        return False
    import ctypes

    return hasattr(ctypes.windll.ntdll, "wine_get_version")


EMULATOR = os.environ.get("MEMMAP_EMULATOR", "")  # what runs this interpreter, if it is for another CPU
SANITIZED = re.search("lib[at]san", os.environ.get("LD_PRELOAD", "")) is not None
HAS_CONSUMERS = sys.platform == "linux" and sys.maxsize > 2**32 and not sysconfig.get_config_var("Py_GIL_DISABLED")

# marker -> (where the marked tests run, what they need)
PLATFORMS = {
    "posix": (sys.platform != "win32", "needs FIFOs, permissions, descriptors or resource limits of a POSIX system"),
    "replaces": (sys.platform != "win32", "Windows replaces no file that somebody has open"),
    "windows": (sys.platform == "win32", "needs the exceptions of Windows"),
    "more_than_wine": (not runs_under_wine(), "Wine cannot, Windows can"),
    "native": (not EMULATOR, f"needs a call, a limit or an address space that {EMULATOR} does not pass on"),
    "linux": (sys.platform == "linux", "needs /proc or a limit that only Linux has"),
    "unsanitized": (
        not SANITIZED,
        "sanitizers make mlock do nothing, map memory, end a process that asks for much, and take repairs for races",
    ),
    "consumers": (
        HAS_CONSUMERS and not EMULATOR and not SANITIZED,
        "needs the group consumers, which is installed on 64-bit Linux, with a GIL and no sanitizer, only",
    ),
    "fuse": (
        importlib.util.find_spec("mfusepy") is not None,
        "needs mfusepy, with which tools/ci/file_systems.sh runs it",
    ),
    "images": (
        shutil.which("mksquashfs") is not None and shutil.which("mkfs.erofs") is not None,
        "needs mksquashfs and mkfs.erofs, with which tools/ci/file_systems.sh runs it",
    ),
    "torch": (importlib.util.find_spec("torch") is not None, "needs torch, with which tools/ci/consumers.sh runs it"),
    "libraries": (
        importlib.util.find_spec("duckdb") is not None,
        "needs the group libraries, with which tools/ci/consumers.sh runs it",
    ),
}

# marker -> (whether the temporary folder's file system can, what the marked tests need)
FILE_SYSTEMS = {
    "maps_shared": (
        file_system.maps_shared,
        "the file system has no shared mappings, which modes that write to the file need",
    ),
    "keeps_pages": (file_system.keeps_pages, "the file system drops the pages of a file when it is opened"),
    "reserves": (file_system.reserves, "the file system cannot reserve room, so zeros are written to new files"),
    "tells_others": (
        file_system.reads_without_waiting,
        "the file system does not tell others than the owner of a file which of its pages are resident",
    ),
    "knows_replaced_files": (
        file_system.knows_replaced_files,
        "a file of the file system cannot be found for a moment while another one takes its name",
    ),
}

# fixture or module -> why a test with it is not one that pytest-run-parallel may run many times at once
ALONE = {
    "test_locks": "counts what the whole process has locked",
    "leftovers": "counts what the whole process holds",
    "path": "has one file for all threads",
    "real_file": "unpacks into one file for all threads",
    "run_python": "runs in an interpreter of its own",
    "run_unprivileged": "runs in an interpreter of its own",
    "test_display": "has one file for all threads, and cuts it off",
    "test_docs": "has one folder for all threads",
    "test_how_to": "has one file for all threads",
    "test_consumers": "closes maps, and counts who uses them",
    "small_disk_of": "mounts a disk",
    "test_concat": "closes maps that all threads would have",
    "test_from_memmap": "replaces files that all threads would have",
    "test_faults": "meets lost pages in interpreters of its own",
    "test_threads": "starts threads of its own",
    "test_holders": "closes maps, and counts who uses them",
    "test_interop": "has one file for all threads",
    "test_lifetime": "closes maps, and counts who uses them",
    "test_map_or_array": "measures what the whole process allocates",
    "test_npy": "has one file for all threads",
    "test_paging": "looks at what the system keeps in memory",
    "test_region": "counts who uses a map",
    "test_rights": "changes what all would share",
    "test_shared_memory": "closes maps that all threads would have",
    "test_write_back": "mounts a disk",
    "test_failing_calls": "makes calls of the whole process fail",
    "test_stores": "has one file for all threads",
    "test_growing": "changes the size of files",
    "test_size": "changes the size of files",
}


def pytest_configure(config: pytest.Config) -> None:
    for marker, (_, need) in (PLATFORMS | FILE_SYSTEMS).items():
        config.addinivalue_line("markers", f"{marker}: {need}")
    config.addinivalue_line("markers", "thread_unsafe(reason): is not run many times at once")


def pytest_itemcollected(item: pytest.Item) -> None:
    for name in (*getattr(item, "fixturenames", ()), item.path.stem):
        if name in ALONE:
            item.add_marker(pytest.mark.thread_unsafe(reason=ALONE[name]))


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker, (here, need) in PLATFORMS.items():
        if not here and item.get_closest_marker(marker):
            pytest.skip(need)
    for marker, (can, lack) in FILE_SYSTEMS.items():
        if item.get_closest_marker(marker) and not can():
            pytest.skip(lack)


@pytest.hookimpl(wrapper=True)
def skip_without_shared_mappings() -> Iterator[object]:
    """Skip a test that fails because a mode that writes to a file needs what this file system does not have."""
    try:
        return (yield)
    except Exception as error:
        if NO_SHARED_MAPPING not in str(error) or file_system.maps_shared():
            raise
    pytest.skip(FILE_SYSTEMS["maps_shared"][1])  # here, where the error with its frames is gone


pytest_fixture_setup = pytest_runtest_call = skip_without_shared_mappings


def pytest_collection_finish() -> None:
    # hypothesis makes its random generator, whose owner it could not see among what is frozen
    hypothesis.given(hypothesis.strategies.none())(lambda _: None)()


@pytest.fixture(autouse=True, scope="module")
def light_heap() -> None:
    """What pytest, the libraries and earlier modules made need not be looked at by every gc.collect()."""
    gc.collect()
    gc.freeze()


class Footprint(NamedTuple):
    """What a process holds of a folder."""

    files: list[str]
    mappings: int
    descriptors: int


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """Write bytes or an array to a new file, and return its path."""

    def make(data: bytes | np.ndarray = b"", name: str = "data.bin") -> Path:
        folder = tmp_path
        if threading.current_thread() is not threading.main_thread():  # a test that is run many times at once
            folder /= str(threading.get_ident())
            folder.mkdir(exist_ok=True)
        path = folder / name
        path.write_bytes(data.tobytes(order="A") if isinstance(data, np.ndarray) else data)
        return path

    return make


@pytest.fixture
def leftovers(tmp_path: Path) -> Callable[[], Footprint]:
    """Count the files, the mappings of files and the open descriptors that there are; compare before and after."""
    MemMap.open(__file__).close()  # from the first map on, the guard holds a descriptor

    def footprint() -> Footprint:
        gc.collect()
        files = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*"))
        mappings = descriptors = 0
        if sys.platform == "linux":
            mappings = Path("/proc/self/maps").read_text(errors="replace").count(str(tmp_path))
            descriptors = len(os.listdir("/proc/self/fd"))
        return Footprint(files, mappings, descriptors)

    return footprint


# A thread that ends with an exception ends the program; Python would only print it, or not even that.
STRICT_THREADS = """
import os, sys, threading

def end_program(ended, report=threading.excepthook):
    report(ended)  # says nothing of a SystemExit
    if ended.exc_type is not SystemExit or ended.exc_value.code:
        print(f"{ended.thread} ended with {ended.exc_value!r}", file=sys.stderr, flush=True)
        os._exit(70)

threading.excepthook = end_program
"""
# of Python 3.12 and newer, for a fork while other threads run: what several programs are about
FORKS = "ignore:This process:DeprecationWarning"
RUN_FILE = """
import runpy
sys.argv = sys.argv[1:]
sys.path[0] = os.path.dirname(sys.argv[0])
runpy.run_path(sys.argv[0], run_name="__main__")
"""


@pytest.fixture
def run_python(tmp_path: Path) -> Callable[..., str]:
    """Run code in an interpreter of its own, in tmp_path, and return what it printed.

    Warnings are errors there, and so are exceptions that end a thread.
    """

    def run(code: str, *args: object, timeout: float = 100) -> str:
        command = [sys.executable, "-W", "error", "-W", FORKS, "-c", STRICT_THREADS + code, *map(str, args)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=timeout, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout.strip()

    return run


@pytest.fixture
def run_program(run_python: Callable[..., str]) -> Callable[..., str]:
    """Run a file below tests, such as "programs/forks.py", as `run_python` runs code; it may import its neighbours."""

    def run(name: str, *args: object, timeout: float = 100) -> str:
        return run_python(RUN_FILE, Path(__file__).parent / name, *args, timeout=timeout)

    return run


# root may do everything: it becomes nobody, in a folder that nobody may enter (imports work as root only, perhaps)
UNPRIVILEGED = """
import hashlib, os, resource, sys, time
import numpy as np
from scikitplot.memmap import MemMap, batches
os.chdir(sys.argv[1])
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)

def error_of(call, *args, **kwargs):
    before = sorted(os.listdir(".")), len(os.listdir("/dev/fd"))
    try:
        call(*args, **kwargs)
    except Exception as error:
        assert (sorted(os.listdir(".")), len(os.listdir("/dev/fd"))) == before
        return f"{type(error).__name__}: {error}"
    raise SystemExit("no error")
"""


@pytest.fixture
def run_unprivileged(run_python: Callable[..., str]) -> Iterator[Callable[..., str]]:
    """Run code as a user whom permissions bind; `error_of(call, ...)` there sees that a failed call leaves nothing."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield lambda code, *args: run_python(UNPRIVILEGED + code, folder, *args)


@pytest.fixture
def hide_nameless_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let new files have a name from the start, as on file systems that know no others."""

    class WithoutNameless:
        open = _files.File.open
        create = _files.File.create
        create_nameless = staticmethod(lambda *args, **kwargs: None)

    return lambda: monkeypatch.setattr(_files, "File", WithoutNameless)


def require_mounts() -> None:
    """Skip the test if this process has no CAP_SYS_ADMIN, which root does not have in most containers."""
    status = Path("/proc/self/status").read_text(errors="replace") if sys.platform == "linux" else ""
    found = re.search(r"^CapEff:\s*(\w+)$", status, re.MULTILINE)
    if found is None or not int(found[1], 16) >> 21 & 1:
        pytest.skip("needs root, and a system that lets it mount a small disk")


@pytest.fixture
def mounts() -> None:
    require_mounts()


@pytest.fixture
def small_disk_of(tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Mount a file system of some kind and size ("16m"), and return its folder."""
    folder = tmp_path / "small"

    def mount(kind: str, size: str) -> Path:
        require_mounts()
        folder.mkdir()
        options = ["-t", kind, "-o", f"size={size}", kind]
        if kind not in ("tmpfs", "hugetlbfs"):
            image = tmp_path / "image"
            make = ["mke2fs", "-q", "-t", kind, "-O", "^has_journal", "-m", "0", "-N", "32", image, size]
            subprocess.run(make, check=True, env=os.environ | {"PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"})
            options = ["-o", "loop", image]
        subprocess.run(["mount", *options, folder], check=True)
        return folder

    yield mount
    if os.path.ismount(folder):
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def on_overlay(small_disk_of: Callable[..., Path]) -> Iterator[Path]:
    """The path of a file on overlayfs, as in a container: its pages are those of a file in a folder below."""
    disk = small_disk_of("ext4", "32m")
    merged, *layers = (disk / name for name in ("merged", "lower", "upper", "work"))
    for folder in (merged, *layers):
        folder.mkdir()
    (disk / "lower" / "file").write_bytes(bytes(1 << 16))
    page_cache.cold(disk / "lower" / "file")
    options = ",".join(f"{folder.name}dir={folder}" for folder in layers)
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", merged], check=True)
    yield merged / "file"
    subprocess.run(["umount", "--lazy", merged], check=True)


class ThinDisk:
    """A disk that promises 64 MiB, and has what is left of the 24 MiB of the disk that it is a file of."""

    def __init__(self, outer: Path, folder: Path, kind: str) -> None:
        self.folder = folder
        self._filler = outer / "filler"
        image = outer / "image"
        with open(image, "wb") as file:
            file.truncate(64 << 20)
        path = {**os.environ, "PATH": os.environ["PATH"] + ":/sbin:/usr/sbin"}
        subprocess.run(["mke2fs", "-q", "-t", kind, "-O", "^has_journal", "-m", "0", image], check=True, env=path)
        subprocess.run(["mount", "-o", "loop", image, folder], check=True)

    def fill(self) -> None:
        """From now on what is written to the disk fails, unless it takes the place of something."""
        with open(self._filler, "wb", buffering=0) as filler, contextlib.suppress(OSError):
            while True:
                filler.write(bytes(1 << 16))

    def free(self) -> None:
        """Let it have all of its room again."""
        self._filler.unlink()


@pytest.fixture
def thin_disk(tmp_path: Path) -> Iterator[Callable[[str], ThinDisk]]:
    """Mount a disk of some kind ("ext4") that can run full though its file system has room: `disk.fill()`."""
    outer, folder = tmp_path / "outer", tmp_path / "thin"

    def mount(kind: str = "ext4") -> ThinDisk:
        require_mounts()
        outer.mkdir()
        folder.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", outer], check=True)
        return ThinDisk(outer, folder, kind)

    yield mount
    for mounted in (folder, outer):
        if mounted.is_mount():
            subprocess.run(["umount", "--lazy", mounted], check=True)
