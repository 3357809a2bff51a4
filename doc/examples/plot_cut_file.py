"""
A file that is cut under a running program
==========================================

.. currentmodule:: scikitplot.memmap

Another program may cut a file off while it is mapped: a log is rotated, a download starts again. With ``mmap`` or
``numpy.memmap`` the next read past the new end kills the process (SIGBUS). With a `MemMap` it is a `DamagedError`, and
when the file is whole again, `MemMap.recover` makes the same map usable again.

Windows lets nobody cut a mapped file, so this example is for the other systems.
"""

import os
import shutil
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from scikitplot.memmap import DamagedError, MemMap

CHUNKS, STEPS = 48, 240
folder = tempfile.TemporaryDirectory()
path, backup = Path(folder.name, "signal.f8"), Path(folder.name, "backup.f8")
np.arange(CHUNKS * 8192, dtype="<f8").tofile(backup)  # chunks of 64 KiB
shutil.copyfile(backup, path)
mm = MemMap.open(path, dtype="<f8", shape=(-1, 8192))


# %%
# These two stand for the other program.
def cut():
    os.truncate(path, 28 * 65536)


def restore():
    shutil.copyfile(backup, path)


# %%
# The running program reads chunks in random order. After an error it tries to recover before each read, which raises as
# long as the file is short. Once it succeeds, the chunks that failed are read again.
def is_right(chunk):
    return mm[chunk].mean() == chunk * 8192 + 4095.5


happens = {80: cut, 160: restore}
sizes, read, again = [], [], []
failed: list[tuple[int, int]] = []
reported = None
for step, chunk in enumerate(np.random.default_rng(46).integers(CHUNKS, size=STEPS)):
    happens.get(step, lambda: None)()
    sizes.append(path.stat().st_size / 65536)
    try:
        if mm.damaged:
            mm.recover()
            again += [(step, late) for _, late in failed if is_right(late)]
        if is_right(chunk):
            read.append((step, chunk))
    except DamagedError as error:
        failed.append((step, chunk))
        reported = reported or error.strerror
print(reported)
print(f"{len(read)} chunks read at once, {len(again)} after recover()")

# %%
# Reads below the cut succeed until the first one above it. From then on the map refuses all reads, so that the zeros in
# place of the lost pages are not taken for data.
figure, ax = plt.subplots(figsize=(8, 4.5), layout="constrained")
ax.fill_between(range(STEPS), sizes, step="post", color="0.92", label="the file")
for dots, marker, color, label in (
    (read, "o", "tab:blue", "read"),
    (failed, "x", "tab:red", "DamagedError"),
    (again, "o", "tab:green", "read again after recover()"),
):
    x, y = np.transpose(dots)
    ax.scatter(x, y + 0.5, s=18, marker=marker, color=color, label=label)
ax.set(xlim=(0, STEPS), ylim=(0, CHUNKS), xlabel="read number", ylabel="chunk of the file")
ax.spines[["top", "right"]].set_visible(False)
ax.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))

mm.close()
folder.cleanup()
plt.show()
