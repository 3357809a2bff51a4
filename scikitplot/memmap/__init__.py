"""File-backed or anonymous memory mapping for NumPy.

`MemMap` owns a mapping; ``mm[...]`` is a plain `numpy.ndarray` over it.
"""

from ._map import MemMap, open_maps

__all__ = ["MemMap", "open_maps"]
