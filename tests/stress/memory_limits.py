#!/usr/bin/env python
"""Read a file that is larger than the memory a process may have.  Usage: memory_limits.py [--limit MIB] [--file MIB]
[--read-ahead KIB] [--access INTENT]

Each task has a process of its own in a control group with a memory limit, which the page cache counts against (Linux),
and starts with nothing of the file in memory. numpy.memmap then does the same under the same limit. A task is bad if
the system kills it, if it gets a wrong row, if it reads more from the disk than its bound allows, or if more of the
file is resident than it promises. Needs root, and room for the file in the folder for temporary files.
"""

import argparse
import contextlib
import errno
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from scikitplot.memmap import MemMap, batches, concat

MIB = 1 << 20
COLUMNS = 64  # of 8 bytes; the first is the number of the row
ROW = COLUMNS * 8
PIECE = 16 * MIB // ROW  # rows of a step of a loop
BATCH = 1000  # rows
CHOSEN = 50 * BATCH  # rows at random
FOLIO = 2 * MIB  # what Linux caches and drops as one at most; one may lie across either end of what is resident
PROCESS = 32 * MIB  # room for the process itself, beside two buffers
PAGE = os.sysconf("SC_PAGESIZE")
ENOUGH = 2  # times the file: numpy.memmap may stop there


