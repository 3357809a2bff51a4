"""kill -9 at any moment: a file is what it was before a call, or what it is after. Each case has its own process."""

import os

import pytest

from scikitplot.memmap._file import File

pytestmark = [pytest.mark.linux, pytest.mark.maps_shared]

REPLACE, W = (pytest.param(how, marks=pytest.mark.knows_replaced_files) for how in ("replace", "w+"))
KILLS = int(os.environ.get("MEMMAP_KILLS", "30"))  # of each case


@pytest.mark.parametrize("disk", ["here", "tmpfs", "ext2"])  # the last one cannot reserve
@pytest.mark.parametrize("how", ["append", "resize"])
def test_a_killed_change_of_size_is_done_or_not_and_touches_no_old_row(run_program, tmp_path, small_disk_of, how, disk):
    folder = tmp_path if disk == "here" else small_disk_of(disk, "16m")
    assert run_program("programs/kill_resizing.py", KILLS, folder, how) == "done"


@pytest.mark.parametrize("how", ["append", "resize", REPLACE])
def test_np_load_reads_whole_rows_of_a_npy_file_at_any_moment_and_after_a_kill(run_program, tmp_path, how):
    assert run_program("programs/kill_npy.py", KILLS, tmp_path, how) == "done"


@pytest.mark.parametrize("disk", ["here", "tmpfs"])
@pytest.mark.parametrize("mode", [W, "x+"])
def test_a_new_file_is_seen_whole_or_not_at_all_though_its_maker_is_killed(
    run_program, tmp_path, small_disk_of, mode, disk
):
    folder = tmp_path / "new" if disk == "here" else small_disk_of(disk, "16m")
    folder.mkdir(exist_ok=True)
    if mode == "x+" and File.create_nameless(str(folder), "") is None:
        pytest.skip("the temporary folder is on a file system where a file has a name from the start")
    assert run_program("programs/kill_creating.py", KILLS, folder, mode) == "done"


@pytest.mark.parametrize("how", ["open", "npy"])
def test_what_flush_has_written_survives_a_kill_and_a_power_cut(run_program, small_disk_of, how):
    assert run_program("programs/kill_flushing.py", KILLS, small_disk_of("ext4", "16m"), how) == "done"
