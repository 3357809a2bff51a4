"""Follow a file to which another process appends 10 000 rows, one by one: FOLDER raw|npy.

Rows do not divide a page. A reader that refreshes sees whole rows at any moment, and none before its bytes are there.
"""

import os
import subprocess
import sys
import time

import numpy as np

from scikitplot.memmap import MemMap, open_npy

FOLDER, HOW, *ROLE = sys.argv[1:]
ROWS, COLUMNS = 10_000, 65
path = os.path.join(FOLDER, f"log.{HOW}")


def table(mode):
    if HOW == "npy":
        return open_npy(path, mode, **({"dtype": "<i8", "shape": (0, COLUMNS)} if mode == "x+" else {}))
    return MemMap.open(path, mode, dtype="<i8", shape=(0 if mode == "x+" else -1, COLUMNS))


def rows(first, last):
    return np.repeat(np.arange(first + 1, last + 1), COLUMNS).reshape(-1, COLUMNS)


if ROLE:
    with table("r+") as mm:
        for i in range(ROWS):
            mm.append(np.full(COLUMNS, i + 1, "<i8"))
            if i % 50 == 0:
                time.sleep(0.001)  # the reader's turn, if there is only one processor
    sys.exit()

table("x+").close()
writer = subprocess.Popen([sys.executable, __file__, FOLDER, HOW, "write"])
seen = times = 0
kept = []
with table("r") as mm:
    while seen < ROWS:
        ended = writer.poll()
        found = mm.refresh()
        assert found >= seen, (found, seen)
        assert np.array_equal(mm[seen:], rows(seen, found)), (seen, found)
        assert not found or np.array_equal(mm.gather([-1]), rows(found - 1, found))
        assert ended is None or found == ROWS, (ended, found)
        if found > seen and len(kept) < 40:
            kept.append(mm[:found])
        times += found > seen
        seen = found
    for view in kept:
        assert np.array_equal(view, rows(0, len(view)))
    del view
    kept.clear()
assert writer.wait() == 0
with table("r") as mm:
    assert np.array_equal(mm[...], rows(0, ROWS))
print("done" if times > 1 else "the reader has looked when all was over")
