"""Pickling by reference: small, checked when it is opened again, refused where there is nothing to refer to."""

import contextlib
import copy
import multiprocessing
import os
import pickle
import re
import sys

import numpy as np
import pytest

from scikitplot.memmap import MemMap, concat, open_maps, open_npy
from scikitplot.memmap._sharing import mapped_path

PATH_MAP = "SCIKITPLOT_MEMMAP_PATH_MAP"


class Sub(MemMap):
    """A subclass of a module that can be imported."""


@pytest.fixture
def path(make_file):
    return make_file(np.arange(4096, dtype="<u2"))


def settled(path):
    """Give a file a modification time of its own, one that no later write repeats."""
    os.utime(path, ns=(10**18, 10**18))
    return path


ATTRIBUTES = ("path", "dtype", "shape", "offset", "order", "access", "strides", "nbytes", "writable", "shared")

LAYOUTS = [
    {},
    {"dtype": "<u2"},
    {"dtype": ">f4", "shape": (-1, 4), "offset": 16, "order": "F"},
    {"dtype": [("a", "S3"), ("b", "<u2", 2)], "shape": 7, "offset": 3, "access": "random"},
    {"dtype": "M8[ns]", "shape": (2, 3), "access": "sequential"},
    {"shape": ()},
    {"shape": (0, 3)},
]


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_pickle_opens_the_same_file_with_the_same_layout(path, mode, layout, protocol):
    with MemMap.open(path, mode, **layout) as mm:
        again = pickle.loads(pickle.dumps(mm, protocol))
        with again:
            assert again is not mm
            assert again.mode == mode
            assert [getattr(again, name) for name in ATTRIBUTES] == [getattr(mm, name) for name in ATTRIBUTES]
            np.testing.assert_array_equal(again[...], mm[...])
            assert again in open_maps()


