"""File-backed or anonymous memory mapping for NumPy.

`MemMap` owns a mapping; ``mm[...]`` is a plain `numpy.ndarray` over it.
"""

from ._damage import DamagedError
from ._map import MemMap, open_maps, set_fault_policy

__all__ = ["DamagedError", "MemMap", "open_maps", "set_fault_policy"]
