"""What each library does when a file changes under its map: ``python benchmarks/scenarios.py [FILE]`` prints the table.

Each cell comes from a run in a separate process. Linux only; some scenarios mount small disks and need root. The table
in the user guide was written by ``python benchmarks/scenarios.py doc/user_guide/_scenarios.rst``.
"""

import errno
import importlib
import importlib.metadata
import importlib.util
import mmap
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from scikitplot.memmap import DamagedError, MemMap

ROWS = np.arange(1, (1 << 20) + 1, dtype="<f8")  # the contents of every file; 8 MiB
HALF = ROWS.nbytes // 2
DISK = "16m"
FILE = "data.bin"

# ------------------------------------------------------------------------------------------------------------- peers


class Peer(NamedTuple):
    """How a library maps FILE ("r" or "r+"), creates and maps it, returns its rows, overwrites them, and closes."""

    open: Callable[[str], Any]
    create: Callable[[], Any]
    view: Callable[[Any], Any]
    store: Callable[[Any, np.ndarray], object]
    close: Callable[[Any], object]


def store(array: Any, rows: np.ndarray) -> None:
    array[:] = rows
    len(array)  # a call, which is where a `DamagedError` arrives at the latest


def open_mmap(mode: str) -> mmap.mmap:
    with open(FILE, "rb" if mode == "r" else "r+b") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ if mode == "r" else mmap.ACCESS_WRITE)


def create_mmap() -> mmap.mmap:
    with open(FILE, "xb") as file:
        file.truncate(ROWS.nbytes)
    return open_mmap("r+")


def arrow_view(file: Any) -> np.ndarray:
    file.seek(0)
    return np.frombuffer(file.read_buffer(), "<f8")


def arrow_store(file: Any, rows: np.ndarray) -> None:
    file.seek(0)
    file.write(rows)


def open_torch(mode: str) -> Any:
    import torch  # takes seconds, so only where it is needed

    return torch.from_file(FILE, mode == "r+", len(ROWS), dtype=torch.float64)


def no_close(owner: object) -> None:
    raise NotImplementedError("cannot be closed")


PEERS = {
    "numpy.memmap": Peer(
        lambda mode: np.memmap(FILE, "<f8", mode),
        lambda: np.memmap(FILE, "<f8", "w+", shape=len(ROWS)),
        lambda array: array[:],
        store,
        lambda array: array._mmap.close(),
    ),
    "mmap": Peer(
        open_mmap,
        create_mmap,
        lambda mapped: np.frombuffer(mapped, "<f8"),
        lambda mapped, rows: store(np.frombuffer(mapped, "<f8"), rows),
        lambda mapped: mapped.close(),
    ),
    "pyarrow": Peer(
        lambda mode: importlib.import_module("pyarrow").memory_map(FILE, mode),
        lambda: importlib.import_module("pyarrow").create_memory_map(FILE, ROWS.nbytes),
        arrow_view,
        arrow_store,
        lambda file: file.close(),
    ),
    "torch": Peer(
        open_torch,
        lambda: open_torch("r+"),
        lambda tensor: tensor[:],
        lambda tensor, rows: store(tensor.numpy(), rows),
        no_close,
    ),
    "MemMap": Peer(
        lambda mode: MemMap.open(FILE, mode, dtype="<f8"),
        lambda: MemMap.open(FILE, "x+", dtype="<f8", shape=len(ROWS)),
        lambda mm: mm[:],
        lambda mm, rows: store(mm[:], rows),
        lambda mm: mm.close(),
    ),
}
HERE = [name for name in PEERS if name not in ("pyarrow", "torch") or importlib.util.find_spec(name)]

# --------------------------------------------------------------------------------------------------------- scenarios


def cut(size: int = HALF) -> None:
    """Let another process truncate the file."""
    subprocess.run(["truncate", "-s", str(size), FILE], check=True)


def regrow() -> None:
    with open(FILE, "r+b") as file:
        file.write(ROWS)


