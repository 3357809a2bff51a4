"""All at once for a while; tools/soak.py does it for as long as one likes, and for a minute in CI."""

import pytest

pytestmark = [pytest.mark.linux, pytest.mark.native]


def test_some_seconds_of_everything_at_once(run_tool):
    assert "actions" in run_tool("soak.py", "5")
