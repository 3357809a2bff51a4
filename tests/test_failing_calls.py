"""Each call of the system that fails half way through one of ours; tests/stress/failing_calls.py does all."""

import sys

import pytest

pytestmark = [
    pytest.mark.linux,
    pytest.mark.native,
    pytest.mark.unsanitized,
    pytest.mark.skipif(sys.maxsize < 1 << 32, reason="the compiler makes no library for a 32-bit process"),
]


@pytest.mark.parametrize(
    "cases",
    [
        ["open w+", "open x+"],
        ["anonymous shared", "unpickle"],
        ["grow r+", "append r+", "refresh r+"],
        ["revoke r+", "detach r+", "close r+"],
        ["flush r+", "flush later r+", "evict r+"],
    ],
    ids=lambda cases: cases[0],
)
def test_a_call_of_which_a_step_fails_changes_nothing_or_all_and_leaves_nothing(run_program, cases):
    assert run_program("stress/failing_calls.py", *cases, timeout=600).endswith(", bad 0")


@pytest.mark.parametrize("disk", ["ext4", "ext2"])  # ext2 cannot reserve: it is filled with zeros
def test_a_file_that_is_only_open_for_appending_grows_in_the_right_place_or_not_at_all(
    run_program, small_disk_of, disk
):
    said = run_program("programs/appending.py", small_disk_of(disk, "16m"))
    assert said.split() == (["changed", "changed", "True"] if disk == "ext4" else ["True"])


def test_evict_on_overlayfs_goes_on_after_a_signal_and_loses_nothing(run_program, on_overlay, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(on_overlay.parent))  # there it writes back by another call
    assert run_program("stress/failing_calls.py", "evict r+", timeout=600).endswith(", bad 0")
