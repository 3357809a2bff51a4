"""Train with torch from two files; every worker of every rank gets batches of its own."""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from scikitplot.memmap import MemMap, batches


class Epoch(IterableDataset):
    """One epoch of batches (x, y), of one rank. The maps go to the workers by reference."""

    def __init__(self, x: MemMap, y: MemMap, epoch: int, *, rank: int = 0, ranks: int = 1) -> None:
        self.maps, self.epoch = (x, y), epoch
        self.rank, self.ranks = rank, ranks  # torch.distributed.get_rank(), get_world_size()

    def __iter__(self) -> Iterator[tuple[torch.Tensor, ...]]:
        worker = get_worker_info()
        mine, workers = (0, 1) if worker is None else (worker.id, worker.num_workers)
        shard = (self.rank * workers + mine, self.ranks * workers)
        # drop_last: all shards have the same number of batches, so that no rank waits for another for ever
        for batch in batches(
            *self.maps, batch_size=256, shuffle=True, seed=0, epoch=self.epoch, shard=shard, drop_last=True
        ):
            yield tuple(map(torch.from_numpy, batch))


def train(x: MemMap, y: MemMap, epochs: int, workers: int) -> torch.nn.Module:
    model = torch.nn.Linear(x.shape[1], 1)
    optimizer = torch.optim.Adam(model.parameters(), 0.1)
    for epoch in range(epochs):
        for rows, targets in DataLoader(Epoch(x, y, epoch), batch_size=None, num_workers=workers):
            optimizer.zero_grad()
            loss = torch.nn.functional.mse_loss(model(rows).squeeze(1), targets)
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch}: loss {loss.item():.4f}")
    return model


def write_example(folder: Path) -> None:
    x = np.random.default_rng(0).normal(size=(20_000, 8)).astype("<f4")
    x.tofile(folder / "x.f4")
    (x @ np.arange(8, dtype="f4") + 3).astype("<f4").tofile(folder / "y.f4")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        write_example(Path(folder))
        with (
            MemMap.open(f"{folder}/x.f4", dtype="<f4", shape=(-1, 8)) as x,
            MemMap.open(f"{folder}/y.f4", dtype="<f4") as y,
        ):
            print(train(x, y, epochs=5, workers=int(sys.argv[1]) if sys.argv[1:] else 2).bias.item())