def verdict(total: float) -> str:
    return "correct data" if total == ROWS.sum() else "wrong zeros, no error"


def seen(view: Any) -> str:
    """Read everything and return the verdict."""
    return verdict(float(view.sum()))


def told(owner: Any) -> str:
    """Return what `verify` reports, for libraries that have it."""
    try:
        getattr(owner, "verify", lambda: None)()
    except OSError as error:
        return f"; ``verify``: {named(error)}"
    return ""


def named(error: BaseException) -> str:
    if isinstance(error, OSError) and type(error) in (OSError, FileNotFoundError):
        return f"{type(error).__name__} ({errno.errorcode.get(error.errno, error.errno)})"
    return type(error).__name__


def read_after_a_cut(peer: Peer) -> str:
    view = peer.view(peer.open("r"))
    cut()
    return seen(view)


def read_during_a_cut(peer: Peer) -> str:
    view = peer.view(peer.open("r"))
    cutter = threading.Timer(0.3, cut)
    cutter.start()
    while (found := seen(view)) == "correct data":
        pass
    return found


def read_after_a_cut_in_the_last_page(peer: Peer) -> str:
    owner = peer.open("r")
    cut(ROWS.nbytes - 8)
    return seen(peer.view(owner)) + told(owner)


def store_after_a_cut(peer: Peer) -> str:
    owner = peer.open("r+")
    cut()
    peer.store(owner, ROWS)
    return "lost, no error"


def read_after_a_cut_and_again_after_the_file_has_come_back(peer: Peer) -> str:
    owner = peer.open("r")
    view = peer.view(owner)
    cut()
    try:
        found = seen(view)
    except DamagedError as error:
        found = named(error)
    regrow()
    owner.recover()
    return f"{found}; after ``recover``: {seen(view)}"


def read_after_a_cut_that_was_undone_unseen(peer: Peer) -> str:
    owner = peer.open("r")
    cut()
    os.truncate(FILE, ROWS.nbytes)
    return seen(peer.view(owner)) + told(owner)


def read_after_removal(peer: Peer) -> str:
    owner = peer.open("r")
    os.unlink(FILE)
    return seen(peer.view(owner)) + told(owner)


def read_after_replacement(peer: Peer) -> str:
    owner = peer.open("r")
    np.zeros(len(ROWS)).tofile("other.bin")
    os.replace("other.bin", FILE)
    return seen(peer.view(owner)) + told(owner)


def read_in_eight_threads_during_a_cut(peer: Peer) -> str:
    owner = peer.open("r")
    found = []

    def work(k: int) -> None:
        try:
            while True:
                peer.view(owner)[k * len(ROWS) // 8 :].sum()
        except DamagedError as error:
            found.append(named(error))

    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(8)]
    for thread in threads:
        thread.start()
    cut(0)
    for thread in threads:
        thread.join(10)
    return f"{' '.join(set(found))} in {len(found)} of them" if found else "wrong zeros, no error"


def read_in_a_child_after_a_cut(peer: Peer) -> str:
    view = peer.view(peer.open("r"))
    child = os.fork()
    if child:
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if code < 0:
            return signal.Signals(-code).name
        os._exit(code)  # the child has printed its outcome
    cut()
    return seen(view)


