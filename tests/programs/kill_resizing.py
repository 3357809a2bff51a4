"""Kill a process that appends to a file or resizes it; see kill_often.py."""

import os

import numpy as np
from kill_often import HOW, RETURNED, RUNS, STORED, WANTED, kill_often, state

from scikitplot.memmap import MemMap


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
        if HOW == "append" and n < 50_000:
            state[WANTED] = n + rng.choice((1, 100, 10_000))
            mm.append(rows(n, state[WANTED]))
        else:
            state[WANTED] = rng.randrange(10, 100 if HOW == "append" else 50_000)
            state[STORED] = min(n, state[WANTED])
            mm.resize(state[WANTED])
            state[RETURNED] = state[WANTED]
            mm[n:] = rows(n, max(n, state[WANTED]))
        state[RETURNED] = state[WANTED]
        state[STORED] = state[WANTED]


def check():
    n, rest = divmod(os.path.getsize("data"), 32)
    grows = HOW == "append" and state[RETURNED] <= n <= state[WANTED]  # by the first of the rows, which are complete
    assert (rest, grows or n in state[[RETURNED, WANTED]]) == (0, True), (n, rest, state[:4])
    data = np.fromfile("data", "i8").reshape(-1, 4)
    if grows:
        np.testing.assert_array_equal(data, rows(0, n))
        return
    stored = min(n, state[STORED])
    np.testing.assert_array_equal(data[:stored], rows(0, stored))
    half_stored, wanted = data[stored:].view("u1"), rows(stored, n).view("u1")
    assert ((half_stored == wanted) | (half_stored == 0)).all()


kill_often(prepare, work, check)
