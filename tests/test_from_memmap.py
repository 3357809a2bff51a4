"""from_memmap: the same bytes of the same file, whatever view of a numpy.memmap is given."""

import mmap
import os
import pickle
import re
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
from strategies import DTYPE_CASES, random_bytes

from scikitplot.memmap import MemMap

PAGE = mmap.PAGESIZE
FAR = 3 * mmap.ALLOCATIONGRANULARITY + 37


@pytest.fixture
def table(make_file):
    """A memmap of a table that begins at an odd place, far behind the first page."""
    path = make_file(bytes(FAR) + np.arange(60, dtype="<i4").tobytes())
    return np.memmap(path, "<i4", mode="r", offset=FAR, shape=(15, 4))


def check(array, **how):
    """Map an array again, see that the map is the same, and return its mode."""
    with MemMap.from_memmap(array, **how) as mm:
        assert (mm.dtype, mm.shape) == (array.dtype, array.shape)
        np.testing.assert_array_equal(mm[...], array)
        assert mm[...].strides == array.strides or 0 in array.shape or 1 in array.shape
        with open(mm.path, "rb") as file:
            file.seek(mm.offset)
            assert file.read(mm.nbytes) == array.tobytes("A")
        return mm.mode


VIEWS = {
    "whole": lambda a: a,
    "rows": lambda a: a[3:7],
    "rows of rows": lambda a: a[3:][2:][:4],
    "row": lambda a: a[-1],
    "part of a row": lambda a: a[5, 1:3],
    "scalar": lambda a: a[5, 1:2].reshape(()),
    "transposed": lambda a: a.T,
    "transposed rows": lambda a: a[2:5].T,
    "reshaped": lambda a: a[1:4].reshape(2, 3, 2),
    "other dtype": lambda a: a[1:3].view(">u2"),
    "bytes": lambda a: a.reshape(-1).view("u1")[3:],
    "ndarray": lambda a: np.asarray(a)[1:],
    "ndarray of a slice": lambda a: np.asarray(a[4:])[1:],
    "subclass": lambda a: a[1:].view(np.matrix),
    "memoryview": lambda a: np.asarray(memoryview(a[2:]))[1:],
    "buffer": lambda a: np.frombuffer(a[2:], "<i4"),
    "a new dimension": lambda a: a[2:3, np.newaxis],
    "no rows": lambda a: a[7:7],
    "no rows at the end": lambda a: a[15:],
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_contiguous_views_of_a_memmap_are_mapped_though_their_offset_attribute_is_wrong(table, view):
    assert check(view(table)) == "r"


STRIDED = {
    "every second row": lambda a: a[::2],
    "backwards": lambda a: a[::-1],
    "columns": lambda a: a[:, 1:3],
    "one column": lambda a: a[:, 0],
    "repeated": lambda a: np.broadcast_to(a[0], (3, 4)),
    "field": lambda a: a.view("i4,i4")["f1"],
}


@pytest.mark.parametrize("view", STRIDED.values(), ids=STRIDED)
def test_strided_views_are_refused_with_the_way_out(table, view):
    with pytest.raises(ValueError, match="contiguous array, not the strides .*map the whole array .*index the map"):
        MemMap.from_memmap(view(table))


def test_a_field_that_is_all_of_a_record_is_mapped(make_file):
    array = np.memmap(make_file(random_bytes(60)), [("x", "<i4", (3,))], mode="r")
    assert check(array["x"]) == "r"


def test_records_fields_are_reached_through_the_map(make_file):
    array = np.memmap(make_file(random_bytes(48)), "<i4,>f8", mode="r")
    with MemMap.from_memmap(array[1:3]) as mm:
        assert mm[...]["f0"].tolist() == array[1:3]["f0"].tolist()


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", DTYPE_CASES, ids=str)
def test_any_dtype_and_order_comes_along(make_file, dtype, order):
    array = np.memmap(make_file(bytes(6 * dtype.itemsize)), dtype, mode="r", shape=(3, 2), order=order)
    with MemMap.from_memmap(array) as mm:
        assert (mm.dtype, mm.shape, mm[...].strides) == (array.dtype, array.shape, array.strides)


@pytest.mark.parametrize(
    "array", [np.zeros(3), np.zeros((3, 4))[1:], np.frombuffer(b"abc", "u1"), np.array(3)], ids=lambda a: str(a.shape)
)
def test_an_array_in_memory_is_a_type_error(array):
    with pytest.raises(TypeError, match=r"not over a numpy\.memmap"):
        MemMap.from_memmap(array)


def test_copies_of_a_memmap_are_a_type_error(table):
    for array in (table.copy(), table + 1, table[[1, 2]], pickle.loads(pickle.dumps(table))):
        with pytest.raises(TypeError, match="memory of its own, perhaps as a copy"):
            MemMap.from_memmap(array)


@pytest.mark.parametrize("thing", [None, "data.bin", [1, 2], memoryview(b"abc")], ids=repr)
def test_what_is_no_array_is_a_type_error(thing):
    with pytest.raises(TypeError, match=f"Expected an array .*, not {type(thing).__name__}"):
        MemMap.from_memmap(thing)


def test_an_array_over_anonymous_memory_is_a_type_error():
    with mmap.mmap(-1, PAGE) as buffer, pytest.raises(TypeError, match=r"an mmap\.mmap"):
        MemMap.from_memmap(np.ndarray(5, "u1", buffer))


# ---- modes


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("r", "r"), ("c", "c"), ("r+", "r+"), ("w+", "r+"), ("readonly", "r"), ("copyonwrite", "c"), ("write", "r+")],
)
def test_the_mode_is_that_of_the_array(make_file, mode, expected):
    array = np.memmap(make_file(bytes(100)), mode=mode, shape=100)
    assert check(array) == check(array[5:50]) == expected


