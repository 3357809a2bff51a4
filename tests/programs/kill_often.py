"""Kill a process at any moment, many times, and check each time what it has left. Programs: KILLS FOLDER HOW."""

import mmap
import os
import random
import signal
import sys
import time

import numpy as np

# What the process that is killed says of itself, in memory that outlives it: whether it runs; how many rows there
# were when the last call returned; how many there will be when the call under way returns; how many were stored.
RUNS, RETURNED, WANTED, STORED = range(4)
state = np.frombuffer(mmap.mmap(-1, 4096), "i8")
KILLS, FOLDER, HOW = sys.argv[1:]
os.chdir(FOLDER)


def kill_often(prepare, work, check, look=lambda: None):
    """Let `work` run in a process and kill that, after `prepare`; `look` meanwhile, and `check` what is there then."""
    rng = random.Random(7)
    for _ in range(int(KILLS)):
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
