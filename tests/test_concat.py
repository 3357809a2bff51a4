"""concat: several maps as one table, whose rows are those of np.concatenate."""

import copy
import inspect
import mmap
import os
import pickle
import re

import numpy as np
import pytest

from scikitplot.memmap import DamagedError, MemMap, batches, concat, open_maps, open_npy
from scikitplot.memmap._concat import ConcatMap

PAGE = mmap.PAGESIZE
LENGTHS = [3, 0, 5, 1, 0, 0, 7, 4, 0]
ROWS = np.arange(60, dtype="<i4").reshape(20, 3)


@pytest.fixture
def files(make_file):
    """ROWS, cut into files of different lengths."""
    ends = np.cumsum(LENGTHS)
    parts = [ROWS[end - n : end] for n, end in zip(LENGTHS, ends, strict=True)]
    return [make_file(part, f"{i:03}.bin") for i, part in enumerate(parts)]


def opened(files, mode="r"):
    return [MemMap.open(path, mode, dtype="<i4", shape=(-1, 3)) for path in files]


@pytest.fixture
def table(files):
    with concat(opened(files)) as table:
        yield table


def test_the_layout_is_that_of_all_rows(table):
    found = table.shape, table.ndim, len(table), table.size, table.nbytes, table.itemsize, table.dtype
    assert found == ((20, 3), 2, 20, 60, 240, 4, np.dtype("<i4"))
    assert repr(table) == "<ConcatMap of 9 maps dtype=int32 shape=(20, 3)>"


