"""Map data behind a header, in Fortran order, in packed records."""

import tempfile
from pathlib import Path

import numpy as np

from scikitplot.memmap import MemMap

with tempfile.TemporaryDirectory() as folder:
    # a .npy file: NumPy parses the header, which gives dtype, shape, order and offset
    table = np.asfortranarray(np.arange(12, dtype="<f4").reshape(3, 4))
    path = Path(folder, "table.npy")
    np.save(path, table)
    with path.open("rb") as file:
        np.lib.format.read_magic(file)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        offset = file.tell()
    with MemMap.open(path, dtype=dtype, shape=shape, offset=offset, order="F" if fortran else "C") as mm:
        assert np.array_equal(mm, table)
        print(mm)

    # packed records: the fields are unaligned, which NumPy handles
    star = np.dtype([("id", "<i8"), ("magnitude", "<f4"), ("flag", "u1")])
    path = Path(folder, "stars.bin")
    path.write_bytes(b"HEADER" + np.array([(7, 1.5, 0), (9, -1.25, 1)], dtype=star).tobytes())
    with MemMap.open(path, dtype=star, offset=6) as mm:
        assert mm["magnitude"].tolist() == [1.5, -1.25]
        assert mm[1]["id"] == 9

    # the same bytes with another dtype and shape
    path = Path(folder, "words.bin")
    path.write_bytes(bytes(range(16)))
    with MemMap.open(path) as mm:
        assert mm.view(">u2", offset=2, shape=(-1, 7)).tolist() == [[515, 1029, 1543, 2057, 2571, 3085, 3599]]
