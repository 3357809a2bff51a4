"""Make a call that meets a page which a device does not deliver, and recover: CALL, of the map `mm`.

A page that may not be touched stands for the lost one; a handler says that the device has failed.
"""

import ctypes
import os
import sys

import numpy as np

from scikitplot.memmap import DamagedError, MemMap

READ_WRITE, NOTHING = 4, 1
kernel32 = ctypes.windll.kernel32


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
    assert kernel32.VirtualProtect(place, ctypes.c_size_t(array.nbytes), protection, ctypes.byref(before))


def raises(call):
    try:
        call()
    except DamagedError as error:
        return error
    raise SystemExit("no DamagedError")


np.arange(1 << 16, dtype="<i4").tofile("data.bin")
mm = MemMap.open("data.bin", "r+", dtype="<i4")
kernel32.AddVectoredExceptionHandler.restype = ctypes.c_void_p
handler = ctypes.c_void_p(kernel32.AddVectoredExceptionHandler(1, fail_the_device))
lost = mm[1024:2048]
allow(lost, NOTHING)

error = raises(lambda: eval(sys.argv[1]))
assert error.errno == 5, error
assert error.filename == os.path.abspath("data.bin"), error
assert "Bytes 4096:8192 of the map" in str(error), error
assert "failed to read" in str(error), error
assert mm.damaged
raises(lambda: mm[0])
raises(mm.recover)
allow(lost, READ_WRITE)
mm.recover()
assert not mm.damaged
assert mm[1500] == 1500
assert mm.read_at(4096, 4) == (1024).to_bytes(4, "little")
del lost
mm.close()
assert kernel32.RemoveVectoredExceptionHandler(handler)
print("done")
