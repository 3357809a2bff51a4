"""
Which pages are in memory
=========================

.. currentmodule:: scikitplot.memmap

Opening a file reads none of it. Pages come into memory when they are used, or ahead of that, and can be given back.
`plot_residency` shows which are there; it touches none itself.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from scikitplot.memmap import MemMap, plot_residency

folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "features.f4")
with MemMap.open(path, "w+", dtype="<f4", shape=(65536, 256)) as mm:  # rows of 1 KiB, 64 MiB
    mm[:] = 1
    mm.flush()
    mm.evict()  # as if the computer had been restarted

# %%
# Each panel shows the file after one more call, and how much of it is in memory. ``access="random"`` switches off the
# read-ahead, so that only what is asked for is read. The last call reads the whole file, and keeps none of it.
mm = MemMap.open(path, dtype="<f4", shape=(-1, 256), access="random")
rng = np.random.default_rng(0)
near = np.clip(rng.normal(20_000, 4_000, 5000), 0, len(mm) - 1).astype(int)
steps = {
    "MemMap.open(...)": lambda: None,
    "mm[60_000:].sum()": lambda: mm[60_000:].sum(),
    "mm.gather(rows)": lambda: mm.gather(near),
    "mm.prefetch(slice(32_768, 49_152), wait=True)": lambda: mm.prefetch(slice(32_768, 49_152), wait=True),
    "mm.evict(slice(16_384, 40_960))": lambda: mm.evict(slice(16_384, 40_960)),
    "for chunk in mm.iter_chunks(evict=True): chunk.sum()": lambda: [
        chunk.sum() for chunk in mm.iter_chunks(evict=True)
    ],
}
figure, axes = plt.subplots(len(steps), figsize=(8, 6.5), sharex=True, layout="constrained")
for ax, (call, step) in zip(axes, steps.items(), strict=True):
    step()
    plot_residency(mm, ax)
    ax.set_title(call, loc="left", family="monospace", fontsize=9)
    ax.set_title(f"{mm.residency().mean() * mm.nbytes / 2**20:.0f} MiB", loc="right", fontsize=9)
    ax.set(title="", ylabel="", yticks=[0, 1])
    ax.label_outer()
    ax.spines[["top", "right"]].set_visible(False)
figure.supylabel("resident share", fontsize=9)

mm.close()
folder.cleanup()
plt.show()
