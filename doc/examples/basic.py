"""Open a file, read bytes and rows, close it."""

import tempfile
from pathlib import Path

import numpy as np

from scikitplot.memmap import MemMap

with tempfile.TemporaryDirectory() as folder:
    path = Path(folder, "features.f32")
    np.arange(1000 * 384, dtype="<f4").tofile(path)

    with MemMap.open(path, dtype="<f4", shape=(-1, 384)) as mm:
        value = mm.read_at(offset=128, size=4)  # bytes, copied
        row = mm[10].copy()  # mm[10] is a view; copy what you keep
        mean = mm[100:200].mean()  # a temporary view of 100 rows
        batch = mm.gather([5, 1, 99, -1])  # rows by index, copied

    print(value, row[:3], mean, batch.shape)
    assert np.frombuffer(value, dtype="<f4") == 32
    assert row[0] == 3840
    assert batch[-1, -1] == 1000 * 384 - 1
    assert mm.closed
