"""open_npy: .npy files and stored members of .npz archives, and headers that stay in step with their files."""

import copy
import errno
import io
import os
import pickle
import re
import struct
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from strategies import DTYPE_CASES, DTYPES, as_ndarray, random_bytes

from scikitplot.memmap import MemMap, _npy, batches, open_maps, open_npy

MAGIC = b"\x93NUMPY"
TABLE = np.arange(24, dtype="<i4").reshape(6, 4)


@pytest.fixture
def path(tmp_path):
    np.save(tmp_path / "table.npy", TABLE)
    return tmp_path / "table.npy"


def header_file(path, text, version=(1, 0), data=b""):
    """Write a file with a header of this text."""
    raw = text if isinstance(text, bytes) else text.encode("utf8" if version[0] == 3 else "latin1")
    size = struct.pack("<H" if version == (1, 0) else "<I", len(raw))
    path.write_bytes(MAGIC + bytes(version) + size + raw + data)
    return path


def old_style(path, array, room=0):
    """Write an array as NumPy did before it left room for more rows: only what alignment adds."""
    text = f"{{'descr': {array.dtype.str!r}, 'fortran_order': False, 'shape': {array.shape!r}, }}"
    return header_file(path, text + " " * room + "\n", data=array.tobytes())


# ------------------------------------------------------------------------------------------------------- reading


ARRAYS = {
    "C": TABLE,
    "F": np.asfortranarray(TABLE),
    "one dimension": np.arange(5.0),
    "no dimension": np.array(7, "<u2"),
    "no rows": np.zeros((0, 3), "<f4"),
    "rows of nothing": np.zeros((3, 0), "<f4"),
    "big-endian": TABLE.astype(">i8"),
    "structured": np.array([(1, 2.5), (3, 4.5)], [("a", "<i4"), ("b", ">f8")]),
    "padded": np.zeros(3, np.dtype([("a", "u1"), ("b", "<f8", (2, 2))], align=True)),
    "nested": np.zeros(3, [("a", [("b", "<i2"), ("c", "S3")])]),
    "text": np.array(["a", "bcd"]),
    "dates": np.array(["2001-01-01", "NaT"], "M8[D]"),
    "names beyond ASCII": np.zeros(3, [("größe", "<i4"), ("b", "<f8")]),
    "names beyond latin1": np.zeros(3, [("漢字", "<i4"), ("'shape': (7", "<f8")]),
    "a long header of version 3": np.zeros(3, [(f"漢字漢字{i}", "<i4") for i in range(250)]),
    "a long header": np.zeros(3, [(f"field{i}", "<i4") for i in range(300)]),
    "five dimensions in Fortran order": np.asfortranarray(np.arange(720.0).reshape(2, 3, 4, 5, 6)),
}


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_what_numpy_saves_is_mapped(tmp_path, array, mode):
    with warnings.catch_warnings(action="ignore"):  # of headers that old versions do not read
        np.save(tmp_path / "x.npy", array)
    with open_npy(tmp_path / "x.npy", mode) as mm:
        assert (mm.mode, mm.dtype, mm.shape) == (mode, array.dtype, array.shape)
        assert mm[...].flags.c_contiguous == array.flags.c_contiguous
        assert mm.read_at(0, mm.nbytes) == array.tobytes("A")
        assert mm.offset == (tmp_path / "x.npy").stat().st_size - array.nbytes
        assert mm.writable == (mode != "r")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("order", ["C", "F"])
def test_headers_of_every_version_are_read(tmp_path, version, order):
    with warnings.catch_warnings(action="ignore"), open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, np.asarray(TABLE, order=order), version)
    with open_npy(tmp_path / "x.npy") as mm:
        assert (mm.order, mm[...].tolist()) == (order, TABLE.tolist())


def is_saved(dtype):
    try:
        return np.lib.format.dtype_to_descr(dtype) is not None
    except ValueError:
        return False


