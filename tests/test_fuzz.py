"""Hostile arguments to everything that is public; tests/stress/fuzz.py does it for as long as one likes."""

import re

import pytest

pytestmark = [pytest.mark.linux, pytest.mark.native, pytest.mark.unsanitized]


def test_hostile_arguments_meet_errors_and_nothing_worse(run_program):
    assert "20000 calls" in run_program("stress/fuzz.py", 20_000, "--seed=1", timeout=300)


def test_hostile_arguments_in_threads_meet_errors_and_nothing_worse(run_program):
    assert re.search(r"\b40\d\d calls", run_program("stress/fuzz.py", 4000, "--seed=2", "--threads=4", timeout=300))
