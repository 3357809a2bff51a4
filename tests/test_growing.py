"""refresh, and append of one row: files that grow while they are mapped."""

import collections
import contextlib
import errno
import mmap
import os
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from in_threads import in_threads

from scikitplot.memmap import DamagedError, MemMap, open_npy

PAGE = mmap.PAGESIZE
MODES = ["r", "r+", "c"]
SIZES = [1, 100, 5 * PAGE]  # rows that are appended: on the same page, on another one, many


def rows(first, last):
    return np.arange(first * 4, last * 4, dtype="<i4").reshape(-1, 4)


@pytest.fixture
def path(make_file):
    return make_file(rows(0, 6))


@pytest.fixture(params=["raw", "npy"])
def grower(request, tmp_path):
    """Open a file of six rows in some mode, and append to it as another process would."""

    class Grower:
        path = tmp_path / ("data.npy" if request.param == "npy" else "data.bin")

        def open(self, mode="r", **how):
            if self.path.suffix == ".npy":
                return open_npy(self.path, mode, **how)
            return MemMap.open(self.path, mode, dtype="<i4", shape=(-1, 4), **how)

        def append(self, count):
            with self.open("r+") as mm:
                mm.append(rows(len(mm), len(mm) + count))

    grower = Grower()
    if request.param == "npy":
        np.save(grower.path, rows(0, 6))
    else:
        rows(0, 6).tofile(grower.path)
    return grower


# -------------------------------------------------------------------------------------------------------- refresh


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("count", SIZES)
def test_refresh_takes_in_what_others_appended(grower, mode, count):
    with grower.open(mode) as mm:
        assert mm.refresh() == 6
        for end in (6 + count, 6 + 2 * count):
            grower.append(count)
            assert len(mm) == end - count
            assert mm.refresh() == len(mm) == end
            assert (mm.shape, mm.nbytes, mm.size) == ((end, 4), end * 16, end * 4)
            np.testing.assert_array_equal(mm[...], rows(0, end))
            np.testing.assert_array_equal(mm.gather([end - 1, 0]), rows(0, end)[[-1, 0]])
            assert mm[-1, 3] == end * 4 - 1
            assert mm.read_at(mm.nbytes - 4, 4) == rows(0, end)[-1, 3:].tobytes()
            mm.verify()
            mm.flush()
            assert mm.residency().any()


@pytest.mark.parametrize("mode", ["r", "r+"])
@pytest.mark.parametrize("count", SIZES)
def test_views_keep_their_shape_and_the_memory_that_they_share_with_the_map(grower, mode, count):
    with grower.open(mode) as mm:
        view, part, whole = mm[1:3], mm.window(2, 6), mm[...]
        for i in range(1, 9):
            grower.append(count)
            assert mm.refresh() == 6 + i * count
        np.testing.assert_array_equal(mm[...], rows(0, 6 + 8 * count))
        assert (view.shape, part.shape, whole.shape) == ((2, 4), (4, 4), (6, 4))
        np.testing.assert_array_equal(view, rows(1, 3))
        np.testing.assert_array_equal(part[...], rows(2, 6))
        with grower.open("r+") as writer:
            writer[2] = -7
        assert (view[1] == -7).all()
        assert (part[0] == -7).all()
        assert (mm[2] == -7).all()
        if mode == "r+":
            view[0] = -8
            assert (mm[1] == whole[1]).all()
            mm[2] = -9
            assert (view[1] == -9).all()
        del view, whole
        part.close()


@pytest.mark.linux
@pytest.mark.skipif(sys.maxsize < 2**32, reason="needs an address space with room behind a map")
@pytest.mark.parametrize("count", SIZES)
def test_private_changes_stay_and_are_those_of_views_too(grower, count):
    with grower.open("c") as mm:
        view = mm[4:]
        view[1] = -1
        mm[0] = -2
        for i in range(1, 4):
            grower.append(count)
            assert mm.refresh() == 6 + i * count
            mm[-1] = -i
        view[0] = -5
        expected = rows(0, len(mm)).copy()
        expected[[0, 4, 5]] = [[-2], [-5], [-1]]
        expected[[5 + count, 5 + 2 * count, 5 + 3 * count]] = [[-1], [-2], [-3]]
        np.testing.assert_array_equal(mm[...], expected)
        del view
    with grower.open() as mm:
        np.testing.assert_array_equal(mm[...], rows(0, 6 + 3 * count))


