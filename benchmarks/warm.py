"""Benchmarks on files in the page cache: equivalent statements, timed in loops."""

import ctypes
import importlib.util
import itertools
import mmap
import os
import pickle
import subprocess
import tempfile
import timeit
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow
from contest import Turn

from scikitplot.memmap import MemMap, batches

SAMPLE = 0.002  # seconds per turn: short, so that few turns are interrupted
SIZES = {"1 MiB": 1 << 20, "1 GiB": 1 << 30, "1 TiB": 1 << 40}  # of sparse files
TABLE = 1 << 28  # bytes of the file for gather
BARE_CALLS = "bare system calls"
OPTIONAL = ("h5py", "zarr", "tensorstore", "torch")
HERE = [name for name in OPTIONAL if importlib.util.find_spec(name)]
# scikit-plots has its own scikitplot.memmap, so it runs with the Python of another environment
SCIKIT_PLOTS = "scikit-plots' MemoryMap"
SCIKIT_PLOTS_PYTHON = os.environ.get("SCIKIT_PLOTS_PYTHON", "")
MISSING = {*OPTIONAL, SCIKIT_PLOTS}.difference(HERE, [SCIKIT_PLOTS] if SCIKIT_PLOTS_PYTHON else [])

Names = dict[str, Any]


class Work(NamedTuple):
    """Equivalent statements, ours first. The target: a ratio to `against` of at most `most`."""

    subject: str
    prepare: Callable[[ExitStack], Names]  # creates the names in the statements; the stack cleans up
    statements: dict[str, str]
    against: str = ""
    most: float = 0.0

    @property
    def contenders(self) -> dict[str, str]:
        return {name: text for name, text in self.statements.items() if name not in MISSING}

    def turns(self, names: Names) -> dict[str, Turn]:
        return {contender: turn(loop(self, contender, names)) for contender in self.contenders}


def loop(work: Work, contender: str, names: Names) -> Callable[[int], float]:
    """Return a function that times a number of runs; the loop contains the statement itself, not a call to it."""
    if contender == SCIKIT_PLOTS:
        return names["elsewhere"](work.contenders[contender])
    if contender != BARE_CALLS:
        return timeit.Timer(work.contenders[contender], globals=names).timeit
    library = os.path.join(names["folder"], "bare_calls.so")
    source = Path(__file__).with_name("bare_calls.c")
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-shared", "-fPIC", "-o", library, source], check=True)
    calls = ctypes.CDLL(library).bare_calls
    calls.argtypes, calls.restype = (ctypes.c_char_p, ctypes.c_long), ctypes.c_double
    return partial(calls, os.fsencode(names["path"]))


ELSEWHERE = """
import os, sys, timeit
from scikitplot.memmap import PY_MAP_SHARED, MemoryMap
path = sys.argv[1]
def open_map():
    descriptor = os.open(path, os.O_RDONLY)
    mapped = MemoryMap.create_file_mapping(descriptor, 0, 1 << 20, flags=PY_MAP_SHARED)
    os.close(descriptor)
    return mapped
mapped = open_map()
timer = timeit.Timer(sys.argv[2], globals=globals())
for number in sys.stdin:
    print(timer.timeit(int(number)), flush=True)
"""


def elsewhere(stack: ExitStack, path: str, statement: str) -> Callable[[int], float]:
    """Return a function that times a number of runs in the environment of scikit-plots."""
    command = [SCIKIT_PLOTS_PYTHON, "-P", "-c", ELSEWHERE, path, statement]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    child = stack.enter_context(subprocess.Popen(command, text=True, **pipes))
    stack.callback(child.stdin.close)

    def timed(number: int) -> float:
        print(number, file=child.stdin, flush=True)
        return float(child.stdout.readline())

    return timed


def turn(timed: Callable[[int], float]) -> Turn:
    timed(1)  # page faults
    once = timed(1)
    number = 1 + int(SAMPLE / (once if once > SAMPLE else timed(100) / 100))
    return lambda: timed(number) / number


# -------------------------------------------------------------------------------------------------------- the files


