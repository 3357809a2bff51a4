"""The same work done by MemMap and by its peers, in one run: ``python benchmarks/peers.py`` prints the ratios.

The contenders take turns in an order that is shuffled every round, so that a busy machine slows all of them; the first
round is dropped. Every file is in the page cache. The subjects of the asv suite are defined here, too.
"""

import ctypes
import importlib.metadata
import itertools
import mmap
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import timeit
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow

from scikitplot.memmap import MemMap

ROUNDS = 101  # without the one that is dropped
SAMPLE = 0.002  # seconds that a contender runs per round: too short to be interrupted often
SIZES = {"1MiB": 1 << 20, "1GiB": 1 << 30, "1TiB": 1 << 40}  # of sparse files

BARE_CALLS = "bare system calls"

Time = Callable[[int], float]  # the seconds that so many calls take


class Work(NamedTuple):
    """Statements that do the same; the first is ours. `most` is the largest ratio to `against` that is good enough."""

    subject: str
    contenders: dict[str, str]
    against: str | None = None
    most: float = 0.0


def growth(subject: str, statements: dict[str, str], most: float = 1.15) -> Work:
    """Work that should take no longer on a larger file; 1.15 leaves room for noise."""
    contenders = {
        f"{contender}, {size}": statement.replace("SIZE", size)
        for contender, statement in statements.items()
        for size in reversed(SIZES)
    }
    return Work(subject, contenders, "MemMap, 1MiB", most)


OPEN_MMAP = (
    "fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); os.close(fd); m.close()"
)

OPEN = Work(
    "open + close",
    {
        "MemMap": "MemMap.open(path, dtype='<f4').close()",
        "numpy.memmap": "np.memmap(path, '<f4', 'r')",
        "mmap": OPEN_MMAP,
        "pyarrow.memory_map": "pyarrow.memory_map(path).close()",
        BARE_CALLS: "",
    },
    BARE_CALLS,
    1.8,
)
ITEM = Work(
    "mm[i]",
    {"MemMap": "mm[5000]", "ndarray": "array[5000]", "numpy.memmap": "memmap[5000]"},
    "ndarray",
    0.8,
)
SLICE = Work(
    "mm[a:b]",
    {
        "MemMap": "mm[1000:2000]",
        "ndarray": "array[1000:2000]",
        "numpy.memmap": "memmap[1000:2000]",
        "pyarrow.memory_map": "arrow.seek(4000); arrow.read_buffer(4000)",
    },
    "ndarray",
    1.15,
)
ROW = Work(
    "mm[i], 2-D",
    {"MemMap": "mm_2d[500]", "ndarray": "array_2d[500]", "numpy.memmap": "memmap_2d[500]"},
)
READ_AT = Work(
    "read_at(128, 4)",
    {
        "MemMap": "mm.read_at(128, 4)",
        "mmap": "mapped[128:132]",
        "pyarrow.memory_map": "arrow.read_at(4, 128)",
        "os.pread": "os.pread(descriptor, 4, 128)",
    },
    "mmap",
    0.75,
)


def gather(row: int, most: float) -> Work:
    """Random rows of `row` bytes of a file of 256 MiB; other ones in each round."""
    return Work(
        f"gather, rows of {row} B",
        {
            "MemMap": f"mm_{row}.gather(next(some_{row}))",
            "np.take": f"array_{row}.take(next(some_{row}), axis=0)",
            "numpy.memmap": f"memmap_{row}[next(some_{row})]",
        },
        "np.take",
        most,
    )


GATHER = gather(512, 0.8)
GATHER_LONG = gather(3072, 0.65)
# Linux passes over an entry of the page table per GiB, twice, when it unmaps: it is in mmap's column too.
OPEN_GROWTH = growth(
    "open + close by size",
    {"MemMap": "MemMap.open(path_SIZE, dtype='<f4').close()", "mmap": OPEN_MMAP.replace("path", "path_SIZE")},
    most=1.3,
)
SLICE_GROWTH = growth("mm[a:b] by size", {"MemMap": "mm_SIZE[1000:2000]"})
READ_AT_GROWTH = growth("read_at(128, 4) by size", {"MemMap": "mm_SIZE.read_at(128, 4)"})

ALL = (OPEN, ITEM, SLICE, ROW, READ_AT, GATHER, GATHER_LONG, OPEN_GROWTH, SLICE_GROWTH, READ_AT_GROWTH)