@pytest.mark.parametrize("mode", ["r", "c", "r+"])
def test_a_view_that_is_not_writeable_opens_for_reading(make_file, mode):
    array = np.memmap(make_file(bytes(100)), mode=mode)[3:]
    array.flags.writeable = False
    assert check(array) == "r"


@pytest.mark.parametrize("mode", ["r", "r+", "c", "readwrite"])
def test_the_mode_can_be_chosen(table, mode):
    with MemMap.from_memmap(table, mode=mode) as mm:
        assert mm.mode == {"readwrite": "r+"}.get(mode, mode)


@pytest.mark.parametrize("mode", ["w+", "x+", "write"])
def test_modes_that_create_are_refused(table, mode):
    before = Path(table.filename).read_bytes()
    with pytest.raises(ValueError, match=r'mode "[wx]\+" creates a file, and the one of the array exists'):
        MemMap.from_memmap(table, mode=mode)
    assert Path(table.filename).read_bytes() == before


def test_an_unknown_mode_is_refused(table):
    with pytest.raises(ValueError, match="Expected mode to be one of .*'x\\+'"):
        MemMap.from_memmap(table, mode="rw")


def test_access_is_passed_on(table):
    with MemMap.from_memmap(table, access="random") as mm:
        assert mm.access == "random"
    with pytest.raises(ValueError, match="Expected access to be one of"):
        MemMap.from_memmap(table, access="fast")


def test_writes_reach_the_file_and_the_array(make_file):
    array = np.memmap(make_file(bytes(100)), mode="r+")
    with MemMap.from_memmap(array[10:20]) as mm:
        mm[:] = 7
    assert array.sum() == 70
    assert (array[10:20] == 7).all()


def test_private_changes_do_not_come_along(make_file):
    array = np.memmap(make_file(bytes(100)), mode="c")
    array[:] = 1
    with MemMap.from_memmap(array) as mm:
        assert not mm[...].any()
        mm[:] = 2
    assert (array == 1).all()


def test_the_map_outlives_the_array(make_file):
    array = np.memmap(make_file(b"abc"), mode="r")
    mm = MemMap.from_memmap(array[1:])
    del array
    with mm:
        assert mm.read_at(0, 2) == b"bc"