def numbers(stack: ExitStack) -> Names:
    """1 MiB of float32, as each library opens it."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    path = os.path.join(folder, "numbers.f4")
    array = np.arange(1 << 18, dtype="<f4")
    array.tofile(path)
    descriptor = os.open(path, os.O_RDONLY)
    stack.callback(os.close, descriptor)
    return {
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
        "elsewhere": partial(elsewhere, stack, path),
    } | others(stack, array, path)  # fmt: skip


def table(row: int) -> Callable[[ExitStack], Names]:
    """Rows of `row` bytes, and 16 384 random indices, different ones in each call."""

    def prepare(stack: ExitStack) -> Names:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        path = os.path.join(folder, "table.f4")
        shape = (TABLE // row, row // 4)
        rng = np.random.default_rng(0)
        rng.random(shape, "f4").tofile(path)
        some = itertools.cycle([rng.integers(0, shape[0], 16_384) for _ in range(8)])
        mm = stack.enter_context(MemMap.open(path, dtype="<f4", shape=shape))
        names = {"np": np, "some": some, "mm": mm, "memmap": np.memmap(path, "<f4", "r", shape=shape), "array": mm[...]}
        names["pool"] = stack.enter_context(ThreadPoolExecutor(2))
        stack.callback(names.pop, "array")
        return names | others(stack, names["memmap"], path)

    return prepare


def others(stack: ExitStack, array: np.ndarray, path: str) -> Names:
    """The same array as stored by each installed library: uncompressed, in chunks of whole rows."""
    folder, names = os.path.dirname(path), {}
    chunks = (max((1 << 20) // array[:1].nbytes, 1), *array.shape[1:])
    if "h5py" in HERE:
        import h5py

        file = stack.enter_context(h5py.File(os.path.join(folder, "table.h5"), "w"))
        names["h5"] = file.create_dataset("x", data=array)
    if "zarr" in HERE:
        import zarr

        names["za"] = zarr.create_array(
            os.path.join(folder, "table.zarr"), data=np.asarray(array), chunks=chunks, compressors=None
        )
    if "tensorstore" in HERE:
        import tensorstore

        store = {"driver": "file", "path": os.path.join(folder, "table.ts")}
        layout = {"shape": array.shape, "chunks": chunks, "dtype": "<f4", "compressor": None}
        spec = {"driver": "zarr", "kvstore": store, "metadata": layout}
        names["ts"] = tensorstore.open(spec, create=True).result()
        names["ts"].write(np.asarray(array)).result()
    if "torch" in HERE:
        import torch

        names["torch"] = torch
        names["tensor"] = torch.from_file(path, False, array.size, dtype=torch.float32).reshape(array.shape)
    return names


def sizes(stack: ExitStack) -> Names:
    """Sparse files that differ only in size."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    names: Names = {"os": os, "mmap": mmap, "MemMap": MemMap, "pickle": pickle, "batches": batches}
    for label, size in SIZES.items():
        label = label.replace(" ", "")
        names[f"path_{label}"] = path = os.path.join(folder, label)
        with open(path, "wb") as file:
            file.truncate(size)
        names[f"mm_{label}"] = stack.enter_context(MemMap.open(path, dtype="<f4"))
        names[f"rows_{label}"] = np.arange(256) * (size // 1024)
    return names


# --------------------------------------------------------------------------------------------------------- the work

OPEN_MMAP = (
    "fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC); m = mmap.mmap(fd, 0, prot=mmap.PROT_READ); os.close(fd); m.close()"
)

OPEN = Work(
    "open + close",
    numbers,
    {
        "MemMap": "MemMap.open(path, dtype='<f4').close()",
        "numpy.memmap": "np.memmap(path, '<f4', 'r')",
        "mmap": OPEN_MMAP,
        "pyarrow": "pyarrow.memory_map(path).close()",
        "torch": "torch.from_file(path, False, 1 << 18)",
        SCIKIT_PLOTS: "open_map().close()",
        BARE_CALLS: "",
    },
    BARE_CALLS,
    1.8,
)
ITEM = Work(
    "mm[i]",
    numbers,
    {
        "MemMap": "mm[5000]",
        "ndarray": "array[5000]",
        "numpy.memmap": "memmap[5000]",
        "h5py": "h5[5000]",
        "torch": "tensor[5000]",
    },
    "ndarray",
    0.8,
)
SLICE = Work(
    "mm[a:b]",
    numbers,
    {
        "MemMap": "mm[1000:2000]",
        "ndarray": "array[1000:2000]",
        "numpy.memmap": "memmap[1000:2000]",
        "pyarrow": "arrow.seek(4000); arrow.read_buffer(4000)",
        "h5py": "h5[1000:2000]",
        "zarr": "za[1000:2000]",
        "tensorstore": "ts[1000:2000].read().result()",
        "torch": "tensor[1000:2000]",
    },
    "ndarray",
    1.15,
)
ROW = Work(
    "mm[i], 2-D",
    numbers,
    {"MemMap": "mm_2d[500]", "ndarray": "array_2d[500]", "numpy.memmap": "memmap_2d[500]"},
)
READ_AT = Work(
    "read_at(128, 4)",
    numbers,
    {
        "MemMap": "mm.read_at(128, 4)",
        "mmap": "mapped[128:132]",
        "pyarrow": "arrow.read_at(4, 128)",
        SCIKIT_PLOTS: "mapped.read(4, 128)",
        "os.pread": "os.pread(descriptor, 4, 128)",
    },
    "mmap",
    0.75,
)


def gather(row: int, most: float) -> Work:
    return Work(
        f"gather, 16 384 rows of {row} B",
        table(row),
        {
            "MemMap": "mm.gather(next(some))",
            "np.take": "array.take(next(some), axis=0)",
            "np.take, 2 threads": "list(pool.map(lambda half: array.take(half, 0), np.split(next(some), 2)))",
            "one contiguous copy": "array[: len(next(some))].copy()",
            "numpy.memmap": "memmap[next(some)]",
            "h5py": "h5[np.unique(next(some))]",
            "zarr": "za.oindex[next(some)]",
            "tensorstore": "ts[next(some)].read().result()",
            "torch": "tensor.index_select(0, torch.from_numpy(next(some)))",
        },
        "np.take",
        most,
    )


GATHER = gather(512, 0.8)


ANONYMOUS = Work(
    "new memory, 256 MiB filled",
    numbers,
    {
        "MemMap": "mm = MemMap.anonymous(1 << 28); mm[:] = 1; mm.close()",
        "MemMap, no huge pages": "mm = MemMap.anonymous(1 << 28); mm.advise('random'); mm[:] = 1; mm.close()",
        "ndarray": "np.empty(1 << 28, 'u1')[:] = 1",
        "mmap": "m = mmap.mmap(-1, 1 << 28); np.frombuffer(m, 'u1')[:] = 1; m.close()",
        "torch": "torch.empty(1 << 28, dtype=torch.uint8).fill_(1)",
    },
)


def logs(stack: ExitStack) -> Names:
    """Files that differ only in size, sparse except for the rows that are appended."""
    folder = stack.enter_context(tempfile.TemporaryDirectory())
    row = np.arange(128, dtype="<f4")
    names: Names = {"os": os, "row": row, "raw": row.tobytes()}
    for label in ("1 MiB", "1 GiB"):
        for kind in ("log", "written"):
            path = os.path.join(folder, kind + label)
            with open(path, "wb") as file:
                file.truncate(SIZES[label])
            name = f"{kind}_{label.replace(' ', '')}"
            if kind == "log":
                names[name] = stack.enter_context(MemMap.open(path, "r+", dtype="<f4", shape=(-1, 128)))
            else:
                names[name] = os.open(path, os.O_WRONLY | os.O_APPEND)
                stack.callback(os.close, names[name])
    return names


APPEND, APPEND_1GIB = (
    Work(
        f"append of 512 bytes to {label}",
        logs,
        {
            "MemMap": f"log_{label.replace(' ', '')}.append(row)",
            "os.write": f"os.write(written_{label.replace(' ', '')}, raw)",
        },
        "os.write",
        2,
    )
    for label in ("1 MiB", "1 GiB")
)


def growth(subject: str, statements: dict[str, str], against: str = "MemMap, 1 MiB", most: float = 1.15) -> Work:
    """Work whose time must not grow with the file; a ratio of 1.15 allows for noise."""
    contenders = {
        f"{contender}, {size}": statement.replace("SIZE", size.replace(" ", ""))
        for size in reversed(SIZES)
        for contender, statement in statements.items()
    }
    return Work(f"{subject} by size", sizes, contenders, against, most)


# To unmap, Linux walks one page-table entry per GiB, twice: so the bound is mmap on a file of the same size.
OPEN_GROWTH = growth(
    "open + close",
    {"MemMap": "MemMap.open(path_SIZE, dtype='<f4').close()", "mmap": OPEN_MMAP.replace("path", "path_SIZE")},
    against="mmap, 1 TiB",
    most=1.3,
)
SLICE_GROWTH = growth("mm[a:b]", {"MemMap": "mm_SIZE[1000:2000]"})
READ_AT_GROWTH = growth("read_at", {"MemMap": "mm_SIZE.read_at(128, 4)"})
PICKLE_GROWTH = growth("pickle", {"MemMap": "pickle.dumps(mm_SIZE)"})
GATHER_GROWTH = growth("gather of 256 numbers", {"MemMap": "mm_SIZE.gather(rows_SIZE)"}, most=2)
BATCH_GROWTH = growth(
    "first shuffled batch", {"MemMap": "next(iter(batches(mm_SIZE, batch_size=64, shuffle=True, seed=1)))"}, most=2
)

ALL = (
    OPEN, ITEM, SLICE, ROW, READ_AT, GATHER, ANONYMOUS, APPEND, APPEND_1GIB,
    OPEN_GROWTH, SLICE_GROWTH, READ_AT_GROWTH, PICKLE_GROWTH, GATHER_GROWTH, BATCH_GROWTH,
)  # fmt: skip


class Subject:
    """An asv benchmark of one Work: a thousand calls per contender."""

    work: Work
    calls = 1000
    param_names = ("contender",)

    def __init_subclass__(cls) -> None:
        cls.params = list(cls.work.contenders)

    def setup(self, contender: str) -> None:
        self.stack = ExitStack()
        self.time = loop(self.work, contender, self.work.prepare(self.stack))

    def teardown(self, contender: str) -> None:
        self.stack.close()

    def time_calls(self, contender: str) -> None:
        self.time(self.calls)