def prepare(stack: ExitStack) -> dict[str, Any]:
    """Open the files that the statements name; all of it goes with the stack."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    path = os.path.join(folder, "numbers.f4")
    array = np.arange(1 << 18, dtype="<f4")
    array.tofile(path)
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    names = {
        "os": os, "mmap": mmap, "np": np, "pyarrow": pyarrow, "MemMap": MemMap,
        "folder": folder,
        "path": path,
        "array": array,
        "array_2d": array.reshape(-1, 256),
        "mm": stack.enter_context(MemMap.open(path, dtype="<f4")),
        "mm_2d": stack.enter_context(MemMap.open(path, dtype="<f4", shape=(-1, 256))),
        "memmap": np.memmap(path, "<f4", "r"),
        "memmap_2d": np.memmap(path, "<f4", "r", shape=(1024, 256)),
        "arrow": stack.enter_context(pyarrow.memory_map(path)),
        "mapped": mmap.mmap(descriptor, 0, prot=mmap.PROT_READ),
        "descriptor": descriptor,
    }  # fmt: skip
    rng = np.random.default_rng(0)
    rng.random((1 << 15, 2 << 10), "f4").tofile(large := os.path.join(folder, "large.f4"))
    for row in (512, 3072):
        shape = ((1 << 28) // row, row // 4)
        names[f"some_{row}"] = itertools.cycle([rng.integers(0, shape[0], 16_384) for _ in range(8)])
        mm = names[f"mm_{row}"] = stack.enter_context(MemMap.open(large, dtype="<f4", shape=shape))
        names[f"memmap_{row}"] = np.memmap(large, "<f4", "r", shape=shape)
        names[f"array_{row}"] = mm[...]
        stack.callback(names.pop, f"array_{row}")
    del mm
    for label, size in SIZES.items():
        names[f"path_{label}"] = sparse = os.path.join(folder, label)
        with open(sparse, "wb") as file:
            file.truncate(size)
        names[f"mm_{label}"] = stack.enter_context(MemMap.open(sparse, dtype="<f4"))
    return names


def timer(work: Work, contender: str, names: dict[str, Any]) -> Time:
    """How to time a contender; its statement stands in the timed loop itself, not behind a function call."""
    if contender == BARE_CALLS:
        library = os.path.join(names["folder"], "bare_calls.so")
        source = Path(__file__).with_name("bare_calls.c")
        subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
        loop = ctypes.CDLL(library).bare_calls
        loop.argtypes, loop.restype = (ctypes.c_char_p, ctypes.c_long), ctypes.c_double
        return partial(loop, os.fsencode(names["path"]))
    return timeit.Timer(work.contenders[contender], globals=names).timeit


def compare(work: Work, names: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds per call, for every contender one figure per round."""
    timers = {contender: timer(work, contender, names) for contender in work.contenders}
    number = {contender: 1 + int(SAMPLE / (time(100) / 100)) for contender, time in timers.items()}
    rounds: dict[str, list[float]] = {contender: [] for contender in timers}
    for _ in range(1 + ROUNDS):
        for contender in random.sample(list(timers), len(timers)):
            rounds[contender].append(timers[contender](number[contender]) / number[contender])
    return {contender: seconds[1:] for contender, seconds in rounds.items()}


def rows(work: Work, seconds: dict[str, list[float]]) -> list[tuple[str, ...]]:
    """The table's lines for one piece of work, one per peer."""
    ours, *peers = work.contenders
    lines = []
    for peer in peers:
        ratio = statistics.median(mine / its for mine, its in zip(seconds[ours], seconds[peer], strict=True))
        goal = (f"<= {work.most}", "ok" if ratio <= work.most else "MISSED") if peer == work.against else ("", "")
        lines.append((
            work.subject, f"{1e9 * statistics.median(seconds[ours]):.0f}",
            peer, f"{1e9 * statistics.median(seconds[peer]):.0f}", f"{ratio:.2f}", *goal,
        ))  # fmt: skip
    return lines


def cpu() -> str:
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        return models[0].partition(": ")[2]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def read_ahead(folder: str) -> str:
    """Of the device that a folder is on."""
    device = os.stat(folder).st_dev
    try:
        setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb").read_text()
    except OSError:  # no block device, or not Linux
        return "unknown"
    return f"{setting.strip()} KiB"


class Subject:
    """An asv benchmark of one piece of work: a thousand calls by each contender."""

    work: Work
    param_names = ("contender",)

    def __init_subclass__(cls) -> None:
        cls.params = list(cls.work.contenders)

    def setup(self, contender: str) -> None:
        self.stack = ExitStack()
        self.time = timer(self.work, contender, prepare(self.stack))

    def teardown(self, contender: str) -> None:
        self.stack.close()

    def time_1000_calls(self, contender: str) -> None:
        self.time(1000)


def main() -> None:
    version = importlib.metadata.version
    print(f"{platform.system()} {platform.release()}, {cpu()}, {os.cpu_count()} CPUs")
    print(f"CPython {platform.python_version()}, " + ", ".join(
        f"{name} {version(name)}" for name in ("scikit-plots-memmap", "numpy", "pyarrow")))  # fmt: skip
    with ExitStack() as stack:
        names = prepare(stack)
        print(f"read-ahead {read_ahead(names['folder'])}; in the page cache; medians of {ROUNDS} rounds\n")
        line = "{:24}{:>8}  {:20}{:>8}{:>7}  {:8}{}".format
        print(line("work", "ns", "peer", "ns", "ratio", "target", "").rstrip())
        for work in ALL:
            for row in rows(work, compare(work, names)):
                print(line(*row).rstrip())
                sys.stdout.flush()


if __name__ == "__main__":
    main()