def test_offsets_may_be_beyond_four_gigabytes(tmp_path):
    path = tmp_path / "far.bin"
    with open(path, "wb") as file:
        file.seek((1 << 33) + 5)
        file.write(b"abc")
    array = np.memmap(path, mode="r", offset=(1 << 33) + 4)[1:]
    with MemMap.from_memmap(array) as mm:
        assert (mm.offset, mm.read_at(0, 3)) == ((1 << 33) + 5, b"abc")


def test_an_empty_memmap_is_mapped(tmp_path):
    try:
        with warnings.catch_warnings(action="ignore"):
            array = np.memmap(tmp_path / "empty", "<i4", mode="w+", shape=(0, 3))
    except ValueError:
        pytest.skip("this NumPy maps no empty file")
    assert check(array) == "r+"


# ---- the file


def test_a_relative_path_was_made_absolute_when_the_array_was_made(make_file, monkeypatch):
    path = make_file(b"abc")
    monkeypatch.chdir(path.parent)
    array = np.memmap(path.name, mode="r")
    monkeypatch.chdir("/")
    assert check(array) == "r"


def test_a_memmap_of_a_file_object_has_its_name(make_file):
    with open(make_file(b"abc"), "rb") as file:
        assert check(np.memmap(file, mode="r")) == "r"


@pytest.mark.posix
def test_a_memmap_of_a_file_object_without_a_name_is_refused_with_the_way_out():
    with tempfile.TemporaryFile() as file:
        array = np.memmap(file, mode="w+", shape=3)
        with pytest.raises(ValueError, match=r"without a name: pass the file object to MemMap\.open"):
            MemMap.from_memmap(array)


@pytest.mark.replaces
@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_was_replaced_is_refused(make_file, tmp_path, same_size):
    path = make_file(b"abc")
    array = np.memmap(path, mode="r")
    other = tmp_path / "other"
    other.write_bytes(b"abc" if same_size else b"abcd")
    os.replace(other, path)
    if same_size and sys.platform != "linux":
        pytest.skip("only Linux says which file is mapped")
    with pytest.raises(OSError, match="removed or replaced") as caught:
        MemMap.from_memmap(array)
    assert caught.value.filename == str(path)


@pytest.mark.replaces
def test_a_file_that_was_removed_or_renamed_is_refused(make_file, tmp_path):
    path = make_file(b"abc")
    array = np.memmap(path, mode="r")
    path.rename(tmp_path / "renamed")
    with pytest.raises(OSError, match="removed or replaced|No such file") as caught:
        MemMap.from_memmap(array)
    assert caught.value.filename == str(path)
    (tmp_path / "renamed").unlink()
    with pytest.raises(OSError, match="removed or replaced|No such file"):
        MemMap.from_memmap(array)


@pytest.mark.posix
@pytest.mark.parametrize("name", ["new\nline", "blank name", "caf\udce9", "x (deleted)", "\\012"])
def test_the_file_may_have_any_name(make_file, name):
    assert check(np.memmap(make_file(b"abc", name), mode="r")) == "r"


@pytest.mark.posix
def test_a_symlink_is_followed(make_file, tmp_path):
    (tmp_path / "link").symlink_to(make_file(b"abc"))
    assert check(np.memmap(tmp_path / "link", mode="r")) == "r"


def test_a_file_that_was_cut_since_is_an_error_that_names_it(make_file):
    path = make_file(bytes(100))
    array = np.memmap(path, mode="r")
    if sys.platform == "win32":
        pytest.skip("Windows cuts no mapped file")
    os.truncate(path, 50)
    with pytest.raises(ValueError, match=re.escape(str(path)) + " has 50 bytes"):
        MemMap.from_memmap(array)


@pytest.mark.linux
@pytest.mark.parametrize(
    ("access", "mode"), [(mmap.ACCESS_READ, "r"), (mmap.ACCESS_WRITE, "r+"), (mmap.ACCESS_COPY, "c")]
)
def test_on_linux_an_array_over_an_mmap_of_a_file_is_mapped_too(make_file, access, mode):
    with open(make_file(random_bytes(4 * PAGE)), "r+b") as file:
        buffer = mmap.mmap(file.fileno(), 2 * PAGE, offset=PAGE, access=access)
    array = np.ndarray((5, 7), "u1", buffer, offset=PAGE + 11)
    assert check(array) == check(array[1:]) == mode
    assert check(np.frombuffer(buffer, ">i2", offset=4)) == mode


