"""Kill a process that flushes a map on a disk of its own; see kill_often.py.

What the image of the disk holds at the moment of the kill is what a power cut would leave.
"""

import os
import subprocess
import time

import numpy as np
from kill_often import HOW, RETURNED, RUNS, STORED, WANTED, kill_often, state

from scikitplot.memmap import MemMap, open_npy


def prepare():
    if os.path.exists("data"):
        os.unlink("data")


def work(rng):
    make = open_npy if HOW == "npy" else MemMap.open
    mm = make("data", "w+", dtype="i8", shape=(0, 512))
    state[RUNS] = 1
    for i in range(1, 200):
        first = len(mm)
        mm.append(np.full((rng.choice((1, 2, 9)), 512), i))
        if HOW != "npy":
            mm[:] = i
        state[WANTED] = i
        mm.flush(slice(first, None) if HOW == "npy" else None)
        state[RETURNED] = i
        state[STORED] = len(mm)
    time.sleep(100)


def check():
    subprocess.run(["cp", "--sparse=always", "../image", "../copy"], check=True)
    subprocess.run(["mount", "-o", "loop,ro", "../copy", "../durable"], check=True)
    try:
        if state[RETURNED] and HOW == "npy":
            data = np.load("../durable/data")
            assert len(data) >= state[STORED]
            assert state[RETURNED] <= data[-1, 0] <= state[WANTED]
        elif state[RETURNED]:
            data = np.fromfile("../durable/data", "i8").reshape(-1, 512)
            assert len(data) >= state[STORED]
            assert ((data[: state[STORED]] == state[RETURNED]) | (data[: state[STORED]] == state[WANTED])).all()
    finally:
        subprocess.run(["umount", "../durable"], check=True)


os.mkdir("../durable")
kill_often(prepare, work, check)
