"""Rows and files that are not in memory: ``python benchmarks/cold.py FOLDER [GIB]`` prints ratios to what fio reads.

The contenders take turns in an order that is shuffled every round; the first round is dropped. Before each one the file
is evicted, which is checked. A figure means something beside the others of its run: disks are shared and throttled.
Needs fio.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scikitplot.memmap import MemMap, batches

ROUNDS = 5  # without the one that is dropped
ROW = 512  # bytes
ROWS = 8192  # of a gather
EPOCH = 1 << 19  # rows of the part of an epoch that is read in random order
THREADS = 32
FILL = 1 << 30  # bytes of a new file

folder = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
path = folder / "cold.bin"
new = folder / "new.bin"
nbytes = int(float(sys.argv[2] if len(sys.argv) > 2 else 8) * (1 << 30))
rng = np.random.default_rng()


class Work(NamedTuple):
    subject: str
    contenders: dict[str, Callable[[], float]]  # each returns the seconds that it took
    against: str
    most: float


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def evict() -> None:
    with MemMap.open(path) as mm:
        mm.evict()
        if mm.residency().mean() > 0.001:
            sys.exit(f"{path} stays in memory: name a folder on a disk")


def table(access: str = "normal") -> MemMap:
    return MemMap.open(path, dtype="<f4", shape=(-1, ROW // 4), access=access)  # type: ignore[arg-type]


def fio(*how: str) -> float:
    options = [
        "--name=x",
        f"--filename={path}",
        "--direct=1",
        "--ioengine=libaio",
        "--readonly",
        "--output-format=json",
    ]
    found = json.loads(subprocess.run(["fio", *options, *how], capture_output=True, check=True).stdout)
    return found["jobs"][0]["read"]["runtime"] / 1000


def random_reads(count: int) -> float:
    return fio("--rw=randread", "--bs=4k", "--iodepth=32", f"--number_ios={count}", "--norandommap")


def chosen() -> np.ndarray:
    return rng.integers(0, nbytes // ROW, ROWS)


def gather(access: str) -> float:
    with table(access) as mm:
        return seconds(lambda: mm.gather(chosen()))


def take_from_memmap() -> float:
    array = np.memmap(path, "u1", "r", shape=(nbytes // ROW, ROW))
    array._mmap.madvise(1)  # random: with 8 MiB read ahead at every row it would take minutes
    return seconds(lambda: array.take(chosen(), axis=0))


def pread_in_threads() -> float:
    rows, out = chosen(), np.empty((ROWS, ROW), "u1")
    fd = os.open(path, os.O_RDONLY)
    os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

    def part(first: int) -> None:
        for i in range(first, ROWS, THREADS):
            os.preadv(fd, [out[i]], int(rows[i]) * ROW)

    with ThreadPoolExecutor(THREADS) as pool:
        took = seconds(lambda: list(pool.map(part, range(THREADS))))
    os.close(fd)
    return took


def epoch(shuffle: bool | str, rows: int, size: int = 256) -> float:
    with table("random" if shuffle is True else "normal") as mm:
        found = iter(batches(mm, batch_size=size, shuffle=shuffle, prefetch=8))  # type: ignore[arg-type]
        return seconds(lambda: deque(islice(found, rows // size), maxlen=0))


def sum_of_chunks() -> float:
    with table() as mm:
        return seconds(lambda: sum(float(chunk.sum()) for chunk in mm.chunks(evict=True)))


def sum_of_memmap() -> float:
    array = np.memmap(path, "<f4", "r")
    return seconds(lambda: sum(float(array[at : at + (1 << 23)].sum()) for at in range(0, array.size, 1 << 23)))


def plain_read(use: Callable[[np.ndarray], object] = len) -> float:
    buffer = np.empty(1 << 23, "<f4")

    def read() -> None:
        with open(path, "rb", buffering=0) as file:
            while file.readinto(memoryview(buffer).cast("B")):
                use(buffer)

    return seconds(read)


def fill(write: Callable[[np.ndarray], None]) -> float:
    new.unlink(missing_ok=True)
    data = np.full(1 << 20, 1, "<f4")
    took = seconds(lambda: write(data))
    new.unlink()
    return took


def fill_map(data: np.ndarray) -> None:
    with MemMap.open(new, "x+", dtype="<f4", shape=FILL // 4) as mm:
        for at in range(0, len(mm), data.size):
            mm[at : at + data.size] = data


def fill_by_write(data: np.ndarray) -> None:
    with open(new, "xb", buffering=0) as file:
        for _ in range(FILL // data.nbytes):
            file.write(data)


def fill_memmap(data: np.ndarray) -> None:
    array = np.memmap(new, "<f4", "w+", shape=FILL // 4)
    for at in range(0, array.size, data.size):
        array[at : at + data.size] = data


WORK = [
    Work(
        f"gather of {ROWS} rows of {ROW} B",
        {
            "MemMap": lambda: gather("random"),
            'MemMap, "normal"': lambda: gather("normal"),
            "numpy.memmap": take_from_memmap,
            f"{THREADS} threads of pread": pread_in_threads,
            "fio": lambda: random_reads(ROWS),
        },
        "fio",
        1.15,
    ),
    Work(
        f"random batches of {EPOCH} rows of {ROW} B",
        {"MemMap": lambda: epoch(True, EPOCH), "fio": lambda: random_reads(EPOCH)},
        "fio",
        1.15,
    ),
    Work(
        'an epoch with shuffle="blocks"',
        {"MemMap": lambda: epoch("blocks", nbytes // ROW, 1024), "plain read": plain_read},
        "plain read",
        1 / 0.7,
    ),
    Work(
        "a sum over the file",
        {
            "MemMap": sum_of_chunks,
            "numpy.memmap": sum_of_memmap,
            "read and sum": lambda: plain_read(np.sum),
            "plain read": plain_read,
        },
        "plain read",
        1.1,
    ),
    Work(
        "fill a new file of 1 GiB",
        {
            "MemMap": lambda: fill(fill_map),
            "numpy.memmap": lambda: fill(fill_memmap),
            "write()": lambda: fill(fill_by_write),
        },
        "write()",
        1.05,
    ),
]


def main() -> None:
    if not path.exists() or path.stat().st_size != nbytes:
        with open(path, "wb") as file:
            for _ in range(nbytes >> 24):
                file.write(rng.integers(0, 64, 1 << 24, "u1"))  # small numbers as float32, too
            os.fsync(file.fileno())
    device = os.stat(path).st_dev
    ahead = Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/queue/read_ahead_kb")
    kib = ahead.read_text().strip() if ahead.exists() else "?"
    print(f"{nbytes / (1 << 30):g} GiB, read-ahead {kib} KiB, medians of {ROUNDS} rounds\n")
    print(f"{'work':40} {'contender':24} {'seconds':>8} {'ratio':>6}  target")
    for work in WORK:
        taken: dict[str, list[float]] = {name: [] for name in work.contenders}
        for _ in range(ROUNDS + 1):
            for name in random.sample(list(taken), len(taken)):
                evict()
                taken[name].append(work.contenders[name]())
        medians = {name: statistics.median(times[1:]) for name, times in taken.items()}
        for name, median in medians.items():
            ratio = median / medians[work.against]
            verdict = f"<= {work.most:.2f} {'ok' if ratio <= work.most else 'NO'}" if name == "MemMap" else ""
            print(f"{work.subject:40} {name:24} {median:8.3f} {ratio:6.2f}  {verdict}", flush=True)


if __name__ == "__main__":
    main()
