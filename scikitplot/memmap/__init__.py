"""File-backed or anonymous memory mapping for NumPy.

`MemMap` owns a mapping; ``mm[...]`` is a plain `numpy.ndarray` over it.
"""

from ._batches import batches
from ._damage import DamagedError
from ._gather import set_num_threads
from ._map import MemMap, open_maps, set_fault_policy

__all__ = ["DamagedError", "MemMap", "batches", "open_maps", "set_fault_policy", "set_num_threads"]
