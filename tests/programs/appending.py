"""Map a file object that is opened for appending, where its file cannot be opened again (no /proc): FOLDER.

The duplicate that is left has the flag O_APPEND, with which Linux writes at the end of the file wherever it is told to.
"""

import ctypes
import errno
import os
import sys

import numpy as np

sys.path.append(os.path.join(os.path.dirname(__file__), "..", "stress"))
from failing_calls import failing, preload

from scikitplot.memmap import MemMap

preload(__file__)
path = os.path.join(sys.argv[1], "data")
before = np.arange(1024, dtype="<i8")
before.tofile(path)
with open(path, "a+b") as file, failing(ctypes.CDLL(None), "open", 1, errno.EACCES):
    mm = MemMap.open(file, "r+", dtype="<i8")
for change in (lambda: mm.append(1), lambda: mm.resize(100_000)):
    try:
        change()
        print("changed")
    except OSError as error:
        assert error.errno == errno.EOPNOTSUPP, error
    assert os.path.getsize(path) == mm.nbytes
    assert np.array_equal(mm[:1024], before)
    assert not mm[1024:].any() or mm[1024] == 1
mm.close()
print(np.array_equal(np.fromfile(path, dtype="<i8")[:1024], before))
