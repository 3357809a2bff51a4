"""Many threads at once: no crash, correct values, nothing left behind. Bounded by counts, not by time."""

import itertools
import os
import sysconfig
import time
import warnings

import numpy as np
import pytest
from in_threads import in_threads
from page_cache import locked_bytes

from scikitplot.memmap import MemMap, open_maps
from scikitplot.memmap._paging import PAGE_SIZE

THREADS = 8


@pytest.fixture
def table(make_file):
    return np.arange(1 << 16, dtype="u4").reshape(-1, 16), make_file(np.arange(1 << 16, dtype="u4"))


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_threads_open_index_gather_and_close_maps_of_their_own(table, leftovers, mode):
    array, path = table
    before = leftovers(), open_maps()

    def work(k):
        rng = np.random.default_rng(k)
        for i in range(60):
            with MemMap.open(path, mode, dtype="u4", shape=(-1, 16)) as mm:
                rows = rng.integers(-len(array), len(array), 20)
                np.testing.assert_array_equal(mm.gather(rows), array[rows])
                np.testing.assert_array_equal(mm[i : i + 30 : 7], array[i : i + 30 : 7])
                assert mm.read_at(4 * i, 4) == array.ravel()[i].tobytes()
                assert mm in open_maps()

    in_threads(work)
    assert (leftovers(), open_maps()) == before


def test_threads_share_one_map(table, leftovers):
    array, path = table
    before = leftovers()

    def work(k):
        rng = np.random.default_rng(k)
        for i in range(200):
            rows = rng.integers(0, len(array), 20)
            np.testing.assert_array_equal(mm.gather(rows), array[rows])
            np.testing.assert_array_equal(mm[i], array[i])
            assert mm.view("u4")[i] == i
            assert mm.memoryview()[i, 3] == array[i, 3]
            with mm.window(i, i + 5) as part:
                np.testing.assert_array_equal(part.gather([4, 0]), array[[i + 4, i]])
            buffer = bytearray(64)
            mm.readinto_at(64 * i, buffer)
            assert buffer == array[i].tobytes()
            assert mm.residency([i]).size == 1
            mm.evict([i])
            mm.flush([i])
            mm.advise(("normal", "random", "sequential")[i % 3])

    with MemMap.open(path, dtype="u4", shape=(-1, 16)) as mm:
        in_threads(work)
        assert mm._region.leases == 0
    assert leftovers() == before


def test_threads_store_into_rows_of_their_own(make_file):
    path = make_file(bytes(THREADS * 1000 * 8))

    def work(k):
        for i in range(1000):
            row = i * THREADS + k
            if i % 3:
                mm[row] = row
            else:
                mm.write_at(8 * row, np.int64(row).tobytes())

    with MemMap.open(path, "r+", dtype="i8") as mm:
        in_threads(work)
        mm.flush()
    np.testing.assert_array_equal(np.fromfile(path, "i8"), np.arange(THREADS * 1000))


def test_long_copies_let_no_other_thread_close_the_map(make_file):
    part = 1 << 19  # each thread copies one of its own: what two would find in the same bytes is not ours to say
    path = make_file(b"\1" * (THREADS * part))
    for _ in range(5):
        mm = MemMap.open(path, "r+")

        def work(k, mm=mm):
            try:
                for _ in range(5):
                    if k == 0:
                        mm.close()
                    elif k % 2:
                        assert mm.read_at(k * part, part).count(1) == part
                    else:
                        assert mm.write_at(k * part, b"\1" * part) == part
            except BufferError as error:
                assert "alive" in str(error)
            except ValueError as error:
                assert "MemMap is closed" in str(error)

        in_threads(work)
        mm.close()
    assert path.read_bytes().count(1) == THREADS * part


def test_threads_that_close_one_map_at_once_leave_nothing(table, leftovers):
    _, path = table
    before = leftovers(), open_maps()
    for i in range(60):
        mm = MemMap.open(path, "r+" if i % 2 else "r")

        def work(k, mm=mm):
            mm.close(views="revoke" if k % 2 else "refuse")

        in_threads(work)
        assert mm.closed
    assert (leftovers(), open_maps()) == before