@pytest.mark.parametrize("offset", [0, 4, PAGE + 4])
@pytest.mark.parametrize("count", SIZES)
def test_private_changes_stay_where_a_map_has_no_room_behind_it(make_file, monkeypatch, count, offset):
    monkeypatch.setattr("scikitplot.memmap._core.ROOM", 0)
    path = make_file(bytes(offset) + rows(0, 2 * PAGE).tobytes())
    with MemMap.open(path, "c", dtype="<i4", shape=(-1, 4), offset=offset) as mm:
        mm[[1, PAGE, 2 * PAGE - 1]] = [[-1], [-2], [-3]]
        expected = mm[...].copy()
        for _ in range(3):
            more = rows(len(expected), len(expected) + count)
            with open(path, "ab") as file:
                file.write(more.tobytes())
            expected = np.concatenate([expected, more])
            assert mm.refresh() == len(expected)
            np.testing.assert_array_equal(mm[...], expected)


@pytest.mark.linux
def test_private_changes_cannot_be_at_two_places(make_file, monkeypatch):
    monkeypatch.setattr("scikitplot.memmap._core.ROOM", 0)
    path = make_file(rows(0, PAGE))
    with MemMap.open(path, "c", dtype="<i4", shape=(-1, 4)) as mm:
        view = mm[1:]
        with open(path, "ab") as file:
            file.write(rows(0, PAGE).tobytes())
        with pytest.raises(BufferError, match='mode "c" while views of it are alive'):
            mm.refresh()
        assert len(mm) == PAGE
        del view
        assert mm.refresh() == 2 * PAGE


def test_refresh_takes_in_whole_rows_only(path):
    with MemMap.open(path, dtype="<i4", shape=(-1, 4)) as mm:
        for nbytes in (1, 14, 1, 15):
            with open(path, "ab") as file:
                file.write(b"x" * nbytes)
            assert mm.refresh() == path.stat().st_size // 16
    with pytest.raises(ValueError, match="15 bytes left over"):
        MemMap.open(path, dtype="<i4", shape=(-1, 4))


def test_rows_behind_the_header_count_only_once_the_header_has_them(tmp_path):
    path = tmp_path / "data.npy"
    np.save(path, rows(0, 6))
    with open_npy(path) as mm:
        with open(path, "ab") as file:
            file.write(rows(6, 8).tobytes())
        assert mm.refresh() == 6
        header = path.read_bytes()[:128].replace(b"(6,", b"(7,")
        with open(path, "r+b") as file:
            file.write(header)
        assert mm.refresh() == 7
        np.testing.assert_array_equal(mm[...], rows(0, 7))


@pytest.mark.parametrize("mode", MODES)
def test_an_empty_file_can_grow(make_file, mode):
    path = make_file()
    with MemMap.open(path, mode, dtype="<i4") as mm:
        nothing, part = mm[...], mm.window(0, 0)
        path.write_bytes(rows(0, 2).tobytes())
        assert mm.refresh() == 8
        assert mm[...].tolist() == list(range(8))
        assert nothing.size == len(part) == 0
        part.close()
        del nothing


def test_a_map_that_appends_takes_in_what_another_one_has_appended(grower):
    with grower.open("r+") as mm, grower.open("r+") as other:
        other.append(rows(6, 8))
        with pytest.raises(ValueError, match=r"ends at byte .* has .* bytes.*refresh\(\) takes in"):
            mm.append(rows(8, 9))
        assert mm.refresh() == 8
        mm.append(rows(8, 9))
        assert other.refresh() == 9
        other.append(rows(9, 10)[0])
        mm.refresh()
        np.testing.assert_array_equal(mm[...], rows(0, 10))
    with grower.open() as mm:
        np.testing.assert_array_equal(mm[...], rows(0, 10))


REFUSALS = {
    "fixed shape": lambda path: MemMap.open(path, dtype="<i4", shape=(6, 4)),
    "fixed shape of two": lambda path: MemMap.open(path, dtype="<i4", shape=(6, -1)),
    "new": lambda path: MemMap.open(path, "w+", dtype="<i4", shape=(6, 4)),
    "anonymous": lambda _: MemMap.anonymous((6, 4)),
    "shared": lambda _: MemMap.anonymous((6, 4), shared=True),
    "Fortran": lambda path: MemMap.open(path, dtype="<i4", shape=(-1, 4), order="F"),
}


