"""
One canvas, four programs
=========================

.. currentmodule:: scikitplot.memmap

``MemMap.anonymous(shape, shared=True)`` is memory that several processes write to. No file holds it, and nothing is
left behind when they end. It travels to another process by pickle, which takes a reference along and no data: through a
pool of ``multiprocessing``, or as here through a pipe.
"""

import pickle
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import matplotlib.pyplot as plt
import numpy as np

from scikitplot.memmap import MemMap

WORKERS = 4
canvas = MemMap.anonymous((600, 900), "u2", shared=True)  # zeros

# %%
# The program of a worker. Row by row it counts how many steps each point takes to leave a Julia set.
program = """
import pickle, sys
import numpy as np

canvas, rows = pickle.load(sys.stdin.buffer)
x = np.linspace(-1.5, 1.5, canvas.shape[1])
for row in rows:
    z = x + 1j * np.interp(row, [0, canvas.shape[0]], [1, -1])
    steps = np.ones(len(x), "u2")
    for _ in range(250):
        inside = abs(z) < 2
        z[inside] = z[inside] ** 2 - 0.79 + 0.15j
        steps += inside
    canvas[row] = steps
canvas.close()
"""

# %%
# Each worker gets the canvas and a band of rows. A pickled map is small, whatever its size.
command = [sys.executable, "-c", program]
pool = ThreadPoolExecutor(WORKERS)
jobs = [
    pool.submit(subprocess.run, command, input=pickle.dumps((canvas, band)), check=True)
    for band in np.array_split(np.arange(len(canvas)), WORKERS)
]
print(f"{canvas.nbytes:,} bytes of memory, {len(pickle.dumps(canvas))} bytes of pickle")

# %%
# While they work, this process looks at the same memory four times.
snapshots = []
for share in 0.2, 0.5, 0.8, 1:
    while (canvas[:, 0] > 0).mean() < share and not all(job.done() for job in jobs):
        time.sleep(0.005)
    snapshots.append(canvas[...].copy())
for job in jobs:
    job.result()  # raises if the worker failed
pool.shutdown()

figure, axes = plt.subplots(2, 2, figsize=(9, 6.2), layout="constrained")
colors = plt.get_cmap("twilight_shifted").with_extremes(bad="0.93")
for ax, image in zip(axes.flat, snapshots, strict=True):
    ax.imshow(np.ma.masked_equal(image, 0), norm="log", cmap=colors, interpolation="nearest")
    ax.set_title(f"{(image[:, 0] > 0).sum()} of {len(image)} rows", fontsize=10)
    ax.set_axis_off()

canvas.close()
plt.show()
