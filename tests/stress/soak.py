#!/usr/bin/env python
"""Use maps hard for a while: many threads, forks, and a process that cuts files off.  Usage: soak.py SECONDS [--seed N]

Every row holds its own number, so that every read can be checked. Findings are: the end of the process by a signal, a
wrong value of a file that nobody cuts off, an undocumented error, a child or a thread that hangs, a mapping or
descriptor that is left.
"""

import argparse
import collections
import contextlib
import faulthandler
import gc
import os
import random
import signal
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import warnings

import numpy as np

from scikitplot.memmap import DamagedError, MemMap, open_maps

THREADS = 8
COLUMNS = 16
ROWS = 5_000  # of a file that nobody makes longer: 156 pages and a part of one
STEADY, RISKY = ["steady-0.bin", "steady-1.bin"], ["risky-0.bin", "risky-1.bin", "risky-2.bin"]
GROWING = "growing.bin"
LAYOUT = {"dtype": "<i8", "shape": (-1, COLUMNS)}
PATIENCE = 60  # seconds for what takes milliseconds


def table(rows):
    return np.repeat(np.arange(1, rows + 1, dtype="<i8"), COLUMNS).reshape(-1, COLUMNS)


TABLE = table(ROWS)


class Wrong(Exception):
    """A value that is not what was stored."""


class Soak:
    """What the threads share: maps that any of them may close, and counts of what they did."""

    def __init__(self, seed):
        self.seed = seed
        self.shared = dict.fromkeys([*STEADY, *RISKY, GROWING])
        self.making = threading.Lock()
        self.done, self.refused = collections.Counter(), collections.Counter()
        self.findings = []
        self.is_over = threading.Event()

    def shared_map(self, name):
        """The map of a file that all threads use."""
        with self.making:
            mm = self.shared[name]
            if mm is None or mm.closed:
                mm = self.shared[name] = MemMap.open(name, "r" if name in STEADY else "r+", **LAYOUT)
            return mm

    def drop_shared(self, rng, name):
        mm = self.shared_map(name)
        kind = rng.randrange(4)
        if kind == 0:
            mm.close()
        elif kind == 1:
            mm.close(views="revoke")
        elif kind == 2:
            view = mm.detach()
            check(view, np.arange(len(view)), mm, name)
        else:
            with mm:
                mm[:2].sum()

    def work(self, k):
        rng = random.Random(f"{self.seed}/{k}")
        while not self.is_over.is_set():
            with contextlib.suppress(DamagedError):  # for a view that was touched: it may arrive between two steps
                self.steps(rng)

    def steps(self, rng):
        while not self.is_over.is_set():
            action = rng.choice(ACTIONS)
            try:
                action(self, rng)
                self.done[action.__name__] += 1
            except DamagedError:
                self.refused["DamagedError"] += 1
            except BufferError as error:
                self.refuse(error, "alive", "being resized", "of it first")
            except ValueError as error:
                self.refuse(
                    error,
                    "MemMap is closed",
                    "Expected a byte range",
                    "resized while the call",
                    "no multiple",
                    "needs",
                    "only a map that ends with its file",
                )
            except IndexError as error:
                self.refuse(error, "out of bounds", "out of range")  # the growing map has shrunk
            except OSError as error:
                self.refuse(error, "could not be extended" if error.filename is None else "")
            except BaseException as error:
                self.finding(error)

    def refuse(self, error, *expected):
        self.refused[type(error).__name__] += 1
        if not any(text in str(error) for text in expected):
            self.finding(error)

    def finding(self, error):
        import traceback

        self.findings.append("".join(traceback.format_exception(error)))
        self.is_over.set()


def check(got, rows, mm, name):
    """Rows must hold their numbers: or zeros, if another thread has taken the memory of the map away."""
    if name not in STEADY:
        return
    expected = TABLE[rows]
    if not np.array_equal(got, expected) and not mm.closed:
        raise Wrong(f"{name}: {np.asarray(got)[:3]}, not {expected[:3]}")


# ---------------------------------------------------------------------------------------------------------- actions


