"""DLPack, Arrow, Dask, and torch's way to fetch a batch."""

import ctypes
import os
import pickle

import numpy as np
import pytest
from page_cache import mapping_field

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


RECORD = np.dtype(
    [
        ("flag", "?"),
        ("big", ">i4"),
        ("small", "<f2"),
        ("wide", "<f8"),
        ("word", "S5"),
        ("text", ">U3"),
        ("raw", "V3"),
        ("day", "<M8[D]"),
        ("week", "<M8[W]"),
        ("time", ">M8[us]"),
        ("took", "<m8[h]"),
        ("pair", ">u2", (2, 3)),
        ("inner", [("x", "u1"), ("y", ">f4")]),
    ]
)


@pytest.fixture
def records(make_file):
    """A file of 1000 packed records, and what they are."""
    array = np.zeros(1000, RECORD)
    row = np.arange(1000)
    array["flag"], array["big"], array["small"], array["wide"] = row % 2, -row, row / 4, row * 0.1
    array["word"], array["text"] = row.astype("S5"), np.where(row % 2, "äö", "x")
    array["raw"] = np.repeat(row.astype("u1"), 3).view("V3")
    array["day"], array["week"], array["time"], array["took"] = row, row, row, row
    array["time"][7] = "NaT"
    array["pair"] = row[:, np.newaxis, np.newaxis] + np.arange(6).reshape(2, 3)
    array["inner"]["x"], array["inner"]["y"] = row % 256, row
    return make_file(array), array


@pytest.mark.consumers
def test_a_structured_map_is_a_table_with_a_column_for_each_field(records):
    import pyarrow as pa

    path, array = records
    with MemMap.open(path, dtype=RECORD) as mm:
        table = pa.table(mm)
    assert mm.closed
    assert table.column_names == list(RECORD.names)
    types = [pa.bool_(), pa.int32(), pa.float16(), pa.float64(), pa.binary(), pa.string(), pa.binary(3)]
    types += [pa.date32(), pa.date32(), pa.timestamp("us"), pa.duration("s")]
    types += [pa.list_(pa.list_(pa.uint16(), 3), 2), pa.struct({"x": pa.uint8(), "y": pa.float32()})]
    assert table.schema.types == types
    for name in ("flag", "big", "small", "wide", "word", "text", "pair"):
        assert table[name].to_pylist() == array[name].tolist(), name
    assert table["raw"].to_pylist() == [bytes([i % 256] * 3) for i in range(1000)]
    assert table["day"].to_pylist() == array["day"].tolist()
    assert table["week"].to_pylist() == array["week"].astype("M8[D]").tolist()
    assert table["time"].to_pylist() == array["time"].tolist()  # a NaT is a null
    assert table["took"].to_pylist() == array["took"].tolist()
    assert table["inner"].to_pylist() == [{"x": i % 256, "y": i} for i in range(1000)]


@pytest.mark.consumers
def test_an_arrow_array_of_records_is_of_structs(records):
    import pyarrow

    path, _ = records
    with MemMap.open(path, dtype=RECORD) as mm:
        array = pyarrow.array(mm)
        assert pyarrow.Table.from_struct_array(array).equals(pyarrow.table(mm))
    assert mm.closed


@pytest.mark.consumers
def test_a_table_is_streamed_in_bounded_memory_and_close_does_not_wait_for_it(make_file):
    import pyarrow

    record = np.dtype([("a", ">i8"), ("b", "<f4", 3)])
    array = np.zeros(8_000_000, record)  # 160 MB
    array["a"] = np.arange(len(array))
    path, total = make_file(array), array["a"].sum()
    del array
    with MemMap.open(path, dtype=record) as mm:
        before, most, rows, seen = pyarrow.total_allocated_bytes(), 0, 0, 0
        for batch in pyarrow.RecordBatchReader.from_stream(mm):
            most = max(most, batch.nbytes, pyarrow.total_allocated_bytes() - before)
            rows += len(batch)
            seen += batch["a"].to_numpy().sum()
            assert mm._region.leases == 0
        assert (rows, seen) == (mm.size, total)
        assert most <= 1 << 24
        reader = pyarrow.RecordBatchReader.from_stream(mm)
        assert reader.read_next_batch().num_rows == (1 << 24) // record.itemsize
    assert mm.closed
    with pytest.raises(ValueError, match="MemMap is closed"):
        reader.read_next_batch()


@pytest.mark.libraries
def test_polars_pandas_and_duckdb_take_a_table(records, make_file):
    import duckdb
    import pandas as pd
    import polars as pl

    path, array = records
    with MemMap.open(path, dtype=RECORD) as mm:
        for table in (pl.DataFrame(mm), pd.DataFrame.from_arrow(mm)):
            assert list(table.columns) == list(RECORD.names)
            assert (table["big"].sum(), table["text"][1]) == (array["big"].sum(), "äö")
        assert pl.scan_arrow_c_stream(mm).filter(pl.col("flag")).collect().height == 500
        assert pl.Series(mm).dtype.fields[1] == pl.Field("big", pl.Int32)
    some = {name: RECORD.fields[name][0] for name in ("flag", "big", "text", "time", "pair", "inner")}
    some = np.dtype({"names": list(some), "formats": list(some.values())})  # DuckDB has no float16
    with MemMap.open(make_file(array[list(some.names)].astype(some)), dtype=some) as mm:
        assert duckdb.sql("SELECT count(*), sum(big) FROM mm WHERE flag").fetchall() == [(500, -250000)]
    with MemMap.open(path, dtype="<u2") as plain:
        assert pl.Series(plain).to_numpy().tolist() == plain[...].tolist()
        assert duckdb.sql("SELECT count(*) FROM plain").fetchall() == [(plain.size,)]