@pytest.mark.parametrize("dtype", [dtype for dtype in DTYPES if is_saved(dtype)], ids=str)
def test_any_dtype_that_numpy_saves_is_mapped(tmp_path, dtype):
    array = as_ndarray(random_bytes(6 * dtype.itemsize), dtype, (6,))
    with warnings.catch_warnings(action="ignore"):
        np.save(tmp_path / "x.npy", array)
    with open_npy(tmp_path / "x.npy", dtype=dtype) as mm:
        assert mm.read_at(0, mm.nbytes) == array.tobytes()


def test_a_path_may_be_str_bytes_or_pathlike_and_nothing_else(path):
    for kind in (str, os.fsencode, Path):
        with open_npy(kind(path)) as mm:
            assert mm.path == str(path)
    with open(path, "rb") as file, pytest.raises(TypeError, match=r"str, bytes or os\.PathLike, not BufferedReader"):
        open_npy(file)
    with pytest.raises(TypeError, match="not NoneType"):
        open_npy(None)


def test_a_map_for_reading_keeps_no_file_open(path, leftovers):
    before = leftovers()
    with open_npy(path) as mm, open_npy(path, "c"):
        assert leftovers().descriptors == before.descriptors
        assert mm[2].tolist() == TABLE[2].tolist()
    assert leftovers() == before


def test_dtype_shape_and_order_may_repeat_what_the_header_says(path):
    for how in ({"dtype": "<i4"}, {"shape": (6, 4)}, {"shape": (-1, 4)}, {"order": "C"}, {"dtype": "(4,)<i4"}):
        with open_npy(path, **how) as mm:
            assert mm.shape == (6, 4)
    with open_npy(path, dtype="(4,)<i4", shape=6) as mm:
        assert mm.shape == (6, 4)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"dtype": "<f4"}, "says dtype int32, and dtype float32 was asked for"),
        ({"dtype": ">i4"}, "says dtype int32, and dtype >i4 was asked for"),
        ({"dtype": "(3,)<i4"}, "says dtype int32, and dtype .* was asked for"),
        ({"shape": (5, 4)}, r"says shape \(6, 4\), and shape \(5, 4\) was asked for"),
        ({"shape": 24}, r"says shape \(6, 4\), and shape \(24,\) was asked for"),
        ({"shape": (-1, 3)}, r"says shape \(6, 4\), and shape \(-1, 3\) was asked for"),
        ({"order": "F"}, "says order 'C', and order 'F' was asked for"),
    ],
    ids=str,
)
def test_what_disagrees_with_the_header_is_an_error_that_names_the_file(path, leftovers, how, said):
    before = leftovers()
    with pytest.raises(ValueError, match=f"The header of {re.escape(str(path))} {said}"):
        open_npy(path, "r+", **how)
    assert leftovers() == before


def test_order_c_disagrees_with_a_fortran_order_header_and_no_order_does_not(tmp_path):
    np.save(tmp_path / "x.npy", np.asfortranarray(TABLE))
    open_npy(tmp_path / "x.npy").close()
    open_npy(tmp_path / "x.npy", order="F").close()
    with pytest.raises(ValueError, match="says order 'F', and order 'C' was asked for"):
        open_npy(tmp_path / "x.npy", order="C")


@pytest.mark.parametrize("dtype", DTYPE_CASES[-1:], ids=str)  # bfloat16
def test_a_dtype_that_numpy_saves_as_bytes_is_named_at_opening(tmp_path, dtype):
    array = np.arange(5, dtype=dtype)
    np.save(tmp_path / "x.npy", array)
    with open_npy(tmp_path / "x.npy", dtype=dtype) as mm:
        assert (mm.dtype, mm[3]) == (array.dtype, 3)


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"mode": "rw"}, ValueError, "Expected mode to be one of"),
        ({"access": "fast"}, ValueError, "Expected access to be one of"),
        ({"order": "K"}, ValueError, "Expected order to be one of"),
        ({"dtype": "garbage"}, TypeError, "garbage"),
        ({"shape": (-1, -1)}, ValueError, "more than one dimension to infer"),
        ({"member": "x"}, ValueError, r"table\.npy is no \.npz archive, and has no member 'x'"),
    ],
    ids=str,
)
def test_bad_arguments_are_refused(path, how, error, said):
    with pytest.raises(error, match=said):
        open_npy(path, **how)


