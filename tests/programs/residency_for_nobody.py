"""Print what a user who may do nothing is told of the pages of a file that was opened before: FILE."""

import os
import sys

from scikitplot.memmap import MemMap

with open(sys.argv[1], "rb") as file, MemMap.open(file) as mm:
    mm.evict()
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    try:
        print(mm.residency().any())
    except OSError as error:
        print(error.errno, error)