def read(rng, mm, name):
    """Read in one of the ways there are; what a file that nobody cuts off gives must be right."""
    length = len(mm)
    at = rng.randrange(length or 1)
    kind = rng.randrange(8)
    if kind == 0:
        check(mm[at], at, mm, name)
    elif kind == 1:
        check(mm[at : at + 50 : 3], slice(at, at + 50, 3), mm, name)
    elif kind == 2:
        rows = np.array([rng.randrange(-length, length) for _ in range(20)]) if length else []
        check(mm.gather(rows), rows, mm, name)
    elif kind == 3:
        row = np.frombuffer(mm.read_at(at * 8 * COLUMNS, 8 * COLUMNS), "<i8")
        check(row, at, mm, name)
    elif kind == 4:
        into = np.empty(COLUMNS, "<i8")
        mm.readinto_at(at * 8 * COLUMNS, into)
        check(into, at, mm, name)
    elif kind == 5:
        with mm.window(at, at + 5) as part:
            check(part[...].copy(), slice(at, at + 5), mm, name)
    elif kind == 6:
        check(np.asarray(mm.memoryview()[at : at + 2]), slice(at, at + 2), mm, name)
    else:
        check(mm.to_numpy(copy=True), slice(None), mm, name)


def manage(rng, mm):
    rows = rng.choice([None, slice(0, 500, 7), [0, 1]])
    kind = rng.randrange(6)
    if kind == 0:
        mm.evict(rows)
    elif kind == 1:
        mm.residency(rows)
    elif kind == 2:
        mm.lock([0])
        mm.unlock([0])
    elif kind == 3:
        mm.advise(rng.choice(["normal", "random", "sequential"]))
    elif kind == 4:
        mm.flush(rows, wait=rng.randrange(8) == 0)
    else:
        assert mm.shape[1] == COLUMNS
        repr(mm)


def use_own(soak, rng):
    name = rng.choice(STEADY)
    mm = MemMap.open(name, rng.choice(["r", "r+", "c"]), **LAYOUT)
    try:
        for _ in range(rng.randrange(1, 8)):
            read(rng, mm, name)
            manage(rng, mm)
    finally:
        mm.close(views="revoke")


def use_anonymous(soak, rng):
    with MemMap.anonymous((200, COLUMNS), "<i8", shared=rng.randrange(2)) as mm:
        mm[...] = TABLE[:200]
        if not mm.shared:
            mm.append(TABLE[200:400])
        check(mm.gather(range(200)), slice(0, 200), mm, STEADY[0])


def use_shared(soak, rng):
    name = rng.choice(list(soak.shared))
    mm = soak.shared_map(name)
    for _ in range(5):
        read(rng, mm, name)


def keep_views(soak, rng):
    """Views that outlive their map, which is dropped or revoked."""
    name = rng.choice(STEADY + RISKY)
    mm = MemMap.open(name, "c", **LAYOUT)
    views = [mm[i : i + 9] for i in range(4)]
    if rng.randrange(2):
        mm.close(views="revoke")
    else:
        check(views[1], slice(1, 10), mm, name)
        check(mm.detach(), slice(None), mm, RISKY[0])
    for view in views:
        view.sum()


def manage_shared(soak, rng):
    manage(rng, soak.shared_map(rng.choice(list(soak.shared))))


def store(soak, rng):
    """What is there already, so that all readers see it."""
    at = rng.randrange(ROWS - 3)
    name = rng.choice(STEADY)
    with MemMap.open(name, "r+", **LAYOUT) as mm:
        mm[at : at + 3] = TABLE[at : at + 3]
        mm.write_at(at * 8 * COLUMNS, TABLE[at])


def store_risky(soak, rng):
    mm = soak.shared_map(rng.choice(RISKY))
    at = rng.randrange(len(mm) or 1)
    mm[at:] = at
    mm[at : at + 9].fill(at)


def grow(soak, rng):
    """Every row holds one number in all columns, whoever appended it."""
    mm = soak.shared_map(GROWING)
    if rng.randrange(3):
        mm.append(np.full((rng.randrange(1, 9), COLUMNS), rng.randrange(1 << 60)))
    else:
        mm.resize(rng.randrange(300))
    rows = mm.gather(range(min(len(mm), 20)))
    if not (rows == rows[:, :1]).all() and not mm.closed:
        raise Wrong(f"{GROWING}: {rows[(rows != rows[:, :1]).any(axis=1)]}")


def drop(soak, rng):
    soak.drop_shared(rng, rng.choice(list(soak.shared)))


def use_risky(soak, rng):
    name = rng.choice(RISKY)
    mm = MemMap.open(name, rng.choice(["r", "r+", "c"]), **LAYOUT)
    try:
        view = mm[:]
        for _ in range(5):
            view.sum()
            read(rng, mm, name)
            mm.verify()
    except DamagedError:
        with contextlib.suppress(OSError):
            mm.recover()
            view.sum()
        raise
    finally:
        view = None
        mm.close(views="revoke")