# ---- files that cannot be mapped


@pytest.mark.parametrize("data", [b"", b"\x93", b"garbage, and more of it", MAGIC, MAGIC + b"\1"], ids=str)
def test_a_file_without_a_header_is_an_error_that_names_it(make_file, data):
    path = make_file(data, "x.npy")
    with pytest.raises(ValueError, match=rf"{re.escape(str(path))} is no \.npy file .*MemMap\.open"):
        open_npy(path)


@pytest.mark.parametrize("version", [(0, 0), (1, 1), (4, 0), (255, 255)])
def test_an_unknown_version_is_an_error_that_names_it_and_the_file(tmp_path, version):
    path = header_file(tmp_path / "x.npy", "{}", version)
    with pytest.raises(ValueError, match=rf"x\.npy has a header of version {re.escape(str(version))}"):
        open_npy(path)


def test_an_array_of_objects_is_an_error_that_names_the_file(tmp_path):
    np.save(tmp_path / "x.npy", np.array([1, "a", None], object))
    np.save(tmp_path / "y.npy", np.zeros(2, [("a", "O"), ("b", "<i4")]))
    for name in ("x.npy", "y.npy"):
        with pytest.raises(ValueError, match=rf"{name} holds pickled Python objects, .*allow_pickle"):
            open_npy(tmp_path / name)


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "{}", "[]", "1/0", "{'descr': '<i4', 'fortran_order': False}",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (-1, 4), }",
        "{'descr': '<i4', 'fortran_order': 3, 'shape': (6, 4), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': (6.5,), }",
        "{'descr': '<i4', 'fortran_order': False, 'shape': 6, }",
        "{'descr': 'garbage', 'fortran_order': False, 'shape': (6,), }",
        "{'descr': ('<i4', (2,)), 'fortran_order': False, 'shape': (6,), }",
        "{'descr': 'S0', 'fortran_order': False, 'shape': (6,), }",
        "(" * 5000, "-" * 9000 + "1", b"\0" * 64, b"\xff" * 64, "'" * 63, "{'descr': __import__('os'), }",
    ],
    ids=lambda text: ascii(text)[:40],
)  # fmt: skip
@pytest.mark.parametrize("version", [(1, 0), (3, 0)])
def test_a_header_that_numpy_cannot_parse_is_a_value_error_that_names_the_file(tmp_path, text, version, leftovers):
    path = header_file(tmp_path / "x.npy", text, version, bytes(96))
    before = leftovers()
    with warnings.catch_warnings(action="ignore"), pytest.raises(ValueError, match=r"parse the header of .*x\.npy"):
        open_npy(path)
    assert leftovers() == before


def test_a_header_that_ends_before_it_should_is_an_error_that_names_the_file(path):
    for size in (9, 10, 50):
        os.truncate(path, size)
        with pytest.raises(ValueError, match=r"parse the header of .*table\.npy"):
            open_npy(path)


def test_random_headers_are_refused_or_read_and_nothing_else(tmp_path, path):
    whole, rng = bytearray(path.read_bytes()), np.random.default_rng(0)
    for _ in range(300):
        broken = whole.copy()
        for at in rng.integers(0, 128, rng.integers(1, 4)):
            broken[at] = rng.choice(list(b"\0\xff',(){}:0123456789 <>OSV\n"))
        (tmp_path / "x.npy").write_bytes(broken)
        with warnings.catch_warnings(action="ignore"):
            try:
                open_npy(tmp_path / "x.npy").close()
            except ValueError as error:
                assert "x.npy" in str(error)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_file_that_is_shorter_than_its_header_says_is_an_error_with_the_numbers_and_the_way_out(path, mode):
    os.truncate(path, 128 + 95)
    said = r"table\.npy ends 1 bytes before .* shape \(6, 4\), .* offset 128\..* MemMap\.open"
    with pytest.raises(ValueError, match=said):
        open_npy(path, mode)


