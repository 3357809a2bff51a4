"""Windows: pages that a device does not deliver. A page that may not be touched stands for one, see PRELUDE."""

import pytest

pytestmark = pytest.mark.windows

PRELUDE = """
import ctypes, os
import numpy as np
from scikitplot.memmap import DamagedError, MemMap, set_fault_policy

class Record(ctypes.Structure):
    _fields_ = [("code", ctypes.c_uint32)]  # and more

class Pointers(ctypes.Structure):
    _fields_ = [("record", ctypes.POINTER(Record))]  # and more

@ctypes.WINFUNCTYPE(ctypes.c_long, ctypes.POINTER(Pointers))
def fail_the_device(fault):
    record = fault[0].record[0]
    if record.code == 0xC0000005:  # access violation
        record.code = 0xC0000006  # in-page error
    return 0

def allow(array, protection):
    before = ctypes.c_uint32()
    place = ctypes.c_void_p(array.ctypes.data)
    assert ctypes.windll.kernel32.VirtualProtect(place, ctypes.c_size_t(array.nbytes), protection, ctypes.byref(before))

READ_WRITE, NOTHING = 4, 1
np.arange(1 << 16, dtype="<i4").tofile("data.bin")
mm = MemMap.open("data.bin", "r+", dtype="<i4")
ctypes.windll.kernel32.AddVectoredExceptionHandler(1, fail_the_device)
lost = mm[1024:2048]
allow(lost, NOTHING)
"""


@pytest.mark.parametrize("call", [
    "mm[1500]", "mm.read_at(4096, 4)", "mm.read_at(0, mm.nbytes)", "mm.readinto_at(5000, bytearray(9))",
    "mm.write_at(5000, bytes(9))", "mm.gather([0, 1500])", "mm.gather(range(0, 60000))",
    "mm.prefetch(wait=True)",
])  # fmt: skip
def test_a_method_that_meets_a_lost_page_raises_and_recover_makes_it_whole(run_python, call):
    code = f"""
def raises(call):
    try:
        call()
    except DamagedError as error:
        return error
    raise SystemExit("no DamagedError")

error = raises(lambda: {call})
assert error.errno == 5 and error.filename == os.path.abspath("data.bin"), error
assert "Bytes 4096:8192 of the map" in str(error) and "failed to read" in str(error), error
assert mm.damaged
raises(lambda: mm[0])
raises(mm.recover)
allow(lost, READ_WRITE)
mm.recover()
assert not mm.damaged and mm[1500] == 1500 and mm.read_at(4096, 4) == (1024).to_bytes(4, "little")
del lost
mm.close()
print("done")
"""
    assert run_python(PRELUDE + code).splitlines()[-1] == "done"
