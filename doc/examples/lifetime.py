"""How long the mapping lives: close, with, detach, revoke."""

import tempfile
import warnings
from pathlib import Path

import numpy as np

from scikitplot.memmap import MemMap, open_maps


def column(path):
    """Return a mapped array. The file is unmapped when the last array over it is freed."""
    return MemMap.open(path, dtype="<f8").detach()


with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "column.f8")
    np.arange(1000, dtype="<f8").tofile(path)

    # close() refuses while a view is alive
    mm = MemMap.open(path, dtype="<f8")
    part = mm[10:20]
    try:
        mm.close()
    except BufferError as error:
        print(error)
    assert part[0] == 10  # nothing has changed
    del part
    mm.close()

    # a closed map keeps its attributes, but has no data
    assert mm.shape == (1000,)
    try:
        mm[0]
    except ValueError as error:
        print(error)

    # detach() transfers ownership to an array
    numbers = column(path)
    assert numbers[-1] == 999
    assert open_maps() == []

    # a view that outlives the with block keeps the mapping alive, with a ResourceWarning
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with MemMap.open(path, dtype="<f8") as mm:
            kept = mm[:5]
    assert kept[4] == 4
    print(caught[0].message)

    # revoke closes the file now; the remaining views read zeros
    mm = MemMap.open(path, dtype="<f8")
    last = mm[-1:]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mm.close(views="revoke")
    assert last[0] == 0
    print(caught[0].message)

    del numbers, kept  # Windows cannot remove a mapped file