def test_what_follows_the_rows_is_left_out_as_by_np_load(path):
    with open(path, "ab") as file:
        file.write(b"more")
    with open_npy(path) as mm:
        assert mm[...].tolist() == np.load(path).tolist() == TABLE.tolist()


@pytest.mark.posix
def test_what_is_no_regular_file_is_refused_at_once(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="not a FIFO"):
        open_npy(tmp_path / "fifo")
    with pytest.raises(IsADirectoryError):
        open_npy(tmp_path)
    with pytest.raises(FileNotFoundError):
        open_npy(tmp_path / "none")


@pytest.mark.replaces
def test_a_file_that_is_replaced_while_it_is_opened_is_an_error(path, tmp_path, monkeypatch):
    def replacing(*args, **kwargs):
        np.save(tmp_path / "other.npy", TABLE)
        os.replace(tmp_path / "other.npy", path)
        return real(*args, **kwargs)

    real = MemMap.open
    monkeypatch.setattr(_npy.MemMap, "open", replacing)
    before = open_maps()
    with pytest.raises(OSError, match="Another file took its place"):
        open_npy(path)
    assert open_maps() == before


# ------------------------------------------------------------------------------------------------------ archives


@pytest.fixture
def archive(tmp_path):
    np.savez(tmp_path / "two.npz", x=TABLE, y=np.asfortranarray(TABLE * 2.5))
    return tmp_path / "two.npz"


@pytest.mark.parametrize("mode", ["r", "c"])
@pytest.mark.parametrize("name", ["x", "x.npy", "y", "y.npy"])
def test_a_stored_member_is_mapped_by_either_name(archive, mode, name):
    with np.load(archive) as expected, open_npy(archive, mode, member=name) as mm:
        array = expected[name]
        assert (mm.dtype, mm.shape, mm[...].strides) == (array.dtype, array.shape, array.strides)
        np.testing.assert_array_equal(mm[...], array)


def test_the_only_member_needs_no_name(tmp_path):
    np.savez(tmp_path / "one.npz", TABLE)
    with zipfile.ZipFile(tmp_path / "one.npz", "a") as file:
        file.writestr("readme.txt", "not an array")
    with open_npy(tmp_path / "one.npz") as mm:
        assert mm[...].tolist() == TABLE.tolist()


def test_of_several_members_one_must_be_named(archive):
    with pytest.raises(ValueError, match=r"two\.npz has 2 arrays: pass member=, one of 'x', 'y'"):
        open_npy(archive)
    with pytest.raises(ValueError, match=r"two\.npz has no member 'z', only 'x', 'y'"):
        open_npy(archive, member="z")


def test_an_exact_name_comes_first(tmp_path):
    np.savez(tmp_path / "x.npz", **{"x": np.zeros(1), "x.npy": np.ones(2)})
    with open_npy(tmp_path / "x.npz", member="x.npy") as mm, np.load(tmp_path / "x.npz") as expected:
        assert mm[...].tolist() == expected["x.npy"].tolist()
    with open_npy(tmp_path / "x.npz", member="x.npy.npy") as mm:
        assert mm[...].tolist() == [1, 1]


