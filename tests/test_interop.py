"""DLPack, Arrow, Dask, and torch's way to fetch a batch."""

import ctypes
import os

import numpy as np
import pytest

from scikitplot.memmap import MemMap


@pytest.fixture
def table(make_file):
    return make_file(np.arange(60, dtype="f4"))


def test_dlpack_shares_memory_that_may_be_written_to(table):
    with MemMap.open(table, "c", dtype="f4", shape=(12, 5)) as mm:
        shared = np.from_dlpack(mm)
        assert np.array_equal(shared, np.arange(60).reshape(12, 5))
        mm[3, 2] = -1
        assert shared[3, 2] == -1
        with pytest.raises(BufferError, match="1 view is alive"):
            mm.close()
        del shared
        assert mm.__dlpack_device__() == np.zeros(1).__dlpack_device__()
    assert mm.closed


PARTS = {"map": lambda mm: mm, "window": lambda mm: mm.window(2, 7), "T": lambda mm: mm.T}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
def test_dlpack_of_a_read_only_map_is_a_private_mapping_that_changes_neither_file_nor_map(table, part):
    before = table.read_bytes()
    with MemMap.open(table, dtype="f4", shape=(12, 5)) as mm, part(mm) as source:
        expected = source[...].copy()
        private = np.from_dlpack(Unversioned(source))
        assert np.array_equal(private, expected)
        ctypes.memset(private.ctypes.data, 1, private.nbytes)  # as consumers do that ignore that an array is read-only
        assert np.array_equal(source, expected)
        assert not mm.damaged
    assert mm.closed
    assert private.tobytes() == b"\1" * private.nbytes  # it lives as long as it is used
    assert table.read_bytes() == before


class Unversioned:
    """A consumer's view of a map from before DLPack 1.0: it names no version."""

    def __init__(self, mm):
        self.mm = mm

    def __dlpack__(self, **_):
        return self.mm.__dlpack__()

    def __dlpack_device__(self):
        return self.mm.__dlpack_device__()


@pytest.mark.posix
def test_dlpack_of_a_read_only_map_whose_file_is_gone_names_the_way_out(table):
    with MemMap.open(table, dtype="f4") as mm:
        table.unlink()
        with pytest.raises(BufferError, match=r"no longer found .* hand over mm\[...\].copy\(\)"):
            mm.__dlpack__()
    with pytest.raises(ValueError, match="MemMap is closed"):
        mm.__dlpack__()


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy 2.0 knows no version of DLPack")
def test_dlpack_of_version_1_is_the_map_itself_and_says_that_it_is_read_only(table):
    with MemMap.open(table, dtype="f4") as mm:
        shared = np.from_dlpack(mm)
        assert np.shares_memory(shared, mm[...])
        assert not shared.flags.writeable
        with pytest.raises(BufferError, match="1 view is alive"):
            mm.close()
        del shared


@pytest.mark.skipif(np.lib.NumpyVersion(np.__version__) < "2.1.0", reason="NumPy 2.0 makes no copies for DLPack")
def test_dlpack_copies_read_only_memory_where_a_copy_is_asked_for(table):
    with MemMap.open(table, dtype="f4") as mm:
        copied = np.from_dlpack(mm, copy=True)
    assert mm.closed
    assert np.array_equal(copied, np.arange(60))


def test_dlpack_refuses_what_numpy_refuses_and_leaves_no_view(make_file):
    swapped = np.dtype("f4").newbyteorder()
    with MemMap.open(make_file(bytes(16)), "c", dtype=swapped) as mm, pytest.raises(BufferError) as caught:
        mm.__dlpack__()
    assert mm.closed
    del caught


def test_getitems_is_gather(table):
    with MemMap.open(table, dtype="f4", shape=(12, 5)) as mm:
        assert np.array_equal(mm.__getitems__([3, 0, -1]), mm[...][[3, 0, -1]])


@pytest.mark.consumers
def test_an_arrow_array_shares_the_memory(table):
    import pyarrow

    with MemMap.open(table, dtype="f4") as mm:
        for array in (pyarrow.array(mm), pyarrow.array(mm, type=pyarrow.float32())):
            assert array.type == pyarrow.float32()
            assert array.to_numpy().tolist() == list(range(60))
            assert np.shares_memory(array.to_numpy(), mm[...])
        with pytest.raises(BufferError, match="1 view is alive"):
            mm.close()
        del array
    assert mm.closed


