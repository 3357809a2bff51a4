"""What happens to writes when a disk does not take them, though there was room for them when they were made."""

import errno
import os
import pickle

import numpy as np
import pytest

from scikitplot.memmap import MemMap

pytestmark = [pytest.mark.linux, pytest.mark.native]

NBYTES = 4 << 20
WRITTEN = (np.arange(NBYTES) % 251 + 1).astype("u1")
NOT_WRITTEN = r"may not be on the disk, until recover\(\) has succeeded"


@pytest.fixture
def disk(thin_disk):
    return thin_disk("ext4")


@pytest.fixture
def mm(disk):
    """A map on a disk that has run full since the file was made; all of it has been written to."""
    mm = MemMap.open(disk.folder / "data", "w+", shape=NBYTES)
    mm.flush()
    disk.fill()
    mm[:] = WRITTEN
    yield mm
    if not mm.closed:
        mm.close(views="revoke")


def contents_on_disk(mm):
    mm.evict()
    return mm.read_at(0, mm.nbytes)


def run_through(mm):
    for _ in mm.iter_chunks(nbytes=1 << 20, evict=True):
        pass


@pytest.mark.parametrize(
    "call",
    [MemMap.evict, run_through, lambda mm: mm.window(0, 1 << 20).evict()],
    ids=["evict", "iter_chunks", "window"],
)
def test_pages_that_cannot_be_written_back_stay_and_the_error_is_raised(mm, disk, call):
    for _ in range(3):
        with pytest.raises(OSError, match=NOT_WRITTEN) as raised:
            call(mm)
        assert raised.value.filename == str(disk.folder / "data")
        assert not mm.damaged
        assert np.array_equal(mm[:], WRITTEN)
    disk.free()
    mm.recover()
    assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_a_map_that_only_reads_drops_no_page_that_could_not_be_written_back(mm, disk):
    with MemMap.open(disk.folder / "data") as reader:
        with pytest.raises(OSError, match=NOT_WRITTEN):
            reader.evict()
        reader.evict()
        assert np.array_equal(reader[:], WRITTEN)


@pytest.mark.parametrize("kind", ["ext4", "ext2"])
def test_a_failed_flush_is_remembered_until_recover_has_written_again(thin_disk, kind):
    disk = thin_disk(kind)
    with MemMap.open(disk.folder / "data", "w+", shape=NBYTES, sparse=True) as mm:
        mm.flush()
        disk.fill()
        mm[:] = WRITTEN
        for _ in range(3):
            with pytest.raises(OSError, match=NOT_WRITTEN):
                mm.flush()
        with pytest.raises(OSError, match=NOT_WRITTEN):
            mm.recover()
        disk.free()
        with pytest.raises(OSError, match=NOT_WRITTEN) as raised:
            mm.flush()  # the system would say yes to it, and ext4 would lose the data
        assert raised.value.errno == errno.EIO
        mm.recover()
        mm.flush()
        assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_every_way_to_flush_knows_of_the_failed_one(mm, disk):
    with pytest.raises(OSError, match=NOT_WRITTEN):
        mm.flush(slice(0, 1))
    disk.free()
    with mm.window(10, 20) as window, mm.T as transposed:
        for flush in (
            lambda: mm.flush(wait=False),
            lambda: mm.flush(slice(5, 6)),
            window.flush,
            transposed.flush,
            mm.evict,
        ):
            with pytest.raises(OSError, match=NOT_WRITTEN):
                flush()
        window.recover()
        transposed.flush()


