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


@pytest.mark.more_than_wine
def test_c_code_that_writes_to_a_read_only_map_raises_and_changes_nothing(run_python):
    out = run_python("""
import ctypes
import numpy as np
from scikitplot.memmap import DamagedError, MemMap
array = np.arange(1 << 16, dtype="<i4")
array.tofile("data.bin")
mm = MemMap.open("data.bin", dtype="<i4")
address = mm[...].ctypes.data
for _ in range(2):
    try:
        ctypes.memset(address + 5000, 9, 1)
        for _ in range(100): pass
    except DamagedError as error:
        assert "Something wrote to bytes 4096:8192 of" in str(error)
    else:
        raise SystemExit("no error")
    assert mm.damaged and np.array_equal(np.fromfile("data.bin", "<i4"), array)
    mm.recover()
    assert not mm.damaged and np.array_equal(mm[...], array)
mm.close()
print("done")
""")
    assert out == "done"
