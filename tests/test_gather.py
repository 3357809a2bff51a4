"""gather, and indexing by integer arrays: what NumPy's take gives, by kernels that run without the GIL."""

import os
import tempfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from page_cache import cold

from scikitplot.memmap import MemMap, set_num_threads

ROWS = 50

INDEX_DTYPES = ["i1", "<i4", ">i4", "<i8", "u1", "<u4", ">u8"]
DTYPES = ["u1", "<i2", ">i4", "<f8", "c16", "S3", "V17", [("a", "u1"), ("b", "<f4", (2,))]]


@pytest.fixture
def threads():
    yield set_num_threads
    set_num_threads(4)


@given(
    st.sampled_from(DTYPES),
    st.lists(st.integers(0, 4), max_size=2).map(tuple),
    st.sampled_from(INDEX_DTYPES),
    npst.array_shapes(min_dims=0, min_side=0, max_dims=3),
    st.integers(0, 3),
    st.integers(0, 2**32),
)
def test_gather_is_take_for_any_dtype_shape_and_indices(dtype, row, index_dtype, shape, skew, seed):
    rng = np.random.default_rng(seed)
    dtype = np.dtype(dtype)
    raw = rng.integers(0, 256, ROWS * dtype.itemsize * int(np.prod(row)) + skew, "u1")
    expected = raw[skew:].view(dtype).reshape(ROWS, *row)
    low = 0 if np.dtype(index_dtype).kind == "u" else -ROWS
    indices = rng.integers(low, ROWS, shape).astype(index_dtype)
    with MemMap.anonymous(raw.size) as memory:
        memory[:] = raw
        window = memory.window(skew, raw.size)
        rows = window.view(dtype, shape=(ROWS, *row))
        with MemMap.anonymous((ROWS, *row), dtype=dtype) as mm:
            mm[...] = rows
            for found in (mm.gather(indices), mm[indices] if shape else mm.gather(indices)):
                wanted = np.take(expected, indices.astype(np.intp), axis=0)  # NumPy 2.0 refuses uint64
                assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
                assert found.tobytes() == wanted.tobytes()
        del rows
        window.close()


@pytest.mark.parametrize(
    "key", [[2, 0, -1], [2, True], [1, 2.0], [1, slice(None)], [1, [2]], [0, 2**70], [3], [-4], [0, None], [2, "a"]]
)
def test_a_list_is_the_index_that_it_is_for_numpy(key):
    def outcome(array):
        try:
            return array[key].tolist()
        except (IndexError, ValueError, TypeError) as error:
            return type(error)

    with MemMap.anonymous((3, 2), dtype="i4") as mm:
        mm[...] = np.arange(6).reshape(3, 2)
        assert outcome(mm) == outcome(np.arange(6).reshape(3, 2))


def test_a_list_of_integers_is_gathered(monkeypatch):
    taken = []
    monkeypatch.setattr(MemMap, "gather", lambda mm, rows: taken.append(rows.tolist()))
    with MemMap.anonymous((3, 2)) as mm:
        assert mm[[2, 0]] is None
    assert taken == [[2, 0]]


