"""All at once for a while; tests/stress/soak.py does it for as long as one likes, and for a minute in CI."""

import pytest

pytestmark = [pytest.mark.linux, pytest.mark.native]


def test_some_seconds_of_everything_at_once(run_program):
    assert "actions" in run_program("stress/soak.py", 5, timeout=300)
