"""Figures with a fixed bound instead of a peer: sizes, number of open maps, import time."""

import pickle
import re
import statistics
import subprocess
import sys
import tempfile
import tracemalloc
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from contest import Line, readable, seconds

from scikitplot.memmap import MemMap, batches

IMPORT = """
import time, numpy
start = time.perf_counter()
import scikitplot.memmap
print(time.perf_counter() - start)
"""

MANY = """
import resource, sys
from scikitplot.memmap import MemMap
resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))
maps = []
try:
    while len(maps) < 10_000:
        maps.append(MemMap.open(sys.argv[1]))
except OSError:
    pass
print(len(maps))
for mm in maps:
    mm.close()
"""


def human(nbytes: float) -> str:
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= size:
            return f"{nbytes / size:.3g} {unit}"
    return f"{nbytes:.0f} B"


def printed(code: str, *args: object) -> float:
    return float(
        subprocess.run([sys.executable, "-P", "-c", code, *map(str, args)], capture_output=True, check=True).stdout
    )


def sparse(folder: str, size: int) -> Path:
    path = Path(folder, f"{size}.bin")
    with open(path, "wb") as file:
        file.truncate(size)
    return path


def memory_to_shuffle(path: Path) -> int:
    """Peak memory that Python and NumPy allocate for the first hundred shuffled batches."""
    with MemMap.open(path) as mm:
        tracemalloc.start()
        for _ in islice(batches(mm, batch_size=100, shuffle=True), 100):
            pass
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return peak


def memory_to_scan(path: Path) -> int:
    def resident() -> int:
        return 1024 * int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1])  # type: ignore[index]

    before = resident()
    with MemMap.open(path) as mm:
        return max(resident() for chunk in mm.iter_chunks(evict=True) if chunk.any() or len(chunk)) - before


def lines() -> Iterator[Line]:
    def limit(subject: str, ours: float, most: float, form=human) -> Line:  # type: ignore[no-untyped-def]
        return Line(subject, form(ours), "limit", form(most), ours / most, 1)

    with tempfile.TemporaryDirectory() as folder:
        with MemMap.open(sparse(folder, 1 << 40)) as mm:
            yield limit("pickle of 1 TiB", len(pickle.dumps(mm)), 2000)
            taken = statistics.median(seconds(lambda: pickle.dumps(mm)) for _ in range(101))
            yield limit("pickle of 1 TiB", taken, 1e-3, readable)
        yield limit("memory to shuffle 10**9 rows", memory_to_shuffle(sparse(folder, 10**9)), 1e6)
        size = 1 << 32
        yield limit("memory to scan 4 GiB, evict=True", memory_to_scan(sparse(folder, size)), (2 << 25) + (8 << 20))
        many = printed(MANY, sparse(folder, 4096))
        yield Line("maps open, 1024 descriptors", f"{many:.0f}", "limit", "10000", 10_000 / max(many, 1), 1)
    taken = statistics.median(printed(IMPORT) for _ in range(11))
    yield limit("import, NumPy already imported", taken, 5e-3, readable)
