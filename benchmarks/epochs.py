"""A shuffled epoch of training, by several data loaders: ``python benchmarks/epochs.py --folder F``.

Every contender yields the same number of batches of random rows as torch tensors, from the same rows, stored as it
stores them: the whole epoch, and of a cold file its start, without a page of it in the page cache. Each turn has a
process of its own, and the clock starts after the imports, so nothing is mapped. A turn that takes too long ends early,
and its time is that of the same number of batches at this rate. Contenders that are not installed are left out.
"""

import argparse
import importlib
import importlib.util
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import contest
import numpy as np
from contest import Line

from scikitplot.memmap import MemMap, batches

BATCH = 256  # rows
COLD = 16  # batches
OPTIONAL = ("tensordict", "grain", "datasets", "zarr", "lance")
LONG = 10  # seconds
TARGET = 1 / 3  # of the time of a DataLoader over numpy.memmap


class Table:
    """Rows of float32 in a folder, in the format of each contender; the methods start an epoch."""

    def __init__(self, folder: Path, row: int) -> None:
        self.folder, self.path = folder, folder / "table.f4"
        self.columns = row // 4

    def write(self, nbytes: int) -> None:
        random = np.random.default_rng(0)
        shape = (nbytes // (4 * self.columns), self.columns)
        with MemMap.open(self.path, "w+", dtype="<f4", shape=shape) as mm:
            for chunk in mm.iter_chunks(evict=True):
                chunk[:] = random.random(chunk.shape, "f4")
            del chunk
        for module in ("datasets", "zarr", "lance"):
            if importlib.util.find_spec(module):
                getattr(self, f"write_{module}")()

    def memmap(self) -> np.memmap:
        return np.memmap(self.path, "<f4", "r").reshape(-1, self.columns)

    def arrow(self) -> Any:
        import pyarrow as pa

        flat = pa.array(self.memmap().reshape(-1))
        return pa.table({"x": pa.FixedSizeListArray.from_arrays(flat, self.columns)})

    def permutation(self, rows: int) -> Iterable[Any]:
        import torch

        return torch.randperm(rows).split(BATCH)

    def memmaps(self) -> Iterator[Any]:
        import torch

        with MemMap.open(self.path, dtype="<f4", shape=(-1, self.columns), access="random") as mm:
            for batch in batches(mm, batch_size=BATCH, shuffle=True):
                yield torch.from_numpy(batch)

    def loader(self, rows: Any, workers: int = 0) -> Iterable[Any]:
        from torch.utils.data import DataLoader

        return DataLoader(rows, BATCH, shuffle=True, num_workers=workers)

    def numpy_rows(self) -> Any:
        """Return what PyTorch's users write: a numpy.memmap, and one row at a time."""
        import torch

        class Rows(torch.utils.data.Dataset):
            def __init__(self, array: np.memmap) -> None:
                self.array = array

            def __len__(self) -> int:
                return len(self.array)

            def __getitem__(self, i: int) -> torch.Tensor:
                return torch.from_numpy(self.array[i].copy())

        return Rows(self.memmap())

    def loader_of_map(self) -> Iterator[Any]:
        with MemMap.open(self.path, dtype="<f4", shape=(-1, self.columns), access="random") as mm:
            yield from self.loader(mm)

    def tensordict(self) -> Iterator[Any]:
        import torch
        from tensordict import MemoryMappedTensor

        shape = (os.path.getsize(self.path) // (4 * self.columns), self.columns)
        tensor = MemoryMappedTensor.from_filename(self.path, dtype=torch.float32, shape=shape)
        for rows in self.permutation(len(tensor)):
            yield tensor[rows]

    def grain(self) -> Iterable[Any]:
        import grain

        return grain.MapDataset.source(self.memmap()).shuffle(seed=0).batch(BATCH).to_iter_dataset()

    def write_datasets(self) -> None:
        import datasets

        datasets.disable_progress_bars()
        datasets.Dataset(self.arrow()).save_to_disk(self.folder / "datasets")

    def datasets(self) -> Iterator[Any]:
        import datasets

        found = datasets.load_from_disk(str(self.folder / "datasets")).with_format("torch")
        for batch in found.shuffle().iter(BATCH):
            yield batch["x"]

    def write_zarr(self) -> None:
        import zarr

        rows = max((1 << 16) // (4 * self.columns), 1)  # in a chunk
        chunks, shards = (rows, self.columns), (256 * rows, self.columns)
        zarr.create_array(self.folder / "zarr", data=self.memmap(), chunks=chunks, shards=shards, compressors=None)

    def zarr(self) -> Iterator[Any]:
        import torch
        import zarr

        found = zarr.open_array(self.folder / "zarr")
        for rows in self.permutation(found.shape[0]):
            yield torch.from_numpy(found.oindex[rows.numpy()])

    def write_lance(self) -> None:
        import lance

        lance.write_dataset(self.arrow(), self.folder / "lance")

    def lance(self) -> Iterator[Any]:
        import lance
        import torch

        found = lance.dataset(self.folder / "lance")
        for rows in self.permutation(found.count_rows()):
            flat = found.take(rows.numpy())["x"].combine_chunks().flatten()
            yield torch.from_numpy(flat.to_numpy().reshape(len(rows), -1).copy())


EPOCHS: dict[str, Callable[[Table], Iterable[Any]]] = {
    "MemMap": Table.memmaps,
    "DataLoader, numpy.memmap": lambda table: table.loader(table.numpy_rows()),
    "the same, 2 workers": lambda table: table.loader(table.numpy_rows(), workers=2),
    "DataLoader, MemMap": Table.loader_of_map,
} | {name: getattr(Table, name) for name in OPTIONAL if importlib.util.find_spec(name)}


def evict(folder: Path) -> None:
    """Drop the pages of all files of a folder from the page cache."""
    for path in folder.rglob("*"):
        if path.is_file() and path.stat().st_size:
            with MemMap.open(path, "r+") as mm:
                mm.evict()
                assert mm.residency().mean() < 0.01, path


def take(name: str, folder: Path, row: int, count: int) -> float:
    """Return how many seconds the first batches of an epoch take."""
    importlib.import_module("torch.utils.data")
    if name in OPTIONAL:
        importlib.import_module(name)
    taken = 0
    start = time.perf_counter()
    for batch in itertools.islice(EPOCHS[name](Table(folder, row)), count):
        assert len(batch) == BATCH, batch
        taken += 1
        if time.perf_counter() - start > LONG:
            break
    else:
        assert taken == count, taken
    return (time.perf_counter() - start) * count / taken


def turn(name: str, folder: Path, row: int, count: int, cold: bool) -> float:
    """Take batches in a new process."""
    if cold:
        evict(folder)
    command = [sys.executable, "-W", "ignore", __file__, "--turn", name, str(folder), str(row), str(count)]
    return float(subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=True).stdout)


def lines(parent: Path, nbytes: int) -> Iterator[Line]:
    for row in (512, 3072):
        with tempfile.TemporaryDirectory(dir=parent) as folder:
            Table(Path(folder), row).write(nbytes)
            for cold, count in ((True, COLD), (False, nbytes // row // BATCH)):
                subject = f"{'start of cold' if cold else 'warm'} epoch, rows of {row} B"
                turns = {name: partial(turn, name, Path(folder), row, count, cold) for name in EPOCHS}
                yield from contest.lines(subject, contest.compare(turns), "DataLoader, numpy.memmap", TARGET)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="a folder on the disk to be measured")
    parser.add_argument("--gib", type=float, default=2, help="size of the tables")
    parser.add_argument("--write", type=Path, help="folder for the table")
    parser.add_argument("--turn", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.turn:
        name, folder, row, count = options.turn
        print(take(name, Path(folder), int(row), int(count)), flush=True)
        os._exit(0)  # threads of some contenders never end
    print(contest.heading())
    found = [contest.heading()]
    for line in lines(options.folder, int(options.gib * (1 << 30))):
        found.append(contest.text(line))
        print(found[-1], flush=True)
    if options.write:
        (options.write / "_epochs.txt").write_text("\n".join([*found, ""]))
