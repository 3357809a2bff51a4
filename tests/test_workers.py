"""Worker processes get a map by reference: the file is neither sent nor copied."""

import pytest

WAYS = ["fork", "spawn", "forkserver"]
WAYS += [pytest.param(way, marks=pytest.mark.libraries) for way in ("loky", "distributed")]


@pytest.mark.linux
@pytest.mark.parametrize("way", WAYS)
def test_workers_work_through_a_map_in_little_memory(run_program, way):
    in_worker, here = map(int, run_program("programs/workers.py", way).split())
    assert in_worker < 64  # of 256 MB; Dask's workers stop at their limit of 350 MB
    assert here < 128