@pytest.mark.consumers
def test_an_arrow_array_of_rows_is_of_fixed_size_lists(make_file):
    import pyarrow

    numbers = np.arange(24, dtype="i2").reshape(4, 3, 2)
    for order in ("C", "F"):
        path = make_file(np.asarray(numbers, order=order))
        with MemMap.open(path, dtype="i2", shape=numbers.shape, order=order) as mm:
            array = pyarrow.array(mm)
            assert array.type == pyarrow.list_(pyarrow.list_(pyarrow.int16(), 2), 3)
            assert array.to_pylist() == numbers.tolist()
            assert np.shares_memory(array.flatten().flatten().to_numpy(), mm[...]) == (order == "C")
            wider = pyarrow.list_(pyarrow.list_(pyarrow.int32(), 2), 3)
            assert pyarrow.array(mm, type=wider).type == wider
            del array


@pytest.mark.consumers
def test_arrow_c_array_is_that_of_the_arrow_array(table):
    import pyarrow

    class Capsules:
        def __init__(self, source):
            self.__arrow_c_array__ = source.__arrow_c_array__

    with MemMap.open(table, dtype="f4") as mm:
        array = pyarrow.array(Capsules(mm))
        assert array.equals(pyarrow.array(mm))
        del array


@pytest.mark.consumers
def test_arrow_refuses_what_has_no_rows_and_leaves_no_view(make_file):
    import pyarrow

    path = make_file(bytes(16))
    with MemMap.open(path, dtype="f8", shape=()) as mm, pytest.raises(ValueError, match="no dimensions") as caught:
        mm.__arrow_array__()
    assert mm.closed
    with MemMap.open(path, dtype="c8") as mm, pytest.raises(NotImplementedError) as caught:
        mm.__arrow_array__()
    assert mm.closed
    schema = pyarrow.date32().__arrow_c_schema__()
    with MemMap.open(path, dtype="f4") as mm, pytest.raises(NotImplementedError, match="cast") as caught:
        mm.__arrow_c_array__(schema)
    assert mm.closed
    with MemMap.open(path, dtype="f4", shape=(4, 0)) as mm, pytest.raises(ValueError, match="length 0") as caught:
        mm.__arrow_array__()
    assert mm.closed
    with MemMap.open(path, dtype="f4", shape=(2, 2)) as mm, pytest.raises(NotImplementedError, match="cast") as caught:
        mm.__arrow_array__(pyarrow.int32())
    assert mm.closed
    del caught


def test_a_dask_token_names_what_is_in_the_file(make_file):
    path = make_file(np.arange(6, dtype="f4"))

    def token(**options):
        with MemMap.open(path, dtype="f4", **options) as mm:
            return mm.__dask_tokenize__()

    first = token()
    assert token() == first
    assert len({first, token(offset=4), token(shape=(2, 3)), token(shape=(2, 3), order="F")}) == 4
    make_file(np.arange(6, dtype="f4"))
    os.utime(path, ns=(0, 10**18))
    again = token()
    assert again != first
    make_file(np.arange(7, dtype="f4"))
    os.utime(path, ns=(0, 10**18))
    assert token() != again


@pytest.mark.parametrize("mode", ["r+", "c"])
def test_what_may_be_written_to_has_another_dask_token_each_time(table, mode):
    with MemMap.open(table, mode, dtype="f4") as mm, MemMap.anonymous(5) as memory:
        assert mm.__dask_tokenize__() != mm.__dask_tokenize__()
        assert memory.__dask_tokenize__() != memory.__dask_tokenize__()


@pytest.mark.posix
def test_a_file_that_was_replaced_has_another_dask_token_each_time(table):
    with MemMap.open(table, dtype="f4") as mm:
        first = mm.__dask_tokenize__()
        table.rename(table.with_suffix(".old"))
        assert mm.__dask_tokenize__() != first
        table.write_bytes(bytes(240))
        assert mm.__dask_tokenize__() != mm.__dask_tokenize__()
    with pytest.raises(ValueError, match="MemMap is closed"):
        mm.__dask_tokenize__()


@pytest.mark.consumers
def test_dask_computes_on_a_map_in_chunks(table):
    import dask.array as da
    from dask.base import tokenize

    with MemMap.open(table, dtype="f4", shape=(12, 5)) as mm:
        assert tokenize(mm) == tokenize(mm)
        assert da.from_array(mm).sum().compute(scheduler="synchronous") == np.arange(60).sum()
        array = da.from_array(mm, chunks=(5, 5))
        assert array.chunks == ((5, 5, 2), (5,))
        assert array.sum().compute(scheduler="synchronous") == np.arange(60).sum()
        del array