@pytest.mark.parametrize("make", REFUSALS.values(), ids=REFUSALS)
def test_refresh_refuses_maps_whose_size_does_not_follow_from_a_file(path, make):
    with make(path) as mm:
        shape = mm.shape
        with pytest.raises(ValueError, match="fixed shape|Anonymous memory|Fortran-order"):
            mm.refresh()
        assert mm.shape == shape


def test_refresh_refuses_windows_and_closed_maps(path):
    with MemMap.open(path) as mm, mm.window(1, 3) as part, pytest.raises(ValueError, match="window cannot be"):
        part.refresh()
    with pytest.raises(ValueError, match="closed"):
        mm.refresh()


def test_refresh_refuses_npy_files_that_were_opened_with_a_shape_and_members(tmp_path):
    np.save(tmp_path / "x.npy", rows(0, 6))
    np.savez(tmp_path / "x.npz", x=rows(0, 6))
    for open_it in (lambda: open_npy(tmp_path / "x.npy", shape=(6, 4)), lambda: open_npy(tmp_path / "x.npz")):
        with open_it() as mm, pytest.raises(ValueError, match="fixed shape"):
            mm.refresh()
    with open_npy(tmp_path / "x.npy", shape=(-1, 4)) as mm:
        assert mm.refresh() == 6


@pytest.mark.posix
@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_became_shorter_is_damage(path, mode):
    with MemMap.open(path, mode, dtype="<i4", shape=(-1, 4)) as mm:
        os.truncate(path, 50)
        with pytest.raises(DamagedError, match="Bytes 50:96 .* truncated"):
            mm.refresh()
        assert len(mm) == 6


def test_a_refresh_that_fails_can_be_repeated(grower, monkeypatch):
    monkeypatch.setattr("scikitplot.memmap._core.ROOM", 0)
    with grower.open("c") as mm:
        view = mm[:]
        grower.append(PAGE)
        with contextlib.suppress(BufferError):
            mm.refresh()
        del view
        assert mm.refresh() == 6 + PAGE


def test_a_header_that_has_fewer_rows_is_damage(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, rows(0, 6))
    with open_npy(path) as mm:
        header = path.read_bytes()[:128].replace(b"(6,", b"(5,")
        with open(path, "r+b") as file:
            file.write(header)
        with pytest.raises(DamagedError, match="Bytes 80:96 "):
            mm.refresh()
        assert len(mm) == 6


@pytest.mark.replaces
@pytest.mark.parametrize("mode", MODES)
def test_a_file_that_was_replaced_or_removed_is_an_error(path, mode):
    other = path.with_name("other")
    rows(0, 9).tofile(other)
    with MemMap.open(path, mode, dtype="<i4", shape=(-1, 4)) as mm:
        os.replace(other, path)
        with pytest.raises(OSError, match="Another file") as caught:
            mm.refresh()
        assert (caught.value.errno, caught.value.filename) == (errno.ESTALE, str(path))
        path.unlink()
        with pytest.raises(FileNotFoundError, match="No such file"):
            mm.refresh()
        np.testing.assert_array_equal(mm[...], rows(0, 6))


def test_another_array_in_the_same_file_is_an_error(tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, rows(0, 6))
    with open_npy(path) as mm:
        with open(path, "r+b") as file:
            np.save(file, rows(0, 6).astype("<f8"))
        with pytest.raises(OSError, match="Another array"):
            mm.refresh()


def test_that_the_first_dimension_was_inferred_survives_pickling_and_changes_of_size(grower):
    with grower.open("r+") as mm:
        mm.append(rows(6, 7))
        mm.resize(6)
        with pickle.loads(pickle.dumps(mm)) as again:
            grower.append(2)
            assert mm.refresh() == again.refresh() == 8
            np.testing.assert_array_equal(again[...], rows(0, 8))
    with grower.open() as mm, pickle.loads(pickle.dumps(mm)) as again:
        grower.append(1)
        assert again.refresh() == 9
    with MemMap.open(grower.path, dtype="u1", shape=16) as mm:
        again = pickle.loads(pickle.dumps(mm))
        with again, pytest.raises(ValueError, match="fixed shape"):
            again.refresh()


def grown_with_views(path, count, mode="r"):
    """Return a map that has moved under its views, and the views."""
    mm = MemMap.open(path, mode, dtype="<i4", shape=(-1, 4))
    views = []
    for _ in range(count):
        views.append(mm[:2])
        with open(path, "ab") as file:
            file.write(rows(len(mm), 4 * len(mm) + PAGE).tobytes())
        mm.refresh()
    return mm, views