# ------------------------------------------------------------------------------------- many threads change one map


@pytest.mark.parametrize("on_file", [True, False])
def test_threads_append_to_one_map_and_no_row_is_lost(make_file, on_file):
    blocks = 40

    def work(k):
        for i in range(blocks):
            mm.append([[k, i]] * (1 + i % 3))

    mm = MemMap.open(make_file(), "r+", dtype="<i4", shape=(-1, 2)) if on_file else MemMap.anonymous((0, 2), "i4")
    with mm:
        in_threads(work)
        rows = mm[...].tolist()
    # in the order of each thread, and the rows of a block side by side
    for k in range(THREADS):
        assert [i for j, i in rows if j == k] == [i for i in range(blocks) for _ in range(1 + i % 3)]
    assert sum(a != b for a, b in itertools.pairwise(rows)) + 1 == THREADS * blocks


def test_an_append_under_close_is_done_or_changes_nothing(make_file, leftovers):
    before = leftovers()
    for n in range(30):
        path = make_file(name=str(n))
        mm = MemMap.open(path, "r+", dtype="<i4")
        done = []

        def work(k, mm=mm, done=done, n=n):
            try:
                if k == 0:
                    while len(done) < n:
                        time.sleep(0)
                    mm.close()
                while True:
                    mm.append([k])
                    done.append(k)
            except ValueError as error:
                assert "MemMap is closed" in str(error)

        in_threads(work, 4)
        assert mm.closed
        assert sorted(np.fromfile(path, "<i4").tolist()) == sorted(done)
        path.unlink()
    assert leftovers() == before


def test_windows_made_at_once_are_all_known_until_they_are_gone(table):
    _, path = table
    mm = MemMap.open(path, dtype="<u4", shape=(-1, 16))
    made = in_threads(lambda k: [mm.window(i, i + k) for i in range(100)])
    with pytest.raises(BufferError, match=f"{100 * THREADS} windows are alive"):
        mm.close()
    in_threads(lambda k: made[k].clear())
    assert mm._known_windows() == []
    made = in_threads(lambda k: [mm.window(i, i + k).window(0, k) for i in range(20)])
    mm.close(views="revoke")
    assert all(window.closed for windows in made for window in windows)
    assert mm._region.leases == 0


def test_no_window_stays_open_when_its_map_is_revoked_meanwhile(table, leftovers):
    _, path = table
    before = leftovers()
    for _ in range(10):
        mm = MemMap.open(path, dtype="<u4", shape=(-1, 16))
        made = []

        def work(k, mm=mm, made=made):
            try:
                for i in range(100 if k else 2):
                    made.append(mm.window(i, i + 9))
                    made.append(made[-1].window(0, 3))
                mm.close(views="revoke")
            except ValueError as error:
                assert "MemMap is closed" in str(error)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # a window that is about to be made counts as a view
            in_threads(work)
        assert mm.closed
        assert all(window.closed for window in made)
        made.clear()
        assert mm._region.leases == 0
    assert leftovers() == before


def test_one_thread_detaches_and_the_others_are_told(table, leftovers):
    array, path = table
    before = leftovers(), open_maps()
    for _ in range(60):
        mm = MemMap.open(path, "c", dtype=array.dtype)

        def work(k, mm=mm):
            try:
                mm.read_at(0, 4)
                return mm.detach()
            except ValueError as error:
                assert "MemMap is closed" in str(error)

        [detached] = [result for result in in_threads(work) if result is not None]
        np.testing.assert_array_equal(detached, array.ravel())
        del detached, mm, work
    assert (leftovers(), open_maps()) == before


