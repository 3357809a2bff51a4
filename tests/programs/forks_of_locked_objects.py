"""Fork while the objects of a map are locked, as they are when another thread is in a critical section."""

import ctypes
import os
import signal

import numpy as np

from scikitplot.memmap import MemMap

MUTEX = 10  # offset in a PyObject of free-threaded CPython 3.13 and 3.14

np.arange(8192, dtype="f8").tofile("data.bin")
mm = MemMap.open("data.bin", "r+", dtype="f8")
window = mm.window(10, 20)
locked = [mm, mm._region, mm._region.file, window, window._region]
calls = {
    "shape": lambda: mm.shape,
    "len": lambda: len(mm),
    "index": lambda: mm[3],
    "repr": lambda: repr(mm),
    "damaged": lambda: mm.damaged,
    "gather": lambda: mm.gather([1, 2]),
    "write_at": lambda: mm.write_at(0, bytes(8)),
    "verify": mm.verify,
    "flush": mm.flush,
    "lock": lambda: mm.lock(slice(10)),
    "evict": mm.evict,
    "residency": mm.residency,
    "window": lambda: mm.window(0, 3),
    "shape of a window": lambda: window.shape,
    "gather of a window": lambda: window.gather([1, 2]),
    "lock of a window": window.lock,
    "close": lambda: (window.close(), mm.close()),
}

for name, call in calls.items():
    for item in locked:
        ctypes.pythonapi.PyMutex_Lock(ctypes.c_void_p(id(item) + MUTEX))
    child = os.fork()
    if not child:
        signal.alarm(10)
        call()
        os._exit(0)
    for item in locked:
        ctypes.pythonapi.PyMutex_Unlock(ctypes.c_void_p(id(item) + MUTEX))
    assert os.waitpid(child, 0)[1] == 0, f"{name} waits for ever in a forked child"
print("done")