# ---- what parsers return


def of_npy(folder):
    np.save(folder / "x.npy", np.arange(24.0).reshape(2, 3, 4))
    return np.load(folder / "x.npy", mmap_mode="r"), "r"


def of_open_memmap(folder):
    array = np.lib.format.open_memmap(folder / "x.npy", "w+", "<i4", (3, 4), fortran_order=True)
    array[:] = np.arange(12).reshape(3, 4)
    return array, "r+"


def of_wavfile(folder):
    from scipy.io import wavfile

    wavfile.write(folder / "x.wav", 8000, np.arange(200, dtype="<i2").reshape(100, 2))
    return wavfile.read(folder / "x.wav", mmap=True)[1], "c"


def of_netcdf(folder):
    from scipy.io import netcdf_file

    with netcdf_file(folder / "x.nc", "w") as file:
        file.createDimension("x", 5)
        file.createVariable("v", "f4", ("x",))[:] = np.arange(5)
    with warnings.catch_warnings(action="ignore"), netcdf_file(folder / "x.nc", "r", mmap=True) as file:
        return file.variables["v"].data, "r"


def of_nibabel(folder):
    import nibabel

    nibabel.Nifti1Image(np.arange(24, dtype="<i2").reshape(2, 3, 4), np.eye(4)).to_filename(folder / "x.nii")
    return np.asanyarray(nibabel.load(folder / "x.nii").dataobj), "c"


def of_tifffile(folder):
    import tifffile

    tifffile.imwrite(folder / "x.tif", np.arange(12, dtype="u2").reshape(3, 4))
    return tifffile.memmap(folder / "x.tif", mode="r"), "r"


def of_astropy(folder):
    from astropy.io import fits

    fits.PrimaryHDU(np.arange(12, dtype=">i4").reshape(3, 4)).writeto(folder / "x.fits")
    with fits.open(folder / "x.fits", memmap=True) as file:
        return file[0].data, "c"


def of_astropy_table(folder):
    from astropy.io import fits

    columns = [fits.Column("a", "J", array=np.arange(5)), fits.Column("b", "D", array=np.arange(5.0))]
    fits.BinTableHDU.from_columns(columns).writeto(folder / "x.fits")
    with fits.open(folder / "x.fits", memmap=True) as file:
        return file[1].data.view(np.ndarray), "c"


def of_gguf(folder):
    import gguf

    writer = gguf.GGUFWriter(folder / "x.gguf", "llama")
    writer.add_tensor("x", np.arange(12, dtype="f4").reshape(3, 4))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return gguf.GGUFReader(folder / "x.gguf").tensors[0].data, "r"


NUMPY = [of_npy, of_open_memmap]
OTHERS = [of_wavfile, of_netcdf, of_nibabel, of_tifffile, of_astropy, of_astropy_table, of_gguf]
PARSERS = [*NUMPY, *(pytest.param(parse, marks=pytest.mark.consumers) for parse in OTHERS)]


@pytest.mark.parametrize("parse", PARSERS, ids=lambda parse: parse.__name__)
def test_what_a_parser_returns_is_mapped_and_so_are_slices_fields_and_transposes_of_it(tmp_path, parse):
    array, mode = parse(tmp_path)
    assert check(array) == mode
    assert check(array[1:] if array.flags.c_contiguous else array[..., 1:]) == mode
    assert check(array.T) == mode
    with MemMap.from_memmap(array) as mm:
        np.testing.assert_array_equal(mm[...][::2], array[::2])
        for name in array.dtype.names or ():
            np.testing.assert_array_equal(mm[name], array[name])
            with pytest.raises(ValueError, match="contiguous"):
                MemMap.from_memmap(array[name])
