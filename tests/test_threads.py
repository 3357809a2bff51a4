"""Many threads at once: no crash, correct values, nothing left behind. Bounded by counts, not by time."""

import numpy as np
import pytest
from in_threads import in_threads

from scikitplot.memmap import MemMap, open_maps

THREADS = 8


@pytest.fixture
def table(make_file):
    return np.arange(1 << 16, dtype="<u4").reshape(-1, 16), make_file(np.arange(1 << 16, dtype="<u4"))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_threads_open_index_gather_and_close_maps_of_their_own(table, leftovers, mode):
    array, path = table
    before = leftovers(), open_maps()

    def work(k):
        rng = np.random.default_rng(k)
        for i in range(60):
            with MemMap.open(path, mode, dtype="<u4", shape=(-1, 16)) as mm:
                rows = rng.integers(-len(array), len(array), 20)
                np.testing.assert_array_equal(mm.gather(rows), array[rows])
                np.testing.assert_array_equal(mm[i : i + 30 : 7], array[i : i + 30 : 7])
                assert mm.read_at(4 * i, 4) == array.ravel()[i].tobytes()
                assert mm in open_maps()

    in_threads(work)
    assert (leftovers(), open_maps()) == before


def test_threads_share_one_map(table, leftovers):
    array, path = table
    before = leftovers()

    def work(k):
        rng = np.random.default_rng(k)
        for i in range(200):
            rows = rng.integers(0, len(array), 20)
            np.testing.assert_array_equal(mm.gather(rows), array[rows])
            np.testing.assert_array_equal(mm[i], array[i])
            assert mm.view("<u4")[i] == i
            assert mm.memoryview()[i, 3] == array[i, 3]
            with mm.window(i, i + 5) as part:
                np.testing.assert_array_equal(part.gather([4, 0]), array[[i + 4, i]])
            buffer = bytearray(64)
            mm.readinto_at(64 * i, buffer)
            assert buffer == array[i].tobytes()
            assert mm.residency([i]).size == 1
            mm.evict([i])
            mm.flush([i])
            mm.advise(("normal", "random", "sequential")[i % 3])

    with MemMap.open(path, dtype="<u4", shape=(-1, 16)) as mm:
        in_threads(work)
        assert mm._region.leases == 0
    assert leftovers() == before


def test_threads_store_into_rows_of_their_own(make_file):
    path = make_file(bytes(THREADS * 1000 * 8))

    def work(k):
        for i in range(1000):
            row = i * THREADS + k
            if i % 3:
                mm[row] = row
            else:
                mm.write_at(8 * row, np.int64(row).tobytes())

    with MemMap.open(path, "r+", dtype="<i8") as mm:
        in_threads(work)
        mm.flush()
    np.testing.assert_array_equal(np.fromfile(path, "<i8"), np.arange(THREADS * 1000))


def test_long_copies_let_no_other_thread_close_the_map(make_file):
    path = make_file(b"\1" * (1 << 22))
    for _ in range(5):
        mm = MemMap.open(path, "r+")

        def work(k, mm=mm):
            try:
                for _ in range(5):
                    if k == 0:
                        mm.close()
                    elif k % 2:
                        assert mm.read_at(0, 1 << 22).count(1) == 1 << 22
                    else:
                        assert mm.write_at(0, b"\1" * (1 << 22)) == 1 << 22
            except BufferError as error:
                assert "alive" in str(error)
            except ValueError as error:
                assert "MemMap is closed" in str(error)

        in_threads(work)
        mm.close()
    assert path.read_bytes().count(1) == 1 << 22


def test_threads_that_close_one_map_at_once_leave_nothing(table, leftovers):
    _, path = table
    before = leftovers(), open_maps()
    for i in range(60):
        mm = MemMap.open(path, "r+" if i % 2 else "r")

        def work(k, mm=mm):
            mm.close(views="revoke" if k % 2 else "refuse")

        in_threads(work)
        assert mm.closed
    assert (leftovers(), open_maps()) == before