def recover(soak, rng):
    soak.shared_map(rng.choice(RISKY)).recover()


def fork(soak, rng):
    """A child that uses the maps of all, opens some of its own, and ends."""
    parent, pid = os.getpid(), None
    with contextlib.suppress(DamagedError):  # of the step before, in both processes
        pid = os.fork()
    if os.getpid() == parent:
        if pid and (status := os.waitpid(pid, 0)[1]):
            raise Wrong(f"a child ended with status {status:#x}")
        return
    status = 1
    try:
        signal.alarm(PATIENCE // 3)
        child = Soak(0)
        child.shared = dict(soak.shared)  # whose lock may be held by a thread that is not here
        for action in [use_own, use_shared, keep_views, store, use_risky, use_anonymous]:
            for _ in range(3):
                with contextlib.suppress(OSError, ValueError, BufferError, IndexError):
                    action(child, rng)
        for mm in [mm for mm in child.shared.values() if mm is not None]:
            with contextlib.suppress(BufferError):
                mm.close()
        status = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


ACTIONS = [
    use_own, use_own, use_anonymous, use_shared, use_shared, use_shared, keep_views, manage_shared, store, store_risky,
    grow, grow, drop, use_risky, recover,
]  # fmt: skip
# A child may find what a thread that it lacks had locked at the fork: without the GIL any object; under
# AddressSanitizer (before GCC 14) the allocator.
if not sysconfig.get_config_var("Py_GIL_DISABLED") and "libasan" not in os.environ.get("LD_PRELOAD", ""):
    ACTIONS.append(fork)


# -------------------------------------------------------------------------------------------------------- processes


def cut_off():
    """Truncate files and let them grow again, until the other process has ended."""
    rng = random.Random(0)
    while os.getppid() != 1:
        name = rng.choice(RISKY)
        with open(name, "r+b") as file:
            file.truncate(rng.randrange(8 * COLUMNS * ROWS))
            time.sleep(rng.random() / 100)
            file.write(TABLE)
        time.sleep(rng.random() / 100)
    sys.exit()


def held():
    """What this process has of the folder: mappings, and descriptors."""
    here = os.getcwd()
    gc.collect()
    with open("/proc/self/maps", errors="replace") as maps:
        found = [line for line in maps if here in line or "/dev/zero (deleted)" in line]
    for fd in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return sorted(name for name in found if here in name or "zero" in name)


def soak_for(seconds, seed):
    warnings.simplefilter("ignore")
    faulthandler.enable()
    faulthandler.register(
        signal.SIGALRM, chain=True
    )  # of children that hang; dump_traceback_later() does not outlast a fork
    faulthandler.dump_traceback_later(seconds + PATIENCE, exit=True)
    for name in STEADY + RISKY:
        TABLE.tofile(name)
    TABLE[:10].tofile(GROWING)
    with MemMap.open(STEADY[0]), MemMap.anonymous(1) as mm:
        mm[:].sum()
    before = held()
    soak = Soak(seed)
    threads = [threading.Thread(target=soak.work, args=(k,)) for k in range(THREADS)]
    cutter = subprocess.Popen([sys.executable, __file__, "cut off"])
    try:
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and not soak.is_over.is_set():
            with contextlib.suppress(DamagedError):  # for threads that Python does not know
                time.sleep(0.05)
        soak.is_over.set()
        for thread in threads:
            while thread.is_alive():
                with contextlib.suppress(DamagedError):  # for one that has ended before it could be told
                    thread.join()
        with contextlib.suppress(DamagedError):
            time.sleep(0.2)
    finally:
        cutter.kill()
        cutter.wait()
    soak.shared.clear()
    after = held()
    print(f"{soak.done.total()} actions: {dict(soak.done)}; refused: {dict(soak.refused)}")
    if soak.findings:
        raise SystemExit("\n".join(soak.findings))
    if after != before or open_maps():
        raise SystemExit(f"left behind: {after}, not {before}; {open_maps()}")
    if never := {action.__name__ for action in ACTIONS} - soak.done.keys():
        raise SystemExit(f"never succeeded: {never}")


def main():
    if sys.argv[1:] == ["cut off"]:
        cut_off()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        soak_for(given.seconds, given.seed)


if __name__ == "__main__":
    main()
