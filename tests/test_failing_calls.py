"""Each call of the system that fails half way through one of ours; tests/stress/failing_calls.py does it for all calls."""

import pytest

pytestmark = [pytest.mark.linux, pytest.mark.native, pytest.mark.unsanitized]


@pytest.mark.parametrize(
    "cases",
    [
        ["open w+", "open x+"],
        ["anonymous shared", "unpickle"],
        ["grow r+", "append r+"],
        ["revoke r+", "detach r+", "close r+"],
        ["flush r+", "flush later r+", "evict r+"],
    ],
    ids=lambda cases: cases[0],
)
def test_a_call_of_which_a_step_fails_changes_nothing_or_all_and_leaves_nothing(run_program, cases):
    assert run_program("stress/failing_calls.py", *cases, timeout=600).endswith(", bad 0")
