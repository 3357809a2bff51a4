"""kill -9 at any moment: a file is what it was before a call, or what it is after. Each case has its own process."""

import os

import pytest

from scikitplot.memmap._region import File

pytestmark = pytest.mark.linux

KILLS = int(os.environ.get("MEMMAP_KILLS", "30"))  # of each case

PRELUDE = """if True:
    import mmap, os, random, signal, subprocess, sys, time
    import numpy as np
    from scikitplot.memmap import MemMap
    from scikitplot.memmap._region import File

    folder, how = sys.argv[2:]
    os.chdir(folder)
    # What the process that is killed says of itself, in memory that outlives it: whether it runs; how many rows there
    # were when the last call returned; how many there will be when the call under way returns; how many were stored.
    RUNS, RETURNED, WANTED, STORED = range(4)
    state = np.frombuffer(mmap.mmap(-1, 4096), "i8")
    rng = random.Random(7)

    def kill_often(prepare, work, check, look=lambda: None):
        for _ in range(int(sys.argv[1])):
            state[:] = 0
            prepare()
            seed = rng.random()
            pid = os.fork()
            if not pid:
                try:
                    work(random.Random(seed))
                finally:
                    os._exit(1)
            try:
                while not (state[RUNS] or os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)):
                    look()
                stop = time.monotonic() + rng.uniform(0, 0.02)
                while time.monotonic() < stop:
                    look()
            finally:
                os.kill(pid, signal.SIGKILL)
                end = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            assert end == -signal.SIGKILL  # and no error of its own
            check()
        print("done")
"""

SIZES = """
    def rows(first, last):
        return np.repeat(np.arange(first + 1, last + 1, dtype="<i8"), 4).reshape(-1, 4)

    def prepare():
        rows(0, 100).tofile("data")
        state[[RETURNED, WANTED, STORED]] = 100

    def work(rng):
        mm = MemMap.open("data", "r+", dtype="i8", shape=(-1, 4))
        state[RUNS] = 1
        while True:
            n = len(mm)
            if how == "append" and n < 50_000:
                state[WANTED] = n + rng.choice((1, 100, 10_000))
                mm.append(rows(n, state[WANTED]))
            else:
                state[WANTED] = rng.randrange(10, 100 if how == "append" else 50_000)
                state[STORED] = min(n, state[WANTED])
                mm.resize(state[WANTED])
                state[RETURNED] = state[WANTED]
                mm[n:] = rows(n, max(n, state[WANTED]))
            state[RETURNED] = state[WANTED]
            state[STORED] = state[WANTED]

    def check():
        n, rest = divmod(os.path.getsize("data"), 32)
        assert (rest, n in state[[RETURNED, WANTED]]) == (0, True), (n, rest, state[:4])
        data = np.fromfile("data", "i8").reshape(-1, 4)
        stored = min(n, state[STORED])
        np.testing.assert_array_equal(data[:stored], rows(0, stored))
        half_stored, wanted = data[stored:].view("u1"), rows(stored, n).view("u1")
        assert ((half_stored == wanted) | (half_stored == 0)).all()

    kill_often(prepare, work, check)
"""

# A file of n MiB is full of the number n once that is stored: its size says what it may hold.
NEW_FILES = """
    def content_is_whole(path, must_exist):
        try:
            with open(path, "rb") as file:
                data = file.read()
        except FileNotFoundError:
            assert not must_exist
            return
        n, rest = divmod(len(data), 1 << 20)
        assert (rest, 1 <= n <= 3) == (0, True), len(data)
        assert data.count(0) + data.count(n) == len(data), n

    nameless = File.create_nameless(os.getcwd(), "") is not None

    def name(i):
        return "data" if how == "w+" else f"data{i}"

    def prepare():
        for old in os.listdir():
            os.unlink(old)
        if how == "w+":
            with open(name(0), "wb") as file:
                file.write(bytes([2]) * (2 << 20))

    def work(rng):
        state[RUNS] = 1
        for i in range(1, 1 << 30):
            n = rng.choice((1, 2, 3))
            with MemMap.open(name(i), how, shape=n << 20) as mm:
                state[RETURNED] = i
                mm[:] = n
            state[STORED] = i
            if how == "x+":
                os.unlink(name(i))

    def look():  # also as a reader who comes at any moment
        content_is_whole(name(state[RETURNED] + 1), how == "w+")

    def check():
        look()
        i = state[RETURNED]
        content_is_whole(name(i), how == "w+" or i > state[STORED])
        for left in os.listdir() if nameless else ():
            content_is_whole(left, True)

    kill_often(prepare, work, check, look)
"""

# What the image of a disk holds at the moment of the kill is what a power cut would leave.
DURABLE = """
    def prepare():
        if os.path.exists("data"):
            os.unlink("data")

    def work(rng):
        mm = MemMap.open("data", "w+", dtype="i8", shape=(0, 512))
        state[RUNS] = 1
        for i in range(1, 200):
            mm.append(np.full((rng.choice((1, 2, 9)), 512), i))
            mm[:] = i
            state[WANTED] = i
            mm.flush()
            state[RETURNED] = i
            state[STORED] = len(mm)
        time.sleep(100)

    def check():
        subprocess.run(["cp", "--sparse=always", "../image", "../copy"], check=True)
        subprocess.run(["mount", "-o", "loop,ro", "../copy", "../durable"], check=True)
        try:
            if state[RETURNED]:
                data = np.fromfile("../durable/data", "i8").reshape(-1, 512)
                assert len(data) >= state[STORED]
                assert ((data[: state[STORED]] == state[RETURNED]) | (data[: state[STORED]] == state[WANTED])).all()
        finally:
            subprocess.run(["umount", "../durable"], check=True)

    os.mkdir("../durable")
    kill_often(prepare, work, check)
"""


@pytest.mark.parametrize("disk", ["here", "tmpfs", "ext2"])  # the last one cannot reserve
@pytest.mark.parametrize("how", ["append", "resize"])
def test_a_killed_change_of_size_is_done_or_not_and_touches_no_old_row(run_python, tmp_path, small_disk_of, how, disk):
    folder = tmp_path if disk == "here" else small_disk_of(disk, "16m")
    assert run_python(PRELUDE + SIZES, KILLS, folder, how) == "done"


@pytest.mark.parametrize("disk", ["here", "tmpfs"])
@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_a_new_file_is_seen_whole_or_not_at_all_though_its_maker_is_killed(
    run_python, tmp_path, small_disk_of, mode, disk
):
    folder = tmp_path / "new" if disk == "here" else small_disk_of(disk, "16m")
    folder.mkdir(exist_ok=True)
    if mode == "x+" and File.create_nameless(str(folder), "") is None:
        pytest.skip("the temporary folder is on a file system where a file has a name from the start")
    assert run_python(PRELUDE + NEW_FILES, KILLS, folder, mode) == "done"


def test_what_flush_has_written_survives_a_kill_and_a_power_cut(run_python, small_disk_of):
    assert run_python(PRELUDE + DURABLE, KILLS, small_disk_of("ext4", "16m"), "") == "done"
