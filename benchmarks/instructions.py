"""The cost of fault handling in hot calls: ``python benchmarks/instructions.py`` counts instructions with valgrind.

Only the compiled function and what it calls are counted, so that every run gives the same number.
"""

import re
import subprocess
import sys

TIMES = 100
CALLS = {  # statement: the compiled function that is counted
    "mm.read_at(4000, 4)": "read_at",
    "mm[5000]": "__getitem__",
    "mm[1000:2000]": "__getitem__",
    "mm.gather(rows)  # 1000 rows": "gather",
    "MemMap.open(path, dtype='<f4').close()": "_over_file",
}
PROGRAM = """
import sys, tempfile
import numpy as np
from scikitplot.memmap import MemMap, set_fault_policy
set_fault_policy(sys.argv[1])
with tempfile.TemporaryDirectory() as folder:
    path = folder + "/data.f4"
    np.zeros(1 << 18, "<f4").tofile(path)
    rows = np.arange(1000) * 7
    mm = MemMap.open(path, dtype="<f4")
    for _ in range(TIMES):
        CALL
    mm.close()
"""


def instructions(call: str, function: str, policy: str) -> float:
    program = PROGRAM.replace("CALL", call).replace("TIMES", str(TIMES))
    counting = ["--tool=callgrind", "--callgrind-out-file=/dev/null", f"--toggle-collect=__pyx_*MapCore*{function}*"]
    run = subprocess.run(
        ["valgrind", *counting, sys.executable, "-c", program, policy], capture_output=True, text=True, check=False
    )
    counted = re.search(r"Collected : (\d+)", run.stderr)
    if run.returncode or counted is None:
        sys.exit(run.stderr)
    return int(counted[1]) / TIMES


def main() -> None:
    print(f"{'instructions per call':42}{'off':>9}{'raise':>9}{'more':>7}")
    for call, function in CALLS.items():
        off, guarded = (instructions(call, function, policy) for policy in ("off", "raise"))
        print(f"{call:42}{off:9.1f}{guarded:9.1f}{guarded - off:7.1f}")


if __name__ == "__main__":
    main()
