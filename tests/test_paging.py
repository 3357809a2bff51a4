"""advise, evict and residency: which pages are resident, and no write is lost."""

import errno
import os
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from page_cache import PAGE, cached, cold, mapping_field, warm

from scikitplot.memmap import MemMap
from scikitplot.memmap.__main__ import main

PAGES = 64

KINDS = {
    "r+": lambda path, n: MemMap.open(path, "r+", shape=n),
    "w+": lambda path, n: MemMap.open(path, "w+", shape=n),
    "c": lambda path, n: MemMap.open(path, "c", shape=n),
    "anonymous": lambda path, n: MemMap.anonymous(n),
    "shared anonymous": lambda path, n: MemMap.anonymous(n, shared=True),
}


@pytest.fixture
def path(make_file):
    return make_file(np.arange(PAGES * PAGE // 4, dtype="<u4"))


@pytest.fixture
def on_disk(path):
    return cold(path)


def pages_met(rows, row_nbytes, start=0):
    """The pages of the file that rows lie on."""
    met = set()
    for row in rows:
        first = start + row * row_nbytes
        met.update(range(first // PAGE, (first + row_nbytes - 1) // PAGE + 1))
    return sorted(met)


# --------------------------------------------------------------------------------------------------------- advise


def test_advise_changes_the_intent_of_the_whole_map(path):
    with MemMap.open(path, access="random") as mm:
        for access in ("sequential", "normal", "random"):
            mm.advise(access)
            assert mm.access == access


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize(("access", "flags"), [("random", {"rr"}), ("sequential", {"sr"}), ("normal", set())])
def test_the_system_is_told_of_the_intent(path, access, flags):
    with MemMap.open(path, access=access) as opened:
        assert {"rr", "sr"} & set(mapping_field(path, "VmFlags").split()) == flags
    with MemMap.open(path, access="random" if access == "normal" else "normal") as mm:
        mm.advise(access)
        assert {"rr", "sr"} & set(mapping_field(path, "VmFlags").split()) == flags
    assert opened.access == mm.access == access


@pytest.mark.linux
@pytest.mark.native
def test_resize_keeps_the_intent(path):
    with MemMap.open(path, "r+", access="random") as mm:
        mm.resize(10 * PAGE)
        assert "rr" in mapping_field(path, "VmFlags").split()


def test_advise_refuses_an_unknown_intent_and_keeps_the_old(path):
    with MemMap.open(path, access="random") as mm:
        with pytest.raises(ValueError, match="'normal', 'random', 'sequential', not 'often'"):
            mm.advise("often")
        assert mm.access == "random"


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("closed", [False, True])
def test_advice_through_a_window_is_for_the_whole_map(path, closed):
    with MemMap.open(path) as mm, mm.window(PAGE, 2 * PAGE) as part, mm.window(0, 1) as other:
        part.advise("random")
        assert mm.access == part.access == other.access == "random"
        assert "rr" in mapping_field(path, "VmFlags").split()  # of one mapping: it is not split
        if closed:
            part.close()
        mm.advise("normal")
        assert (mm.access, part.access) == ("normal", "random" if closed else "normal")


# ---------------------------------------------------------------------------------------------------------- evict


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_evict_loses_no_store(path, make):
    rows = (None, slice(100, 5000), slice(None, None, 3 * PAGE), [0, PAGE + 1, -1], [], 5 * PAGE + np.arange(10))
    expected = np.random.default_rng(1).integers(0, 256, PAGES * PAGE, dtype="u1")
    with make(path, PAGES * PAGE) as mm:
        mm[:] = expected
        for chosen in rows:
            mm.evict(chosen)
            np.testing.assert_array_equal(mm[...], expected)
            mm[::999] += 1
            expected[::999] += 1
            mm.evict(chosen)
            assert mm.read_at(0, mm.nbytes) == expected.tobytes()


def test_evict_loses_no_store_of_a_locked_page(path):
    for make in KINDS.values():
        with make(path, PAGE) as mm:
            mm[:] = 7
            mm.lock()
            mm.evict()
            assert (mm[...] == 7).all()


def test_what_evict_gives_back_reaches_the_file(path):
    with MemMap.open(path, "r+") as mm:
        mm[:] = 7
        mm.evict()
        assert path.read_bytes() == b"\7" * mm.nbytes


def test_evict_on_a_copy_on_write_map_changes_no_file(path):
    before = path.read_bytes()
    with MemMap.open(path, "c") as mm:
        mm[:] = 7
        mm.evict()
    assert path.read_bytes() == before


def test_evict_leaves_locked_pages_and_takes_their_neighbours():
    with MemMap.anonymous(4 * PAGE, shared=True) as mm:
        mm[:] = 7
        mm.lock([PAGE])
        mm.evict()
        assert mm.residency()[1]
        assert (mm[...] == 7).all()
        mm.unlock()


@pytest.mark.linux
@pytest.mark.parametrize("mode", ["r", "r+", pytest.param("c", marks=pytest.mark.native)])
def test_evicted_pages_leave_the_process_and_the_cache(on_disk, mode):
    with MemMap.open(on_disk, mode) as mm:
        total = int(mm[...].sum(dtype="u8"))
        assert mm.residency().all()
        for _ in range(5 if mode == "c" else 1):  # the system may pass over private pages when it is busy
            mm.evict()
        assert mapping_field(on_disk, "Rss") == "0 kB"
        assert mm.residency().mean() == 0
        assert cached(on_disk) == []
        assert int(mm[...].sum(dtype="u8")) == total


@pytest.mark.keeps_pages
@pytest.mark.linux
@pytest.mark.parametrize("mode", ["r", "r+"])
def test_evict_without_the_cache_leaves_pages_in_the_cache_and_none_in_the_process(path, mode):
    with MemMap.open(path, mode) as mm:
        total = int(mm[...].sum(dtype="u8"))
        mm.evict(slice(PAGE, 2 * PAGE), cache=False)
        assert mapping_field(path, "Rss") == f"{(PAGES - 1) * PAGE // 1024} kB"
        mm.evict(cache=False)
        assert mapping_field(path, "Rss") == "0 kB"
        assert mm.residency().all()
        assert len(cached(path)) == PAGES
        assert int(mm[...].sum(dtype="u8")) == total


@pytest.mark.parametrize("make", KINDS.values(), ids=KINDS)
def test_evict_without_the_cache_loses_no_store(path, make):
    expected = np.random.default_rng(1).integers(0, 256, PAGES * PAGE, dtype="u1")
    with make(path, PAGES * PAGE) as mm:
        for rows in (None, slice(100, 5000), [0, PAGE + 1, -1]):
            mm[:] = expected
            mm.evict(rows, cache=False)
            assert mm.read_at(0, mm.nbytes) == expected.tobytes()
            expected += 1


@pytest.mark.keeps_pages
@pytest.mark.linux
def test_evict_without_the_cache_leaves_a_copy_on_write_map_as_it_is(on_disk):
    with MemMap.open(on_disk, "c") as mm:
        mm[:PAGE] = 7
        mm[...].sum()
        before = mapping_field(on_disk, "Rss")
        mm.evict(cache=False)
        assert mapping_field(on_disk, "Rss") == before
        assert len(cached(on_disk)) == PAGES


@pytest.mark.linux
def test_evicted_stores_leave_the_cache_as_well(on_disk):
    with MemMap.open(on_disk, "r+") as mm:
        mm[:] = 3
        mm.evict()
        assert cached(on_disk) == []


@pytest.mark.linux
def test_evicted_views_are_read_again(on_disk):
    with MemMap.open(on_disk, dtype="<u4") as mm:
        part = mm[1000:2000]
        mm.evict()
        assert part.tolist() == list(range(1000, 2000))
        del part


EMPTY: list[int] = []
ROWS = {
    "slice": slice(3, 6),
    "slice with a step": slice(1, 40, 13),
    "slice backwards": slice(40, 3, -12),
    "negative": [-1, -5],
    "list": [9, 2, 2, 30],
    "unsigned": np.array([7, 8, 20], "u1"),
    "2-D": [[1, 2], [8, 9]],
    "empty list": EMPTY,
    "empty slice": slice(5, 5),
    "one": 4,
}


@pytest.mark.keeps_pages
@pytest.mark.linux
@pytest.mark.parametrize("rows", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("row_nbytes", [PAGE, PAGE // 2 + 12])
def test_evict_and_residency_mean_just_the_pages_that_rows_meet(on_disk, rows, row_nbytes):
    length = PAGES * PAGE // row_nbytes
    chosen = np.atleast_1d(np.arange(length)[rows]).ravel() if rows is not EMPTY else []
    met = pages_met(chosen, row_nbytes)
    warm(on_disk, range(PAGES))
    with MemMap.open(on_disk, shape=(length, row_nbytes)) as mm:
        assert mm.residency(rows).tolist() == [True] * len(met)
        mm.evict(rows)
        assert mm.residency(rows).tolist() == [False] * len(met)
        assert cached(on_disk) == sorted(set(range(PAGES)) - set(met))


@pytest.mark.parametrize("rows", [[64], [-65], slice(0, 1)], ids=str)
def test_rows_out_of_range_are_refused_but_slices_are_clipped(path, rows):
    with MemMap.open(path, shape=(PAGES, PAGE)) as mm:
        for call in (mm.evict, partial(mm.evict, cache=False), mm.residency, mm.lock, mm.unlock, mm.flush):
            if isinstance(rows, slice):
                call(slice(60, 1000))
            else:
                with pytest.raises(IndexError, match=rf"{rows[0]} is out of range for 64 rows"):
                    call(rows)


def test_a_row_number_beyond_64_bits_is_out_of_range(path):
    with MemMap.open(path) as mm, pytest.raises(IndexError, match=f"row {10**30} is out of range"):
        mm.residency([0, 10**30])


@pytest.mark.parametrize("rows", [[1.5], [True, False], "a", [None]], ids=str)
def test_rows_that_are_no_integers_are_refused(path, rows):
    with MemMap.open(path) as mm:
        for call in (mm.evict, partial(mm.evict, cache=False), mm.residency, mm.lock, mm.unlock, mm.flush):
            with pytest.raises(TypeError, match="integers"):
                call(rows)


@pytest.mark.parametrize("rows", [slice(None), [0], []], ids=str)
def test_rows_of_an_nd_fortran_map_are_refused_but_none_means_all(path, rows):
    with MemMap.open(path, "r+", shape=(PAGES, PAGE), order="F") as mm:
        for call in (mm.evict, partial(mm.evict, cache=False), mm.residency, mm.lock, mm.unlock, mm.flush):
            with pytest.raises(ValueError, match=r"not contiguous: leave rows out, or use mm\.T"):
                call(rows)
        assert mm.residency().size == PAGES
        mm.evict()
    with MemMap.open(path, order="F") as flat:  # one dimension: the rows are where they are in C order
        assert flat.residency([0, PAGE]).size == 2


def test_empty_and_0d_maps_have_no_page_too_many(make_file):
    for shape in (0, (0, 5), (5, 0)):
        with MemMap.open(make_file(), "r+", shape=shape) as mm:
            for rows in (None, slice(None), []):
                assert mm.residency(rows).shape == (0,)
                assert mm.residency(rows).dtype == bool
                mm.evict(rows)
                mm.lock(rows)
                mm.unlock(rows)
                mm.flush(rows)
    with MemMap.anonymous((), "f8") as mm:
        mm[...] = 2.5
        mm.evict()
        assert mm.residency().shape == (1,)
        assert mm[()] == 2.5


# ------------------------------------------------------------------------------------------------------ residency


@pytest.mark.keeps_pages
@pytest.mark.linux
@pytest.mark.parametrize("offset", [0, 1, PAGE - 1, PAGE, 3 * PAGE + 13])
@pytest.mark.parametrize("start", [0, 7, 2 * PAGE + 1])
def test_windows_and_offsets_meet_the_pages_of_the_file(on_disk, offset, start):
    stop = start + 9 * PAGE + 5
    with MemMap.open(on_disk, offset=offset) as mm, mm.window(start, stop) as part:
        assert mm.residency().size == PAGES - offset // PAGE
        warm(on_disk, range(PAGES))
        met = pages_met(range(stop - start), 1, offset + start)
        assert part.residency().tolist() == [True] * len(met)
        part.evict()
        assert part.residency().tolist() == [False] * len(met)
        others = set(range(PAGES)) - set(met)
        left = set(cached(on_disk))
        assert left <= others
        assert len(left) >= len(others) - 4  # the system itself may have dropped some
        warm(on_disk, [(offset + start + PAGE) // PAGE])
        assert np.flatnonzero(part.residency()).tolist() == [(offset + start + PAGE) // PAGE - met[0]]
        assert part.residency([PAGE, -1]).tolist() == [True, False]


@pytest.mark.keeps_pages
@pytest.mark.linux
def test_residency_tells_which_pages_are_cached_and_touches_none(on_disk):
    pages = [0, 5, 6, 40, PAGES - 1]
    warm(on_disk, pages)
    with MemMap.open(on_disk) as mm:
        for _ in range(3):
            flags = mm.residency()
            assert flags.dtype == bool
            assert flags.size == PAGES
            assert np.flatnonzero(flags).tolist() == pages
        assert mapping_field(on_disk, "Rss") == "0 kB"
    assert cached(on_disk) == pages


@pytest.mark.linux
def test_the_last_page_counts_although_the_file_ends_within_it(make_file):
    path = make_file(b"\1" * (2 * PAGE + 1))
    with MemMap.open(path) as mm:
        mm.read_at(2 * PAGE, 1)
        assert mm.residency().size == 3
        assert mm.residency([-1]).tolist() == [True]
    with MemMap.open(path, shape=PAGE, offset=PAGE) as mm:
        assert mm.residency().size == 1


@pytest.mark.linux
def test_residency_of_anonymous_memory_tells_which_pages_were_written():
    with MemMap.anonymous((PAGES, PAGE), shared=True) as mm:
        assert not mm.residency().any()
        mm[3] = 1
        mm[PAGES - 1, -1] = 1
        assert np.flatnonzero(mm.residency()).tolist() == [3, PAGES - 1]


@pytest.mark.tells_others
@pytest.mark.linux
@pytest.mark.skipif(sys.platform == "linux" and os.geteuid() != 0, reason="needs root, to make a file of another owner")
@pytest.mark.usefixtures("on_disk")
@pytest.mark.native
def test_residency_is_right_for_a_file_of_another_owner_and_leaves_its_pages_alone(run_program):
    open_to_all = Path(tempfile.gettempdir(), "data.bin")  # pytest's own folders are not
    printed = run_program("programs/residency_for_others.py", open_to_all, PAGE)
    assert printed.splitlines() == ["True", "True", "[True, False, True]", "True", "True True"]


@pytest.mark.linux
def test_residency_opens_nothing_that_stays_open(path, leftovers):
    with MemMap.open(path) as mm:
        before = leftovers()
        for _ in range(5):
            mm.residency()
            mm.evict()
        assert leftovers() == before


# ------------------------------------------------------------------------------------------------------- prefetch


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("rows", [slice(PAGE // 2, -PAGE), [0, 3 * PAGE, -1], None])
def test_prefetch_has_all_pages_of_the_rows_read_without_waiting(make_file, rows):
    with MemMap.open(cold(make_file(bytes(24 << 20)))) as mm:  # more than the system takes at once
        for _ in range(10):  # a system that reclaims idle pages may drop some before the last is read
            mm.evict()
            mm.prefetch(rows)
            for _ in range(300):
                if mm.residency(rows).all():
                    return
                time.sleep(0.01)
        pytest.fail(f"{mm.residency(rows).mean():.0%} of the pages are in memory")


# ------------------------------------------------------------------------------------------------------ huge pages

LARGE_PAGES = """if True:
    import re
    from pathlib import Path
    from scikitplot.memmap import MemMap

    def large():
        return int(re.search(r"AnonHugePages:\\s*(\\d+)", Path("/proc/self/smaps_rollup").read_text())[1])

    for nbytes, access in ((1 << 26, "normal"), (1 << 26, "random"), (1 << 20, "normal")):
        with MemMap.anonymous(nbytes) as mm:
            mm.advise(access)
            before = large()
            mm[nbytes // 2] = 1
            print(large() > before)
    rows = bytes(1 << 26)
    for access in ("normal", "random"):
        with MemMap.anonymous(1 << 20) as mm:
            mm.advise(access)
            before = large()
            mm.append(memoryview(rows))
            print(large() > before)
"""


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.unsanitized
def test_much_anonymous_memory_is_in_large_pages_unless_the_access_is_random(run_python):
    enabled = Path("/sys/kernel/mm/transparent_hugepage/enabled")
    offered = enabled.exists() and "[never]" not in enabled.read_text()
    assert run_python(LARGE_PAGES).split() == [str(offered), "False", "False", str(offered), "False"]


# --------------------------------------------------------------------------------------------------- file systems


@pytest.mark.linux
def test_evict_writes_back_and_drops_pages_of_overlayfs(on_overlay):
    with MemMap.open(on_overlay, "r+") as mm:
        mm[:] = 7
        mm.evict()
        assert cached(on_overlay) == []
        assert not mm.residency().any()
        assert (mm[...] == 7).all()


@pytest.mark.linux
def test_residency_that_the_system_does_not_tell_is_an_error(on_overlay, run_program):
    said = run_program("programs/residency_for_nobody.py", on_overlay)
    assert said.startswith(f"{errno.EOPNOTSUPP} ")
    assert "tells only the owner of this file, and those who may write to it" in said
    assert str(on_overlay) in said


@pytest.mark.linux
def test_command_line_says_that_residency_is_unknown(make_file, monkeypatch, capsys):
    path = make_file(b"abc")

    def refuse(self, rows=None):
        raise OSError(errno.EOPNOTSUPP, "not told", str(path))

    monkeypatch.setattr(MemMap, "residency", refuse)
    assert main(["info", str(path)]) == 0
    assert "resident: unknown" in capsys.readouterr().out
    assert main(["residency", str(path)]) == 1
    assert "not told" in capsys.readouterr().err