def test_an_empty_archive_has_no_array(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.npz", "w"):
        pass
    with pytest.raises(ValueError, match=r"x\.npz has 0 arrays"):
        open_npy(tmp_path / "x.npz")


@pytest.mark.parametrize("mode", ["r+", "readwrite"])
def test_a_member_does_not_open_for_writing(archive, mode):
    with pytest.raises(ValueError, match=r"two\.npz is an archive, whose checksum a write would break"):
        open_npy(archive, mode, member="x")


def test_private_changes_leave_the_checksum_right(archive):
    with open_npy(archive, "c", member="x") as mm:
        mm[:] = 9
    with zipfile.ZipFile(archive) as file:
        assert file.testzip() is None


def test_a_compressed_member_is_an_error_that_names_it_and_the_file(tmp_path):
    np.savez_compressed(tmp_path / "x.npz", a=TABLE)
    with pytest.raises(ValueError, match=r"x\.npz \(member 'a\.npy'\) is compressed, and only stored bytes"):
        open_npy(tmp_path / "x.npz")


def test_an_encrypted_member_is_an_error(archive):
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(ValueError, match=r"member 'x\.npy'\) is encrypted"):
        open_npy(archive, member="x")


def test_a_member_that_is_no_array_is_an_error_that_names_it(archive):
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("readme.txt", "not an array")
    with pytest.raises(ValueError, match=r"two\.npz \(member 'readme\.txt'\) is no \.npy file"):
        open_npy(archive, member="readme.txt")


def test_a_member_whose_array_is_longer_than_it_is_an_error(tmp_path):
    raw = io.BytesIO()
    np.save(raw, TABLE)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        file.writestr("x.npy", raw.getvalue()[:-5])
        file.writestr("y.npy", raw.getvalue())
    with pytest.raises(ValueError, match=r"member 'x\.npy'\) ends 5 bytes before its array does"):
        open_npy(tmp_path / "x.npz", member="x")
    open_npy(tmp_path / "x.npz", member="y").close()


def test_a_broken_archive_is_an_error_that_names_the_file(archive):
    whole = archive.read_bytes()
    archive.write_bytes(whole[:300])
    with pytest.raises(ValueError, match=r"two\.npz"):
        open_npy(archive, member="x")
    archive.write_bytes(b"PK\3\5" + whole[4:])
    with pytest.raises(ValueError, match=r"two\.npz"):
        open_npy(archive, member="x")


def test_the_data_is_found_behind_the_local_header_whose_extra_field_may_differ(tmp_path):
    raw = io.BytesIO()
    np.save(raw, TABLE)
    info = zipfile.ZipInfo("x.npy")
    info.extra = struct.pack("<HH", 0xCAFE, 40) + bytes(40)
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as file:
        with file.open(info, "w", force_zip64=True) as member:  # Zip64: more in the local header than in the directory
            member.write(raw.getvalue())
        file.writestr("y.npy", raw.getvalue())
    for name in ("x", "y"):
        with open_npy(tmp_path / "x.npz", member=name) as mm:
            assert mm[...].tolist() == TABLE.tolist()


def test_a_member_beyond_four_gigabytes_is_mapped(tmp_path):
    raw = io.BytesIO()
    np.save(raw, TABLE)
    with zipfile.ZipFile(tmp_path / "x.npz", "w", allowZip64=True) as file:
        file.writestr("near.npy", raw.getvalue())
        file.start_dir = (1 << 32) + 100  # where the next member goes: before it is a hole
        file.writestr("far.npy", raw.getvalue())
    with open_npy(tmp_path / "x.npz", member="far") as mm:
        assert mm.offset > 1 << 32
        assert mm[...].tolist() == TABLE.tolist()


# ----------------------------------------------------------------------------------------------------- new files


@pytest.mark.parametrize("mode", ["w+", "x+"])
@pytest.mark.parametrize("array", ARRAYS.values(), ids=ARRAYS)
def test_np_load_reads_what_a_new_file_holds(tmp_path, array, mode):
    path, order = tmp_path / "x.npy", "C" if array.flags.c_contiguous else "F"
    with open_npy(path, mode, dtype=array.dtype, shape=array.shape, order=order) as mm:
        assert (mm.mode, mm.dtype, mm.shape, mm.order, mm.offset % 64) == (mode, array.dtype, array.shape, order, 0)
        mm[...] = array
    loaded = np.load(path)
    assert (loaded.dtype, loaded.shape) == (array.dtype, array.shape)
    assert loaded.flags.c_contiguous == array.flags.c_contiguous
    np.testing.assert_array_equal(loaded, array)
    with open_npy(path, dtype=array.dtype, shape=array.shape, order=order) as mm:
        assert mm.read_at(0, mm.nbytes) == array.tobytes("A")


@pytest.mark.parametrize("how", [{}, {"dtype": "f4"}, {"shape": 3}], ids=str)
def test_a_new_file_needs_dtype_and_shape(tmp_path, how):
    with pytest.raises(ValueError, match=r'mode "w\+" creates .*x\.npy, and needs dtype and shape'):
        open_npy(tmp_path / "x.npy", "w+", **how)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ({"dtype": "O"}, TypeError, "Python objects"),
        ({"dtype": "S"}, ValueError, "item size 0"),
        ({"shape": (-1, 3)}, ValueError, r"x\.npy has no bytes yet"),
        ({"shape": 1 << 62}, ValueError, r"x\.npy is larger than the address space"),
        ({"member": "x"}, ValueError, r"which has no member 'x'"),
        ({"dtype": [(f"field{i}", "<i4") for i in range(900)]}, ValueError, r"parse the header of .*x\.npy"),
        ({"dtype": {"names": "ab", "formats": ["<i4", "<i2"], "offsets": [0, 2]}}, ValueError, r"x\.npy"),
    ],
    ids=lambda thing: str(thing)[:40],
)
def test_a_new_file_that_cannot_be_made_leaves_the_old_one(path, tmp_path, how, error, said):
    path = path.rename(tmp_path / "x.npy")
    before = path.read_bytes()
    with pytest.raises(error, match=said):
        open_npy(path, "w+", **{"dtype": "<i4", "shape": 3} | how)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