@pytest.mark.parametrize("count", [1, 2, 3, 4])
@pytest.mark.parametrize("nbytes", [1, 4, 8, 511, 512, 513, 3072, 20_000])
def test_gather_in_threads_is_gather(threads, count, nbytes):
    threads(count)
    rng = np.random.default_rng(1)
    with MemMap.anonymous((1000, nbytes)) as mm:
        mm[...] = rng.integers(0, 256, (1000, nbytes), "u1")
        rows = rng.integers(-1000, 1000, (1 << 25) // max(nbytes, 64) + 3)
        assert np.array_equal(mm.gather(rows), mm[...].take(rows, axis=0))


@pytest.mark.parametrize("n", [0, -1])
def test_at_least_one_thread_is_needed(n):
    with pytest.raises(ValueError, match=f"at least 1, not {n}"):
        set_num_threads(n)


def test_the_number_of_threads_is_an_integer_of_any_kind(threads):
    threads(np.int8(2))
    with pytest.raises(TypeError, match="integer"):
        threads(2.5)


def test_indices_that_another_thread_changes_are_checked_before_they_are_used(run_python):
    out = run_python("""
import threading
import numpy as np
from scikitplot.memmap import MemMap

rows = np.zeros(1 << 20, np.int64)
done = threading.Event()

def change():
    while not done.is_set():
        rows[-1] = 1 << 50
        rows[-1] = 0

thread = threading.Thread(target=change)
thread.start()
with MemMap.anonymous((100, 16)) as mm:
    for _ in range(50):
        try:
            assert not mm.gather(rows).any()
        except IndexError as error:
            assert "out of bounds" in str(error)
done.set()
thread.join()
print("alive")
""")
    assert out == "alive"


def test_gather_into_what_lies_in_the_map_or_is_scattered():
    with MemMap.anonymous((8, 3), dtype="i4") as mm:
        mm[...] = np.arange(24).reshape(8, 3)
        whole = mm[...]
        out = whole[5:]
        assert mm.gather([7, 6, 5], out=out) is out
        assert np.array_equal(whole[5:], [[21, 22, 23], [18, 19, 20], [15, 16, 17]])
        out = np.zeros((2, 6), "i4")[:, ::2]
        assert mm.gather([1, 0], out=out) is out
        assert out.tolist() == [[3, 4, 5], [0, 1, 2]]
        read_only = np.zeros((1, 3), "i4")
        read_only.flags.writeable = False
        with pytest.raises(ValueError, match="read-only"):
            mm.gather([0], out=read_only)
        del whole


def test_an_index_out_of_range_is_named_and_nothing_is_copied():
    with MemMap.anonymous(5, dtype="i8") as mm:
        out = np.full(3, -1, "i8")
        for bad in (5, -6, 2**40, -(2**40)):
            with pytest.raises(IndexError, match=f"index {bad} is out of bounds for axis 0 with size 5"):
                mm.gather([0, bad, 1], out=out)
        with pytest.raises(IndexError, match=f"index {2**64 - 1} is out of bounds"):
            mm.gather(np.array([2**64 - 1], "u8"))
        assert (out == -1).all()
        with pytest.raises(TypeError, match="Expected integers as indices, not float64"):
            mm.gather([0.0])


def test_gather_from_fortran_order_is_right(make_file):
    table = np.arange(60, dtype="<f4").reshape(12, 5)
    with MemMap.open(make_file(table.T.copy()), dtype="<f4", shape=(12, 5), order="F") as mm:
        assert np.array_equal(mm.gather([[3, -1], [0, 0]]), table[[[3, -1], [0, 0]]])


def major_faults(call):
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    call()
    return resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before


COUNT = """
import resource
import numpy as np
rows = np.arange(4000) * 7919 % (1 << 14)
with MemMap.open(sys.argv[2], dtype="<i8", shape=(-1, 512), access="random") as mm:
    assert not mm.residency().any()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_majflt
    found = mm.gather(rows)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_majflt - before)
    assert (found == rows[:, None]).all()
"""


@pytest.mark.tells_others
@pytest.mark.linux
@pytest.mark.native
def test_cold_rows_are_asked_for_together(run_unprivileged):
    with tempfile.TemporaryDirectory() as folder:  # pytest's own are not open to other users
        os.chmod(folder, 0o755)
        path = os.path.join(folder, "data.bin")
        np.repeat(np.arange(1 << 14, dtype="<i8"), 512).tofile(path)
        os.chmod(path, 0o644)
        cold(path)
        # one by one they would be waited for 4000 times; some are not read in time
        assert int(run_unprivileged(COUNT, path)) < 1000


@pytest.mark.posix
@pytest.mark.thread_unsafe(reason="counts what the whole process waits for")
def test_hot_rows_wait_for_nothing():
    with MemMap.anonymous((1 << 10, 64)) as mm:
        mm[...] = 1
        assert major_faults(lambda: mm.gather(np.arange(1 << 10))) == 0
