"""No call touches a byte beside its map: here those bytes are in pages whose touch ends the process."""

import pytest


@pytest.mark.posix
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("dtype", ["u1", "<i2", ">i4", "<f8"])
def test_no_call_touches_a_byte_beside_the_map(make_file, run_program, mode, dtype):
    run_program("programs/bounds.py", make_file(bytes(range(64)) * (1 << 12)), mode, dtype)