def test_exclusive_creation_leaves_a_file_that_exists(path):
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        open_npy(path, "x+", dtype="f4", shape=3)
    assert path.read_bytes() == before


@pytest.mark.replaces
def test_replacing_leaves_the_old_file_to_those_who_have_it_mapped(path):
    with open_npy(path) as old, open_npy(path, "w+", dtype="f8", shape=2) as new:
        assert old[...].tolist() == TABLE.tolist()
        assert new[...].tolist() == np.load(path).tolist() == [0, 0]


def test_a_full_disk_leaves_no_file(small_disk_of):
    disk = small_disk_of("tmpfs", "1m")
    with pytest.raises(OSError, match="room|space") as caught:
        open_npy(disk / "x.npy", "w+", dtype="f8", shape=1 << 20)
    assert caught.value.errno == errno.ENOSPC
    assert not list(disk.iterdir())
    with open_npy(disk / "x.npy", "w+", dtype="f8", shape=1 << 20, sparse=True) as mm:
        assert len(np.load(disk / "x.npy", mmap_mode="r")) == len(mm)


# ------------------------------------------------------------------------------------------------- size of files


@pytest.mark.parametrize("make", ["save", "w+", "x+"])
def test_np_load_sees_appended_rows_when_append_returns(tmp_path, make):
    path, rows = tmp_path / "x.npy", TABLE[:0]
    if make == "save":
        np.save(path, rows)
    with open_npy(path, "r+" if make == "save" else make, dtype="<i4", shape=(0, 4)) as mm:
        for n in (1, 8, 1, 90, 899, 1, 100_000):
            new = np.full((n, 4), n, "<i4")
            mm.append(new)
            rows = np.concatenate([rows, new])
            np.testing.assert_array_equal(np.load(path), rows)
            np.testing.assert_array_equal(mm[...], rows)
        mm.append([1, 2, 3, 4])
        mm.append(np.zeros((0, 4), "<i4"))
        assert len(np.load(path)) == len(mm) == 101_001


def test_np_load_sees_the_new_size_when_resize_returns(path):
    with open_npy(path, "r+") as mm:
        for n in (7, 1000, 3, 0, 12):
            mm.resize(n)
            assert len(np.load(path)) == len(mm) == n
        assert not np.load(path).any()


def test_structured_rows_are_appended_though_a_field_is_called_like_the_shape(tmp_path):
    array = np.ones(3, [("'shape': (7", "<f8"), ("shape", "<i4")])
    with open_npy(tmp_path / "x.npy", "w+", dtype=array.dtype, shape=0) as mm:
        mm.append(array)
        mm.append((2.5, 7))
    assert np.load(tmp_path / "x.npy").tolist() == [*array.tolist(), (2.5, 7)]


