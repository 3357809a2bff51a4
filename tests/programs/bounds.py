"""Touch all bytes of a map by every call, between two pages whose touch ends the process: PATH MODE DTYPE."""

import ctypes
import mmap
import sys

import numpy as np

from scikitplot.memmap import MemMap

path, mode, dtype = sys.argv[1:]
page = mmap.PAGESIZE
protect = ctypes.CDLL(None).mprotect
protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int

with MemMap.open(path, mode, dtype=dtype) as mm:
    rows = page // mm.itemsize
    with mm.window(rows, 3 * rows) as part:
        start = part.to_numpy().ctypes.data
        assert protect(start - page, page, 0) == protect(start + 2 * page, page, 0) == 0
        assert part.read_at(0, part.nbytes) == b"".join(part.read_at(i, 1) for i in range(part.nbytes))
        buffer = bytearray(part.nbytes)
        assert part.readinto_at(0, buffer) == part.readinto_at(part.nbytes - 100, bytearray(100)) + part.nbytes - 100
        content = np.frombuffer(buffer, dtype)
        for order in range(2 * rows), range(-1, -2 * rows - 1, -1), [-1, 0, 2 * rows - 1, -2 * rows]:
            assert (part.gather(order) == content[order]).all()
        for step in -1, 1, 3, -7:
            assert (part[::step] == content[::step]).all()
        assert part[0] == part[-2 * rows] == content[0]
        assert part[-1] == part[2 * rows - 1] == content[-1]
        assert content[-1] in part
        assert [*part] == [*content]
        assert part.memoryview().tobytes() == buffer
        with part.window(2 * rows - 1, 2 * rows) as last:
            assert last[0] == content[-1] == last.view(dtype)[0]
        for where in None, [0], [2 * rows - 1]:
            part.flush(where)
            part.evict(where)
            part.residency(where)
        part.advise("random")
        if part.writable:
            part.write_at(0, buffer)
            part.write_at(part.nbytes - 1, b"7")
            part[0] = part[-1] = 1
            part[:] = content
        repr(part)