def test_a_failure_that_a_forked_child_was_told_of_is_not_lost_for_its_parent(mm, disk):
    child = os.fork()
    if child == 0:
        try:
            mm.flush()
        except OSError:
            os._exit(3)
        os._exit(4)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 3
    disk.free()
    with pytest.raises(OSError, match=NOT_WRITTEN):
        mm.flush()
    mm.recover()
    assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_resize_and_append_keep_what_could_not_be_written_back(mm, disk):
    with pytest.raises(OSError, match=NOT_WRITTEN):
        mm.flush()
    mm.resize(NBYTES // 2)
    mm.append(WRITTEN[NBYTES // 2 :])
    with pytest.raises(OSError, match=NOT_WRITTEN):
        mm.flush()
    disk.free()
    mm.recover()
    assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_recover_writes_locked_pages_again_and_leaves_them_locked(mm, disk):
    mm.lock(slice(0, 1 << 20))
    with pytest.raises(OSError, match=NOT_WRITTEN):
        mm.flush()
    disk.free()
    mm.recover()
    mm.evict()
    assert mm.residency(slice(0, 1 << 20)).all()
    mm.unlock()
    assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_recover_writes_to_the_right_place_of_a_file_that_was_opened_for_appending(disk):
    path = disk.folder / "data"
    with open(path, "a+b") as file:
        file.truncate(NBYTES)
        mm = MemMap.open(file, "r+")
    with mm:
        mm.flush()
        disk.fill()
        mm[:] = WRITTEN
        with pytest.raises(OSError, match=NOT_WRITTEN):
            mm.flush()
        disk.free()
        mm.recover()
        assert path.stat().st_size == NBYTES
        assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_recover_writes_a_part_of_a_file_again_and_keeps_what_is_around_it(disk):
    path = disk.folder / "data"
    start = (1 << 20) + 3 * 4096 + 100  # in the middle of what the page cache may keep as one folio
    with open(path, "wb") as file:
        file.write(WRITTEN[:start])
        file.truncate(NBYTES)
        file.flush()
        os.fsync(file.fileno())
    with MemMap.open(path, "r+", offset=start, shape=2 << 20) as mm:
        disk.fill()
        mm[:] = WRITTEN[start : start + mm.nbytes]  # the first and the last page in part
        with pytest.raises(OSError, match=NOT_WRITTEN):
            mm.flush()
        disk.free()
        mm.recover()
        mm.evict()
    contents = np.fromfile(path, dtype="u1")
    assert np.array_equal(contents[: start + (2 << 20)], WRITTEN[: start + (2 << 20)])
    assert not contents[start + (2 << 20) :].any()


def test_recover_says_so_if_another_map_keeps_the_pages_and_loses_nothing(mm, disk):
    with MemMap.open(disk.folder / "data") as other:
        assert np.array_equal(other[:], WRITTEN)
        with pytest.raises(OSError, match=NOT_WRITTEN):
            mm.flush()
        disk.free()
        with pytest.raises(OSError, match=NOT_WRITTEN) as raised:
            mm.recover()
        assert raised.value.errno == errno.EBUSY
        assert np.array_equal(mm[:], WRITTEN)
    mm.recover()
    assert contents_on_disk(mm) == WRITTEN.tobytes()


def test_a_map_with_a_failed_flush_closes_and_the_next_map_of_the_file_knows_nothing_of_it(mm, disk):
    with pytest.raises(OSError, match=NOT_WRITTEN):
        mm.flush()
    mm.close()
    disk.free()
    with MemMap.open(disk.folder / "data", "r+") as again:
        again.flush()


@pytest.mark.parametrize("mode", ["r", "r+"])
def test_a_pickle_knows_a_file_that_was_made_anew_in_the_place_of_the_pickled_one(small_disk_of, mode):
    folder = small_disk_of("ext4", "16m")
    path = folder / "data"
    path.write_bytes(bytes(1000))
    times = os.stat(path)
    with MemMap.open(path, mode) as mm:
        pickled = pickle.dumps(mm)
    for _ in range(20):  # ext4 gives the new file the inode of the old one
        path.unlink()
        path.write_bytes(bytes(1000))
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        with pytest.raises(OSError, match="another file has taken its name"):
            pickle.loads(pickled)