def mappings(path):
    return Path("/proc/self/maps").read_text(errors="replace").count(str(path))


@pytest.mark.linux
def test_close_counts_the_views_of_a_map_that_has_moved(path):
    mm, views = grown_with_views(path, 5)
    with pytest.raises(BufferError, match="5 views are alive"):
        mm.close()
    views[0] = None
    with pytest.raises(BufferError, match="4 views are alive"):
        mm.close()
    assert mappings(path) > 1
    for view in views[1:]:
        np.testing.assert_array_equal(view, rows(0, 2))
    del view
    views.clear()
    mm.refresh()
    mm.close()
    assert mappings(path) == 0


@pytest.mark.linux
def test_memory_that_no_view_uses_any_more_is_unmapped(path):
    mm, views = grown_with_views(path, 4, "r+")
    views.clear()
    mm.append(rows(0, 1))
    assert mappings(path) == 1
    mm.close()
    assert mappings(path) == 0


def resident():
    sizes = re.findall(r"Rss(?:File|Shmem):\s*(\d+)", Path("/proc/self/status").read_text())  # tmpfs: Shmem
    return sum(map(int, sizes)) * 1024


@pytest.mark.linux
@pytest.mark.unsanitized
def test_evict_drops_what_old_views_have_read_as_well(make_file):
    with MemMap.open(make_file(bytes(16 << 20)), "r") as mm:
        view, part = mm[:], mm.window(0, 16 << 20)
        with open(mm.path, "ab") as file:
            file.write(bytes(17 << 20))
        mm.refresh()
        for holder in (mm, part):
            before = resident()
            assert not view.any()
            assert resident() > before + (8 << 20)
            holder.evict()
            assert resident() < before + (4 << 20)
        del view
        part.close()