def test_what_a_map_says_of_itself_is_true_while_it_is_resized(make_file):
    lengths = {1000, 3000, 5000}

    def work(k):
        for i in range(40):
            try:
                if k == 0:
                    mm.resize((1000 + 2000 * (i % 3), 4))
                    mm.advise(("random", "normal", "sequential")[i % 3])
                else:
                    assert mm.shape[0] in lengths
                    assert len(mm) in lengths
                    assert mm.nbytes // 16 in lengths
                    assert mm._region.info.size // 16 in lengths
                    assert mm.access in ("random", "normal", "sequential")
                    assert repr(mm).startswith("<MemMap")
                    assert mm.view().shape[0] in lengths
                    assert mm[-1].tolist() == [0] * 4
                    mm.flush()
                    mm.verify()
            except BufferError as error:
                assert "resize" in str(error)
            except ValueError as error:
                assert "resized while the call was under way" in str(error)

    with MemMap.open(make_file(bytes(16000)), "r+", dtype="<u4", shape=(-1, 4)) as mm:
        in_threads(work, 4)


@pytest.mark.parametrize("leave", ["close", "revoke", "detach", "with"])
def test_a_map_that_grows_is_left_once(make_file, leftovers, leave):
    before = leftovers(), open_maps()
    for n in range(20):
        path = make_file(bytes(8), name=str(n))
        mm = MemMap.open(path, "r+")

        def work(k, mm=mm):
            try:
                for i in range(20):
                    if k > 1:
                        mm.resize(8 + k * i)
                if leave == "with":
                    with mm:
                        pass
                else:
                    mm.detach() if leave == "detach" else mm.close(*["revoke"][: leave == "revoke"])
            except (ValueError, BufferError) as error:
                assert "MemMap is closed" in str(error) or "resize" in str(error)

        in_threads(work, 4)
        assert mm.closed
        assert mm._region.leases == 0
        path.unlink()
        del mm, work
    assert (leftovers(), open_maps()) == before


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.unsanitized
def test_threads_lock_and_unlock_pages_of_their_own(make_file):
    rows = 4 * THREADS

    def work(k):
        for i in range(50):
            row = 4 * k + i % 4
            mm.lock([row])
            if i % 2:
                mm.window(row, row + 1).unlock()
            else:
                mm.unlock([row])

    with MemMap.open(make_file(bytes(rows * PAGE_SIZE)), "r+", dtype=("u1", PAGE_SIZE)) as mm:
        before = locked_bytes()
        in_threads(work)
        assert locked_bytes() == before


@pytest.mark.linux
def test_close_returns_when_the_file_is_let_go_also_if_another_thread_does_that(make_file):
    path = make_file(bytes(1 << 24))
    for _ in range(20):
        mm = MemMap.open(path, "r+")
        mm[...].sum()  # pages take long to unmap only if they are there
        links = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
        [link] = [link for link in links if os.path.realpath(link) == str(path)]

        def work(_, mm=mm, link=link):
            mm.close()
            assert os.path.realpath(link) != str(path)

        in_threads(work, 4)


# ------------------------------------------------------------------------------------ forks while others change maps


@pytest.mark.posix
@pytest.mark.parametrize("how", ["resize", "append"])
@pytest.mark.parametrize("memory", ["file", "anonymous"])
def test_a_child_forked_while_another_thread_changes_the_size_is_told_and_never_waits(run_program, memory, how):
    # some are told that the map is lost; the others, if there are any, find it whole
    assert run_program("programs/forks.py", memory, how) in ("3", "0 3")


@pytest.fixture
def free_threaded():
    if not sysconfig.get_config_var("Py_GIL_DISABLED"):
        pytest.skip("needs an interpreter that can run without the GIL")


def test_a_child_forked_while_other_threads_have_locked_a_map_never_waits_for_them(run_program, free_threaded):
    assert run_program("programs/forks_of_locked_objects.py") == "done"


def test_without_the_gil_the_import_leaves_it_off(run_python, free_threaded):
    if os.environ.get("PYTHON_GIL") == "1":
        pytest.skip("the GIL is on by request")
    assert run_python("import sys, scikitplot.memmap; print(sys._is_gil_enabled())") == "False"
