"""Hand a map of 256 MB to two worker processes, in the way that is named, and print how much memory one of them
needed at most, and how much this process, in MB.
"""

import multiprocessing
import re
import sys
from pathlib import Path

from scikitplot.memmap import MemMap


def resident():
    """The memory of this process in MB, mapped pages of files included, as Dask counts it."""
    return int(re.search(r"VmRSS:\s*(\d+)", Path("/proc/self/status").read_text())[1]) >> 10


def total(mm):
    before = resident()
    summed = sum(int(chunk.sum()) for chunk in mm.iter_chunks(nbytes=1 << 22, evict=True))
    return summed, resident() - before


def in_workers(way, tasks):
    if way in ("loky", "multiprocessing"):
        import joblib

        return joblib.Parallel(2, backend=way)(joblib.delayed(total)(mm) for mm in tasks)
    if way == "distributed":
        import distributed

        options = {"threads_per_worker": 1, "memory_limit": "350MB", "dashboard_address": ":0"}
        with distributed.Client(n_workers=2, **options) as client:
            return client.gather(client.map(total, tasks, pure=False))
    if way == "ray":
        import ray

        ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=False)
        remote = ray.remote(total)
        results = ray.get([remote.remote(mm) for mm in tasks])
        ray.shutdown()
        return results
    with multiprocessing.get_context(way).Pool(2) as pool:
        return pool.map(total, tasks)


def main():
    with open("numbers", "wb") as file:
        file.write(bytes([1]) * 1000)
        file.truncate(1 << 28)
    with MemMap.open("numbers", dtype="u1") as mm:
        before = resident()
        results = in_workers(sys.argv[1], [mm] * 4)
        assert [summed for summed, _ in results] == [1000] * 4
        print(max(grown for _, grown in results), resident() - before)


if __name__ == "__main__":
    import workers  # where the worker processes find the functions

    workers.main()