class Work:
    """What the tasks do, with a MemMap or, where that has what they need, with a numpy.memmap."""

    def __init__(self, path, limit, access, is_numpy):
        self.path, self.limit, self.is_numpy = path, limit, is_numpy
        self.layout = {"dtype": "<i8", "shape": (-1, COLUMNS), "access": access}
        self.table = np.memmap(path, "<i8", "r").reshape(-1, COLUMNS) if is_numpy else MemMap.open(path, **self.layout)
        self.most = 0
        self.before = resident_bytes()

    def note_resident(self):
        self.most = max(self.most, resident_bytes() - self.before)

    def check_all(self, chunks):
        """Look at a number of every row, and so at every page."""
        row = 0
        for chunk in chunks:
            check(chunk, np.arange(row, row + len(chunk)))
            row += len(chunk)
            self.note_resident()
        assert row == len(self.table)

    def loop(self):
        self.check_all(self.table[start : start + PIECE] for start in range(0, len(self.table), PIECE))

    def windows(self):
        for start in range(0, len(self.table), PIECE):
            with self.table.window(start, start + PIECE) as window:
                check(window[...], np.arange(start, start + len(window)))

    def chunks(self):
        self.check_all(self.table.iter_chunks())

    def evicted_chunks(self):
        for chunk in self.table.iter_chunks(evict=True):
            check(chunk, chunk[:, 0])
            self.note_resident()
            self.most = max(self.most, int(self.table.residency().sum()) * PAGE)  # in the page cache, too

    def concatenated(self):
        middle = len(self.table) // 3
        parts = {"shape": (middle, COLUMNS)}, {"offset": middle * ROW}
        with concat([MemMap.open(self.path, **self.layout | part) for part in parts]) as table:
            self.check_all(table.iter_chunks())

    def gathered(self):
        rng = np.random.default_rng(0)
        for _ in range(CHOSEN // BATCH):
            rows = rng.integers(len(self.table), size=BATCH)
            check(self.table[rows] if self.is_numpy else self.table.gather(rows), rows)

    def shuffled(self, **how):
        self.check_batches(CHOSEN, shuffle=True, **how)

    def evicted_batches(self):
        self.shuffled(evict=True)

    def small_blocks(self):
        self.check_batches(shuffle="blocks", buffer_nbytes=self.limit // 4)

    def evicted_blocks(self):
        self.check_batches(shuffle="blocks", buffer_nbytes=self.limit // 4, evict=True)

    def large_blocks(self):
        self.check_batches(shuffle="blocks", buffer_nbytes=(self.limit - PROCESS) // 2)

    def check_batches(self, last=None, **how):
        with MemMap.open(self.path, **self.layout) as mm:
            order = batches(mm, batch_size=BATCH, seed=1, **how)
            last = last or len(mm)
            found = iter(order)
            for start in range(0, last, BATCH):
                rows = order._order.rows(start, min(start + BATCH, last))
                check(self.table[rows] if self.is_numpy else next(found), rows)
                self.note_resident()
                if self.is_numpy and read_bytes() > ENOUGH * mm.nbytes:
                    return


def check(rows, numbers):
    assert np.array_equal(rows[:, 0], numbers), "wrong rows"


def resident_bytes():
    """Return how much of files this process has resident."""
    with open("/proc/self/status") as stream:
        return int(dict(line.split(":", 1) for line in stream)["RssFile"].split()[0]) * 1024


def read_bytes():
    """Return how much the kernel has read from disks for this process."""
    with open("/proc/self/io") as stream:
        return int(dict(line.split(": ") for line in stream)["read_bytes"])


class Task(NamedTuple):
    """What users call, the method of `Work` for it and that for numpy.memmap, and what is allowed."""

    call: str
    ours: str
    peer: str
    bound: float  # times the file, or the pages of the rows
    most_resident: int | None = None  # bytes


TASKS = [
    Task("mm[a:b], one after another", "loop", "loop", 1.1),
    Task("window(a, b), one after another", "windows", "loop", 1.1),
    Task("iter_chunks()", "chunks", "loop", 1.1),
    Task("iter_chunks(evict=True)", "evicted_chunks", "loop", 1.1, 2 * 32 * MIB + 4 * FOLIO),
    Task("concat(...).iter_chunks()", "concatenated", "loop", 1.2),
    Task('batches(shuffle="blocks"), 4 buffers', "small_blocks", "small_blocks", 1.1),
    Task('batches(shuffle="blocks"), 2 buffers', "large_blocks", "large_blocks", 1.1),
    Task('batches(shuffle="blocks", evict=True)', "evicted_blocks", "small_blocks", 1.1),
    Task("batches(shuffle=True)", "shuffled", "shuffled", 1.5),
    Task("batches(shuffle=True, evict=True)", "evicted_batches", "shuffled", 1.5, 32 * MIB),
    Task("gather(rows)", "gathered", "gathered", 1.5),
]


class ControlGroup:
    """A new control group with a memory limit, of either version."""

    def __init__(self, limit):
        self.is_v2 = os.path.exists("/sys/fs/cgroup/cgroup.controllers")
        root = Path("/sys/fs/cgroup" if self.is_v2 else "/sys/fs/cgroup/memory")
        if self.is_v2:
            self.allow_limits(root)
        self.folder = root / f"memory-limits-{os.getpid()}"
        self.folder.mkdir()
        (self.folder / ("memory.max" if self.is_v2 else "memory.limit_in_bytes")).write_text(str(limit))

    @staticmethod
    def allow_limits(root):
        """Let the children of a group have memory limits. In a container it may then have no processes itself."""
        try:
            (root / "cgroup.subtree_control").write_text("+memory")
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            rest = root / "rest"
            rest.mkdir(exist_ok=True)
            for process in (root / "cgroup.procs").read_text().split():
                (rest / "cgroup.procs").write_text(process)
            (root / "cgroup.subtree_control").write_text("+memory")

    def enter(self):
        (self.folder / "cgroup.procs").write_text(str(os.getpid()))

    @property
    def kills(self):
        text = (self.folder / ("memory.events" if self.is_v2 else "memory.oom_control")).read_text()
        return int(dict(line.split() for line in text.splitlines())["oom_kill"])

    def remove(self):
        for _ in range(100):  # its last process may be on its way out
            with contextlib.suppress(OSError):
                self.folder.rmdir()
                break
            time.sleep(0.1)


def write(path, nbytes):
    """Write the file, no part of it sparse."""
    rows = np.ones((MIB // ROW, COLUMNS), "<i8")
    with open(path, "wb") as stream:
        for start in range(0, nbytes // ROW, len(rows)):
            rows[:, 0] = np.arange(start, start + len(rows))
            stream.write(rows)
        stream.flush()
        os.fsync(stream.fileno())


@contextlib.contextmanager
def read_ahead(folder, kib):
    """Have the disk read ahead so much; for access="normal" a page that was reclaimed costs all of it."""
    device = os.stat(folder).st_dev
    setting = Path(f"/sys/class/bdi/{os.major(device)}:{os.minor(device)}/read_ahead_kb")
    before = setting.read_text() if os.access(setting, os.W_OK) else None
    try:
        if before is not None:
            setting.write_text(str(kib))
        yield
    finally:
        if before is not None:
            setting.write_text(before)


def drop_from_memory(path):
    with open(path, "rb") as stream:
        os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def work(name, path, limit, access, is_numpy):
    """Do one task in this process, and print what it has read and had resident at most."""
    task = Work(path, limit, access, is_numpy)
    before = read_bytes()
    getattr(task, name)()
    print(json.dumps([read_bytes() - before, task.most]), flush=True)
    os._exit(0)  # maps may be open


def run(name, path, limit, access, is_numpy):
    """Return what a task has read and had resident, in bytes; None if it was killed or has failed."""
    drop_from_memory(path)
    group = ControlGroup(limit)
    try:
        turn = [name, path, str(limit), access, "numpy" if is_numpy else "MemMap"]
        command = [sys.executable, os.path.abspath(__file__), "--work", *turn]
        done = subprocess.run(command, stdout=subprocess.PIPE, preexec_fn=group.enter, check=False)
        return None if done.returncode or group.kills else json.loads(done.stdout)
    finally:
        group.remove()


def is_good(task, path, limit, access):
    """Do a task, print a line about it, and return whether all is as it should be."""
    ours, peer = run(task.ours, path, limit, access, False), run(task.peer, path, limit, access, True)
    least = CHOSEN * PAGE if "shuffle=True" in task.call or "gather" in task.call else os.path.getsize(path)
    if ours is None:
        print(f"{task.call:40} killed, or failed", flush=True)
        return False
    read, resident = ours
    by_numpy = "killed" if peer is None else f"{peer[0] / least:.2f}"
    print(f"{task.call:40} {read / MIB:6.0f} {read / least:6.2f} {by_numpy:>8} {resident / MIB:6.0f}", flush=True)
    return read <= task.bound * least and (task.most_resident is None or resident <= task.most_resident)


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("  Usage")[0])
    parser.add_argument("--limit", type=int, default=128, help="MiB of memory")
    parser.add_argument("--file", type=int, default=512, help="MiB of the file")
    parser.add_argument("--only", default="", help="the tasks whose name has this in it")
    parser.add_argument("--read-ahead", type=int, default=128, help="KiB, of the disk; Linux's default is 128")
    parser.add_argument("--access", default="normal", help="access intent of the maps")
    parser.add_argument("--work", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.work:
        name, path, limit, access, library = arguments.work
        return work(name, path, int(limit), access, library == "numpy")
    bad = 0
    with tempfile.TemporaryDirectory(prefix="memory-limits-") as folder, read_ahead(folder, arguments.read_ahead):
        path = os.path.join(folder, "table.bin")
        write(path, arguments.file * MIB)
        print(f"{arguments.file} MiB under a limit of {arguments.limit} MiB: MiB read; as a multiple of the file, or")
        print("of the pages of the rows; numpy.memmap's multiple; MiB resident in the process")
        for task in TASKS:
            if arguments.only in task.ours and not is_good(task, path, arguments.limit * MIB, arguments.access):
                print("BAD", flush=True)
                bad += 1
    print(f"bad {bad}")
    return min(bad, 1)


if __name__ == "__main__":
    sys.exit(main())
