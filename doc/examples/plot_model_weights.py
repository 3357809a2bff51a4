"""
Weights inside a safetensors file
=================================

.. currentmodule:: scikitplot.memmap

A `safetensors <https://huggingface.co/docs/safetensors>`__ file holds the size of its header, the header (JSON), and
the tensors. The header gives the offset, dtype and shape of each tensor, which is all that a map needs. Of the 91 MB of
a small language model, all-MiniLM-L6-v2, this example reads 46 rows of one tensor and all of a small one.
"""

import json

import matplotlib.pyplot as plt
import numpy as np
from downloads import fetch  # of this folder: downloads the model once (84 MB)

from scikitplot.memmap import MemMap, plot_residency

path = fetch("model.safetensors")
with path.open("rb") as file:
    size = int.from_bytes(file.read(8), "little")
    header = json.loads(file.read(size))


def tensor(name, **options):
    """Map one tensor."""
    start, _ = header[name]["data_offsets"]
    dtype = {"F32": "<f4", "I64": "<i8"}[header[name]["dtype"]]
    return MemMap.open(path, dtype=dtype, shape=tuple(header[name]["shape"]), offset=8 + size + start, **options)


whole = MemMap.open(path)  # as bytes, to see what is read of it
whole.evict()  # as if the computer had been restarted
words = tensor("embeddings.word_embeddings.weight", access="random")
positions = tensor("embeddings.position_embeddings.weight")
print(words)

# %%
# Every word that the model knows has a row. `MemMap.gather` reads the pages of all rows that are asked for together.
vocabulary = fetch("vocab.txt").read_text(encoding="utf-8").split("\n")
groups = [
    "january february march april may june july august september october november december",
    "monday tuesday wednesday thursday friday saturday sunday",
    "one two three four five six seven eight nine ten",
    "mother father sister brother daughter son wife husband",
    "red orange yellow green blue purple brown black white",
]
names = " ".join(groups).split()
vectors = words.gather([vocabulary.index(name) for name in names])


def similarities(rows):
    """Return the cosine of the angle between each two rows."""
    rows = rows - rows.mean(axis=0)
    rows = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return rows @ rows.T


# %%
# Words of a kind are similar to each other, and so are neighbouring positions in a text: the model has learned what a
# month is (May is also a verb), and that the third token stands beside the fourth. The last panel shows the pages read.
figure, axes = plt.subplot_mosaic(
    [["words", "positions"], ["file", "file"]], figsize=(9, 5.2), height_ratios=(8, 1), layout="constrained"
)
for name, matrix in ("words", similarities(vectors)), ("positions", similarities(positions[...])):
    image = axes[name].imshow(matrix, cmap="RdBu_r", vmin=-1, vmax=1, interpolation="nearest")
axes["words"].set_xticks(range(len(names)), names, rotation=90, fontsize=6)
axes["words"].set_yticks(range(len(names)), names, fontsize=6)
axes["positions"].set(xlabel="position in the text", ylabel="position in the text", title="Positions")
axes["words"].set_title("Words")
figure.colorbar(image, ax=[axes["words"], axes["positions"]], label="cosine similarity", shrink=0.7)
read = whole.residency().mean()
plot_residency(whole, axes["file"]).set_title(
    f"Read: {read * whole.nbytes / 2**20:.1f} of {whole.nbytes / 2**20:.0f} MiB"
)

for mm in words, positions, whole:
    mm.close()
plt.show()
