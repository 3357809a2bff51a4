"""What each mode does with the file, and where writes go."""

import tempfile
from pathlib import Path

from scikitplot.memmap import MemMap

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "counts.i4")

    # "x+": create a new file at its full size, filled with zeros
    with MemMap.open(path, "x+", dtype="<i4", shape=(3, 2)) as mm:
        mm[:] = [[1, 2], [3, 4], [5, 6]]
        mm.flush()  # on return, the data survives a power cut

    # "r": read-only, and so are the views
    with MemMap.open(path, dtype="<i4", shape=(-1, 2)) as mm:
        try:
            mm[0] = 0
        except ValueError as error:
            print(error)

    # "c": writes go to private copy-on-write memory
    with MemMap.open(path, "c", dtype="<i4", shape=(-1, 2)) as mm:
        mm[:] *= -1
        assert mm[2].tolist() == [-5, -6]

    # "r+": write to the file, and append to it
    with MemMap.open(path, "r+", dtype="<i4", shape=(-1, 2)) as mm:
        assert mm[2].tolist() == [5, 6]
        mm.append([7, 8])
        assert mm.shape == (4, 2)

    # "w+": replace the file by a new one
    with MemMap.open(path, "w+", dtype="<i4", shape=1) as mm:
        assert mm[0] == 0

    # anonymous memory, without a file
    with MemMap.anonymous((1000, 1000), dtype="f8") as mm:
        mm[10] = 1.5
        print(mm, mm[10].sum())