@pytest.mark.linux
@pytest.mark.consumers
def test_streaming_a_table_keeps_little_of_it_in_this_process(run_python):
    said = run_python("""
import os, resource
import numpy as np, pyarrow
from scikitplot.memmap import MemMap
record = np.dtype([("a", ">i8"), ("b", "<f4", 6)])
with MemMap.open("big", "w+", dtype=record, shape=16_000_000, sparse=True) as mm:
    mm[-1] = 1
def anonymous():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("RssAnon")) >> 10
with MemMap.open("big", dtype=record) as mm:  # 512 MB
    most, before = 0, anonymous()
    for batch in pyarrow.RecordBatchReader.from_stream(mm):
        most = max(most, anonymous() - before)
print(most)
""")
    assert int(said) < 150


@pytest.mark.consumers
@pytest.mark.parametrize(
    "kind", ["<c8", "<M8[ps]", "<M8", "<m8[Y]", "<M8[Y]", pytest.param("longdouble", id="longdouble"), "bfloat16"]
)
def test_a_table_names_the_field_for_which_arrow_has_no_type(make_file, kind):
    import ml_dtypes

    dtype = getattr(ml_dtypes, kind, kind)
    record = np.dtype([("good", "u1"), ("inner", [("bad", dtype)])])
    with MemMap.open(make_file(bytes(record.itemsize)), dtype=record) as mm:
        with pytest.raises(TypeError, match="field 'inner.bad', whose dtype is"):
            mm.__arrow_c_stream__()
        with pytest.raises(TypeError, match="field 'inner.bad', whose dtype is"):
            mm.__arrow_array__()
    assert mm.closed


@pytest.mark.consumers
def test_a_table_of_several_dimensions_has_lists_and_an_empty_one_its_columns(make_file):
    import pyarrow as pa

    record = np.dtype([("a", "<i2"), ("b", "<f4", 2)])
    array = np.zeros((4, 3), record)
    array["a"] = np.arange(12).reshape(4, 3)
    with MemMap.open(make_file(array), dtype=record, shape=(-1, 3)) as mm:
        table = pa.table(mm)
        assert table["a"].to_pylist() == array["a"].tolist()
        assert table["b"].type == pa.list_(pa.list_(pa.float32(), 2), 3)
        with mm.window(2, 2) as none:
            assert pa.table(none).schema == table.schema
            assert pa.table(none).num_rows == 0
    with MemMap.open(make_file(array), dtype=record, shape=()) as mm, pytest.raises(ValueError, match="no dimensions"):
        mm.__arrow_c_stream__()


def test_only_structured_maps_are_streams_and_only_others_are_arrays(make_file):
    path = make_file(bytes(16))
    with MemMap.open(path, dtype="f4") as plain, MemMap.open(path, dtype=[("a", "f4")]) as table:
        assert hasattr(plain, "__arrow_c_array__")
        assert not hasattr(plain, "__arrow_c_stream__")
        assert not hasattr(table, "__arrow_c_array__")
        assert hasattr(table, "__arrow_c_stream__")


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


DASK = {
    "from_array": (lambda da, mm: da.from_array(mm), 1),
    "chunks": (lambda da, mm: da.from_array(mm, chunks=(10_000, -1)), 1),
    "asarray": (lambda da, mm: da.asarray(mm), 1),
    "asanyarray": (lambda da, mm: da.asanyarray(mm), 1),
    "array": (lambda da, mm: da.array(mm), 1),
    "concatenate": (lambda da, mm: da.concatenate([mm, da.from_array(mm)]), 2),
    "stack": (lambda da, mm: da.stack([mm, mm, mm]), 3),
    "block": (lambda da, mm: da.block([[da.asarray(mm)], [da.asarray(mm)]]), 2),
    "arithmetic": (lambda da, mm: da.from_array(mm) + mm, 2),
}


@pytest.mark.consumers
@pytest.mark.parametrize(("make", "times"), DASK.values(), ids=DASK)
def test_dask_takes_a_map_by_reference_and_reads_nothing_until_it_computes(make_file, make, times):
    import dask.array as da

    path = make_file(np.array([[0, 1, 2, 3]], "<f8"))
    os.truncate(path, 1 << 26)
    with MemMap.open(path, dtype="<f8", shape=(-1, 4)) as mm:
        array = make(da, mm)
        assert array.nbytes in (mm.nbytes, times * mm.nbytes)
        assert len(pickle.dumps(array.__dask_graph__())) < 10_000
        assert mapping_field(path, "Rss") == "0 kB"
        assert array[..., :5, :].sum().compute(scheduler="synchronous") in (6, 12, 18)
        del array
    assert mm.closed


@pytest.mark.consumers
def test_dask_cuts_a_map_in_chunks_of_its_own_choice(make_file):
    import dask
    import dask.array as da

    path = make_file()
    os.truncate(path, 1 << 20)
    with MemMap.open(path, dtype="<f8", shape=(-1, 16)) as mm, dask.config.set({"array.chunk-size": "100KiB"}):
        array = da.from_array(mm, chunks="auto")
        assert 10 <= array.npartitions <= 20
        assert array.chunks[1] == (16,)  # whole rows
        with dask.config.set(scheduler="threads"):
            assert (array + 1).sum().compute() == mm.size
        del array
    assert mm.closed
