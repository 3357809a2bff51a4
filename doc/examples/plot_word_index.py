"""
A dictionary on disk
====================

.. currentmodule:: scikitplot.memmap

A file of records that are sorted by one field is a dictionary: `MemMap.searchsorted` finds keys in it, and reads only
the pages on its way. Here the keys are the 400 000 words of `GloVe <https://nlp.stanford.edu/projects/glove>`__, and
the values their vectors of 50 numbers. ``make demo`` downloads them.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from downloads import cache  # of this folder, as the next one
from word_vectors import find_table

from scikitplot.memmap import open_npy, plot_residency

# %%
# Write the dictionary once, sorted by word. Words of more than 20 bytes are cut, which leaves them in order.
path, words = find_table(cache())
words = np.char.encode(words, "utf-8")
entry = np.dtype([("word", "S20"), ("vector", "<f4", 50)])
folder = tempfile.TemporaryDirectory()
with open_npy(path) as vectors, open_npy(Path(folder.name, "words.npy"), "w+", dtype=entry, shape=len(words)) as table:
    order = np.argsort(words, kind="stable")
    table["word"][:] = words[order]
    table["vector"][:] = vectors[...][order]
    table.flush()
    table.evict()  # as if the computer had been restarted

# %%
# Look words up. All keys go into one call: they share the first steps of the search.
groups = {
    "music": "piano violin cello flute guitar trumpet drums orchestra",
    "water": "ocean sea wave harbor river lake rain tide",
    "food": "bread cheese butter sugar rice soup wine apple",
    "science": "physics biology geology optics chemistry astronomy mathematics botany",
}
keys = np.array(" ".join(groups.values()).split(), entry["word"])
table = open_npy(Path(folder.name, "words.npy"))
rows = np.minimum(table.searchsorted(keys, field="word"), len(table) - 1)
found = table.gather(rows)
known = found["word"] == keys
print(f"{known.sum()} of {len(keys)} words found, among {len(table):,}")
pages = table.residency()
print(f"{pages.sum():,} of {pages.size:,} pages read")

# %%
# Vectors of related words are near each other: two dimensions of the 50 are enough to see it. Below them are the pages
# of the file that were read.
vectors = found["vector"] / np.linalg.norm(found["vector"], axis=1, keepdims=True)
centered = vectors - vectors.mean(axis=0)
plane = centered @ np.linalg.svd(centered, full_matrices=False)[2][:2].T
figure, (ax, strip) = plt.subplots(2, figsize=(8, 6.5), height_ratios=(7, 1), layout="constrained")
for i, name in enumerate(groups):
    chosen = slice(8 * i, 8 * i + 8)
    ax.scatter(*plane[chosen].T, s=24, color=f"C{i}", label=name)
    for (x, y), word in zip(plane[chosen], keys[chosen], strict=True):
        ax.annotate(word.decode(), (x, y), xytext=(4, 3), textcoords="offset points", fontsize=8, color=f"C{i}")
ax.set_axis_off()
ax.legend(frameon=False, ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1))
plot_residency(table, strip).set_title("Pages that were read", fontsize=9)

table.close()
folder.cleanup()
plt.show()
