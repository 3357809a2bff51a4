"""Hostile arguments to everything that is public; tools/fuzz.py does it for as long as one likes."""

import pytest

pytestmark = [pytest.mark.linux, pytest.mark.native, pytest.mark.unsanitized]


def test_hostile_arguments_meet_errors_and_nothing_worse(run_tool):
    assert "20000 calls" in run_tool("fuzz.py", "20000", "--seed=1")


def test_hostile_arguments_in_threads_meet_errors_and_nothing_worse(run_tool):
    assert "calls" in run_tool("fuzz.py", "4000", "--seed=2", "--threads=4")