def test_a_header_without_room_for_another_digit_refuses_before_anything_changes(tmp_path):
    path = old_style(tmp_path / "x.npy", np.zeros((8, 2), "<i4"))
    with open_npy(path, "r+") as mm:
        mm.append([1, 2])
        before = path.read_bytes()
        for call in (lambda: mm.append([3, 4]), lambda: mm.append(np.ones((5, 2), "<i4")), lambda: mm.resize(10)):
            with pytest.raises(ValueError, match=r'header of .*x\.npy has no room for 1\d rows.*open_npy\(path, "w\+"'):
                call()
        assert (len(mm), path.read_bytes()) == (9, before)
        mm.resize(3)
        assert np.load(path).tolist() == mm[...].tolist() == [[0, 0]] * 3


def test_a_header_of_others_with_room_is_kept_in_step(tmp_path):
    path = old_style(tmp_path / "x.npy", np.zeros((9, 2), "<i4"), room=1)
    with open_npy(path, "r+") as mm:
        mm.append([1, 2])
        assert len(np.load(path)) == 10
        with pytest.raises(ValueError, match="no room for 100 rows"):
            mm.resize(100)


def test_a_header_whose_number_of_rows_is_not_found_refuses_before_anything_changes(tmp_path):
    text = "{'descr': '<i4', 'fortran_order': False, 'sh' 'ape': (3,), }          \n"
    path = header_file(tmp_path / "x.npy", text, data=bytes(12))
    before = path.read_bytes()
    with open_npy(path, "r+") as mm:
        mm[0] = 0
        for call in (lambda: mm.append([3]), lambda: mm.resize(2)):
            with pytest.raises(ValueError, match=r"x\.npy cannot change its size: its header is not laid out as NumPy"):
                call()
    assert path.read_bytes() == before


def test_appending_to_fortran_order_refuses_and_leaves_the_header(tmp_path):
    with open_npy(tmp_path / "x.npy", "w+", dtype="f4", shape=(3, 4), order="F") as mm:
        before = (tmp_path / "x.npy").read_bytes()
        with pytest.raises(ValueError, match="Fortran"):
            mm.append([1, 2, 3, 4])
    assert (tmp_path / "x.npy").read_bytes() == before


def test_a_refused_change_leaves_header_and_rows(path):
    before = path.read_bytes()
    with open_npy(path, "r+") as mm:
        view = mm[1:]
        for call in (lambda: mm.append(TABLE), lambda: mm.resize(2), lambda: mm.resize(100)):
            with pytest.raises(BufferError, match="1 view is alive"):
                call()
        assert path.read_bytes() == before
        del view
        mm.resize(2)
    assert np.load(path).tolist() == TABLE[:2].tolist()


def test_bytes_after_the_rows_refuse_with_the_way_out(path):
    with open(path, "ab") as file:
        file.write(b"more")
    with open_npy(path, "r+") as mm, pytest.raises(ValueError, match=r"has 228 bytes: .*os\.truncate\(path, 224\)"):
        mm.append([1, 2, 3, 4])
    os.truncate(path, 224)
    with open_npy(path, "r+") as mm:
        mm.append([1, 2, 3, 4])
    assert len(np.load(path)) == 7


class BrokenFile:
    """Stands in for a file whose first bytes cannot be written."""

    def write(self, offset, data):
        raise OSError(errno.EIO, "broken")

    def sync(self):
        pass


@pytest.mark.parametrize("rows", [10, 2])
def test_a_header_that_cannot_be_written_leaves_the_old_size(path, rows, monkeypatch):
    before = path.read_bytes()
    with open_npy(path, "r+") as mm:
        header = mm._region.header
        monkeypatch.setattr(
            header, "in_step", lambda _, *rest, real=header.in_step, **how: real(BrokenFile(), *rest, **how)
        )
        with pytest.raises(OSError, match="broken"):
            mm.resize(rows)
        assert mm.shape == (6, 4)
    assert path.read_bytes() == before


