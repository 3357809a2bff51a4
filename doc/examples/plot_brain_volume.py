"""
A brain volume from the parser of nibabel
=========================================

.. currentmodule:: scikitplot.memmap

`nibabel <https://nipy.org/nibabel>`__ reads the header of a NIfTI file and returns the voxels as a ``numpy.memmap``.
`MemMap.from_memmap` maps the same bytes of the same file. The file stays under its own name, in its own order, and no
voxel is read before it is used.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import nibabel
import numpy as np

from scikitplot.memmap import MemMap

path = Path(nibabel.__file__).parent / "tests" / "data" / "anatomical.nii"  # nibabel brings it along
mm = MemMap.from_memmap(nibabel.load(path).dataobj.get_unscaled(), mode="r")
print(mm)

# %%
# The volume is big-endian and in Fortran order: its slices of constant z are contiguous. ``mm.T`` has them as rows.
slices = mm.T
print(slices.shape, slices.order, slices.gather([12, 5]).shape)

# %%
# Every slice is a view of the file. The picture reads each of them once.
bright = np.percentile(mm, 99.5)
figure, axes = plt.subplots(3, 8, figsize=(9, 4.2), facecolor="black")
for ax, z in zip(axes.flat, range(len(slices)), strict=False):
    ax.imshow(slices[z], origin="lower", cmap="bone", vmax=bright, interpolation="bicubic")
    ax.set_axis_off()
figure.subplots_adjust(0.01, 0.01, 0.99, 0.99, wspace=0.03, hspace=0.03)

# %%
# A window is a map of its own, over the same mapping.
with slices.window(10, 14) as middle:
    print(middle.shape, int(np.max(middle)))
slices.close()
mm.close()
plt.show()
