"""Runs of consecutive rows: token windows and time-series crops, by gather and by batches."""

import os
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_cache import cold

from scikitplot.memmap import DamagedError, MemMap, batches, concat, set_num_threads
from scikitplot.memmap._paging import PAGE_SIZE

TOKENS = np.arange(5000, dtype="<u2")
TABLE = np.arange(300 * 7, dtype="<i4").reshape(300, 7)


@pytest.fixture
def tokens(make_file):
    with MemMap.open(make_file(TOKENS), dtype="<u2") as mm:
        yield mm


def expected_runs(array, starts, length):
    starts = np.asarray(starts)
    starts = np.where(starts < 0, starts + len(array), starts)
    return array[np.add.outer(starts, np.arange(length))]


@settings(max_examples=200)
@given(data=st.data(), length=st.integers(1, 300), order=st.sampled_from("CF"))
def test_gather_with_length_copies_the_rows_from_each_index_on(data, length, order):
    low, high = (0, 300 - length), (-300, -length)
    starts = data.draw(st.lists(st.one_of(st.integers(*low), st.integers(*high)), max_size=20))
    with MemMap.anonymous(TABLE.shape, "<i4", order=order) as mm:
        mm[:] = TABLE
        found = mm.gather(starts, length=length)
    wanted = expected_runs(TABLE, np.array(starts, int), length)
    assert found.shape == (len(starts), length, 7)
    assert np.array_equal(found, wanted)


@pytest.mark.parametrize("starts", [3, [[0, -1200], [7, 8]], [], np.array([5], ">i2")], ids=str)
def test_the_axis_of_a_run_follows_those_of_the_indices(tokens, starts):
    found = tokens.gather(starts, length=1024)
    assert found.shape == (*np.shape(starts), 1024)
    assert np.array_equal(found, expected_runs(TOKENS, np.array(starts, int), 1024))


def test_a_run_of_one_row_has_an_axis_of_its_own(tokens):
    assert tokens.gather([4, 9], length=1).tolist() == [[4], [9]]
    assert tokens.gather([4, 9]).tolist() == [4, 9]


def test_runs_are_gathered_into_out(tokens):
    out = np.zeros((2, 3), "<u2")
    assert tokens.gather([1, -3], out, length=3) is out
    assert out.tolist() == [[1, 2, 3], [4997, 4998, 4999]]
    with pytest.raises(ValueError, match=re.escape("shape (2, 4), not (2, 3)")):
        tokens.gather([1, 2], out, length=4)


@pytest.mark.parametrize("start", [4998, 5000, -2, -5001, 1 << 62])
def test_a_run_that_ends_past_the_map_is_an_index_error(tokens, start):
    out = np.zeros((2, 3), "<u2")
    message = f"index {start} with length 3 is out of bounds for axis 0 with size 5000"
    with pytest.raises(IndexError, match=re.escape(message)):
        tokens.gather([0, start], out, length=3)
    assert not out.any()


@pytest.mark.parametrize("length", [5001, 1 << 60, 1 << 80])
def test_a_run_longer_than_the_map_is_an_index_error_before_memory_is_taken(tokens, length):
    with pytest.raises(IndexError, match=f"index 0 with length {length} is out of bounds"):
        tokens.gather([0], length=length)


