"""torch over a map: its tensors, and the workers of its DataLoader."""

from pathlib import Path

import numpy as np
import pytest

from scikitplot.memmap import MemMap

pytestmark = pytest.mark.torch
HOW_TO = Path(__file__).parents[1] / "doc" / "how_to"

ROWS = """
import os

class Rows:
    def __init__(self, mm, cut):
        self.mm, self.cut = mm, cut

    def __len__(self):
        return len(self.mm)

    def __getitems__(self, rows):
        if self.cut:
            self.cut = os.truncate(self.mm.path, 0)
        return self.mm.gather(rows)
"""

LOADER = """
import sys
import numpy as np
import torch
from torch.utils.data import DataLoader
from scikitplot.memmap import DamagedError, MemMap

sys.path.insert(0, "")
from rows import Rows

array = np.arange(64 * 1024, dtype="<f4").reshape(64, 1024)
array.tofile("data.bin")
mm = MemMap.open("data.bin", dtype="<f4", shape=(-1, 1024))

def epoch(cut=False):
    loader = DataLoader(Rows(mm, cut), 16, shuffle=True, collate_fn=torch.from_numpy,
                        num_workers=1 if cut else 2, multiprocessing_context=sys.argv[1])
    return torch.cat(list(loader)).numpy()
"""


@pytest.fixture(params=["fork", "spawn"])
def load(run_python, tmp_path, request):
    """Run code beside a DataLoader whose workers are started in that way, and whose rows are those of a map."""
    (tmp_path / "rows.py").write_text(ROWS)
    return lambda code: run_python(LOADER + code, request.param)


def test_workers_of_a_dataloader_read_the_rows_of_one_map(load):
    load("""
assert sorted(map(bytes, epoch())) == sorted(map(bytes, array))
mm.close()
""")


def test_a_worker_that_meets_lost_pages_sends_the_error_back(load):
    load("""
try:
    epoch(cut=True)
except DamagedError as error:
    assert "truncated" in str(error)
else:
    raise SystemExit("no error")
assert not mm.damaged
""")


@pytest.mark.parametrize("make", ["asarray", "as_tensor", "tensor", "from_dlpack"])
def test_torch_takes_the_numbers_of_a_map_for_what_they_are(make_file, make):
    import torch

    with MemMap.open(make_file(np.arange(6, dtype="<i2")), "c", dtype="<i2", shape=(2, 3)) as mm:
        tensor = getattr(torch, make)(mm)
        assert (tensor.dtype, tensor.tolist()) == (torch.int16, [[0, 1, 2], [3, 4, 5]])
        tensor.add_(1)
        assert mm[1, 2] == (5 if make == "tensor" else 6)
        del tensor


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable:UserWarning")
@pytest.mark.parametrize("make", ["asarray", "as_tensor", "tensor", "from_dlpack"])
def test_torch_takes_a_read_only_map_and_can_neither_crash_nor_change_the_file(make_file, make):
    import torch

    path = make_file(np.arange(6, dtype="<i2"))
    with MemMap.open(path, dtype="<i2", shape=(2, 3)) as mm:
        tensor = getattr(torch, make)(mm)
        assert tensor.tolist() == [[0, 1, 2], [3, 4, 5]]
        tensor.add_(1)
        assert tensor.tolist() == [[1, 2, 3], [4, 5, 6]]
        assert not mm.damaged
        assert mm[...].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert path.read_bytes() == np.arange(6, dtype="<i2").tobytes()


def test_what_torch_changes_in_place_stays_in_a_private_map(make_file):
    import torch

    path = make_file(bytes(4096))
    with MemMap.open(path, "c", dtype="<f4") as mm:
        torch.from_numpy(mm[...]).add_(1)
        assert mm[-1] == 1
    assert path.read_bytes() == bytes(4096)


@pytest.mark.parametrize("size", [16, 1 << 20], ids=["one thread", "its threads"])
def test_torch_that_changes_a_read_only_map_in_place_gets_the_error(run_python, size):
    out = run_python(f"""
import warnings
import numpy as np
import torch
from scikitplot.memmap import DamagedError, MemMap
warnings.simplefilter("ignore", UserWarning)  # torch's own, that the array is read-only
array = np.arange({size}, dtype="<f4")
array.tofile("data.bin")
mm = MemMap.open("data.bin", dtype="<f4")
tensor = torch.from_numpy(mm[...])
try:
    tensor.add_(1)
except DamagedError as error:
    assert "Something wrote to bytes 0:" in str(error) and 'mode="c"' in str(error)
    error.__traceback__ = None
else:
    raise SystemExit("no error")
assert mm.damaged and np.array_equal(np.fromfile("data.bin", "<f4"), array)
mm.recover()
assert np.array_equal(tensor.numpy(), array) and np.array_equal(mm[...], array)
del tensor
mm.close()
print("done")
""")
    assert out == "done"


@pytest.mark.parametrize("options", ["", "shuffle=True", "num_workers=2", "collate_fn=torch.from_numpy"])
def test_a_map_is_a_dataset_whose_batches_are_gathered(load, options):
    load(f"""
read = torch.cat(list(DataLoader(mm, batch_size=10, {options}))).numpy()
assert read.shape == array.shape and read.dtype == array.dtype
assert np.array_equal(read[read[:, 0].argsort()], array)
with mm.window(0, 64) as part:
    asked = []
    type(part).gather = lambda self, rows, gather=type(part).gather: (asked.append(len(rows)), gather(self, rows))[1]
    list(DataLoader(part, batch_size=10))
    assert asked == [10] * 6 + [4]
mm.close()
""")


@pytest.mark.parametrize(("workers", "length"), [(0, 10_000 // 256), (2, 2 * (5000 // 256))])
def test_every_worker_of_every_rank_gets_rows_of_its_own(run_python, workers, length):
    run_python(f"""
import sys
from pathlib import Path
sys.path.insert(0, {str(HOW_TO)!r})
import numpy as np
from torch.utils.data import DataLoader
from torch_batches import Epoch, MemMap, train, write_example

if __name__ == "__main__":
    write_example(Path())
    x = MemMap.open("x.f4", dtype="<f4", shape=(-1, 8))
    y = MemMap.open("y.f4", dtype="<f4")
    epochs = [Epoch(x, y, 0, rank=rank, ranks=2) for rank in (0, 1)]
    found = [list(DataLoader(epoch, batch_size=None, num_workers={workers})) for epoch in epochs]
    assert len(found[0]) == len(found[1]) == {length}
    rows = np.concatenate([rows.numpy() for rank in found for rows, _ in rank])
    assert len(rows) == len(np.unique(rows, axis=0)) == 2 * {length} * 256
    assert all(np.allclose(rows.numpy() @ np.arange(8) + 3, y, atol=1e-3) for rank in found for rows, y in rank)
    assert abs(train(x, y, epochs=10, workers={workers}).bias.item() - 3) < 0.1
    x.close()
    y.close()
""")