# ---- by reference


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_maps_are_pickled_by_reference(path, mode):
    with open_npy(path, mode, access="random") as mm:
        code = pickle.dumps(mm)
        assert len(code) < 2000
        with pickle.loads(code) as again, copy.copy(mm) as copied:
            for other in (again, copied):
                assert (other.mode, other.offset, other.access) == (mode, 128, "random")
                assert other[...].tolist() == TABLE.tolist()


@pytest.mark.parametrize("mode", ["r+", "w+", "x+"])
def test_an_unpickled_map_keeps_the_header_in_step_also_after_append(tmp_path, mode):
    np.save(tmp_path / "x.npy", np.zeros((2, 4), "<i4"))
    path = tmp_path / ("new.npy" if mode == "x+" else "x.npy")
    with open_npy(path, mode, dtype="<i4", shape=(2, 4)) as mm:
        mm.append(TABLE)
        mm.flush()
        code = pickle.dumps(mm)
    with pickle.loads(code) as again:
        assert (again.mode, again[2:].tolist()) == ("r+", TABLE.tolist())
        again.append([1, 2, 3, 4])
        assert len(np.load(path)) == 9
        with pickle.loads(pickle.dumps(again)) as third:
            third.append([5, 6, 7, 8])
    assert np.load(path)[-1].tolist() == [5, 6, 7, 8]


def test_members_are_pickled_by_reference(archive):
    with open_npy(archive, member="y") as mm, pickle.loads(pickle.dumps(mm)) as again, copy.copy(mm) as copied:
        assert again[...].tolist() == copied[...].tolist() == (TABLE * 2.5).tolist()


def test_windows_and_the_transposed_map_work_and_pickle(path):
    with open_npy(path, "r+") as mm, mm.window(2, 4) as part, mm.T as turned:
        assert part[...].tolist() == TABLE[2:4].tolist()
        assert turned[...].tolist() == TABLE.T.tolist()
        for window in (part, turned):
            with pickle.loads(pickle.dumps(window)) as again:
                assert again[...].tolist() == window[...].tolist()
            with pytest.raises(ValueError, match="window|Fortran"):
                window.append([1, 2, 3, 4])


def test_batches_read_the_rows(path):
    with open_npy(path) as mm:
        assert np.concatenate(list(batches(mm, batch_size=4))).tolist() == TABLE.tolist()


# ------------------------------------------------------------------------ the header where nobody expects one


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", ["<f4", "u1,u1", "(2,)<i2"])
def test_a_map_that_takes_the_header_for_numbers_is_a_warning_that_names_open_npy(path, mode, dtype):
    with pytest.warns(UserWarning, match=r"table\.npy' is mapped with its header, .*memmap\.open_npy") as said:
        MemMap.open(path, mode, dtype=dtype).close()
    assert said[0].filename == __file__
    with open(path, "r+b") as file, pytest.warns(UserWarning, match="open_npy"):
        MemMap.open(file, mode, dtype=dtype).close()


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_a_new_file_without_a_header_is_a_warning_too(tmp_path, mode):
    with pytest.warns(UserWarning, match=r"x\.npy' gets no header, which np\.load needs: .*open_npy makes"):
        MemMap.open(tmp_path / "x.npy", mode, dtype="f4", shape=3).close()


def test_the_warning_made_an_error_leaves_nothing(path, tmp_path, leftovers):
    before = leftovers()
    for name, how in ((path, {}), (tmp_path / "new.npy", {"mode": "w+", "shape": 3})):
        with pytest.raises(UserWarning, match="open_npy"):
            MemMap.open(name, dtype="f4", **how)
    with open(path, "rb") as file, pytest.raises(UserWarning, match="open_npy"):
        MemMap.open(file, dtype="f4")
    assert leftovers() == before


def test_bytes_an_offset_or_another_name_are_no_warning(path, tmp_path):
    MemMap.open(path).close()
    MemMap.open(path, dtype="(4,)u1").close()
    MemMap.open(path, dtype="<i4", offset=128).close()
    MemMap.open(path.rename(tmp_path / "table.bin"), dtype="<i4").close()
