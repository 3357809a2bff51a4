"""
Training in little memory
=========================

.. currentmodule:: scikitplot.memmap

The pages of a mapped file stay in the resident memory of a process that has read them, as long as there is room. Where
memory is scarce, `batches` with ``evict=True`` releases them behind itself: rows come in random order from the whole
file, and the process stays small.

The example reads its own size from ``/proc``, which only Linux has.
"""

import os
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from scikitplot.memmap import MemMap, batches

# %%
# Write 4096 images, 256 MiB. All are noise, and half of them have a faint spiral in it: their label is 1.
ROWS, SIDE, BATCH = 4096, 128, 64
folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "images.f4")
rng = np.random.default_rng(0)
x, y = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
radius, angle = np.hypot(x, y), np.arctan2(y, x)
spiral = (np.sin(2 * angle + 12 * radius) * (radius < 0.9)).astype("f4")
labels = rng.integers(2, size=ROWS).astype("f4")
with MemMap.open(path, "w+", dtype="<f4", shape=(ROWS, SIDE, SIDE)) as images:
    for start in range(0, ROWS, BATCH):
        noise = rng.standard_normal((BATCH, SIDE, SIDE), "f4")
        images[start : start + BATCH] = noise + 0.07 * spiral * labels[start : start + BATCH, None, None]


# %%
# One epoch of logistic regression, with and without ``evict=True``. Labels come along with their images.
def resident():
    """Return the resident memory of this process, in MiB."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def train(evict):
    """Return the memory above that before the epoch, after each batch, and the weights after some."""
    weights, memory, learned, before = np.zeros(SIDE * SIDE, "f4"), [], {}, resident()
    with MemMap.open(path, dtype="<f4", shape=(-1, SIDE, SIDE)) as images:
        epoch = batches(images, labels, batch_size=BATCH, shuffle=True, seed=0, evict=evict)
        for i, (batch, label) in enumerate(epoch, 1):
            rows = batch.reshape(BATCH, -1)
            error = label - 1 / (1 + np.exp(-rows @ weights))
            weights += 0.003 * error @ rows / BATCH
            memory.append(resident() - before)
            if i in (1, 4, 16, 64):
                learned[i] = weights.reshape(SIDE, SIDE).copy()
    return memory, learned


everything, _ = train(evict=False)
little, learned = train(evict=True)
print(f"at most {max(everything):.0f} MiB, with evict=True {max(little):.0f} MiB")

# %%
# The weights become the spiral, which no single image shows.
figure, axes = plt.subplot_mosaic(
    [["memory"] * 4, ["1", "4", "16", "64"]], figsize=(8, 5.5), height_ratios=(6, 5), layout="constrained"
)
ax = axes["memory"]
ax.plot(everything, lw=2, label="evict=False")
ax.plot(little, lw=2, label="evict=True")
size = path.stat().st_size / 2**20
ax.axhline(size, color="0.6", ls="--")
ax.annotate("size of the file", (63, size), xytext=(0, -14), textcoords="offset points", ha="right", color="0.4")
ax.set(xlabel="batch", ylabel="MiB", ylim=(0, None), xlim=(0, 63), title="Memory of the process")
ax.legend(frameon=False, loc="center right")
ax.spines[["top", "right"]].set_visible(False)
for i, weights in learned.items():
    ax = axes[str(i)]
    ax.imshow(weights, cmap="RdBu_r", interpolation="bilinear")
    ax.set_title(f"weights after batch {i}", fontsize=9)
    ax.set_axis_off()

folder.cleanup()
plt.show()
