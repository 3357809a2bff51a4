"""iter_chunks and batches: whole files in bounded memory, in order or shuffled, every row once."""

import itertools
import os
import re
import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from page_cache import PAGE, cached, cold, mapping_field

from scikitplot.memmap import MemMap, batches

N = 10_007  # rows, whose numbers they hold
COLUMNS = 33


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    path = tmp_path_factory.mktemp("batches") / "table.bin"
    np.repeat(np.arange(N, dtype="<i4"), COLUMNS).tofile(path)
    with MemMap.open(path, dtype="<i4", shape=(-1, COLUMNS)) as mm:
        yield mm


def numbers(found):
    """The row numbers of batches, each checked to be whole."""
    found = list(found)
    for batch in found:
        assert (batch == batch[:, :1]).all()
    return np.concatenate([np.empty(0, int), *[batch[:, 0] for batch in found]])


# ----------------------------------------------------------------------------------------------------- iter_chunks


@pytest.mark.parametrize("nbytes", [1, 131, 132, 133, 10_000, 1 << 25])
@pytest.mark.parametrize("evict", [False, True])
def test_chunks_are_consecutive_views_of_all_rows(table, nbytes, evict):
    chunks = list(itertools.islice(table.iter_chunks(nbytes=nbytes, evict=evict), 100))
    assert {len(chunk) for chunk in chunks[:-1]} <= {max(nbytes // 132, 1)}
    assert np.shares_memory(chunks[0], table[...])
    assert np.array_equal(numbers(chunks), np.arange(N)[: sum(map(len, chunks))])


def test_chunks_of_some_rows(table):
    assert np.array_equal(numbers(table.iter_chunks(slice(5, -7), nbytes=1000)), np.arange(5, N - 7))
    assert list(table.iter_chunks(slice(9, 3))) == []


def test_chunks_are_checked_at_the_call(table, make_file):
    with pytest.raises(ValueError, match="steps of 1"):
        table.iter_chunks(slice(None, None, 2))
    with pytest.raises(ValueError, match="steps of 1"):
        table.iter_chunks(slice(None, None, -1))
    with pytest.raises(ValueError, match="steps of 1"):
        table.iter_chunks([1, 2])
    with pytest.raises(ValueError, match="nbytes to be at least 1, not 0"):
        table.iter_chunks(nbytes=0)
    mm = MemMap.open(make_file(bytes(64)), shape=(8, 8), order="F")
    with mm, pytest.raises(ValueError, match="Fortran-order"):
        mm.iter_chunks()
    with pytest.raises(ValueError, match="closed"):
        mm.iter_chunks()


PEAK = """
import re, sys
from pathlib import Path
from scikitplot.memmap import MemMap

def resident():
    return 1024 * int(re.search(r"VmRSS:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])

with MemMap.open(sys.argv[1], dtype="<i8") as mm:
    total, peak, chunk = 0, 0, None
    before = resident()
    for chunk in mm.iter_chunks(nbytes=1 << 25, evict=True):
        total += int(chunk.sum())
        peak = max(peak, resident())
    del chunk
    assert total == (1 << 24) - 1
    print(peak - before)
"""


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.unsanitized
def test_memory_stays_within_two_chunks_when_they_are_evicted(tmp_path, run_python):
    path = tmp_path / "large.bin"
    nbytes = 4 << 30 if sys.maxsize > 1 << 32 else 1 << 30
    with open(path, "wb") as file:
        file.truncate(nbytes)  # mostly a hole
        for k in range(24):
            file.seek(k * nbytes // 32 + 8 * k)
            file.write((1 << k).to_bytes(8, "little"))
    assert int(run_python(PEAK, path)) <= 2 * (1 << 25) + (8 << 20)


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("nbytes", [3_000_000, 1 << 24])
def test_chunks_that_are_evicted_are_read_once_and_leave_nothing(small_disk_of, nbytes):
    path = small_disk_of("ext4", "64m") / "table.bin"
    np.arange(48 << 18, dtype="<u4").tofile(path)
    device = os.stat(path).st_dev

    def nbytes_read():
        return 512 * int(Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}/stat").read_text().split()[2])

    with MemMap.open(path, dtype="<u4") as mm:
        mm.evict()
        assert not mm.residency().any()
        before = nbytes_read()
        total = sum(int(chunk.sum(dtype="u8")) for chunk in mm.iter_chunks(nbytes=nbytes, evict=True))
        assert total == sum(range(len(mm)))
        assert not mm.residency().any()
        # a few pages twice: a busy system may drop what was read ahead
        assert mm.nbytes <= nbytes_read() - before < 1.1 * mm.nbytes


@pytest.mark.linux
@pytest.mark.native
def test_chunks_have_been_read_before_the_caller_touches_them(make_file):
    import resource

    path = cold(make_file(bytes(48 << 20)))
    with MemMap.open(path) as mm:
        if not mm._region.reads_huge_pages:
            pytest.skip("this system or file system has no faster way to read than to request pages")
        for _ in range(10):  # a system that reclaims idle pages may drop some before they are touched
            mm.evict()
            before = resource.getrusage(resource.RUSAGE_THREAD).ru_majflt
            assert max(int(chunk.max()) for chunk in mm.iter_chunks(nbytes=5_000_001)) == 0
            if resource.getrusage(resource.RUSAGE_THREAD).ru_majflt == before:
                return
        pytest.fail("the thread that went through the chunks had to wait for pages")


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("start", [0, 1, (5 << 20) + 1])
@pytest.mark.parametrize("stop", [(14 << 20) - 1, 24 << 20])
@pytest.mark.parametrize("how", [lambda mm, rows: mm.prefetch(rows, wait=True),
                                 lambda mm, rows: [len(chunk) for chunk in mm.iter_chunks(rows, nbytes=1_000_001)],
                                 lambda mm, rows: [len(chunk) for chunk in mm.iter_chunks(rows)]])  # fmt: skip
@pytest.mark.keeps_pages
def test_what_is_read_ahead_are_the_pages_of_the_rows_and_few_behind_them(make_file, how, start, stop):
    path = cold(make_file(bytes(32 << 20)))
    rows = set(range(start // PAGE, -(-stop // PAGE)))
    behind = set(range(start // PAGE, (stop + (12 << 20)) // PAGE))  # 8 MiB of read-ahead, and huge pages
    with MemMap.open(path) as mm:
        for _ in range(10):  # as above
            mm.evict()
            how(mm, slice(start, stop))
            assert behind.issuperset(cached(path))
            if rows.issubset(cached(path)):
                return
        pytest.fail(f"of pages {start // PAGE} to {-(-stop // PAGE)}, these are resident: {cached(path)}")


def test_chunks_where_no_thread_can_be_started(table, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", refuse)
    assert np.array_equal(numbers(table.iter_chunks(nbytes=10_000)), np.arange(N))
    table.prefetch(wait=True)


LEFT_HALF_WAY = """
import atexit, os, sys
from scikitplot.memmap import MemMap

mm = MemMap.open(sys.argv[1])
chunks = mm.iter_chunks(nbytes=4_000_000)
print(len(next(chunks)))
if hasattr(os, "fork"):
    child = os.fork()
    if not child:
        os._exit(sum(map(len, chunks)) != mm.nbytes - 4_000_000)
    assert os.waitpid(child, 0)[1] == 0
atexit.register(lambda: (print(sum(map(len, chunks)), sum(map(len, mm.iter_chunks()))), mm.close()))
"""


def test_chunks_go_on_in_a_child_and_while_the_interpreter_exits(make_file, run_python):
    printed = run_python(LEFT_HALF_WAY, make_file(bytes(16_000_000)))
    assert printed.split() == ["4000000", "12000000", "16000000"]


# -------------------------------------------------------------------------------------------------------- batches

SHUFFLES = [False, True, "blocks"]


@pytest.mark.parametrize("shuffle", SHUFFLES)
@pytest.mark.parametrize("size", [1, 7, 256, N, N + 1])
@pytest.mark.parametrize("workers", [1, 3, 4])
def test_every_row_is_visited_once_by_one_worker(table, shuffle, size, workers):
    if size == 1:
        table = table.window(0, 500)
    found = [
        numbers(batches(table, batch_size=size, shuffle=shuffle, seed=3, shard=(k, workers), buffer_nbytes=1 << 19))
        for k in range(workers)
    ]
    assert np.array_equal(np.sort(np.concatenate(found)), np.arange(len(table)))
    assert max(map(len, found)) - min(map(len, found)) <= 1


@settings(max_examples=60)
@given(
    st.sampled_from(SHUFFLES), st.integers(1, 400), st.integers(1, 5), st.booleans(), st.integers(0, 5), st.data(),
)  # fmt: skip
def test_start_resumes_and_length_is_the_number_of_batches(table, shuffle, size, workers, drop_last, ahead, data):
    how = {
        "batch_size": size, "shuffle": shuffle, "seed": 1, "drop_last": drop_last, "prefetch": ahead,
        "shard": (data.draw(st.integers(0, workers - 1)), workers),
    }  # fmt: skip
    part = table.window(0, data.draw(st.integers(0, 900)))
    whole = list(batches(part, **how))
    assert len(batches(part, **how)) == len(whole)
    assert all(len(batch) == size for batch in whole[: len(whole) if drop_last else -1])
    start = data.draw(st.integers(0, len(whole) + 2))
    rest = list(batches(part, start=start, **how))
    assert len(batches(part, start=start, **how)) == len(rest) == max(len(whole) - start, 0)
    assert all(np.array_equal(one, other) for one, other in zip(rest, whole[start:], strict=True))
    part.close()


def test_workers_have_as_many_batches_each_when_the_last_is_dropped(table):
    for size, workers in itertools.product((1, 10, 333, 5000, 20_000), (1, 2, 7, 16)):
        lengths = {len(batches(table, batch_size=size, drop_last=True, shard=(k, workers))) for k in range(workers)}
        assert lengths == {N // workers // size}


@pytest.mark.parametrize("shuffle", SHUFFLES)
def test_the_same_seed_and_epoch_give_the_same_order_each_time(table, shuffle):
    one = batches(table, batch_size=100, shuffle=shuffle, seed=9, epoch=2)
    assert np.array_equal(numbers(one), numbers(one))
    assert np.array_equal(numbers(one), numbers(batches(table, batch_size=333, shuffle=shuffle, seed=9, epoch=2)))
    other = numbers(batches(table, batch_size=100, shuffle=shuffle, seed=9, epoch=3))
    assert np.array_equal(numbers(one), other) == (shuffle is False)


def test_a_seed_is_drawn_and_shown(table):
    one, other = (batches(table, batch_size=50, shuffle=True) for _ in range(2))
    assert one.seed != other.seed
    again = batches(table, batch_size=50, shuffle=True, seed=one.seed)
    assert np.array_equal(numbers(one), numbers(again))


def test_several_maps_and_arrays_come_in_step(table):
    labels = np.arange(N) * 2
    for rows, label in batches(table, labels, batch_size=100, shuffle=True, seed=0):
        assert np.array_equal(rows[:, 0] * 2, label)
    (label,) = batches(labels, batch_size=N)
    assert np.array_equal(label, labels)


def test_batches_are_copies(table):
    batch = next(iter(batches(table, batch_size=4)))
    assert not np.shares_memory(batch, table[...])
    assert batch.flags.writeable


def test_rows_of_a_block_stay_in_their_group(make_file):
    rows = 4096  # of 1 KiB: 4 blocks of 1 MiB
    with MemMap.open(make_file(np.repeat(np.arange(rows, dtype="<i8"), 128)), dtype="<i8", shape=(-1, 128)) as mm:
        order = numbers(batches(mm, batch_size=64, shuffle="blocks", seed=5, buffer_nbytes=2 << 20))
    first, second = set(order[:2048] // 1024), set(order[2048:] // 1024)
    assert len(first) == len(second) == 2
    assert not first & second


def test_a_worker_asks_for_no_blocks_beyond_its_share(make_file, monkeypatch):
    asked = []
    monkeypatch.setattr("scikitplot.memmap._batches.request", lambda mm, start, stop: asked.append(start // 1024))
    with MemMap.open(make_file(bytes(8 << 20)), shape=(-1, 1024)) as mm:  # 8 blocks, in 4 groups
        half = batches(mm, batch_size=64, shuffle="blocks", seed=5, buffer_nbytes=2 << 20, shard=(0, 2))
        visited = set((half._order.rows(0, 4096) // 1024).tolist())
        for _ in half:
            pass
    assert sorted(asked) == sorted(visited)


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize(("access", "flags"), [("normal", set()), ("sequential", {"sr"})])
def test_blocks_are_read_at_random_until_the_iterator_ends(make_file, access, flags):
    path = make_file(bytes(4 << 20))

    def advice():
        return {"rr", "sr"} & set(mapping_field(path, "VmFlags").split())

    with MemMap.open(path, shape=(-1, 1024), access=access) as mm:
        found = iter(batches(mm, batch_size=64, shuffle="blocks", seed=5))
        next(found)
        assert advice() == {"rr"}
        assert mm.access == access
        found.close()
        assert advice() == flags
        found = iter(batches(mm, batch_size=64, shuffle="blocks", seed=5, evict=True, buffer_nbytes=1))
        next(found)
        assert maps_of(path) > 1 or not mm._region.reads_huge_pages  # what a page fault maps ends with its block
        found.close()
        assert maps_of(path) == 1
        assert advice() == flags


def maps_of(path):
    return Path("/proc/self/maps").read_text().count(str(path))


def test_a_map_may_be_closed_before_the_iterator_over_its_blocks_ends(make_file):
    with MemMap.open(make_file(bytes(4 << 20)), shape=(-1, 1024)) as mm:
        found = iter(batches(mm, batch_size=64, shuffle="blocks", seed=5))
        next(found)
    found.close()


@pytest.mark.parametrize("ahead", [0, 2, 100])
@pytest.mark.parametrize(("start", "shard"), [(0, (0, 1)), (5, (1, 2))])
def test_no_block_is_released_before_all_of_its_rows_are_gathered(make_file, monkeypatch, ahead, start, shard):
    released = set()
    monkeypatch.setattr(
        "scikitplot.memmap._batches.evict_rows", lambda mm, first, stop: released.update(range(first, stop))
    )
    with MemMap.open(make_file(np.repeat(np.arange(8192, dtype="<i8"), 128)), dtype="<i8", shape=(-1, 128)) as mm:
        how = {"batch_size": 60, "shuffle": "blocks", "seed": 5, "buffer_nbytes": 2 << 20, "shard": shard}
        left = list(numbers(batches(mm, start=start, **how)))
        released.clear()
        for batch in batches(mm, prefetch=ahead, start=start, **how):
            assert not released & set(left)  # this batch's rows are among those that are left
            del left[: len(batch)]
    assert released


AHEAD = """
with MemMap.open(sys.argv[2], dtype="<i8", shape=(-1, 512), access="random") as mm:
    assert not mm.residency().any()
    found = batches(mm, batch_size=64, shuffle=True, seed=1)
    next(iter(found))
    ahead, deadline = found._order.rows(64, 192), time.monotonic() + 10
    while time.monotonic() < deadline and not mm.residency(ahead).all():
        time.sleep(0.1)
    # not of all: a busy system may drop what was read ahead
    print(mm.residency(ahead).mean() > 0.9, mm.residency().mean() < 0.5)
"""


@pytest.mark.tells_others
@pytest.mark.linux
@pytest.mark.native
def test_batches_read_ahead_in_a_file_of_another_user(run_unprivileged):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are not open to other users
        os.chmod(folder, 0o755)
        path = Path(folder, "table.bin")
        np.repeat(np.arange(4096, dtype="<i8"), 512).tofile(path)
        path.chmod(0o644)
        assert run_unprivileged(AHEAD, cold(path)) == "True True"


@pytest.mark.parametrize("true", [1, np.True_])
def test_whatever_is_true_shuffles_rows(table, true):
    wanted = batches(table, batch_size=10, shuffle=True, seed=1)
    assert np.array_equal(numbers(batches(table, batch_size=10, shuffle=true, seed=1)), numbers(wanted))


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"batch_size": 0}, ValueError, "batch_size to be at least 1, not 0"),
        ({"batch_size": 2.5}, TypeError, "integer"),
        ({"shuffle": "rows"}, ValueError, "shuffle"),
        ({"shard": (2, 2)}, ValueError, re.escape("shard (k, n) with 0 <= k < n, not (2, 2)")),
        ({"shard": (-1, 2)}, ValueError, "shard"),
        ({"shard": memoryview(bytes(4)).cast("B", (2, 2))}, TypeError, re.escape("shard (k, n), not memoryview")),
        ({"shard": (0,)}, ValueError, re.escape("shard (k, n), not 1 number")),
        ({"start": -1}, ValueError, "start to be at least 0, not -1"),
        ({"epoch": -1}, ValueError, "epoch to be at least 0, not -1"),
        ({"prefetch": -1}, ValueError, "prefetch to be at least 0, not -1"),
        ({"buffer_nbytes": 0}, ValueError, "buffer_nbytes to be at least 1, not 0"),
        ({"seed": 1.5}, TypeError, "integer"),
    ],
)
def test_arguments_are_checked_at_the_call(table, how, error, message):
    with pytest.raises(error, match=message):
        batches(table, **{"batch_size": 10, **how})


def test_maps_are_checked_at_the_call(table, make_file):
    with pytest.raises(TypeError, match="at least one map"):
        batches(batch_size=1)
    with pytest.raises(ValueError, match=rf"of the same length, not of \[{N}, 3\] rows"):
        batches(table, np.zeros(3), batch_size=1)
    with pytest.raises(TypeError, match="maps and arrays, not list"):
        batches([1, 2], batch_size=1)
    mm = MemMap.open(make_file(bytes(64)), shape=(8, 8), order="F")
    with mm, pytest.raises(ValueError, match="Fortran-order"):
        batches(mm, batch_size=1)
    with pytest.raises(ValueError, match="closed"):
        batches(mm, batch_size=1)


def test_progress_is_shown_by_tqdm(table, capsys):
    assert np.array_equal(numbers(batches(table, batch_size=5000, progress=True)), np.arange(N))
    assert "3/3" in capsys.readouterr().err
    assert np.array_equal(numbers(table.iter_chunks(progress=True)), np.arange(N))
    table.prefetch(wait=True, progress=True)
    assert "100%" in capsys.readouterr().err


def test_without_tqdm_progress_names_what_is_missing(run_python):
    code = """
import sys
sys.modules["tqdm"] = None
from scikitplot.memmap import MemMap, batches
with MemMap.anonymous(8) as mm:
    assert len(list(mm.iter_chunks())) == 1
    for call in (
        lambda: mm.iter_chunks(progress=True),
        lambda: mm.prefetch(wait=True, progress=True),
        lambda: batches(mm, batch_size=2, progress=True),
    ):
        try:
            call()
        except ImportError as error:
            print(error)
"""
    assert run_python(code).splitlines() == ["progress=True needs tqdm: pip install tqdm"] * 3


def test_a_billion_rows_are_shuffled_in_no_memory(run_python):
    code = """
import tracemalloc
from scikitplot.memmap import MemMap, batches
with MemMap.open("large.bin", "w+", shape=10**9, sparse=True) as mm:
    tracemalloc.start()
    for shuffle in (True, "blocks"):
        rows = iter(batches(mm, batch_size=256, shuffle=shuffle, start=10**6))
        for _ in range(10):
            next(rows)
    print(tracemalloc.get_traced_memory()[1])
"""
    assert int(run_python(code)) < 1 << 20


def test_the_text_of_batches_shows_no_address(table):
    assert repr(batches(table, batch_size=1 << 40, seed=7)) == f"<1 batch of {1 << 40}, seed=7>"
