"""Region, File and Lease: who uses a mapping is counted, and the last one to leave unmaps."""

import gc
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from in_threads import in_threads

from scikitplot.memmap import MemMap
from scikitplot.memmap._file import File
from scikitplot.memmap._paging import PAGE_SIZE
from scikitplot.memmap._region import map_anonymous

N = 1 << 16


def mapped_bytes():
    """Sum of all mappings of this process, which other threads of the test do not change."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[0]) * PAGE_SIZE


# ---------------------------------------------------------------------------------------------------------- region


def test_close_unmaps_once_and_stays_true():
    region = map_anonymous(N, False)
    assert region.leases == 0
    assert region.close() is True
    assert region.close() is True
    assert region.leases == 0


@pytest.mark.linux
def test_a_region_that_is_dropped_unmaps_itself():
    before = mapped_bytes()
    region = map_anonymous(1 << 30, False)
    assert mapped_bytes() >= before + (1 << 30)
    del region
    assert mapped_bytes() < before + (1 << 30)


def test_close_is_false_while_a_lease_is_alive():
    mm = MemMap.anonymous(N)
    view = mm[1:]
    assert mm._region.leases == 1
    assert mm._region.close() is False
    assert not view.any()
    del view
    mm.close()
    assert mm._region.close() is True


def test_an_abandoned_region_lives_as_long_as_its_last_lease():
    mm = MemMap.anonymous(N)
    region = mm._region
    views = [mm[1:], mm[2:]]
    views.append(mm.detach())  # abandons
    assert region.leases == 3
    views[0][:] = 7
    assert (views[1] == 7).all()


def test_a_closed_region_refuses_every_call():
    region = map_anonymous(N, False)
    region.close()
    calls = {
        "advise": ("normal",), "evict_pages": ([(0, 1)], None), "residency": (None, 0, N), "lock_pages": ([(0, 1)],),
        "unlock_pages": ([(0, 1)],),
        "flush": (0, N, True), "window": (0, N), "switch_advice": ("normal", "random"),
    }  # fmt: skip
    for name, arguments in calls.items():
        with pytest.raises(ValueError, match="MemMap is closed: anonymous"):
            getattr(region, name)(*arguments)


def test_a_window_counts_as_one_user_of_its_parent():
    region = map_anonymous(N, False)
    part = region.window(100, 50)
    inner = part.window(10, 5)
    assert (region.leases, part.leases, inner.leases) == (1, 1, 0)
    assert (inner.offset, inner.nbytes) == (110, 5)
    assert region.close() is False
    assert part.close() is False
    assert inner.close() is True
    assert part.close() is True
    assert region.leases == 0
    assert region.close() is True


def test_a_window_that_is_dropped_leaves_its_parent():
    region = map_anonymous(N, False)
    part = region.window(0, 5)
    del part
    assert region.leases == 0
    assert region.close() is True


def test_a_failed_map_leaves_no_region():
    with pytest.raises(OSError, match=f"Cannot map {sys.maxsize - PAGE_SIZE} bytes: |Invalid"):  # valgrind's
        [map_anonymous(sys.maxsize - PAGE_SIZE, False) for _ in range(3)]  # 4 GiB may have room for one


def test_resize_is_refused_under_a_lease_and_changes_nothing():
    mm = MemMap.anonymous(N)
    view = mm[...]
    view[:] = 5
    assert mm._resize((2 * N,), 2 * N) is False
    assert mm._region.nbytes == N
    assert (view == 5).all()
    del view
    assert mm._resize((2 * N,), 2 * N) is True
    assert mm._region.nbytes == 2 * N
    mm.close()


def test_nobody_resizes_a_map_while_its_file_is_compared_with_it(make_file):
    with MemMap.open(make_file(bytes(8)), "r+") as mm:
        refused = []

        def info_now():
            with pytest.raises(BufferError, match="resize") as caught:
                mm.resize(4)
            refused.append(caught.type)
            return mm._region.file.info_now()

        mm._region.check_size(info_now)
        assert refused == [BufferError]
        mm.resize(4)
        mm.verify()


def test_a_revoked_region_keeps_its_leases_until_they_die():
    mm = MemMap.anonymous(N)
    region, views = mm._region, [mm[1:], mm[2:]]
    with pytest.warns(RuntimeWarning, match="2 views"):
        mm.close(views="revoke")
    assert not views[0].any()
    views.clear()
    assert region.leases == 0
    assert region.close() is True


# ------------------------------------------------------------------------------------------------------------ file


def test_a_file_that_is_closed_twice_is_closed_once(make_file):
    path = make_file(b"abc")
    file = File.open(str(path), False)
    assert file.info.size == 3
    file.close()
    file.close()
    with pytest.raises(ValueError, match="MemMap is closed: .*data.bin"):
        file.info_now()


def test_a_file_that_is_dropped_is_closed(make_file, leftovers):
    path = make_file(b"abc")
    before = leftovers()
    for _ in range(10):
        File.open(str(path), True)
    assert leftovers() == before


def test_a_region_keeps_the_file_it_may_write_to_and_drops_it_on_close(make_file):
    with MemMap.open(make_file(b"abc"), "r+") as mm:
        region = mm._region
        assert isinstance(region.file, File)
        assert region.window(0, 1).file is region.file
    assert region.file is None


# --------------------------------------------------------------------------------------------------------- threads


@pytest.mark.parametrize("shape", [(N,), (N // 16, 16)])
def test_leases_are_counted_exactly_while_eight_threads_make_and_drop_views(shape):
    mm = MemMap.anonymous(shape)
    kept = mm[1:]

    def work(k):
        for i in range(500):
            views = [mm[i:], mm[...], mm.memoryview(), mm[k : k + 9][::2], np.asarray(mm)]
            mm.read_at(i, 3)
            mm[k]
            views.clear()

    in_threads(work, 8)
    assert mm._region.leases == 1
    del kept
    assert mm._region.leases == 0
    mm.close()


def test_windows_are_counted_exactly_while_eight_threads_make_and_drop_them():
    mm = MemMap.anonymous(N)

    def work(k):
        for i in range(50):
            part = mm.window(i, i + 10)
            view = part[2:]
            try:
                mm.close()
            except BufferError:
                pass
            else:
                raise AssertionError("closed under a window")
            del view
            if i % 2:
                part.close()

    gc.freeze()  # what close() collects, 400 times, is quickly collected then
    try:
        in_threads(work, 8)
    finally:
        gc.unfreeze()
    assert mm._region.leases == 0
    mm.close()


NOT_IN_ONE_STEP = "Windows cannot put memory in the place of a map in one step"


@pytest.mark.parametrize(
    "views",
    ["refuse", pytest.param("revoke", marks=pytest.mark.skipif(sys.platform == "win32", reason=NOT_IN_ONE_STEP))],
)
def test_close_in_the_midst_of_reads_slices_and_stores_crashes_nobody(make_file, views):
    path = make_file(b"\1" * (1 << 20))
    for _ in range(5):
        mm = MemMap.open(path, "r+")
        reads = []

        def read(k, mm=mm, reads=reads):
            try:
                for i in range(200):
                    data = mm.read_at(i, 1 << k)
                    assert not data.strip(b"\1\0")
                    mm.write_at((1 << 19) + i, b"\1")  # where nobody reads meanwhile
                    mm[i]
                    mm[i::7][:5].sum()
                    reads.append(i)
            except ValueError as error:
                assert "MemMap is closed" in str(error)

        def close(mm=mm, reads=reads):
            while not mm.closed:
                try:
                    mm.close(views=views)
                except BufferError:
                    assert not mm.closed

        def work(k, read=read, close=close):
            close() if k == 7 else read(10 + k)

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            in_threads(work, 8)
        assert mm.closed
        assert mm._region.leases == 0
    assert not path.read_bytes().strip(b"\1")


def test_resize_in_the_midst_of_reads_crashes_nobody():
    mm = MemMap.anonymous(N)
    sizes = []

    def work(k):
        for i in range(100):
            try:
                if k:
                    mm.read_at(0, 100)
                    mm[:100].sum()
                else:
                    mm.resize(N * (1 + i % 3))
                    sizes.append(len(mm))
            except BufferError as error:
                assert "resize" in str(error)

    in_threads(work, 4)
    mm.resize(7)
    assert mm[...].tolist() == [0] * 7
    mm.close()
