"""
A map of the world, in windows
==============================

.. currentmodule:: scikitplot.memmap

The land mask of `global-land-mask <https://pypi.org/project/global-land-mask>`__ says for every half minute of latitude
and longitude whether there is land or sea: 21 600 rows of 43 200 flags, 933 MB. An overview needs few of them, and a
window at full resolution few others. The file is mapped as it is, and only their pages are read.
"""

import mmap
import shutil
import tempfile
import zipfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from downloads import fetch  # of this folder: downloads the mask once (2 MB, compressed)
from matplotlib.colors import ListedColormap
from matplotlib.patches import Rectangle

from scikitplot.memmap import open_npy

# %%
# Compressed members of an archive cannot be mapped: unpack it once.
folder = tempfile.TemporaryDirectory()
path = Path(folder.name, "mask.npy")
archive = zipfile.ZipFile(fetch("globe_combined_mask_compressed.npz"))
with archive, archive.open("mask.npy") as member, path.open("wb") as file:
    shutil.copyfileobj(member, file, 2**24)

mm = open_npy(path, access="random")  # "random": no read-ahead beyond what is asked for
mm.evict()  # as if the computer had been restarted
print(mm)

# %%
# The overview is every 60th row, of which every 60th flag is kept. `MemMap.gather` reads these rows together.
overview = mm.gather(np.arange(0, len(mm), 60))[:, ::60]

# %%
# The window is 7 by 10 degrees around the Aegean Sea, at full resolution. Rows count from the north, columns from the
# date line, 120 to a degree. A slice is a view that has read nothing yet; ``copy`` reads its pages.
south, north, west, east = 34.5, 41.5, 21, 31
rows = slice(int((90 - north) * 120), int((90 - south) * 120))
columns = slice(int((180 + west) * 120), int((180 + east) * 120))
window = mm[rows, columns].copy()

# %%
# How much was read? A page has 4096 bytes on most systems, so a row lies in 11 or 12 of them.
resident = mm.residency()
print(f"{resident.sum():,} of {resident.size:,} pages read, {resident.mean():.1%} of the file")

# %%
# The last panel looks up for each place whether its page was read. The horizontal lines are the rows of the overview;
# the block is the window, of which one or two pages per row were read. A page is 34 degrees wide and begins anywhere.
latitude, longitude = np.mgrid[46 : 30 : -1 / 12, -180:180:0.5]
position = mm.offset + (np.rint((90 - latitude) * 120) * mm.shape[1] + (longitude + 180) * 120).astype("i8")
pages = resident[position // mmap.PAGESIZE]

figure, axes = plt.subplot_mosaic([["world"] * 2, ["window", "pages"]], figsize=(8, 7.6), layout="constrained")
colors = ListedColormap(["#d8c9a3", "#1f4e79"])  # land, sea
for name, image, extent in (
    ("world", overview, (-180, 180, -90, 90)),
    ("window", window, (west, east, south, north)),
):
    axes[name].imshow(image, cmap=colors, extent=extent, interpolation="antialiased")
axes["world"].add_patch(Rectangle((west, south), east - west, north - south, fill=False, color="tab:red", lw=1.5))
axes["world"].set_title(f"Overview: {len(overview)} rows of {len(mm):,}")
axes["window"].set(title="Window: every flag", aspect=1 / np.cos(np.radians(38)))
axes["pages"].imshow(pages, cmap="Greys", extent=(-180, 180, 30, 46), aspect="auto", interpolation="nearest")
axes["pages"].set(title="Pages that were read", xlabel="longitude", ylabel="latitude")

mm.close()
folder.cleanup()
plt.show()
