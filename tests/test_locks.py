"""lock and unlock: pages stay resident whatever else happens to the map, its windows and its process."""

import errno
import os
import re
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from page_cache import PAGE, locked_bytes, mapping_field

from scikitplot.memmap import DamagedError, MemMap

pytestmark = [pytest.mark.linux, pytest.mark.native, pytest.mark.unsanitized]
PAGES = 64

KINDS = {
    "r+": lambda path: MemMap.open(path, "r+", dtype=("u1", PAGE)),
    "w+": lambda path: MemMap.open(path, "w+", shape=(PAGES, PAGE)),
    "r+, not from a page's start": lambda path: MemMap.open(path, "r+", dtype=("u1", PAGE), shape=-1, offset=PAGE),
    "anonymous": lambda path: MemMap.anonymous((PAGES, PAGE)),
}


@pytest.fixture
def path(make_file):
    return make_file(np.arange(PAGES * PAGE // 4, dtype="<u4"))


@pytest.fixture(autouse=True)
def nothing_is_locked_in_the_end():
    before = locked_bytes()
    yield
    assert locked_bytes() == before


def test_lock_keeps_pages_until_unlock_or_close(path):
    before = locked_bytes()
    with MemMap.open(path, shape=(PAGES, PAGE)) as mm:
        mm.lock(slice(2, 5))
        assert locked_bytes() - before == 3 * PAGE
        assert mm.residency(slice(2, 5)).all()
        mm.lock([10, 11, -1])
        assert locked_bytes() - before == 6 * PAGE
        mm.unlock([3, -1])
        assert locked_bytes() - before == 4 * PAGE
        mm.lock()
        assert locked_bytes() - before == PAGES * PAGE
        mm.unlock()
        assert locked_bytes() == before
        mm.lock([0])
    assert locked_bytes() == before


def test_lock_widens_to_whole_pages(path):
    before = locked_bytes()
    with MemMap.open(path, offset=100) as mm, mm.window(PAGE - 101, PAGE - 99) as part:
        part.lock()
        assert locked_bytes() - before == 2 * PAGE
        mm.unlock()
        assert locked_bytes() == before


def test_a_refused_lock_names_the_limit_and_changes_no_lock(path, run_program):
    refused = run_program("programs/refused_locks.py", PAGE, path).splitlines()
    sizes, names = (16 * PAGE, 3 * PAGE, 3 * PAGE, PAGES * PAGE), (None, None, None, path)
    for line, size, name in zip(refused, sizes, names, strict=True):
        assert re.match(rf"({errno.ENOMEM}|{errno.EPERM}|{errno.EAGAIN}); {re.escape(str(name))}; ", line), line
        assert re.search(rf"{size} bytes.*{2 * PAGE} bytes \(ulimit -l\)", line), line


# ---------------------------------------------------------------------------------------------- locks and the size


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("through", ["map", "window", "T"])
@pytest.mark.parametrize("touched", ["before", "after", "never"])
def test_locked_pages_stay_locked_when_the_size_changes(path, kind, through, touched):
    before = locked_bytes()
    with KINDS[kind](path) as mm:
        rows = len(mm)
        if touched == "before":
            mm[:] = 7
        part = {"map": lambda: mm, "window": lambda: mm.window(0, rows), "T": lambda: mm.T.T}[through]()
        part.lock(slice(3, 5))
        part.lock([9])
        part.unlock([3])
        part = None
        if touched == "after":
            mm[:] = 7
        assert locked_bytes() - before == 2 * PAGE
        mm.resize(100 * rows)
        assert locked_bytes() - before == 2 * PAGE
        assert not mm[rows:].any()
        if touched != "never":
            assert (mm[:rows] == 7).all()
        mm.append(np.full((1, PAGE), 8, "u1"))
        assert locked_bytes() - before == 2 * PAGE
        assert (mm[-1] == 8).all()
        mm.resize(8)
        assert locked_bytes() - before == PAGE
        mm.resize(rows)
        assert locked_bytes() - before == PAGE
        mm.unlock([4])
        assert locked_bytes() == before


@pytest.mark.parametrize(
    "rows", [slice(0, 1), slice(100, 9000), slice(5 * PAGE, 9 * PAGE), slice(15 * PAGE, None), None]
)
@pytest.mark.parametrize("make", [MemMap.anonymous, lambda shape: MemMap.open("data", "w+", shape=shape)])
def test_locked_pages_and_no_others_are_locked_after_a_resize(tmp_path, monkeypatch, make, rows):
    monkeypatch.chdir(tmp_path)
    before = locked_bytes()
    with make(16 * PAGE) as mm:
        mm[:] = np.arange(16 * PAGE)
        expected = mm.to_numpy(copy=True)
        mm.lock(rows)
        kept = locked_bytes() - before
        assert kept
        for size in (17 * PAGE, 16 * PAGE, 300 * PAGE, 20 * PAGE):
            mm.resize(size)
            assert locked_bytes() - before == kept
            assert np.array_equal(mm[: 16 * PAGE], expected)
            assert not mm[16 * PAGE :].any()
        with pytest.raises((OSError, ValueError), match="address space|File too large|No space left"):
            mm.resize(1 << 60)
        assert locked_bytes() - before == kept
        assert np.array_equal(mm[: 16 * PAGE], expected)
        mm.unlock()
        assert locked_bytes() == before
        mm.resize(21 * PAGE)
        assert np.array_equal(mm[: 16 * PAGE], expected)
        mm.resize(0)
        mm.resize(PAGE)
        assert not mm[...].any()


def test_an_anonymous_map_grows_although_locks_have_split_it(path):
    with MemMap.anonymous((PAGES, PAGE)) as mm:
        for row in range(0, PAGES, 2):
            mm.lock([row])
            mm[row] = row
        mm.unlock(slice(0, None, 4))
        mm[1::2] = np.arange(1, PAGES, 2)[:, None]
        mm.unlock()
        mm.resize(1 << 16)  # which cannot grow in place, or could by chance
        mm.resize(1 << 17)
        assert (mm[:PAGES] == np.arange(PAGES)[:, None]).all()
        assert not mm[PAGES:].any()


def test_a_map_grows_after_advice_through_a_window():
    with MemMap.anonymous((PAGES, PAGE)) as mm:
        with mm.window(10, 20) as part:
            part.advise("sequential")
        mm[:] = 7
        mm.resize(1 << 16)
        assert (mm[:PAGES] == 7).all()


REFUSED = """if True:
    import os, resource, sys
    import numpy as np
    from page_cache import PAGE, locked_bytes
    from scikitplot.memmap import MemMap

    anonymous = MemMap.anonymous((8, PAGE))
    mm = MemMap.open("table", "w+", shape=(8, PAGE)) if sys.argv[1] == "file" else anonymous
    file = open(mm.path or os.devnull)
    mm[:] = 7
    mm.lock(slice(0, 4))
    if os.geteuid() == 0:
        os.setuid(65534)  # root may lock any amount
    resource.setrlimit(resource.RLIMIT_MEMLOCK, (PAGE, PAGE))
    try:
        mm.append(np.zeros((4, PAGE), "u1")) if sys.argv[2] == "append" else mm.resize(1 << 10)
    except OSError as error:
        assert f"cannot lock {4 * PAGE} bytes" in str(error), error
        assert f"{PAGE} bytes (ulimit -l)" in str(error), error
    else:
        raise SystemExit("not refused")
    assert mm.shape == (8, PAGE) and (mm[...] == 7).all()
    assert mm.path is None or os.fstat(file.fileno()).st_size == 8 * PAGE
    file.close()
    assert locked_bytes() == 0
    mm.lock([0])  # nothing stands in the record of what is locked: this locks
    assert locked_bytes() == PAGE
    print("done")
"""


@pytest.mark.parametrize("call", ["append", "resize"])
@pytest.mark.parametrize("kind", ["file", "anonymous"])
def test_growing_whose_locks_are_refused_changes_nothing(run_python, monkeypatch, kind, call):
    monkeypatch.setenv("PYTHONPATH", os.path.dirname(__file__))
    assert run_python(REFUSED, kind, call) == "done"


# --------------------------------------------------------------------------------------------- locks and processes


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("through", ["map", "window"])
def test_a_forked_child_has_no_locks_but_its_own(path, kind, through):
    with KINDS[kind](path) as mm:
        part = mm if through == "map" else mm.window(0, len(mm))
        part.lock(slice(0, 4))
        mm[:] = 7

        def child():
            assert locked_bytes() == 0
            part.lock(slice(2, 6))
            assert locked_bytes() == 4 * PAGE
            part.unlock([3])
            assert locked_bytes() == 3 * PAGE
            mm.unlock()
            if mm.mode == "r+" and mm.path:  # a file that was linked has another name among the mappings
                mm.evict()
                assert mapping_field(mm.path, "Rss") == "0 kB"
            return (mm[...] == 7).all()

        assert in_child(child)
        part.close()


def test_a_child_resizes_a_map_although_a_thread_of_its_parent_had_the_lock(path):
    with MemMap.open(path, "r+", dtype=("u1", PAGE)) as mm, ThreadPoolExecutor(1) as other:
        other.submit(mm._region.size_lock().acquire).result()
        assert in_child(lambda: mm.resize(1) or mm.shape == (1, PAGE))
        other.submit(mm._region.size_lock().release).result()


def in_child(work):
    """Whether work, done in a child of a fork, returns True there."""
    if (child := os.fork()) == 0:
        ended = 1
        try:
            ended = 0 if work() else 2
        finally:
            os._exit(ended)
    return os.waitpid(child, 0)[1] == 0


# ------------------------------------------------------------------------------------------ windows, and lost pages


def test_a_window_that_outlived_its_map_locks_unlocks_and_recovers(path):
    before = locked_bytes()
    with pytest.warns(ResourceWarning, match="1 window outlived"), MemMap.open(path, "r+", dtype=("u1", PAGE)) as mm:
        part = mm.window(2, PAGES)
        mm.lock([0])
    part.lock([0, 1])
    assert locked_bytes() - before == 3 * PAGE
    part.unlock()
    assert locked_bytes() - before == PAGE  # the row that is not the window's
    part.advise("random")
    assert part.access == "random"
    os.truncate(path, 3 * PAGE)
    with pytest.raises(DamagedError, match="truncated"):
        part.read_at(part.nbytes - 1, 1)
    os.truncate(path, PAGES * PAGE)
    part.recover()
    assert not part.damaged
    assert not part[1:].any()
    part.flush()
    part.close()


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_recovered_pages_are_locked_again(path, mode):
    before = locked_bytes()
    with MemMap.open(path, mode, dtype=("u1", PAGE)) as mm, mm.window(1, None) as part:
        part.lock()
        os.truncate(path, 3 * PAGE)
        with pytest.raises(DamagedError, match="truncated"):
            mm[-1].sum()
            len(mm)
            mm.read_at(0, 1)
        os.truncate(path, PAGES * PAGE)
        mm.recover()
        assert locked_bytes() - before == (PAGES - 1) * PAGE
