"""A file system that fails, waits and cuts files, as a network file system does whose server is bad."""

import errno
import mmap
import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from page_cache import PAGE, cold

from scikitplot.memmap import DamagedError, MemMap, batches

pytestmark = [pytest.mark.fuse, pytest.mark.thread_unsafe(reason="has one file system for all threads")]

PAGES = 256
ROWS = np.arange(1, PAGES * PAGE // 4 + 1, dtype="<u4").reshape(PAGES, -1)  # one row is a page, none is zero
BAD = slice(100, 103)
FAILING = BAD.start * PAGE, BAD.stop * PAGE
PROGRAM = Path(__file__).parent / "programs" / "failing_file_system.py"


class FileSystem:
    """One that runs in a process of its own, and does what it is told."""

    def __init__(self, folder, *options):
        self.folder = folder
        command = [sys.executable, PROGRAM, folder, *options]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout.readline() == "ready\n"

    def tell(self, *words):
        """Give it a command, and return the answer."""
        print(*words, file=self._process.stdin, flush=True)
        return self._process.stdout.readline().strip()

    def end(self):
        subprocess.run(["umount", "--lazy", self.folder], check=True)
        self._process.stdin.close()
        assert self._process.wait(30) == 0
        self._process.stdout.close()


@pytest.fixture
def mounted(tmp_path, mounts):
    """Mount such a file system, with options of FUSE."""
    started = []

    def mount(*options):
        folder = tmp_path / "mounted"
        folder.mkdir()
        started.append(FileSystem(folder, *options))
        return started[0]

    yield mount
    for file_system in started:
        file_system.end()


@pytest.fixture
def files(mounted):
    """A file system with the rows in data.bin, none of them in the page cache."""
    file_system = mounted()
    (file_system.folder / "data.bin").write_bytes(ROWS)
    cold(file_system.folder / "data.bin")
    return file_system


def opened(files, mode="r", **layout):
    return MemMap.open(files.folder / "data.bin", mode, dtype="<u4", shape=layout.pop("shape", ROWS.shape), **layout)


# ------------------------------------------------------------------------------------------------------------ reads


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_block_that_cannot_be_read_is_an_error_with_its_bytes_and_the_rest_can_be_read(files, mode):
    with opened(files, mode, access="random") as mm:
        files.tell("fail", "read", *FAILING)
        good = np.delete(np.arange(PAGES), BAD)
        assert np.array_equal(mm.gather(good), ROWS[good])
        for call in (
            lambda: mm.read_at(FAILING[0], 1),
            lambda: mm[0],  # every later call that needs data
            mm.recover,
        ):
            with pytest.raises(DamagedError, match="the device failed to read") as raised:
                call()
            assert raised.value.errno == errno.EIO
            assert raised.value.filename == str(files.folder / "data.bin")
            assert f"Bytes {FAILING[0]}:{FAILING[0] + PAGE} of the map" in str(raised.value)
        files.tell("mend")
        mm.recover()
        assert not mm.damaged
        assert np.array_equal(mm[...], ROWS)


def test_read_ahead_over_a_block_that_cannot_be_read_damages_nothing_beside_it(files):
    with opened(files) as mm:
        files.tell("fail", "read", *FAILING)
        mm.prefetch()
        view = mm[:]
        with pytest.raises(DamagedError, match="the device failed to read"):
            view.sum()
        lost = np.flatnonzero((view == 0).any(axis=1))
        assert set(lost) == set(range(BAD.start, BAD.stop))
        assert np.array_equal(np.delete(view, lost, axis=0), np.delete(ROWS, lost, axis=0))
        files.tell("mend")
        mm.recover()
        assert np.array_equal(view, ROWS)
        del view


def held(files, kind, call):
    """Run a call in a thread, let the file system's answers to it wait meanwhile, and return its result."""
    result, running = [], threading.Event()

    def run():
        running.set()
        result.append(call())

    files.tell("hold", kind)
    thread = threading.Thread(target=run)
    thread.start()
    assert running.wait(60)
    while files.tell("waiting") == "0":  # this thread runs meanwhile, else no request would be left that waits
        assert thread.is_alive()
    assert files.tell("release") != "0"
    thread.join()
    return result[0]


READS = {
    "read_at": lambda mm: mm.read_at(0, mm.nbytes) == ROWS.tobytes(),
    "readinto_at": lambda mm: mm.readinto_at(0, bytearray(mm.nbytes)) == mm.nbytes,
    "gather": lambda mm: np.array_equal(mm.gather([3, 200, 5]), ROWS[[3, 200, 5]]),
    "an integer array": lambda mm: np.array_equal(mm[[3, 200, 5]], ROWS[[3, 200, 5]]),
    "a few bytes": lambda mm: mm.read_at(200 * ROWS[0].nbytes, 4) == ROWS[200].tobytes()[:4],
    "a few bytes into a buffer": lambda mm: mm.readinto_at(200 * ROWS[0].nbytes, bytearray(4)) == 4,
    "a scalar": lambda mm: mm[200, 3] == ROWS[200, 3],
    "prefetch": lambda mm: mm.prefetch(wait=True) is None and mm.residency().all(),
}


@pytest.mark.parametrize("read", READS)
def test_other_threads_run_while_a_read_waits(files, read):
    with opened(files) as mm:
        assert held(files, "read", lambda: READS[read](mm))


def test_other_threads_run_while_a_flush_waits(files):
    with opened(files, "r+") as mm:
        mm[:] = 7
        held(files, "write", mm.flush)
    assert (np.fromfile(files.folder / "data.bin", "<u4") == 7).all()


# ----------------------------------------------------------------------------------------------------------- writes


def test_a_block_that_cannot_be_written_is_an_error_of_flush_that_is_remembered(files):
    with opened(files, "r+") as mm:
        mm[...] += 1
        files.tell("fail", "write", *FAILING)
        for call in (mm.flush, mm.flush, mm.evict, mm.flush):
            with pytest.raises(OSError, match=r"may not be on the disk, until recover\(\) has succeeded") as raised:
                call()
            assert raised.value.errno == errno.EIO
            assert raised.value.filename == str(files.folder / "data.bin")
            assert np.array_equal(mm[...], ROWS + 1)  # evict dropped nothing
        with pytest.raises(OSError, match="may not be on the disk"):
            mm.recover()
        assert np.array_equal(mm[...], ROWS + 1)
        files.tell("mend")
        with pytest.raises(OSError, match="An earlier write to the disk has failed"):
            mm.flush()
        mm.recover()
        mm.flush()
        mm.evict()
        assert np.array_equal(mm[...], ROWS + 1)
    assert np.array_equal(np.fromfile(files.folder / "data.bin", "<u4").reshape(ROWS.shape), ROWS + 1)


def test_a_large_write_that_the_file_system_refuses_is_in_memory_and_flush_raises(files):
    with opened(files, "r+") as mm:
        files.tell("fail", "write", *FAILING)
        mm.write_at(0, ROWS[::-1].copy())
        assert np.array_equal(mm[...], ROWS[::-1])
        with pytest.raises(OSError, match="may not be on the disk"):
            mm.flush()
        files.tell("mend")
        mm.recover()
        mm.evict()
        assert np.array_equal(mm[...], ROWS[::-1])


def test_a_new_file_that_cannot_be_written_leaves_nothing(mounted):
    files = mounted()
    files.tell("fail", "write", 0, 1)
    for mode in ("w+", "x+"):
        with pytest.raises(OSError, match="Input/output error"):
            MemMap.open(files.folder / "new.bin", mode, shape=PAGE)
    assert os.listdir(files.folder) == []


# ------------------------------------------------------------------------------------------------------------ sizes


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_a_file_that_another_host_cuts_is_an_error_before_a_page_is_lost(files, mode):
    with opened(files, mode) as mm:
        files.tell("resize", "data.bin", FAILING[0])
        for call in (lambda: mm[...], mm.to_numpy, mm.verify):
            with pytest.raises(DamagedError, match="truncated"):
                call()
        assert not mm.damaged
        files.tell("resize", "data.bin", ROWS.nbytes)  # as zeros, though the pages were
        assert mm[...].shape == ROWS.shape


def test_pages_behind_the_new_end_of_a_file_that_another_host_cuts_are_lost(files):
    mm = opened(files, access="random")
    files.tell("resize", "data.bin", FAILING[0])
    assert np.array_equal(mm.gather(range(BAD.start)), ROWS[: BAD.start])
    for call in (lambda: mm.gather([BAD.start]), mm.recover):
        with pytest.raises(DamagedError, match=f"Bytes {FAILING[0]}:{ROWS.nbytes} .*truncated"):
            call()
    mm.close()


def test_a_file_that_another_host_lengthens_is_mapped_whole_by_the_next_map(files):
    with opened(files) as mm:
        files.tell("resize", "data.bin", ROWS.nbytes + PAGE)
        mm.verify()
        assert np.array_equal(mm[...], ROWS)
        with opened(files, shape=(-1, ROWS.shape[1])) as longer:
            assert longer.shape == (PAGES + 1, ROWS.shape[1])
            assert np.array_equal(longer[:-1], ROWS)


def test_append_to_a_file_that_another_host_has_lengthened_is_refused_or_behind_it(files):
    with opened(files, "r+") as mm:
        files.tell("resize", "data.bin", ROWS.nbytes + PAGE)
        with pytest.raises(ValueError, match="end"):
            mm.append(ROWS[0])
    assert (files.folder / "data.bin").stat().st_size == ROWS.nbytes + PAGE


# ------------------------------------------------------------------------------------------------------- page cache


@pytest.mark.parametrize("options", [(), ("keep_cache",)], ids=str)
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_residency_evicts_nothing(mounted, mode, options):
    """FUSE drops the pages of a file when it is opened, unless the file system keeps them."""
    path = mounted(*options).folder / "data.bin"
    path.write_bytes(ROWS)
    with MemMap.open(path, mode) as mm:
        mm.prefetch(wait=True)
        for _ in range(3):
            assert mm.residency().all()
        mm.evict()
        assert not mm.residency().any()


@pytest.mark.parametrize("shuffle", [False, True, "blocks"])
def test_batches_that_evict_leave_the_page_cache_alone(mounted, shuffle):
    path = mounted().folder / "data.bin"
    path.write_bytes(ROWS)
    with MemMap.open(path, dtype="<u4", shape=ROWS.shape) as mm:
        mm.prefetch(wait=True)
        found = iter(batches(mm, batch_size=1, shuffle=shuffle, seed=0, evict=True))
        first = next(found)
        assert mm.residency().all()  # not only what was read again
        assert np.array_equal(np.sort(np.concatenate([first, *found]), axis=0), ROWS)


def test_direct_io_allows_no_shared_mapping_and_the_error_names_the_modes_that_work(mounted):
    files = mounted("direct_io")
    path = files.folder / "data.bin"
    path.write_bytes(ROWS)
    with open(path, "r+b") as file, pytest.raises(OSError, match="No such device"):
        mmap.mmap(file.fileno(), 0)
    said = r'no shared mappings \(FUSE with direct_io\).*: mode "r" or "c" may do, or put the file elsewhere'
    for mode in ("r+", "w+"):
        with pytest.raises(OSError, match=said) as raised:
            MemMap.open(path, mode, shape=ROWS.nbytes)
        assert (raised.value.errno, raised.value.filename) == (errno.ENODEV, str(path))
    with pytest.raises(OSError, match=said):
        MemMap.open(files.folder / "new.bin", "x+", shape=1)
    with MemMap.open(files.folder / "empty.bin", "x+", shape=0) as mm, pytest.raises(OSError, match=said):
        mm.append([1])  # nothing was mapped before
    assert sorted(os.listdir(files.folder)) == ["data.bin", "empty.bin"]
    assert (files.folder / "empty.bin").stat().st_size == 0
    for mode in ("r", "c"):
        with MemMap.open(path, mode, dtype="<u4", shape=ROWS.shape) as mm:
            assert np.array_equal(mm[...], ROWS)
            assert np.array_equal(mm.gather([7, -1]), ROWS[[7, -1]])
            mm.prefetch(wait=True)
            mm.evict()
            if mode == "c":
                mm[0] = 0
            assert np.array_equal(mm[1:], ROWS[1:])
    assert path.read_bytes() == ROWS.tobytes()
