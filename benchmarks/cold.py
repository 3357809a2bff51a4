"""Benchmarks on cold files, which are not in the page cache, and on new files.

Before each turn the file is evicted, and the eviction is verified. Sequential reads use a randomly drawn part of the
file in each turn, because the disk of a virtual machine may have a cache of its own. Compare figures within one run
only: disks are shared and throttled. fio, if installed, reads the same amount without the page cache: what the disk can
deliver.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from contest import Turn, seconds

from scikitplot.memmap import MemMap, batches

ROW = 512  # bytes
ROWS = 8192  # per gather
EPOCH = 1 << 18  # rows read of a shuffled epoch
THREADS = 32
LOOP = 10_000_000  # rounds
SCAN = 1 << 31  # most bytes of a sequential read
FILL = 1 << 30  # bytes of a new file
CHUNK = 1 << 25  # bytes


class Work(NamedTuple):
    """Contenders that do the same work, MemMap first. The target: a ratio to `against` of at most `most`."""

    subject: str
    turns: dict[str, Turn]
    against: str
    most: float


class Disk:
    """A float32 file in a folder on the disk to be measured, and the turns of all contenders on it."""

    def __init__(self, folder: Path, nbytes: int) -> None:
        self.path, self.new, self.nbytes = folder / "cold.bin", folder / "new.bin", nbytes
        self.scanned, self.start = min(nbytes, SCAN), 0
        self.rng = np.random.default_rng()
        if not self.path.exists() or self.path.stat().st_size != nbytes:
            with open(self.path, "wb") as file:
                for _ in range(nbytes >> 24):
                    file.write(self.rng.integers(0, 64, 1 << 24, "u1"))  # small numbers, also as float32
                os.fsync(file.fileno())

    def works(self) -> tuple[Work, ...]:
        mib = self.scanned >> 20
        rows, both = f"rows of {ROW} B", "read | sum alone"
        return (
            self.work(
                f"cold gather, {ROWS} {rows}",
                {
                    "MemMap": partial(self.gather, "random"),
                    'MemMap, "normal"': partial(self.gather, "normal"),
                    "numpy.memmap, MADV_RANDOM": self.take_from_memmap,
                    f"{THREADS} threads of pread": self.pread_in_threads,
                    "fio": partial(self.random_reads, ROWS),
                },
                "fio",
                1.15,
            ),
            self.work(
                "a loop beside cold reads of 4 B",
                {
                    "MemMap": partial(self.loop_beside, self.read_by_map),
                    "os.pread": partial(self.loop_beside, self.read_by_pread),
                    "no other thread": self.loop,
                },
                "no other thread",
                1 / 0.9,
            ),
            self.work(
                f"cold random batches, {EPOCH >> 11} MiB",
                {"MemMap": partial(self.epoch, True, EPOCH), "fio": partial(self.random_reads, EPOCH)},
                "fio",
                1.15,
            ),
            self.work(
                f"cold block shuffle, {mib} MiB",
                {
                    "MemMap": partial(self.epoch, "blocks", self.scanned // ROW),
                    "read": self.read,
                    "fio": self.read_by_fio,
                },
                "read",
                1 / 0.7,
            ),
            self.work(
                f"cold sum, {mib} MiB, not evicted",
                {"MemMap": partial(self.sum_of_chunks, False), "numpy.memmap": self.sum_of_memmap},
                "numpy.memmap",
                1.0,
            ),
            self.work(
                f"cold sum, {mib} MiB",
                {
                    "MemMap": partial(self.sum_of_chunks, True),
                    "numpy.memmap": self.sum_of_memmap,
                    "read": self.read,
                    "sum alone": self.sum_in_memory,
                    "read and sum": partial(self.read, np.sum),
                    "fio": self.read_by_fio,
                },
                both,
                1.1,
            ),
            self.work(
                f"prefetch(wait=True), {mib} MiB",
                {"MemMap": self.prefetch, "read": self.read, "fio": self.read_by_fio},
                "read",
                1.1,
            ),
            self.work(
                f"fill a new file of {FILL >> 20} MiB",
                {
                    "MemMap": partial(self.fill, self.fill_map),
                    "numpy.memmap": partial(self.fill, self.fill_memmap),
                    "write": partial(self.fill, self.fill_by_write),
                },
                "write",
                1.05,
            ),
        )

    def work(self, subject: str, turns: dict[str, Turn], against: str, most: float) -> Work:
        here = {
            name: partial(self.evicted, turn) for name, turn in turns.items() if name != "fio" or shutil.which(name)
        }
        return Work(subject, here, against if against in here or "|" in against else "", most)

    def evicted(self, turn: Turn) -> float:
        with MemMap.open(self.path) as mm:
            for _ in range(100):
                mm.evict()
                if mm.residency().mean() < 0.001:
                    break
                time.sleep(0.01)  # what the system is still reading ahead cannot be evicted
            else:
                sys.exit(f"{self.path} stays in the page cache: use --folder to name a folder on a disk")
        self.start = int(self.rng.integers(0, self.nbytes // self.scanned)) * self.scanned
        return turn()

    # ----------------------------------------------------------------------------------------------- random reads

    def table(self, access: str) -> MemMap:
        return MemMap.open(self.path, dtype="<f4", shape=(-1, ROW // 4), access=access)  # type: ignore[arg-type]

    def part(self) -> MemMap:
        return MemMap.open(self.path, dtype="<f4", offset=self.start, shape=(self.scanned // ROW, ROW // 4))

    def some_rows(self) -> np.ndarray:
        return self.rng.integers(0, self.nbytes // ROW, ROWS)

    def gather(self, access: str) -> float:
        rows = self.some_rows()
        with self.table(access) as mm:
            return seconds(lambda: mm.gather(rows))

    def take_from_memmap(self) -> float:
        rows = self.some_rows()
        array = np.memmap(self.path, "u1", "r", shape=(self.nbytes // ROW, ROW))
        array._mmap.madvise(1)  # MADV_RANDOM: with 8 MiB of read-ahead for every row it would take minutes
        return seconds(lambda: array.take(rows, axis=0))

    def pread_in_threads(self) -> float:
        rows, out = self.some_rows(), np.empty((ROWS, ROW), "u1")
        fd = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)

        def part(first: int) -> None:
            for i in range(first, ROWS, THREADS):
                os.preadv(fd, [out[i]], int(rows[i]) * ROW)

        with ThreadPoolExecutor(THREADS) as pool:
            took = seconds(lambda: list(pool.map(part, range(THREADS))))
        os.close(fd)
        return took

    def loop(self) -> float:
        return seconds(lambda: sum(i & 1 for i in range(LOOP)))

    def loop_beside(self, read: Callable[[threading.Event], None]) -> float:
        """Run a loop of Python code while another thread makes small reads, each of which waits for the disk."""
        done = threading.Event()
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(read, done)
            took = self.loop()
            done.set()
            reading.result()
        return took

    def read_by_map(self, done: threading.Event) -> None:
        with MemMap.open(self.path, access="random") as mm:
            while not done.is_set():
                mm.read_at(int(self.rng.integers(self.nbytes - 4)), 4)

    def read_by_pread(self, done: threading.Event) -> None:
        fd = os.open(self.path, os.O_RDONLY)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_RANDOM)
        while not done.is_set():
            os.pread(fd, 4, int(self.rng.integers(self.nbytes - 4)))
        os.close(fd)

    def epoch(self, shuffle: bool | str, rows: int) -> float:
        size = 256 if shuffle is True else 1024
        with self.table("random") if shuffle is True else self.part() as mm:
            found = iter(batches(mm, batch_size=size, shuffle=shuffle, prefetch=8))  # type: ignore[arg-type]
            return seconds(lambda: deque(islice(found, rows // size), maxlen=0))

    def fio(self, *how: str) -> float:
        options = "--name=x --direct=1 --ioengine=libaio --readonly --output-format=json --iodepth=32".split()
        command = ["fio", f"--filename={self.path}", *options, *how]
        found = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
        return found["jobs"][0]["read"]["runtime"] / 1000

    def random_reads(self, count: int) -> float:
        return self.fio("--rw=randread", "--bs=4k", f"--number_ios={count}", "--norandommap", "--randrepeat=0")

    # ------------------------------------------------------------------------------------------------ sequential

    def read_by_fio(self) -> float:
        return self.fio("--rw=read", "--bs=1m", f"--offset={self.start}", f"--size={self.scanned}")

    def read(self, use: Callable[[np.ndarray], object] = len) -> float:
        buffer = np.empty(CHUNK // 4, "<f4")

        def run() -> None:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self.start)
                for _ in range(0, self.scanned, CHUNK):
                    file.readinto(buffer.data)
                    use(buffer)

        return seconds(run)

    def prefetch(self) -> float:
        with self.part() as mm:
            return seconds(lambda: mm.prefetch(wait=True))

    def sum_of_chunks(self, evict: bool) -> float:
        with self.part() as mm:
            return seconds(lambda: sum(float(chunk.sum()) for chunk in mm.iter_chunks(evict=evict)))

    def sum_of_memmap(self) -> float:
        array = np.memmap(self.path, "<f4", "r", self.start, self.scanned // 4)
        step = CHUNK // 4
        return seconds(lambda: sum(float(array[at : at + step].sum()) for at in range(0, array.size, step)))

    def sum_in_memory(self) -> float:
        array = np.ones(CHUNK // 4, "<f4")
        return seconds(lambda: sum(float(array.sum()) for _ in range(0, self.scanned, CHUNK)))

    # ---------------------------------------------------------------------------------------------------- new files

    def fill(self, write: Callable[[np.ndarray], Any]) -> float:
        self.new.unlink(missing_ok=True)
        os.sync()  # earlier dirty pages must not be written back during the turn
        data = np.full(1 << 20, 1, "<f4")
        took = seconds(lambda: write(data))
        self.new.unlink()
        return took

    def fill_map(self, data: np.ndarray) -> None:
        with MemMap.open(self.new, "x+", dtype="<f4", shape=FILL // 4) as mm:
            for at in range(0, len(mm), data.size):
                mm[at : at + data.size] = data

    def fill_by_write(self, data: np.ndarray) -> None:
        with open(self.new, "xb", buffering=0) as file:
            for _ in range(FILL // data.nbytes):
                file.write(data)

    def fill_memmap(self, data: np.ndarray) -> None:
        array = np.memmap(self.new, "<f4", "w+", shape=FILL // 4)
        for at in range(0, array.size, data.size):
            array[at : at + data.size] = data


def read_ahead(folder: Path) -> Path:
    """The file with the read-ahead setting of the folder's device; exists on Linux, for block devices."""
    device = os.stat(folder).st_dev
    return Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
