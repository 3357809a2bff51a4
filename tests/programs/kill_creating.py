"""Kill a process that makes files of n MiB, each full of the number n once that is stored; see kill_often.py.

The size of a file says what it may hold.
"""

import os

from kill_often import HOW, RETURNED, RUNS, STORED, kill_often, state

from scikitplot.memmap import MemMap
from scikitplot.memmap._file import File


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
    return "data" if HOW == "w+" else f"data{i}"


def prepare():
    for old in os.listdir():
        os.unlink(old)
    if HOW == "w+":
        with open(name(0), "wb") as file:
            file.write(bytes([2]) * (2 << 20))


def work(rng):
    state[RUNS] = 1
    for i in range(1, 1 << 30):
        n = rng.choice((1, 2, 3))
        with MemMap.open(name(i), HOW, shape=n << 20) as mm:
            state[RETURNED] = i
            mm[:] = n
        state[STORED] = i
        if HOW == "x+":
            os.unlink(name(i))


def look():  # also as a reader who comes at any moment
    content_is_whole(name(state[RETURNED] + 1), HOW == "w+")


def check():
    look()
    i = state[RETURNED]
    content_is_whole(name(i), HOW == "w+" or i > state[STORED])
    for left in os.listdir() if nameless else ():
        content_is_whole(left, True)


kill_often(prepare, work, check, look)