@pytest.mark.parametrize(
    "nbytes", [0, 1, 1 << 20, pytest.param(1 << (40 if sys.maxsize > 1 << 40 else 30), marks=pytest.mark.native)]
)
def test_a_pickle_is_small_whatever_the_size(tmp_path, nbytes):
    path = tmp_path / ("long-name-" * 20)
    with open(path, "wb") as file:
        file.truncate(nbytes)
    dtype = np.dtype([("name", "S16"), ("vector", "<f4", 4)])
    with MemMap.open(path, dtype=dtype, shape=nbytes // dtype.itemsize) as mm:
        assert len(pickle.dumps(mm)) < 2000
        again = pickle.loads(pickle.dumps(mm))
        assert again.nbytes == mm.nbytes
        again.close()


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_made_files_are_opened_again_as_r_plus(tmp_path, mode):
    with MemMap.open(tmp_path / "new", mode, shape=5) as mm:
        mm[:] = 3
        with pickle.loads(pickle.dumps(mm)) as again:
            assert again.mode == "r+"
            again[0] = 9
            assert mm[0] == 9
            assert (tmp_path / "new").stat().st_size == 5


def test_a_window_pickles_as_the_rows_it_shows(path):
    with MemMap.open(path, dtype="<u2", shape=(-1, 2), offset=8) as mm, mm.window(10, 20) as part:
        with part.window(2, -1) as inner, pickle.loads(pickle.dumps(inner)) as again:
            assert again.shape == (7, 2)
            assert again.offset == inner.offset == 8 + 12 * 4
            np.testing.assert_array_equal(again[...], mm[12:19])
        assert len(pickle.dumps(part)) < 2000


def test_a_subclass_comes_back_as_itself(path):
    with Sub.open(path) as mm:
        code = pickle.dumps(mm)
    with pickle.loads(code) as again:
        assert type(again) is Sub


# ----------------------------------------------------------------------------------------------- another process

WORKER = """if True:
    import pickle, sys
    mm = pickle.loads(bytes.fromhex(sys.argv[1]))
    print(mm.mode, mm.shape, int(mm[3]), mm.path)
    if mm.writable:
        mm[3] = 77
        mm.flush()
    mm.close()
"""


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_another_process_opens_the_pickle(path, run_python, mode):
    with MemMap.open(path, mode, dtype="<u2") as mm:
        printed = run_python(WORKER, pickle.dumps(mm).hex())
        assert printed == f"{mode} (4096,) 3 {path}"
        assert mm[3] == (77 if mode == "r+" else 3)


def test_maps_are_handed_to_a_pool_of_spawned_workers(path):
    with MemMap.open(path, dtype="<u2") as mm, multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(np.sum, [mm]) == [mm[...].sum()]


# -------------------------------------------------------------------------------------------------------- refused


def test_copy_on_write_maps_refuse_with_the_remedy(path):
    with MemMap.open(path, "c") as mm, pytest.raises(TypeError, match='mode "c" .*mode "r".*mm'):
        pickle.dumps(mm)


def test_private_anonymous_maps_refuse_with_the_remedy():
    with MemMap.anonymous(3) as mm, pytest.raises(TypeError, match=r"[Aa]nonymous .*(file|shared=True)"):
        pickle.dumps(mm)


@pytest.mark.thread_unsafe(reason="changes what all would share")
@pytest.mark.posix
def test_maps_of_nameless_files_refuse_with_the_remedy(path):
    with open(path, "rb") as file:
        path.unlink()
        with MemMap.open(file) as mm, pytest.raises(TypeError, match="without a name .*open the file by its path"):
            pickle.dumps(mm)


def test_maps_of_named_file_objects_pickle(path):
    with open(path, "rb") as file, MemMap.open(file) as mm, pickle.loads(pickle.dumps(mm)) as again:
        assert again.path == str(path)


def test_closed_maps_refuse(path):
    mm = MemMap.open(path)
    mm.close()
    with pytest.raises(ValueError, match=re.escape(f"MemMap is closed: {path}")):
        pickle.dumps(mm)


# --------------------------------------------------------------------------------------- is it still the same file


@pytest.fixture
def check_refused(path, leftovers):
    """Pickle a map of `path`, change the file, and see that loading says what changed, and leaves nothing open."""

    def check(mode, change, match, exception=OSError):
        with MemMap.open(settled(path), mode) as mm:
            code = pickle.dumps(mm)
        change()
        before = leftovers(), open_maps()
        with pytest.raises(exception, match=match) as caught:
            pickle.loads(code)
        assert caught.value.filename == str(path)
        assert (leftovers(), open_maps()) == before

    return check


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("size", [0, 8191, 8193])
def test_a_file_of_another_size_is_refused(path, check_refused, mode, size):
    check_refused(mode, lambda: os.truncate(path, size), f"size was 8192 bytes and is {size}")


def test_a_file_that_was_modified_is_refused_for_r(path, check_refused):
    check_refused("r", lambda: os.utime(path, ns=(10**18, 10**18 + 10**9)), "modified at 2001-09-09T01:46:41")


def test_a_file_that_was_modified_is_accepted_for_r_plus(path):
    with MemMap.open(settled(path), "r+") as mm:
        code = pickle.dumps(mm)
        mm[0] = 9
    os.utime(path)
    with pickle.loads(code) as again:
        assert again[0] == 9


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_file_that_was_replaced_is_refused_although_size_and_time_agree(path, check_refused, mode, tmp_path):
    def replace():
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        os.replace(settled(other), path)

    check_refused(mode, replace, "another file has taken its name")


def test_a_file_that_is_gone_is_reported_as_missing(path, check_refused):
    check_refused("r", path.unlink, "No such file|find|found", FileNotFoundError)


def test_a_folder_in_its_place_is_refused(path, check_refused):
    def replace():
        path.unlink()
        path.mkdir()

    check_refused("r", replace, "Expected a regular file, not a directory", IsADirectoryError)


@pytest.mark.posix
def test_a_fifo_in_its_place_is_refused_at_once(path, check_refused):
    def replace():
        path.unlink()
        os.mkfifo(path)

    check_refused("r", replace, "Expected a regular file, not a FIFO")


def test_a_resized_map_pickles_with_its_new_size(path):
    with MemMap.open(path, "r+") as mm:
        mm.resize(10_000)
        mm.append([1])
        with pickle.loads(pickle.dumps(mm)) as again:
            assert len(again) == 10_001


def test_the_file_is_to_be_as_it_was_when_it_was_pickled(path):
    with MemMap.open(settled(path)) as mm:
        with MemMap.open(path, "r+") as writer:
            writer[0] = 9
            writer.flush()
        os.utime(path)
        code = pickle.dumps(mm)
    with pickle.loads(code) as again:
        assert again[0] == 9


@pytest.mark.replaces
def test_a_map_whose_file_was_replaced_after_opening_is_refused(path, tmp_path):
    with MemMap.open(settled(path)) as mm:
        other = tmp_path / "other"
        other.write_bytes(path.read_bytes())
        os.replace(settled(other), path)
        code = pickle.dumps(mm)
    with pytest.raises(OSError, match="another file has taken its name"):
        pickle.loads(code)


# ---------------------------------------------------------------------------------------------------- other mounts


@pytest.fixture
def moved(path, tmp_path):
    """A pickle of a file in one folder, and a copy of that file under another."""
    there, here = tmp_path / "there" / "deep", tmp_path / "here"
    there.mkdir(parents=True)
    (here / "deep").mkdir(parents=True)
    old = settled(path.rename(there / "data.bin"))
    with MemMap.open(old, dtype="<u2") as mm:
        code = pickle.dumps(mm)
    copied = here / "deep" / "data.bin"
    copied.write_bytes(old.read_bytes())
    old.unlink()
    return code, tmp_path / "there", here, settled(copied)


def test_path_map_finds_the_file_under_another_mount(moved, monkeypatch):
    code, there, here, copied = moved
    with pytest.raises(FileNotFoundError):
        pickle.loads(code)
    other = os.pathsep.join(["/nothing=/else", f"{there}={here}"])
    for value in (f"{there}={here}", f"{there}{os.sep}={here}{os.sep}", other):
        monkeypatch.setenv(PATH_MAP, value)
        with pickle.loads(code) as mm:
            assert mm.path == str(copied)
            assert mm[5] == 5
            with pickle.loads(pickle.dumps(mm)) as again:
                assert again.path == mm.path


def test_path_map_replaces_whole_folder_names_only(moved, monkeypatch):
    code, there, here, _ = moved
    monkeypatch.setenv(PATH_MAP, f"{str(there)[:-1]}={here}")
    with pytest.raises(FileNotFoundError):
        pickle.loads(code)


@pytest.mark.posix
def test_path_map_takes_the_longest_prefix_wherever_it_stands(moved, monkeypatch, tmp_path):
    code, there, here, copied = moved
    pairs = [f"/={tmp_path}/nothing", f"{there}={here}", f"{tmp_path}=/nothing", f"{there / 'dee'}=/nothing"]
    for value in (pairs, pairs[::-1]):
        monkeypatch.setenv(PATH_MAP, os.pathsep.join(value))
        with pickle.loads(code) as mm:
            assert mm.path == str(copied)


@pytest.mark.posix
@pytest.mark.parametrize(
    ("path", "pairs", "expected"),
    [
        ("/data/a", "/=/mnt", "/mnt/data/a"),
        ("/data/a", "/data=/", "/a"),
        ("/data/../secret/a", "/data=/mnt", "/data/../secret/a"),
        ("/data/../secret/a", "/secret=/mnt", "/mnt/a"),
        ("/data/x/../../data/a", "/data=/mnt", "/mnt/a"),
        ("/data\\a", "/data=/mnt", "/data\\a"),
        ("/database/a", "/data=/mnt", "/database/a"),
        ("/data", "/data/=/mnt/", "/mnt"),
        ("D:\\data\\a", "/D=/mnt", "D:\\data\\a"),
    ],
)
def test_path_map_maps_whole_components_of_the_path_without_dots(monkeypatch, path, pairs, expected):
    monkeypatch.setenv(PATH_MAP, pairs)
    assert mapped_path(path) == expected


def test_path_map_with_nothing_to_map_from_is_refused(path, monkeypatch):
    with MemMap.open(path) as mm:
        code = pickle.dumps(mm)
    for value in ("=", "=/here", os.pathsep.join(["/there=/here", "=/data"])):
        monkeypatch.setenv(PATH_MAP, value)
        with pytest.raises(ValueError, match="SCIKITPLOT_MEMMAP_PATH_MAP=.*nothing stands before the = of '="):
            pickle.loads(code)


@pytest.mark.posix
def test_a_pickle_has_the_path_that_dots_after_a_link_lead_to(path, tmp_path):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to("far/away")
    (tmp_path / "far" / "data.bin").write_bytes(b"far")
    with MemMap.open(f"{tmp_path}/link/../data.bin") as mm, pickle.loads(pickle.dumps(mm)) as again:
        assert again.read_at(0, 3) == b"far"
        assert again.path == str(tmp_path / "far" / "data.bin")


def test_path_map_still_checks_size_and_time(moved, monkeypatch):
    code, there, here, copied = moved
    monkeypatch.setenv(PATH_MAP, f"{there}={here}")
    os.utime(copied, ns=(0, 0))
    with pytest.raises(OSError, match="modified"):
        pickle.loads(code)
    os.truncate(copied, 5)
    with pytest.raises(OSError, match="size was 8192 bytes and is 5"):
        pickle.loads(code)


def test_path_map_leaves_other_paths_alone(path, monkeypatch):
    with MemMap.open(path) as mm:
        code = pickle.dumps(mm)
    for value in ("", "/elsewhere=/here", "nonsense"):
        monkeypatch.setenv(PATH_MAP, value)
        with pickle.loads(code) as again:
            assert again.path == str(path)


@pytest.mark.parametrize("mode", ["w+", "x+", "c", "write", None])
def test_a_pickle_opens_nothing_but_for_reading_and_writing_in_place(make_file, leftovers, mode):
    path = make_file(b"precious")
    with MemMap.open(path) as mm:
        call, (opener, name, _, *rest) = mm.__reduce__()
    before = leftovers()
    with pytest.raises(ValueError, match=r'"r" or "r\+", not'):
        call(opener, name, mode, *rest)
    assert path.read_bytes() == b"precious"
    assert leftovers() == before


def test_nothing_that_pickles_show_is_a_descriptor_or_an_address(path):
    with MemMap.open(path, "r+") as mm:
        code = pickle.dumps(mm)
        address = mm[...].__array_interface__["data"][0]
    assert str(address).encode() not in code
    assert address.to_bytes(8, "little") not in code


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_copy_is_another_map_of_the_same_file(path, mode):
    with MemMap.open(path, mode, dtype="<u2", shape=(-1, 2), offset=4, order="F") as mm, copy.copy(mm) as other:
        assert [getattr(other, name) for name in ATTRIBUTES] == [getattr(mm, name) for name in ATTRIBUTES]
        assert other.mode == mode
        assert not np.shares_memory(other[...], mm[...])
        if mode == "r+":
            other[3, 1] = 77
            assert mm[3, 1] == 77
    with pytest.raises(ValueError, match="MemMap is closed"):
        copy.copy(mm)


def test_copy_of_shared_memory_is_another_map_of_it():
    with MemMap.anonymous(9, shared=True) as mm, copy.copy(mm) as other:
        other[3] = 77
        assert mm[3] == 77


@pytest.mark.parametrize("make", [lambda path: MemMap.open(path, "c"), lambda _: MemMap.anonymous(9)])
def test_copy_of_a_private_map_says_what_copies_it(path, make):
    with make(path) as mm, pytest.raises(TypeError, match=r"use copy.deepcopy\(mm\)"):
        copy.copy(mm)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("mode", ["r+", "c"])
def test_deepcopy_of_a_writable_map_is_private_memory_with_its_contents(path, mode, order):
    before = path.read_bytes()
    with MemMap.open(path, mode, dtype=[("a", "<u2"), ("b", "<u2")], shape=(-1, 2), order=order) as mm:
        if mode == "c":
            mm[5] = (1, 2)
        expected = mm[...].copy()
        with copy.deepcopy({"table": mm})["table"] as other:
            assert (other.path, other.shared, other.order, other.dtype) == (None, False, order, mm.dtype)
            assert np.array_equal(other, expected)
            other[...] = 0
            assert np.array_equal(mm, expected)
    assert path.read_bytes() == before
    with pytest.raises(ValueError, match="MemMap is closed"):
        copy.deepcopy(mm)


def test_deepcopy_of_a_read_only_map_is_another_map_of_the_same_file(path):
    with MemMap.open(path) as mm, copy.deepcopy(mm) as other:
        assert (other.path, other.mode) == (mm.path, "r")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", ["a file", "memory", "a table", "a window", "npy"])
def test_a_map_that_was_unpickled_and_is_dropped_closes_without_a_warning(path, tmp_path, make):
    np.save(tmp_path / "x.npy", np.arange(5))
    makers = {
        "a file": lambda: MemMap.open(path),
        "memory": lambda: MemMap.anonymous(5, shared=True),
        "a table": lambda: concat([MemMap.open(path), MemMap.open(path)]),
        "npy": lambda: open_npy(tmp_path / "x.npy"),
    }
    with makers.get(make, makers["a file"])() as mm:
        with mm.window(2, 5) if make == "a window" else contextlib.nullcontext(mm) as known:
            code = pickle.dumps(known)
        again = pickle.loads(code)
    before = len(open_maps())
    del again
    assert len(open_maps()) < before


def test_a_copy_that_is_dropped_warns_because_it_could_have_been_closed(path):
    with MemMap.open(path) as mm, pytest.warns(ResourceWarning, match="dropped without close"):
        copied = copy.copy(mm)
        del copied