@pytest.mark.parametrize(("length", "error"), [(0, ValueError), (-1, ValueError), (1.5, TypeError), ("3", TypeError)])
def test_a_length_that_is_no_positive_integer_is_refused(tokens, length, error):
    with pytest.raises(error, match=r"length|integer"):
        tokens.gather([0], length=length)
    with pytest.raises(error, match=r"length|integer"):
        batches(tokens, batch_size=2, length=length)


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("length", [1025, 100_000])
def test_cold_runs_are_read_with_no_page_beside_them(make_file, length):
    path = cold(make_file(np.arange(8 << 20, dtype="<u2")))
    starts = np.random.default_rng(0).integers(0, (8 << 20) - length, 40)
    with MemMap.open(path, dtype="<u2", access="random") as mm:
        found = mm.gather(starts, length=length)
        touched = {p for s in starts.tolist() for p in range(2 * s // PAGE_SIZE, 2 * (s + length - 1) // PAGE_SIZE + 1)}
        assert np.flatnonzero(mm.residency()).size <= len(touched) + 2 * len(starts)  # a gap of a page is read, too
    assert np.array_equal(found, expected_runs(np.arange(8 << 20, dtype="<u2"), starts, length))


def test_runs_are_gathered_by_several_threads(make_file):
    array = np.arange(1 << 23, dtype="<u2")
    starts = np.random.default_rng(1).integers(0, array.size - 4096, 4096)
    set_num_threads(4)
    with MemMap.open(make_file(array), dtype="<u2") as mm:
        assert np.array_equal(mm.gather(starts, length=4096), expected_runs(array, starts, 4096))


# ---------------------------------------------------------------------------------------------------------- batches


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
@pytest.mark.parametrize(("length", "step"), [(10, None), (10, 3), (3, 10), (5000, 1), (5001, None)])
def test_batches_of_runs_visit_each_whole_run_once(tokens, shuffle, length, step):
    starts = range(0, len(TOKENS) - length + 1, step or length)
    found = batches(tokens, batch_size=7, shuffle=shuffle, seed=1, length=length, step=step)
    got = list(found)
    assert len(found) == len(got) == -(-len(starts) // 7)
    rows = np.concatenate([np.empty((0, length), "<u2"), *got])
    assert sorted(rows[:, 0].tolist()) == list(starts)
    assert np.array_equal(rows, expected_runs(TOKENS, rows[:, 0], length))
    if shuffle and len(starts) > 100:
        assert rows[:, 0].tolist() != list(starts)
    assert np.array_equal(np.concatenate([rows[:0], *found]), rows)


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_runs_are_sharded_and_resumed_as_rows_are(tokens, shuffle):
    how = {"batch_size": 4, "shuffle": shuffle, "seed": 3, "length": 9, "step": 5}

    def starts(**more):
        return np.concatenate([batch[:, 0] for batch in batches(tokens, **how, **more)]).tolist()

    assert starts(start=17) == starts()[17 * 4 :]
    assert sorted(starts(shard=(0, 3)) + starts(shard=(1, 3)) + starts(shard=(2, 3))) == sorted(starts())
    equal = [len(batches(tokens, shard=(k, 3), drop_last=True, **how)) for k in range(3)]
    assert len(set(equal)) == 1


def test_runs_of_arrays_beside_the_maps_are_whole_runs_too(tokens):
    labels = np.arange(5000) * 10
    for ours, theirs in batches(tokens, labels, batch_size=3, shuffle=True, seed=0, length=4, step=2):
        assert ours.shape == theirs.shape == (len(ours), 4)
        assert np.array_equal(ours.astype(int) * 10, theirs)


def test_runs_in_batches_cross_from_one_file_into_the_next(make_file):
    paths = [make_file(part, name=f"{k}.bin") for k, part in enumerate(np.split(TOKENS, [1000, 1001, 3500]))]
    with concat(MemMap.open(path, dtype="<u2") for path in paths) as table:
        found = np.concatenate(list(batches(table, batch_size=8, length=50, step=25)))
        assert np.array_equal(found, expected_runs(TOKENS, range(0, 4951, 25), 50))


def test_step_without_length_is_refused(tokens):
    with pytest.raises(ValueError, match="Expected length beside step"):
        batches(tokens, batch_size=2, step=3)
    with pytest.raises(ValueError, match=r"step"):
        batches(tokens, batch_size=2, length=3, step=0)


RESIDENT = """
import os, re, sys
import numpy as np
from scikitplot.memmap import MemMap, batches, concat

def resident():
    text = open("/proc/self/smaps").read()
    sizes = re.findall(r"data\\.bin\\n(?:(?!Rss)\\w+:.*\\n)*Rss:\\s+(\\d+) kB", text)
    return 1024 * sum(map(int, sizes))

with open("data.bin", "wb") as file:
    for k in range(64):
        file.write(np.full(1 << 20, k, "<u4").tobytes())
    file.flush()
    os.fsync(file.fileno())  # what is not yet on the disk stays resident in a copy-on-write map
most, count = 0, int(sys.argv[3])
offsets = range(0, 1 << 28, (1 << 28) // count)
with concat(MemMap.open("data.bin", sys.argv[2], dtype="<u4", shape=((1 << 19) // count, 128), offset=at)
            for at in offsets) as parts:
    table = parts if count > 1 else parts.maps[0]
    table.prefetch(wait=True)
    how = {"shuffle": eval(sys.argv[1]), "seed": 0, "buffer_nbytes": 1 << 24, "evict": True}
    for k, batch in enumerate(batches(table, batch_size=256, **how)):
        if k % 20 == 0:
            most = max(most, resident())
        if k == 300:  # long after most of the file was touched
            break
    cached = table.residency().mean()
print(most, cached)
"""


@pytest.mark.tells_others
@pytest.mark.linux
@pytest.mark.native
@pytest.mark.unsanitized
@pytest.mark.parametrize("shuffle", ["False", "True", "'blocks'"])
@pytest.mark.parametrize("files", [1, 128])
def test_batches_that_evict_keep_32_mib_resident_and_leave_the_page_cache_alone(run_python, shuffle, files):
    most, cached = run_python(RESIDENT, shuffle, "r", files).split()
    assert int(most) <= (17 if shuffle == "'blocks'" else 32) << 20  # a buffer of 16 MiB, and a page for each block
    assert float(cached) > 0.95


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.unsanitized
@pytest.mark.parametrize("shuffle", ["True", "'blocks'"])
def test_batches_that_evict_keep_32_mib_of_a_copy_on_write_map_resident(run_python, shuffle):
    most, _ = run_python(RESIDENT, shuffle, "c", 1).split()  # whose pages leave the page cache, too
    assert int(most) <= 32 << 20


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
@pytest.mark.parametrize("length", [None, 3])
@pytest.mark.parametrize("columns", [16, 8192])  # blocks of 16384 rows, and of 32: batches over several groups
def test_batches_that_evict_are_those_that_do_not(make_file, shuffle, length, columns):
    rows = np.arange(300 * columns, dtype=">u4").reshape(-1, columns)
    paths = [make_file(part, name=f"{k}.bin") for k, part in enumerate(np.split(rows, [1, 2, 150]))]
    how = {"batch_size": 100, "shuffle": shuffle, "seed": 5, "buffer_nbytes": 1, "length": length, "step": length and 2}
    with (
        concat(MemMap.open(path, "r+", dtype=">u4", shape=(-1, columns)) for path in paths) as table,
        MemMap.anonymous(rows.shape, dtype=">u4") as memory,
    ):
        table.maps[2][7] = rows[9] = 77  # not yet on the disk
        memory[:] = rows
        for kept, evicted in zip(batches(table, memory, **how), batches(table, memory, **how, evict=True), strict=True):
            for one, other in zip(kept, evicted, strict=True):
                assert one.dtype == other.dtype
                assert np.array_equal(one, other)


@pytest.mark.posix
def test_batches_that_evict_raise_when_the_file_was_cut(make_file):
    path = make_file(bytes(1 << 20))
    mm = MemMap.open(path, shape=(-1, 1024))
    found = iter(batches(mm, batch_size=512, evict=True))
    assert len(next(found)) == 512
    os.truncate(path, 1 << 19)
    with pytest.raises(DamagedError, match=re.escape(str(path))):
        next(found)
    mm.close()


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_batches_that_evict_lose_no_private_change(make_file, shuffle):
    with MemMap.open(make_file(bytes(1 << 16)), "c", dtype="<u4", shape=(-1, 128)) as mm:
        mm[:] = np.arange(len(mm))[:, np.newaxis]
        for seed in (0, 1):
            found = batches(mm, batch_size=10, shuffle=shuffle, seed=seed, buffer_nbytes=1, evict=True)
            assert sorted(np.concatenate(list(found))[:, 5]) == list(range(128))
