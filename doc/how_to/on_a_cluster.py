"""Column statistics and a linear model of a file that is larger than the memory of any worker.

Usage: python on_a_cluster.py FILE [ADDRESS OF A SCHEDULER]; without an address, workers are started on this machine.
"""

import sys

import numpy as np
from dask.distributed import Client
from sklearn.linear_model import SGDRegressor

from scikitplot.memmap import MemMap, batches

COLUMNS = 128


def write_example(path, rows):
    random = np.random.default_rng(0)
    with MemMap.open(path, "w+", dtype="<f4", shape=(rows, COLUMNS)) as mm:
        for chunk in mm.iter_chunks(evict=True):
            chunk[:] = random.standard_normal(chunk.shape, np.float32)
            chunk[:, -1] = chunk[:, :-1].mean(axis=1) + 3  # what the model is to find
        del chunk  # a view, which would keep the map open


def sums_of(part):
    sums = np.zeros((2, COLUMNS))
    for chunk in part.iter_chunks(evict=True):
        sums += chunk.sum(axis=0, dtype="f8"), np.square(chunk).sum(axis=0, dtype="f8")
    return sums


def train(model, part):
    for rows in batches(part, batch_size=4096, shuffle="blocks", seed=0, buffer_nbytes=1 << 25, evict=True):
        model.partial_fit(rows[:, :-1], rows[:, -1])
    return model


def main(path, client):
    with MemMap.open(path, dtype="<f4", shape=(-1, COLUMNS)) as mm:
        size = -(-len(mm) // 8)
        parts = [mm.window(start, start + size) for start in range(0, len(mm), size)]
        sums, squares = sum(client.gather(client.map(sums_of, parts))) / len(mm)
        print("largest mean", abs(sums[:-1]).max().round(3))
        print("largest deviation", np.sqrt(squares - sums**2).max().round(3))
        model = SGDRegressor(random_state=0)
        for part in parts:  # each step starts when its model is there, on the worker that has it
            model = client.submit(train, model, part)
        print("intercept", model.result().intercept_.round(3))
        for part in parts:
            part.close()


if __name__ == "__main__":
    here = {"n_workers": 2, "threads_per_worker": 1, "memory_limit": "400 MB"}
    with Client(sys.argv[2]) if len(sys.argv) > 2 else Client(**here) as client:
        main(sys.argv[1], client)
