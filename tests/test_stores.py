"""Large stores: where the pages of a file are not in memory they go there by a write, which reads and zeroes none."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from page_cache import cool

from scikitplot.memmap import MemMap

MIB = 1 << 20
ROWS = np.arange(4 * MIB, dtype="<u4")


@pytest.fixture
def table(make_file):
    return make_file(ROWS)


def counted(name, call):
    """How many bytes a call had this process read from devices ("read_bytes"), or hand to write ("wchar")."""

    def count():
        with open("/proc/self/io") as file:
            return int(dict(line.split(": ") for line in file)[name])

    before = count()
    call()
    return count() - before


STORES = {
    "a slice": lambda mm: mm.__setitem__(slice(None), ROWS[::-1].copy().reshape(mm.shape)),
    "all": lambda mm: mm.__setitem__(..., ROWS[::-1].copy().reshape(mm.shape)),
    "write_at": lambda mm: mm.write_at(0, ROWS[::-1].copy()),
}


@pytest.mark.reserves
@pytest.mark.parametrize("store", STORES.values(), ids=list(STORES))
@pytest.mark.parametrize("shape", [(-1,), (-1, 512)])
@pytest.mark.linux
@pytest.mark.native
@pytest.mark.thread_unsafe(reason="counts what the whole process writes")
def test_a_new_file_is_filled_by_writes(tmp_path, store, shape):
    shape = ROWS.reshape(shape).shape
    with MemMap.open(tmp_path / "new.bin", "w+", dtype="<u4", shape=shape) as mm:
        assert counted("wchar", lambda: store(mm)) >= ROWS.nbytes
        assert np.array_equal(mm[...].ravel(), ROWS[::-1])
        assert counted("wchar", lambda: store(mm)) < MIB  # in memory now
    assert np.array_equal(np.fromfile(tmp_path / "new.bin", "<u4"), ROWS[::-1])


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.thread_unsafe(reason="counts what the whole process reads")
def test_a_file_that_is_not_in_memory_is_overwritten_without_being_read(table):
    with MemMap.open(table, "r+", dtype="<u4") as mm:
        cool(table)
        mm.evict()
        if mm.residency().any():
            pytest.skip("the temporary folder is in memory, where nothing can be evicted: set TMPDIR to a disk")
        assert counted("read_bytes", lambda: STORES["a slice"](mm)) < MIB
        mm.flush()
        mm.evict()
        assert np.array_equal(mm[...], ROWS[::-1])


@pytest.mark.maps_shared
@given(st.integers(0, 99), st.integers(0, ROWS.size - 25), st.integers(0, ROWS.size), st.booleans(), st.booleans())
def test_a_large_store_is_what_it_is_in_numpy(table, offset, start, count, evict, by_bytes):
    expected = np.fromfile(table, "u1")
    with MemMap.open(table, "r+", dtype="<u4", offset=offset, shape=ROWS.size - 25) as mm:
        values = np.random.default_rng(count).integers(0, 1 << 32, min(count, len(mm) - start), "u4").astype("<u4")
        expected[offset + 4 * start :][: values.nbytes] = values.view("u1")
        if evict:
            mm.evict()
        if by_bytes:
            assert mm.write_at(4 * start, values) == values.nbytes
        else:
            mm[start : start + len(values)] = values
        assert np.array_equal(mm.view("u1"), expected[offset:][: mm.nbytes])
    assert np.array_equal(np.fromfile(table, "u1"), expected)


@pytest.mark.parametrize(
    "value",
    [
        ROWS[::-1],
        ROWS.astype(">u4"),
        ROWS.astype("<f8"),
        ROWS.reshape(1, -1),
        ROWS.tolist()[:1] * ROWS.size,
        np.uint32(7),
        ROWS[:1],
    ],
    ids=["strided", "swapped", "wider", "one row", "list", "scalar", "broadcast"],
)
def test_other_values_are_cast_and_broadcast_as_in_numpy(table, value):
    expected = ROWS.copy()
    expected[:] = value
    with MemMap.open(table, "r+", dtype="<u4") as mm:
        mm[:] = value
        assert np.array_equal(mm[...], expected)


@pytest.mark.parametrize("key", [slice(1, None), slice(None, None, -1), slice(0, 5), slice(-MIB, None)])
def test_a_value_that_does_not_fit_is_an_error_that_stores_nothing(table, key):
    value = np.zeros(ROWS.size - 2 if key.step is None else ROWS.size, "<u4")
    with MemMap.open(table, "r+", dtype="<u4") as mm:
        if key.step is None:
            with pytest.raises(ValueError, match="could not broadcast"):
                mm[key] = value
            assert np.array_equal(mm[...], ROWS)
        else:
            mm[key] = value + ROWS
            assert np.array_equal(mm[...], ROWS[::-1])


@pytest.mark.parametrize("shift", [1, 1000, -1, -5000])
def test_rows_of_the_map_itself_are_moved_as_in_numpy(table, shift):
    expected = ROWS.copy()
    here, there = slice(max(shift, 0), min(shift, 0) or None), slice(max(-shift, 0), min(-shift, 0) or None)
    expected[here] = expected[there]
    with MemMap.open(table, "r+", dtype="<u4") as mm:
        mm.evict()
        mm[here] = mm[there]
        assert np.array_equal(mm[...], expected)


def test_an_index_that_changes_the_value_changes_no_more_than_in_numpy(table):
    class Start:
        def __index__(self):
            value.resize((ROWS.size // 2, 2), refcheck=False)
            return 0

    value = np.ones((ROWS.size // 2, 1), "<u4")
    with MemMap.open(table, "r+", dtype="<u4", shape=(-1, 1)) as mm:
        with pytest.raises(ValueError, match="could not broadcast"):
            mm[Start() : ROWS.size // 2] = value
        assert np.array_equal(mm[:, 0], ROWS)


@pytest.mark.linux
@pytest.mark.native
def test_a_limit_of_file_sizes_does_not_end_the_process(table, run_python):
    code = """
import resource, signal, sys
import numpy as np
from scikitplot.memmap import MemMap

signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
with MemMap.open(sys.argv[1], "r+", dtype="<u4") as mm:
    mm.evict()
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))
    mm[:] = np.full(len(mm), 7, "<u4")
    print((mm[...] == 7).all())
"""
    assert run_python(code, table) == "True"


@pytest.mark.posix
def test_a_file_object_that_appends_is_stored_into_where_it_is_mapped(table):
    with open(table, "a+b") as file, MemMap.open(file, "r+", dtype="<u4") as mm:
        mm.evict()
        STORES["a slice"](mm)
        assert np.array_equal(mm[...], ROWS[::-1])
    assert os.path.getsize(table) == ROWS.nbytes


@pytest.mark.parametrize("store", STORES.values(), ids=list(STORES))
def test_private_maps_never_write_to_the_file(table, store):
    with open(table, "r+b") as file, MemMap.open(file, "c", dtype="<u4") as mm:
        cool(table) if hasattr(os, "posix_fadvise") else mm.evict()
        store(mm)
        assert np.array_equal(mm[...], ROWS[::-1])
    assert np.array_equal(np.fromfile(table, "<u4"), ROWS)


def test_windows_of_a_map_are_stored_into(table):
    with MemMap.open(table, "r+", dtype="<u4") as mm, mm.window(5, 5 + MIB) as part:
        mm.evict()
        part[:] = ROWS[:MIB]
        assert np.array_equal(mm[:5], ROWS[:5])
        assert np.array_equal(mm[5 : 5 + MIB], ROWS[:MIB])
        assert np.array_equal(mm[5 + MIB :], ROWS[5 + MIB :])
