"""Lock more pages than the limit allows, which changes no lock, and print the errors: PAGE-SIZE PATH."""

import os
import re
import resource
import sys
from pathlib import Path

from scikitplot.memmap import MemMap

PAGE = int(sys.argv[1])
mm = MemMap.anonymous((16, PAGE))
named = MemMap.open(sys.argv[2])
resource.setrlimit(resource.RLIMIT_MEMLOCK, (2 * PAGE, 2 * PAGE))
if os.geteuid() == 0:
    os.setuid(65534)


def locked():
    return int(re.search(r"VmLck:\s*(\d+) kB", Path("/proc/self/status").read_text())[1]) * 1024 // PAGE


def error_of(mm, rows):
    try:
        mm.lock(rows)
    except OSError as error:
        return error
    raise AssertionError("not refused")


for which, rows in ((mm, None), (mm, slice(3)), (mm, [0, 5, 9]), (named, None)):
    error = error_of(which, rows)
    assert locked() == 0
    print(error.errno, error.filename, error.strerror, sep="; ")
mm.lock([0])
error_of(mm, [0, 5, 9])
assert locked() == 1
mm.lock([0, 5])
assert locked() == 2
mm.close()
named.close()
