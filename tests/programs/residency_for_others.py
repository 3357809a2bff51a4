"""Print what another user, who may only read a file, is told of its pages: A-FILE-BESIDE-IT PAGE-SIZE."""

import os
import sys
import tempfile

import numpy as np

from scikitplot.memmap import MemMap

PAGES, PAGE = 600, int(sys.argv[2])
with tempfile.TemporaryDirectory(dir=os.path.dirname(sys.argv[1])) as folder:
    os.chmod(folder, 0o755)
    path = os.path.join(folder, "data.bin")
    with open(path, "wb") as file:
        os.chmod(path, 0o644)
        file.write(b"x" * PAGES * PAGE)
        file.flush()
        os.fsync(file.fileno())
    root = MemMap.open(path)
    root.evict()
    assert not root.residency().any()

    def as_nobody(call):
        os.seteuid(65534)
        try:
            return call()
        finally:
            os.seteuid(0)

    mm = as_nobody(lambda: MemMap.open(path))
    part = mm.window(3 * PAGE + 7, -9)
    assert as_nobody(mm.residency).mean() == 0
    assert as_nobody(part.residency).mean() == 0
    assert not root.residency().any()
    pages = [0, 3, 255, 256, 300, PAGES - 1]
    with open(path, "rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)
        for page in pages:
            os.pread(file.fileno(), PAGE, page * PAGE)
    print(np.flatnonzero(as_nobody(mm.residency)).tolist() == pages)
    print(np.flatnonzero(as_nobody(part.residency)).tolist() == [page - 3 for page in pages[1:]])
    print(as_nobody(lambda: mm.residency([0, PAGE, 255 * PAGE])).tolist())
    print(np.flatnonzero(root.residency()).tolist() == pages)
    mm[...].sum()
    print(as_nobody(mm.residency).all(), root.residency().all())
    as_nobody(mm.evict)
    part.close()
    mm.close()
    root.close()
