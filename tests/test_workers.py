"""Worker processes get a map by reference: the file is neither sent nor copied."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[1] / "doc" / "how_to" / "on_a_cluster.py"
WAYS = ["fork", "spawn", "forkserver"]
WAYS += [pytest.param(way, marks=pytest.mark.libraries) for way in ("loky", "multiprocessing", "distributed", "ray")]


@pytest.mark.linux
@pytest.mark.parametrize("way", WAYS)
def test_workers_work_through_a_map_in_little_memory(run_program, way):
    in_worker, here = map(int, run_program("programs/workers.py", way).split())
    assert in_worker < 64  # of 256 MB; Dask's workers stop at their limit of 350 MB
    assert here < 128


@pytest.mark.libraries
def test_the_program_for_a_cluster_works_through_a_file_larger_than_its_workers(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(PROGRAM.parent)
    path = tmp_path / "table.f32"
    importlib.import_module(PROGRAM.stem).write_example(path, rows=1 << 20)
    assert path.stat().st_size > 400e6  # the limit of a worker
    command = [sys.executable, PROGRAM, path]
    found = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=180, check=True).stdout
    assert float(found.split("largest mean ")[1].split()[0]) < 0.01
    assert float(found.split("intercept [")[1].split("]")[0]) == pytest.approx(3, abs=0.01)
