#!/usr/bin/env python
"""Cut the power at many moments of a session, and check what the disk then holds.  Usage: power_cuts.py [--cuts N]

A session on a small disk creates, fills, replaces, resizes and appends to files, and flushes them. The disk is a loop
device on a file that this program serves (FUSE), so it sees every write, and every barrier: a flush of the disk's
cache. A disk keeps what it took before the last barrier. Of what it took later a power cut may lose any part, and keep
any other. So one cut is a moment of the session and a choice of the writes since the last barrier before it: all of
them, none, or a random half. The image is made of these, mounted, and compared with what the session was promised by
then:

- the file system mounts;
- a file has one of the sizes that calls since its last `flush` gave it, or the one before: no call is half done. It
  exists if it was flushed after it was created;
- its bytes are those of the last flush, except where they were written to later: there they may be old or new, and in
  what was added to the file without a flush, also zeros;
- a .npy file has a header that says one of the shapes that the file had since its last flush, and that many rows.

There is one exception, which is counted: of rows that were appended and not flushed, the disk may have a part, and a
.npy file the header before the rows. What was there before the append is whole.

Needs Linux, root, /dev/fuse, mkfs.ext4 and mkfs.xfs. Other systems are not tested, and neither are disks that lose what
they had confirmed.
"""

import argparse
import collections
import contextlib
import io
import itertools
import json
import math
import os
import random
import shutil
import struct
import subprocess
import sys
import tempfile
import threading
import warnings
from typing import NamedTuple

import numpy as np

from scikitplot.memmap import MemMap, open_npy

MAKE = {
    "ext4": "mkfs.ext4 -q -F -J size=4 -E lazy_itable_init=0,lazy_journal_init=0",
    "xfs": "mkfs.xfs -q -f --unsupported",  # smaller than others are meant to be
}
NBYTES = 32 << 20
BARRIER = -1  # the offset of a barrier in the log
RECORD = struct.Struct("<qq")  # offset, size; then the bytes
COLUMNS = 75  # of 8 bytes: rows do not end with pages
LARGE = 1 << 18  # bytes: more than the file system writes at a time


# ------------------------------------------------------------------------------------------------- the disk (FUSE)

HEADER = struct.Struct("<IIQQIIIHH")  # of a request: size, operation, number, node, user, group, process, ...
GETATTR, OPEN, READ, WRITE, RELEASE, FSYNC, FLUSH, INIT = 3, 14, 15, 16, 18, 20, 25, 26
FORGET = 2
DIRECT = 1  # every read and write of the file is a request


def serve(fuse, disk, log):
    """Answer requests for the one file of the file system, and log what is written, until it is unmounted."""
    while True:
        try:
            request = os.read(fuse, (1 << 20) + (1 << 16))
        except FileNotFoundError:  # it was withdrawn
            continue
        except OSError:
            return
        _, operation, number, *_ = HEADER.unpack_from(request)
        body, code, answer = request[HEADER.size :], 0, b""
        if operation == INIT:
            answer = struct.pack("<IIIIHHIIHHII24x", 7, 31, 1 << 16, 0, 0, 0, 1 << 16, 1, 0, 0, 0, 0)
        elif operation == GETATTR:
            attributes = 1, NBYTES, NBYTES >> 9, 0, 0, 0, 0, 0, 0, 0o100600, 1, 0, 0, 0, 4096, 0
            answer = struct.pack("<QII6Q3I7I", 1 << 30, 0, 0, *attributes)
        elif operation == OPEN:
            answer = struct.pack("<QII", 0, DIRECT, 0)
        elif operation == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            answer = os.pread(disk, size, offset)
        elif operation == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            data = body[40:]
            os.pwrite(disk, data, offset)
            os.write(log, RECORD.pack(offset, size) + data)
            answer = struct.pack("<II", size, 0)
        elif operation == FSYNC:
            os.write(log, RECORD.pack(BARRIER, 0))
        elif operation == FORGET:
            continue
        elif operation not in (RELEASE, FLUSH):
            code = -38  # ENOSYS: the system does without
        with contextlib.suppress(FileNotFoundError):
            os.write(fuse, struct.pack("<IiQ", 16 + len(answer), code, number) + answer)