def write_to_another_file_after_a_cut(peer: Peer) -> str:
    view = peer.view(peer.open("r"))
    cut()
    with open("copy.bin", "wb", buffering=0) as file:
        file.write(np.asarray(view)[len(ROWS) // 2 :])
    return "wrong zeros, no error"


def read_by_pyarrow_after_a_cut(peer: Peer) -> str:
    import pyarrow.compute

    column = pyarrow.array(np.asarray(peer.view(peer.open("r"))))
    cut()
    return verdict(pyarrow.compute.sum(column).as_py())


def read_by_torch_after_a_cut(peer: Peer) -> str:
    import torch

    tensor = torch.from_numpy(np.asarray(peer.view(peer.open("r+"))))
    cut()
    return seen(tensor)


class Sums:
    """A dataset of one element, the sum of all rows, computed after the file is truncated."""

    def __init__(self, peer: Peer) -> None:
        self.peer, self.owner = peer, peer.open("r")

    def __len__(self) -> int:
        return 1

    def __getitem__(self, _: int) -> float:
        cut()
        return float(self.peer.view(self.owner).sum())


def read_in_a_dataloader_worker_after_a_cut(peer: Peer) -> str:
    from torch.utils.data import DataLoader

    try:
        [total] = DataLoader(Sums(peer), batch_size=None, num_workers=1)
    except RuntimeError as error:
        reasons = str(error), str(error.__cause__)
        return "SIGBUS in the worker" if any("Bus error" in reason for reason in reasons) else reasons[0]
    return verdict(total)


def close_under_a_view(peer: Peer) -> str:
    owner = peer.open("r")
    view = peer.view(owner)
    try:
        peer.close(owner)
    except NotImplementedError as error:
        return str(error)
    return f"closed; the view reads {seen(view)}"


def fill_disk() -> None:
    with open("filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            os.fsync(filler)


def sparse_file() -> None:
    os.unlink(FILE)
    with open(FILE, "wb") as file:
        file.truncate(ROWS.nbytes)
    fill_disk()


def create_and_store_on_a_full_disk(peer: Peer) -> str:
    os.unlink(FILE)
    fill_disk()
    try:
        owner = peer.create()
    except (OSError, RuntimeError) as error:
        return f"{named(error)} at creation"
    peer.store(owner, ROWS)
    return "written"


def store_into_a_hole_on_a_full_disk(peer: Peer) -> str:
    sparse_file()
    owner = peer.open("r+")
    view = peer.view(owner)
    try:
        peer.store(owner, ROWS)
    except DamagedError as error:
        store(view, ROWS)
        os.unlink("filler")
        owner.recover()
        kept = (np.fromfile(FILE) == ROWS).all()
        return f"{named(error)}; after ``recover``: {'all data in the file' if kept else 'lost'}"
    return "written"


def read_a_hole_on_a_full_disk(peer: Peer) -> str:
    sparse_file()
    return "zeros, as expected" if float(peer.view(peer.open("r")).sum()) == 0 else "?"


def read_after_the_device_failed(peer: Peer) -> str:
    return seen(peer.view(peer.open("r")))


class Scenario(NamedTuple):
    """A row of the table. `disk`: the file system of FILE; `needs`: a module; `peers`: those that it applies to."""

    run: Callable[[Peer], str]
    title: str
    disk: str = ""
    needs: str = ""
    peers: tuple[str, ...] = tuple(PEERS)


AS_ARRAYS = ("numpy.memmap", "mmap", "MemMap")
SCENARIOS = (
    Scenario(read_after_a_cut, "The file is truncated, then summed"),
    Scenario(read_during_a_cut, "... while it is summed"),
    Scenario(read_in_eight_threads_during_a_cut, "... while eight threads sum it"),
    Scenario(read_in_a_child_after_a_cut, "... then summed in a child process (fork)"),
    Scenario(read_in_a_dataloader_worker_after_a_cut, "... then summed in a worker of a DataLoader", needs="torch"),
    Scenario(read_by_torch_after_a_cut, "... then summed as a tensor", needs="torch", peers=AS_ARRAYS),
    Scenario(
        read_by_pyarrow_after_a_cut, "... then summed by ``pyarrow.compute``", needs="pyarrow",
        peers=(*AS_ARRAYS, "pyarrow"),
    ),
    Scenario(store_after_a_cut, "... then written to"),
    Scenario(write_to_another_file_after_a_cut, "... then its lost part is copied by ``file.write``"),
    Scenario(
        read_after_a_cut_and_again_after_the_file_has_come_back,
        "... then summed, and summed again after the file is restored",
    ),
    Scenario(read_after_a_cut_that_was_undone_unseen, "... and extended with zeros, then summed"),
    Scenario(read_after_a_cut_in_the_last_page, "The file loses 8 bytes of its last page"),
    Scenario(read_after_removal, "The file is removed"),
    Scenario(read_after_replacement, "The file is replaced by another one"),
    Scenario(create_and_store_on_a_full_disk, "A file is created on a full disk (ext4) and filled", "ext4"),
    Scenario(create_and_store_on_a_full_disk, "... on a full tmpfs", "tmpfs"),
    Scenario(store_into_a_hole_on_a_full_disk, "A sparse file is filled on a full disk (ext4)", "ext4"),
    Scenario(store_into_a_hole_on_a_full_disk, "... on a full tmpfs", "tmpfs"),
    Scenario(read_a_hole_on_a_full_disk, "A hole is read on a full tmpfs", "tmpfs"),
    Scenario(read_after_the_device_failed, "The device fails to read", "failing"),
    Scenario(close_under_a_view, "The map is closed while an array uses it"),
)  # fmt: skip

# -------------------------------------------------------------------------------------------------------------- runs


@contextmanager
def mounted(folder: Path, *how: object) -> Iterator[None]:
    subprocess.run(["mount", *how, folder], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@contextmanager
def place(disk: str) -> Iterator[Path]:
    """Yield a folder on the given kind of disk, with the rows in FILE."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, image = Path(name, "folder"), Path(name, "image")
        folder.mkdir()
        if disk == "tmpfs":
            stack.enter_context(mounted(folder, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs"))
        elif disk:
            command = ["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-m", "0", "-N", "16", image, DISK]
            paths = os.environ["PATH"] + ":/sbin:/usr/sbin"
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=os.environ | {"PATH": paths})
            if disk == "failing":
                with mounted(folder, "-o", "loop", image):
                    ROWS.tofile(folder / FILE)
                stack.enter_context(mounted(folder, "-o", "loop,ro", image))
                os.truncate(image, 6 << 20)
            else:
                stack.enter_context(mounted(folder, "-o", "loop", image))
        if disk != "failing":
            ROWS.tofile(folder / FILE)
        yield folder


def run_here(number: int, name: str) -> None:
    """Run one cell and print its outcome on the last line."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        outcome = SCENARIOS[number].run(PEERS[name])
    except Exception as error:
        outcome = named(error)
    print(outcome, flush=True)
    os._exit(0)  # even if threads are still running


def cell(number: int, name: str) -> str:
    scenario = SCENARIOS[number]
    if name not in scenario.peers:
        return "--"
    if scenario.needs and not importlib.util.find_spec(scenario.needs):
        return f"needs {scenario.needs}"
    if scenario.disk and (os.geteuid() or not shutil.which("mount")):
        return "needs root"
    with place(scenario.disk) as folder:
        command = [sys.executable, "-W", "ignore", __file__, str(number), name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode < 0:
        return signal.Signals(-done.returncode).name
    return done.stdout.splitlines()[-1] if done.stdout else done.stderr


def table() -> Iterator[str]:
    yield ".. list-table::\n   :header-rows: 1\n"
    for label, *cells in (["What happens", *HERE], *rows()):
        yield f"   * - {label}"
        yield from (f"     - {text}" for text in cells)
    packages = ["numpy", *(name for name in HERE if name in ("pyarrow", "torch")), "scikit-plots-memmap"]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    system = f"{platform.system()} {platform.release().partition('-')[0]}, CPython {platform.python_version()}"
    yield f"\n{', '.join([system, *versions])}."


def rows() -> Iterator[list[str]]:
    for number, scenario in enumerate(SCENARIOS):
        yield [scenario.title, *(cell(number, name) for name in HERE)]


def main() -> None:
    lines = [".. Made by: python benchmarks/scenarios.py doc/user_guide/_scenarios.rst\n", *table()]
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text("\n".join(lines) + "\n")
    else:
        print("\n".join(lines))


if __name__ == "__main__":
    run_here(int(sys.argv[1]), sys.argv[2]) if len(sys.argv) > 2 else main()
