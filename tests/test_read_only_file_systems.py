"""File systems that can only be read, such as those that data sets and containers are handed out in."""

import errno
import os
import shutil
import subprocess

import numpy as np
import pytest
from page_cache import PAGE, cached

from scikitplot.memmap import MemMap, concat, open_npy

pytestmark = [pytest.mark.images, pytest.mark.thread_unsafe(reason="mounts a disk")]

PAGES = 600
ROWS = np.random.default_rng(0).integers(0, 5, (PAGES, PAGE), "u1")  # can be compressed, page by page
MAKE = {
    "squashfs": lambda folder, image: ["mksquashfs", folder, image, "-quiet", "-no-progress"],
    "erofs": lambda folder, image: ["mkfs.erofs", "-zlz4hc", image, folder],
}


@pytest.fixture(params=MAKE)
def folder(request, tmp_path, mounts):
    """A mounted image with the rows in data.bin and data.npy."""
    source, image, mounted = (tmp_path / name for name in ("source", "image", "mounted"))
    source.mkdir()
    mounted.mkdir()
    ROWS.tofile(source / "data.bin")
    np.save(source / "data.npy", ROWS)
    subprocess.run(MAKE[request.param](source, image), check=True, capture_output=True)
    shutil.rmtree(source)
    subprocess.run(["mount", "-t", request.param, "-o", "loop,ro", image, mounted], check=True)
    yield mounted
    subprocess.run(["umount", "--lazy", mounted], check=True)


@pytest.fixture
def path(folder):
    return folder / "data.bin"


@pytest.mark.parametrize("mode", ["r", "c"])
def test_all_is_read_and_nothing_is_damaged(path, mode):
    with MemMap.open(path, mode, shape=ROWS.shape) as mm:
        assert mm.read_at(PAGE - 3, 6) == ROWS.tobytes()[PAGE - 3 : PAGE + 3]
        assert np.array_equal(mm.gather([599, 0, 7, -2]), ROWS[[599, 0, 7, -2]])
        assert np.array_equal(mm[...], ROWS)
        mm.verify()
        mm.recover()
        mm.flush()
        assert not mm.damaged
    with open(path, "rb") as file, MemMap.open(file, mode) as mm:
        assert np.array_equal(mm[...], ROWS.ravel())
    with open_npy(path.with_name("data.npy"), mode) as mm:
        assert np.array_equal(mm[...], ROWS)


def test_private_changes_stay_when_the_pages_around_them_are_evicted(path):
    with MemMap.open(path, "c", shape=ROWS.shape) as mm:
        mm[3] = 9
        mm.evict()
        assert (mm[3] == 9).all()
        assert np.array_equal(mm[4:], ROWS[4:])


def test_prefetch_reads_pages_and_evict_gives_them_back(path):
    with MemMap.open(path, shape=ROWS.shape) as mm:
        mm.evict()
        assert not mm.residency().any()
        mm.prefetch(slice(100, 300), wait=True)
        assert mm.residency(slice(100, 300)).all()
        assert set(range(100, 300)) <= set(cached(path))
        mm.evict()
        assert cached(path) == []
        assert not mm.residency().any()
        assert np.array_equal(mm[...], ROWS)


def test_chunks_and_tables_of_several_files(path):
    with MemMap.open(path, shape=ROWS.shape) as mm:
        found = [chunk.copy() for chunk in mm.iter_chunks(nbytes=1 << 19, evict=True)]
        assert np.array_equal(np.concatenate(found), ROWS)
        with concat([mm, open_npy(path.with_name("data.npy"))]) as table:
            assert np.array_equal(table.gather([0, PAGES, 2 * PAGES - 1]), ROWS[[0, 0, -1]])


@pytest.mark.parametrize("mode", ["r+", "w+", "x+"])
def test_modes_that_write_are_refused_by_an_error_that_names_the_file_and_the_reason(path, mode):
    target = path.with_name("new.bin") if mode == "x+" else path
    with pytest.raises(OSError, match="Read-only file system") as raised:
        MemMap.open(target, mode, shape=ROWS.shape)
    assert (raised.value.errno, raised.value.filename) == (errno.EROFS, str(target))
    assert sorted(os.listdir(path.parent)) == ["data.bin", "data.npy"]


def test_residency_is_right_or_an_error_for_others_than_the_owner(path, run_program):
    said = run_program("programs/residency_for_nobody.py", path)
    assert said == "False" or said.startswith(f"{errno.EOPNOTSUPP} ")
