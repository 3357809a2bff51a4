"""Kill a process that replaces or resizes a .npy file: np.load reads whole rows at any moment; see kill_often.py."""

import time

import numpy as np
from kill_often import HOW, RETURNED, RUNS, WANTED, kill_often, state

from scikitplot.memmap import open_npy


def rows(first, last):
    return np.repeat(np.arange(first + 1, last + 1, dtype="<i8"), 4).reshape(-1, 4)


def prepare():
    np.save("data.npy", rows(0, 7))
    state[[RETURNED, WANTED]] = 7


def work(rng):
    state[RUNS] = 1
    while HOW == "replace":
        open_npy("data.npy", "w+", dtype="<i8", shape=(rng.randrange(2000), 4)).close()
    mm = open_npy("data.npy", "r+")
    while True:
        n = len(mm)
        if HOW == "append" and n >= 200_000:
            time.sleep(1)
        elif HOW == "append":
            state[WANTED] = n + rng.choice((1, 3, 100, 10_000))
            mm.append(rows(n, state[WANTED]))
        else:
            state[WANTED] = rng.randrange(2000)
            mm.resize(state[WANTED])
        state[RETURNED] = state[WANTED]


def look():
    if HOW != "resize":  # else rows may go while they are loaded
        loaded = np.load("data.npy")
        np.testing.assert_array_equal(loaded, rows(0, len(loaded)) if loaded.any() or HOW == "append" else 0)


def check():
    look()
    loaded = np.load("data.npy")
    assert HOW == "replace" or len(loaded) in state[[RETURNED, WANTED]]
    assert len(open_npy("data.npy").detach()) == len(loaded)


kill_often(prepare, work, check, look)