KEYS = [
    0, 3, 19, -1, -20, np.int64(8), slice(None), slice(3, 8), slice(4, 8), slice(2, 9), slice(0, 0), slice(19, 100),
    slice(None, None, 2), slice(None, None, -1), slice(15, 3, -3), slice(9, 13, 2), slice(12, 9, -1), slice(-5, None),
    [5, 1, -1, 5], np.array([[0, 19], [3, 8]]), [], np.arange(20) % 3 == 0, (5, 1), (slice(2, 9), 1),
    (slice(3, 8), slice(1, None)), ([0, 19], 2), (7, slice(None)), (slice(None), -1), np.array([3, 2], "u1"),
    (), ..., (..., 1), (slice(2, 9), [0, 2]), (8, [2, 0]), ([[0], [19]], 2), ([0, 19], None), ([0, 19], slice(1, 3)),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_by_index_and_slice_are_those_of_the_joined_array(table, key):
    found, expected = table[key], ROWS[key] if not isinstance(key, list) or key else ROWS[:0]
    np.testing.assert_array_equal(found, expected)
    assert found.shape == expected.shape


def parameters(of, name):
    return [(p.name, p.kind, p.default) for p in [*inspect.signature(getattr(of, name)).parameters.values()][1:]]


def test_calls_take_the_arguments_of_those_of_one_map():
    names = {name for name in vars(ConcatMap) if not name.startswith("_") and callable(getattr(ConcatMap, name))}
    assert names - {"close"} >= {"gather", "take", "prefetch", "evict", "residency", "iter_chunks"}
    for name in names - {"close"}:  # which has no way to revoke the views of a part
        assert parameters(ConcatMap, name) == parameters(MemMap, name), name


@pytest.mark.parametrize("key", [20, -21, [20], [0, -21], (20, 1)], ids=str)
def test_a_row_out_of_range_is_an_index_error_with_the_numbers(table, key):
    with pytest.raises(IndexError, match=r"index -?2\d is out of bounds for axis 0 with size 20"):
        table[key]


@pytest.mark.parametrize("key", [1.5, "x", None, True, [0.5]], ids=str)
def test_other_keys_are_an_index_error(table, key):
    with pytest.raises(IndexError, match="Expected an integer, a slice, integers or a mask"):
        table[key]


@pytest.mark.parametrize(
    "key", [([0, 1], [0, 0]), ([[0], [1]], [0, 0]), ([0, 1], np.array([True, False, True]))], ids=str
)
def test_rows_and_columns_by_number_in_one_key_are_refused(table, key):
    with pytest.raises(IndexError, match="integers and slices behind the rows"):
        table[key]


PADDED = np.dtype({"names": ["x"], "formats": ["<i4"], "offsets": [8], "itemsize": 16})


@pytest.mark.parametrize("dtype", [">i4", PADDED], ids=str)
def test_rows_across_files_keep_byte_order_and_padding(make_file, dtype):
    rows = np.arange(12, dtype="<i4").astype(dtype) if dtype == ">i4" else np.zeros(12, dtype)
    paths = [make_file(part, f"{k}.bin") for k, part in enumerate(np.split(rows, 3))]
    with concat(MemMap.open(path, dtype=dtype, shape=(-1, 1)) for path in paths) as table:
        for found in (table[2:10], table[::-1], table.take([0], axis=1), table.gather([0, 11]), np.asarray(table)):
            assert (found.dtype, found.dtype.itemsize) == (np.dtype(dtype), np.dtype(dtype).itemsize)
        out = np.empty((12, 1), dtype)
        assert table.take([0], axis=1, out=out) is out
        assert out.tolist() == rows[:, np.newaxis].tolist()


def test_a_table_keeps_its_rows_when_a_file_grows_and_says_so_when_one_is_cut(files):
    with concat(opened(files, "r+")) as table:
        table.maps[2].append([[1, 2, 3]])
        assert np.asarray(table).tolist() == table[...].tolist() == table[:].tolist() == ROWS.tolist()
        table.maps[2].resize(4)
        for read in (lambda: table[2:9], lambda: table[7], lambda: list(table.iter_chunks())):
            with pytest.raises(ValueError, match=r"002\.bin has become shorter since it was joined"):
                read()


def test_equality_of_tables_is_identity(table, files):
    with concat(opened(files)) as other:
        assert table == table
        assert table != other
        assert (table == np.zeros(3)) is False


def test_a_slice_is_a_view_where_the_rows_lie_in_one_file_and_else_a_copy(table):
    with pytest.raises(BufferError, match="1 view is alive"):
        view = table[4:8]
        table.close()
    assert not view.flags.owndata
    del view
    across = table[2:5]
    assert across.flags.owndata
    table.close()
    assert across.tolist() == ROWS[2:5].tolist()


def test_iteration_arrays_and_numpy_functions_see_all_rows(table):
    assert [row.tolist() for row in table] == ROWS.tolist()
    np.testing.assert_array_equal(np.asarray(table), ROWS)
    assert np.asarray(table, "f8").dtype == np.float64
    assert np.take(table, [0, 19], axis=0).tolist() == ROWS[[0, 19]].tolist()
    assert table.take([2, 1], axis=1).tolist() == ROWS.take([2, 1], axis=1).tolist()
    assert table.take([5, 7]).tolist() == [5, 7]
    assert table.take([-1, 25], 0, mode="clip").tolist() == ROWS.take([-1, 25], 0, mode="clip").tolist()
    assert table.__getitems__([3, 0]).tolist() == ROWS[[3, 0]].tolist()
    with pytest.raises(ValueError, match="only as a copy"):
        np.asarray(table, copy=False)


# ---- gather


@pytest.mark.parametrize("indices", [5, [], [0], [19, 0, 8, 8, -1], np.arange(40).reshape(8, 5) % 20 - 7], ids=str)
def test_gather_is_take(table, indices):
    expected = np.take(ROWS, np.asarray(indices, int), axis=0)
    found = table.gather(indices)
    np.testing.assert_array_equal(found, expected)
    out = np.empty(expected.shape, "<i4")
    assert table.gather(indices, out) is out
    np.testing.assert_array_equal(out, expected)


def test_gather_of_numbers_gives_numbers(make_file):
    parts = [MemMap.open(make_file(bytes([i, i + 1]), str(i))) for i in (0, 10)]
    with concat(parts) as table:
        assert table.gather(2) == table[2] == 10
        assert table.gather([3, 0]).tolist() == table.take([3, 0]).tolist() == [11, 0]


def test_runs_cross_from_one_file_into_the_next(table):
    starts = np.array([[0, 2], [15, 7]])
    found = table.gather(starts, length=5)
    expected = np.array([[ROWS[i : i + 5] for i in row] for row in starts])
    np.testing.assert_array_equal(found, expected)
    assert table.gather(-3, length=3).tolist() == ROWS[17:].tolist()
    for bad in (16, -2):
        with pytest.raises(IndexError, match=f"index {bad} with length 5 is out of bounds for axis 0 with size 20"):
            table.gather([0, bad], length=5)
    with pytest.raises(ValueError, match="length to be at least 1, not 0"):
        table.gather([0], length=0)


def test_gather_refuses_what_take_does(table):
    with pytest.raises(TypeError, match="Expected integers as indices, not float64"):
        table.gather([1.5])
    with pytest.raises(TypeError, match="out to have the dtype int32, not float64"):
        table.gather([1], np.empty((1, 3)))
    with pytest.raises(TypeError, match="out to be an ndarray, not list"):
        table.gather([1], [[0, 0, 0]])
    with pytest.raises(ValueError, match=r"out to have the shape \(1, 3\), not \(2, 3\)"):
        table.gather([1], np.empty((2, 3), "<i4"))
    with pytest.raises(IndexError, match=f"index {2**64 - 1} is out of bounds"):
        table.gather(np.array([2**64 - 1], "u8"))


def test_gather_of_an_index_that_is_broadcast(table):  # NumPy 2.0.0 crashes when it compares this with numbers below 0
    rows = np.broadcast_to(np.uint8(1), (2, 3))
    assert np.array_equal(table.gather(rows), np.take(np.asarray(table), rows, axis=0))


class Recorder:
    """Stands in for a map, and records what is asked of it."""

    def __init__(self, mm, calls):
        self.mm, self.calls = mm, calls

    def __getattr__(self, name):
        return getattr(self.mm, name)

    def _request(self, rows):
        self.calls.append("request")
        self.mm._request(rows)

    def gather(self, rows):
        self.calls.append("gather")
        return self.mm.gather(rows)


def test_the_pages_of_all_files_are_requested_before_the_first_is_read(table, monkeypatch):
    calls = []
    monkeypatch.setattr(table, "maps", tuple(Recorder(mm, calls) for mm in table.maps))
    np.testing.assert_array_equal(table.gather([19, 0, 4, 9, 1]), ROWS[[19, 0, 4, 9, 1]])
    assert calls == ["request"] * 3 + ["gather"] * 4  # a map requests what it gathers itself


@pytest.mark.posix
@pytest.mark.native
def test_1000_files_of_different_lengths_are_open_under_a_limit_of_256_descriptors(tmp_path, run_python):
    said = run_python("""if True:
        import pickle, resource
        import numpy as np
        from scikitplot.memmap import MemMap, batches, concat
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        rows = np.arange(20_000).reshape(-1, 2)
        ends = np.sort(np.random.default_rng(0).choice(10_000, 999, replace=False))
        for i, part in enumerate(np.split(rows, ends)):
            part.tofile(f"{i:04}.bin")
        with concat([MemMap.open(f"{i:04}.bin", dtype=int, shape=(-1, 2)) for i in range(1000)]) as table:
            assert table.shape == (10_000, 2)
            assert (table.gather(np.arange(10_000)[::-1]) == rows[::-1]).all()
            seen = np.concatenate(list(batches(table, batch_size=64, shuffle=True, seed=1)))
            assert (np.sort(seen[:, 0]) == rows[:, 0]).all()
            code = pickle.dumps(table)
            with pickle.loads(code) as again:
                assert (again[...] == rows).all()
        print(len(code) // 1000)
    """)
    assert int(said) < 200


# ---- batches


@pytest.mark.parametrize("how", [
    {}, {"shuffle": True, "seed": 3}, {"shuffle": True, "seed": 3, "epoch": 2}, {"shuffle": "blocks", "seed": 3},
    {"shuffle": True, "seed": 3, "start": 2}, {"shuffle": True, "seed": 3, "shard": (1, 3)},
    {"shuffle": "blocks", "seed": 3, "shard": (0, 2), "drop_last": True, "buffer_nbytes": 1 << 20},
], ids=str)  # fmt: skip
def test_batches_are_those_of_one_file_with_all_rows(make_file, how):
    rows = np.arange(1 << 19, dtype="<i4").reshape(-1, 128)
    parts = np.split(rows, [5, 1000, 1000, 3000])
    maps = [MemMap.open(make_file(part, str(i)), dtype="<i4", shape=(-1, 128)) for i, part in enumerate(parts)]
    whole, labels = make_file(rows), np.arange(len(rows))
    with concat(maps) as table, MemMap.open(whole, dtype="<i4", shape=(-1, 128)) as one:
        pairs = zip(batches(table, labels, batch_size=100, **how), batches(one, batch_size=100, **how), strict=True)
        for (found, label), expected in pairs:
            np.testing.assert_array_equal(found, expected)
            np.testing.assert_array_equal(found[:, 0] // 128, label)


# ---- paging


def test_chunks_are_views_that_end_with_their_file(table):
    chunks = [chunk.tolist() for chunk in table.iter_chunks(nbytes=48)]
    assert [len(chunk) for chunk in chunks] == [3, 4, 1, 1, 4, 3, 4]
    assert [row for chunk in chunks for row in chunk] == ROWS.tolist()
    evicted = table.iter_chunks(slice(2, 10), evict=True)
    assert [row.tolist() for chunk in evicted for row in chunk] == ROWS[2:10].tolist()
    assert not list(table.iter_chunks(slice(5, 5)))
    with pytest.raises(ValueError, match="steps of 1"):
        table.iter_chunks(slice(None, None, 2))
    with pytest.raises(ValueError, match="nbytes to be at least 1, not 0"):
        table.iter_chunks(nbytes=0)


@pytest.mark.linux
def test_paging_calls_reach_the_files_of_the_rows(make_file):
    maps = [MemMap.open(make_file(bytes(n * PAGE), str(n)), shape=(-1, PAGE)) for n in (2, 3, 4)]
    with concat(maps) as table:
        table.prefetch(wait=True)
        assert table.residency().tolist() == [True] * 9
        for mm in maps:
            os.sync()
            mm.evict()
        assert len(table.residency(slice(1, 6))) == 5
        assert len(table.residency(slice(0, 9, 3))) == 3
        table.prefetch([0, 8], wait=True)
        assert table.residency([0, 8]).all()
        table.evict([1, 4])
        assert len(table.residency(slice(4, 4))) == 0
        for call in (table.prefetch, table.evict, table.residency):
            with pytest.raises(IndexError, match="row 9 is out of range for 9 rows"):
                call([9])


# ---- lifetime


def test_close_and_with_close_all_maps(files):
    maps = opened(files)
    table = concat(maps)
    table.close()
    table.close()
    assert table.closed
    assert all(mm.closed for mm in maps)
    assert "closed" in repr(table)
    maps = opened(files)
    with concat(maps):
        pass
    assert all(mm.closed for mm in maps)


def test_with_a_view_alive_none_is_closed(files):
    maps = opened(files)
    view = maps[6][1:]
    for leave in (concat(maps).close, lambda: concat(maps).__exit__(None, None, None)):
        with pytest.raises(BufferError, match=r"006\.bin.*1 view is alive"):
            leave()
        assert not any(mm.closed for mm in maps)
    del view
    concat(maps).close()


def test_the_exception_of_a_block_is_what_the_caller_sees(files):
    maps = opened(files)
    with pytest.raises(KeyError), concat(maps) as table:
        view = table[0:1]
        raise KeyError
    del view
    table.close()


def test_a_closed_table_is_a_value_error_that_names_the_file(files):
    table = concat(opened(files))
    table.close()
    calls = (lambda: table[0], lambda: table[:], lambda: table.gather([0]), table.prefetch, table.residency,
             lambda: np.asarray(table), table.iter_chunks, lambda: batches(table, batch_size=1))  # fmt: skip
    for call in calls:
        with pytest.raises(ValueError, match=r"MemMap is closed: .*\.bin"):
            call()
    assert table.shape == (20, 3)


@pytest.mark.parametrize(
    ("bad", "error", "said"),
    [
        (lambda path: MemMap.open(path, dtype="<i4", shape=(-1, 1)), ValueError, r"shape \(3,\), .* not \(1,\): "),
        (lambda path: MemMap.open(path, dtype="<f4", shape=(-1, 3)), ValueError, "dtype int32, .* not float32: "),
        (lambda path: MemMap.open(path, dtype="<i4", shape=(5, 3), order="F"), ValueError, "Fortran-order.*: "),
        (lambda path: MemMap.open(path, dtype="<i4", shape=()), ValueError, ""),
    ],
    ids=["row shape", "dtype", "order", "no dimensions"],
)
def test_a_part_that_does_not_fit_is_an_error_that_names_the_file(files, bad, error, said):
    maps = [*opened(files[:1]), bad(files[2])]
    with pytest.raises(error, match=said + re.escape(str(files[2]))):
        concat(maps)
    for mm in maps:
        assert not mm.closed
        mm.close()


def test_a_closed_part_no_part_and_what_is_no_map_are_refused(files):
    maps = opened(files)
    maps[2].close()
    with pytest.raises(ValueError, match=r"MemMap is closed: .*002\.bin"):
        concat(maps)
    with pytest.raises(ValueError, match="at least one map"):
        concat([])
    with pytest.raises(TypeError, match="Expected maps, not ndarray"):
        concat([maps[0], ROWS])
    for mm in maps:
        mm.close()


@pytest.mark.posix
def test_a_damaged_part_is_an_error_that_names_the_file(make_file):
    path = make_file(bytes(3 * PAGE))
    mm = MemMap.open(path)
    os.truncate(path, 0)
    with pytest.raises(DamagedError):
        mm.read_at(PAGE, 1)
    with pytest.raises(DamagedError, match=re.escape(str(path))):
        concat([mm])
    mm.close()


@pytest.mark.posix
def test_a_file_that_is_cut_under_a_table_is_a_damaged_error_that_names_it(files):
    maps = opened(files)
    with pytest.raises(DamagedError, match=r"006\.bin"), concat(maps) as table:
        os.truncate(files[6], 0)
        table.gather([0, 12])
    assert all(mm.closed for mm in maps)


# ---- by reference


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_table_is_pickled_by_reference(files, mode):
    with concat(opened(files, mode)) as table, pickle.loads(pickle.dumps(table)) as again, copy.copy(table) as copied:
        for other in (again, copied):
            np.testing.assert_array_equal(other[...], ROWS)
            assert {mm.mode for mm in other.maps} == {mode}


@pytest.mark.maps_shared
def test_tables_of_npy_files_members_and_memory_are_pickled(tmp_path):
    np.save(tmp_path / "a.npy", ROWS)
    np.savez(tmp_path / "b.npz", x=ROWS)
    memory = MemMap.anonymous((2, 3), "<i4", shared=True)
    for more in ([], [memory]):
        maps = [open_npy(tmp_path / "a.npy", "r+"), open_npy(tmp_path / "b.npz"), *more]
        with concat(maps) as table, pickle.loads(pickle.dumps(table)) as again:
            np.testing.assert_array_equal(again[...], table[...])


def test_a_table_whose_file_changed_is_refused_and_nothing_stays_open(files, leftovers):
    with concat(opened(files)) as table:
        code = pickle.dumps(table)
    os.truncate(files[7], 12)
    before = leftovers(), open_maps()
    with pytest.raises(OSError, match="size was 48 bytes and is 12"):
        pickle.loads(code)
    assert (leftovers(), open_maps()) == before


@pytest.mark.consumers
def test_dask_takes_a_table(table):
    import dask.array

    lazy = dask.array.from_array(table, chunks=(6, 2))
    np.testing.assert_array_equal(lazy.compute(), ROWS)
    with concat(opened([mm.path for mm in table.maps])) as again:
        assert dask.array.from_array(again, chunks=(6, 2)).name == lazy.name
    del lazy