# ----------------------------------------------------------------------------------------------------- the session


class Session:
    """Calls on files of the disk, and what they promise, as a list of events.

    An event is (position in the log, file, number of its contents then, what): "change" or "append" made these
    contents, and the disk may have them from now on; "flush", or the begin and end of a part, says that it has them.
    """

    def __init__(self, folder, log, states, seed):
        self.folder, self.log, self.states = folder, log, states
        self.rng = random.Random(seed)
        self.events, self.counts = [], collections.Counter()
        self.maps = {}
        self.fill = 1

    def position(self):
        return os.stat(self.log).st_size

    def note(self, position, name, what):
        number = len(self.events)
        shutil.copyfile(os.path.join(self.folder, name), os.path.join(self.states, str(number)))
        self.events.append((position, name, number, what))

    def change(self, name, call, what="change"):
        """Make a call that changes a file. From its beginning on the disk may have the new contents."""
        position = self.position()
        call()
        self.note(position, name, what)

    def rows(self, count):
        self.fill += 1
        return np.arange(1, count * COLUMNS + 1).reshape(count, COLUMNS) + (self.fill << 32)

    def create(self, name, mode):
        self.close(name)
        rows, make = self.rng.randrange(1, 40), open_npy if name.endswith(".npy") else MemMap.open
        path = os.path.join(self.folder, name)

        def call():
            self.maps[name] = make(path, mode, dtype="<i8", shape=(rows, COLUMNS))

        self.change(name, call)

    def close(self, name):
        if name in self.maps:
            self.maps.pop(name).close()

    def write(self, name):
        mm = self.maps[name]
        if len(mm) == 0:
            return
        start = self.rng.randrange(len(mm))
        stop = self.rng.randrange(start, len(mm)) + 1
        self.change(name, lambda: mm.__setitem__(slice(start, stop), self.rows(stop - start)))
        if self.rng.random() < 0.5:
            mm.flush(slice(start, stop))
            begin = mm.offset + start * mm[0].nbytes
            self.note(self.position(), name, (begin, begin + (stop - start) * mm[0].nbytes))

    def append(self, name):
        rows = self.rows(self.rng.choice([1, 1, 1, 7, LARGE // 8 // COLUMNS]))
        self.change(name, lambda: self.maps[name].append(rows), "append")

    def resize(self, name):
        mm = self.maps[name]
        rows = self.rng.choice([0, len(mm) // 2, len(mm) + 9])
        self.change(name, lambda: mm.resize(rows))

    def flush(self, name):
        self.maps[name].flush()
        self.note(self.position(), name, "flush")

    def start_flush(self, name):
        self.maps[name].flush(wait=False)

    def replace(self, name):
        self.create(name, "w+")

    def other_program(self, name):
        """Another program flushes another file: the journal is written, which is one for all files."""
        with open(os.path.join(self.folder, "other"), "ab") as stream:
            stream.write(b"other")
            stream.flush()
            os.fsync(stream.fileno())

    def run(self, steps):
        names = ["table.bin", "table.npy", "log.bin", "log.npy"]
        for name in names:
            self.create(name, "x+")
        calls = [self.write, self.append, self.append, self.resize, self.flush, self.flush, self.start_flush]
        calls += [self.replace, self.other_program]
        for step in range(steps):
            name = self.rng.choice(names)
            if len(self.maps[name]) > 4 * LARGE // 8 // COLUMNS or step % 20 == 19:
                self.maps.pop(name).close()
                names[names.index(name)] = name = f"{step}{os.path.splitext(name)[1]}"
                self.create(name, "x+")
            call = self.rng.choice(calls)
            call(name)
            self.counts[call.__name__] += 1
        for name in names:
            self.close(name)


def run_session(arguments):
    folder, log, states, seed, steps = arguments
    session = Session(folder, log, states, int(seed))
    session.run(int(steps))
    json.dump({"events": session.events, "counts": session.counts}, sys.stdout)


# --------------------------------------------------------------------------------------------------------- the cuts


def records_of(log):
    """Yield what the disk was sent: the position in the log after it, the offset (or BARRIER), the bytes."""
    at = 0
    while at < len(log):
        offset, size = RECORD.unpack_from(log, at)
        at += RECORD.size + size
        yield at, offset, log[at - size : at]


def moments(log, limit, rng):
    """Yield some cuts, as (position in the log, writes that the image before gets for good, those that it gets)."""
    records = list(records_of(log))
    stride = max(len(records) * 3 // 2 // limit, 1)
    lasting, since = [], []
    for number, (position, offset, data) in enumerate(records):
        if offset == BARRIER:
            lasting, since = lasting + since, []
        else:
            since.append((offset, data))
        if number % stride:
            continue
        ways = [since]
        if len(since) > 1:
            ways += [[]] * (number % 2) + [[write for write in since if rng.random() < 0.5]]
        for way in ways:
            yield position, lasting, way
            lasting = []


def write_all(path, writes):
    with open(path, "r+b") as stream:
        for offset, data in writes:
            stream.seek(offset)
            stream.write(data)


@contextlib.contextmanager
def mounted(what, where, options):
    subprocess.run(["mount", "-o", options, what, where], check=True, capture_output=True, text=True)
    try:
        yield
    finally:
        subprocess.run(["umount", where], check=True)


class State(NamedTuple):
    """What a file may hold, None if it may be absent; and whether it comes of an append that was not flushed."""

    contents: bytes | None
    appended: bool = False

    def with_flushed(self, new, start, stop):
        """Return the state with a part of a newer one, which is on the disk. Before it, there may be zeros."""
        old = (self.contents or b"").ljust(stop, b"\0")
        return State(old[:start] + new[start:stop] + old[stop:], self.appended)


def states_after(states, number, what):
    """Return what a file may hold after one more event, given what it could hold before."""
    with open(os.path.join("states", str(number)), "rb") as stream:
        new = stream.read()
    if what == "flush":
        return [State(new)]
    if what in ("change", "append"):
        return [*states, State(new, what == "append")]
    return [state.with_flushed(new, *what) for state in states]


def is_ahead(contents):
    """Return whether a .npy file has fewer rows than its header says."""
    return len(contents) < 128 + math.prod(shape_of(contents)) * 8


def shape_of(contents):
    """Return the shape that the header of a .npy file says, or None."""
    try:
        stream = io.BytesIO(contents)
        np.lib.format.read_magic(stream)
        return np.lib.format.read_array_header_1_0(stream)[0]
    except ValueError:
        return None


def appends_of(states):
    """Yield the appends that were not flushed: the old and the new size of the file, its new contents."""
    for before, state in itertools.pairwise(states):
        if state.appended:
            yield len(before.contents or b""), len(state.contents), state.contents


def is_partial(name, found, states):
    """Return whether a file has a part of an append: some of its bytes, or a .npy header before the rows."""
    sizes = [len(state.contents) for state in states if state.contents is not None]
    return found is not None and (len(found) not in sizes or (name.endswith(".npy") and is_ahead(found)))


def problem_of(name, found, states):
    """Return what is wrong with a file after a cut, or None."""
    if found is None:
        return None if State(None) in states else "the file is gone"
    wholes = [np.frombuffer(state.contents, "u1") for state in states if state.contents is not None]
    appends = list(appends_of(states))
    if len(found) not in map(len, wholes) and not any(old < len(found) < new for old, new, _ in appends):
        return f"{len(found)} bytes, expected one of {sorted(set(map(len, wholes)))}"
    if name.endswith(".npy"):
        shape = shape_of(found)
        if shape is None or shape not in map(shape_of, wholes):
            return f"a header that says shape {shape}"
        if is_ahead(found) and shape not in (shape_of(contents) for _, _, contents in appends):
            return f"a header that says shape {shape}, and {len(found)} bytes"
    found = np.frombuffer(found, "u1")
    good = found == 0
    good[: min(len(state.contents or b"") for state in states)] = False
    for whole in wholes:
        both = min(len(whole), len(found))
        good[:both] |= whole[:both] == found[:both]
    wrong = np.flatnonzero(~good)
    return f"{len(wrong)} bytes from {wrong[0]} on are neither old nor new" if len(wrong) else None


def contents_of(folder, name):
    try:
        with open(os.path.join(folder, name), "rb") as stream:
            return stream.read()
    except FileNotFoundError:
        return None


def record(system, seed, steps):
    """Run a session on a new disk, in the current folder; leave `start`, the image before, and `log`."""
    for name, size in ("start", NBYTES), ("served", 0), ("log", 0):
        with open(name, "wb") as stream:
            stream.truncate(size)
    os.makedirs("mounted", exist_ok=True)
    os.makedirs("states", exist_ok=True)
    make = [*MAKE[system].split(), "start"]
    subprocess.run(make, check=True, capture_output=True)  # mkfs.xfs says what --unsupported means
    shutil.copyfile("start", "disk")
    fuse, disk, log = (os.open(name, os.O_RDWR) for name in ("/dev/fuse", "disk", "log"))
    options = f"fd={fuse},rootmode=100600,user_id=0,group_id=0"
    subprocess.run(["mount", "-i", "-t", "fuse", "-o", options, "disk", "served"], pass_fds=[fuse], check=True)
    server = threading.Thread(target=serve, args=(fuse, disk, log))
    server.start()
    try:
        with mounted("served", "mounted", "loop"):
            script, *places = map(os.path.abspath, (__file__, "mounted", "log", "states"))
            command = [sys.executable, script, "--session", *places, str(seed), str(steps)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    finally:
        subprocess.run(["umount", "served"], check=True)
        server.join()
        for descriptor in (fuse, disk, log):
            os.close(descriptor)
    return json.loads(done.stdout)


def replay(system, session, limit, seed):
    """Cut the power at some moments; print what is wrong afterwards, and return how many cuts were bad."""
    events, states = list(session["events"]), collections.defaultdict(lambda: [State(None)])
    cuts = partial = bad = 0
    with open("log", "rb") as stream:
        log = stream.read()
    os.replace("start", "lasting")
    for position, lasting, writes in moments(log, limit, random.Random(seed)):
        while events and events[0][0] <= position:
            _, name, number, what = events.pop(0)
            states[name] = states_after(states[name], number, what)
        write_all("lasting", lasting)
        shutil.copyfile("lasting", "image")
        write_all("image", writes)
        cuts += 1
        problems = []
        try:
            with mounted("image", "mounted", "loop" + ",nouuid" * (system == "xfs")):
                for name, allowed in states.items():
                    found = contents_of("mounted", name)
                    problem = problem_of(name, found, allowed)
                    problems += [f"{name}: {problem}"] if problem else []
                    partial += not problem and is_partial(name, found, allowed)
        except subprocess.CalledProcessError as error:
            problems.append(f"the file system cannot be mounted: {error.stderr}")
        for problem in problems:
            print(f"{system}, cut {cuts}, byte {position} of the log, {len(writes)} writes: {problem}", flush=True)
        bad += bool(problems)
    print(f"{system}: {cuts} cuts, files with a part of an append {partial}, bad {bad}", flush=True)
    return bad


def main():
    warnings.simplefilter("ignore", ResourceWarning)
    parser = argparse.ArgumentParser(description=__doc__.partition("  Usage")[0])
    parser.add_argument("--cuts", type=int, default=150, help="about so many on each file system")
    parser.add_argument("--steps", type=int, default=300, help="of each session")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=MAKE, default=None)
    parser.add_argument("--session", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.session:
        return run_session(arguments.session)
    total = 0
    for system in [arguments.only] if arguments.only else MAKE:
        with tempfile.TemporaryDirectory(prefix="power-cuts-", dir="/dev/shm") as folder, contextlib.chdir(folder):
            session = record(system, arguments.seed, arguments.steps)
            print(f"{system}:", ", ".join(f"{count} {name}" for name, count in session["counts"].items()), flush=True)
            total += replay(system, session, arguments.cuts, arguments.seed)
    return min(total, 1)


if __name__ == "__main__":
    sys.exit(main())
