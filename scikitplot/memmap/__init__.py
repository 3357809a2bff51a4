"""File-backed or anonymous memory mapping for NumPy.

`MemMap` owns a mapping; ``mm[...]`` is a plain `numpy.ndarray` over it.

MemMap             open a file, or anonymous memory
open_npy           open the array of a .npy file, or of an .npz archive
concat             several maps as one table
batches            batches of rows, in order or shuffled
DamagedError       pages were lost
set_fault_policy   what happens then
set_num_threads    how many threads gather rows and read ahead
open_maps          what is open in this process
plot_residency     a picture of what is in memory
"""

from importlib import import_module
from typing import TYPE_CHECKING

from ._damage import DamagedError, set_fault_policy
from ._kernels import set_num_threads
from ._map import MemMap, open_maps
from ._plots import plot_residency

if TYPE_CHECKING:
    from ._batches import batches
    from ._concat import concat
    from ._npy import open_npy

__all__ = [
    "DamagedError", "MemMap", "batches", "concat", "open_maps", "open_npy", "plot_residency", "set_fault_policy",
    "set_num_threads",
]  # fmt: skip

_LAZY = {"batches": "_batches", "concat": "_concat", "open_npy": "_npy"}  # name -> its module


def __getattr__(name: str) -> object:
    """Import what not every program uses when it is asked for."""
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, getattr(import_module(f".{_LAZY[name]}", __name__), name))