@pytest.mark.linux
def test_the_number_of_mappings_grows_with_the_logarithm_of_the_size(path):
    with MemMap.open(path, dtype="<i4", shape=(-1, 4)) as mm:
        kept = []
        for _ in range(300):
            kept.append(mm[-1])
            with open(path, "ab") as file:
                file.write(rows(0, PAGE // 4).tobytes())
            mm.refresh()
        assert mappings(path) < 8
        kept.clear()


def test_views_of_a_map_that_has_moved_outlive_it(path):
    mm, views = grown_with_views(path, 3)
    with pytest.warns(ResourceWarning, match="3 views outlived"), mm:
        pass
    for view in views:
        np.testing.assert_array_equal(view, rows(0, 2))
    mm, views = grown_with_views(path, 3)
    array = mm.detach()
    del mm
    np.testing.assert_array_equal(views[0], array[:2])


@pytest.mark.linux
def test_all_views_of_a_map_that_has_moved_are_revoked(path):
    mm, views = grown_with_views(path, 3, "r+")
    part = mm.window(0, 2)
    with pytest.warns(RuntimeWarning, match="3 views"):
        mm.close(views="revoke")
    assert part.closed
    assert mappings(path) == 0
    assert not any(view.any() for view in views)
    for view in views:
        view[:] = 1


DAMAGE = """if True:
    import os, sys
    import numpy as np
    from scikitplot.memmap import DamagedError, MemMap
    path, page = sys.argv[1], os.sysconf("SC_PAGESIZE")
    with open(path, "wb") as file:
        file.write(b"a" * 4 * page)
    mm = MemMap.open(path, "r+")
    view, part = mm[...], mm.window(0, None)
    with open(path, "ab") as file:
        file.write(b"b" * (4 << 20))
    assert mm.refresh() == 4 * page + (4 << 20)
    assert view.ctypes.data != mm[:].ctypes.data
    os.truncate(path, page)
    try:
        view[2 * page]
        for _ in range(100): pass
    except DamagedError as error:
        print(error.strerror[:40])
    assert mm.damaged
    for call in (mm.refresh, lambda: mm[0], lambda: part[0], lambda: mm.append(1)):
        try:
            call()
        except DamagedError:
            print("damaged")
    os.truncate(path, 5 << 20)
    mm.recover()
    assert not mm.damaged and not part.damaged
    view[2 * page] = 7
    print(mm[2 * page], mm.refresh() == 5 << 20)
    os.truncate(path, page)
    try:
        mm[5 * page]
    except DamagedError:
        print("damaged")
"""


@pytest.mark.linux
@pytest.mark.unsanitized
def test_a_page_that_an_old_view_loses_damages_the_map_and_recovers_with_it(run_python, tmp_path):
    lines = run_python(DAMAGE, tmp_path / "data").splitlines()
    assert re.match("Bytes 4096:.*|Bytes [0-9]+:", lines.pop(0))
    assert lines == ["damaged"] * 4 + ["7 True", "damaged"]


@pytest.mark.linux
@pytest.mark.unsanitized
def test_locked_pages_stay_locked_when_a_map_moves(make_file):
    def locked():
        return int(re.search(r"VmLck:\s*(\d+)", Path("/proc/self/status").read_text())[1]) * 1024

    path = make_file(bytes(4 * PAGE))
    with MemMap.open(path, "r+") as mm:
        mm.lock(slice(0, 2 * PAGE))
        for keeps_view in (False, True):
            view = mm[:] if keeps_view else None
            with open(path, "ab") as file:
                file.write(bytes(8 << 20))
            mm.refresh()
            assert locked() == 2 * PAGE
            del view
        mm.append(np.zeros(32 << 20, "u1"))
        assert locked() == 2 * PAGE
        mm.unlock()
        assert locked() == 0


def test_readers_in_threads_see_whole_rows_of_a_map_that_is_refreshed(path):
    with (
        MemMap.open(path, "r+", dtype="<i4", shape=(-1, 4)) as writer,
        MemMap.open(path, dtype="<i4", shape=(-1, 4)) as mm,
    ):
        done = []

        def work(k):
            if k == 0:
                for _ in range(300):
                    writer.append(rows(len(writer), len(writer) + 97))
                    mm.refresh()
                done.append(True)
            while not done:
                count = len(mm)
                assert mm[count - 1, 3] == count * 4 - 1
                assert mm[-1][3] % 4 == 3
                assert mm[count - 3 :].shape[0] >= 3
                assert mm.gather([count - 1, 0])[0, 0] == count * 4 - 4
                assert mm.read_at(0, 4) == b"\0\0\0\0"
                assert mm[...].shape[0] >= count

        in_threads(work, 4)
        with contextlib.suppress(BufferError):
            mm.refresh()
        np.testing.assert_array_equal(mm[...], rows(0, len(writer)))


@pytest.mark.parametrize("how", ["raw", "npy"])
def test_who_follows_a_file_sees_whole_rows_only_and_never_zeros(run_program, tmp_path, how):
    assert run_program("programs/following.py", tmp_path, how) == "done"


# --------------------------------------------------------------------------------------------------------- append


COUNTING = """if True:
    import os, sys
    import numpy as np
    from scikitplot.memmap import MemMap, open_npy
    path, how, size = sys.argv[1:]
    row, count = np.ones(128, "<f4"), int(size) // 512
    if how == "npy":
        mm = open_npy(path, "x+", dtype="<f4", shape=(count, 128), sparse=True)
    else:
        with open(path, "xb") as file:
            file.truncate(int(size))
        mm = MemMap.open(path, "r+", dtype="<f4", shape=(-1, 128))
    mm.append(row)  # the first one sets room aside
    os.path.exists("/begin")
    for _ in range(800):
        mm.append(row)
    os.path.exists("/end")
    assert len(mm) == count + 801 and (mm[count:] == 1).all()
    mm.close()
"""


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.unsanitized
@pytest.mark.parametrize("how", ["raw", "npy"])
def test_appending_a_row_takes_a_few_system_calls_at_any_size(tmp_path, how):
    if shutil.which("strace") is None or subprocess.run(["strace", "-o", os.devnull, "true"], check=False).returncode:
        pytest.skip("needs strace, and a system that lets it trace")
    made = []
    for size in (1 << 20, 1 << 30):
        report = tmp_path / f"calls{size}"
        program = [sys.executable, "-c", COUNTING, tmp_path / f"{how}{size}", how, str(size)]
        subprocess.run(["strace", "-f", "-o", report, *program], cwd=tmp_path, check=True)
        _, between, _ = re.split('.*"/(?:begin|end)".*\n', report.read_text(errors="replace"))
        made.append(collections.Counter(re.findall(r"^\d+ +(\w+)\(", between, re.MULTILINE)))
        del made[-1]["futex"]  # threads of other libraries
    assert made[0] == made[1]
    writes = 800 if how == "raw" else 1600
    assert made[0]["pwrite64"] == writes
    assert made[0].total() <= 2 * writes + 800 + 2 * 101  # where the end is; twice a mask of signals for each new page
