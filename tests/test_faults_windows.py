"""Windows: pages that a device does not deliver."""

import pytest

pytestmark = pytest.mark.windows


@pytest.mark.parametrize("call", [
    "mm[1500]", "mm.read_at(4096, 4)", "mm.read_at(0, mm.nbytes)", "mm.readinto_at(5000, bytearray(9))",
    "mm.write_at(5000, bytes(9))", "mm.gather([0, 1500])", "mm.gather(range(0, 60000))",
    "mm.prefetch(wait=True)",
])  # fmt: skip
def test_a_method_that_meets_a_lost_page_raises_and_recover_makes_it_whole(run_program, call):
    assert run_program("programs/failing_device.py", call) == "done"
