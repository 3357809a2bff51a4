"""Refuse a wheel with unexpected files, missing files, or dependencies on outside libraries."""

import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

MOST_NBYTES = 1_000_000

wheel = Path(sys.argv[1])
problems = []
with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
    names = [name for name in archive.namelist() if ".dist-info/" not in name]
    known = re.compile(r"scikitplot/memmap/(\w+\.(py|pyi)|[\w.-]+\.so|py\.typed)")
    problems += [f"{name} does not belong into a wheel" for name in names if not known.fullmatch(name)]
    modules = [name for name in names if name.endswith(".so")]
    stubs = {name.removesuffix(".pyi") for name in names if name.endswith(".pyi")}
    problems += [f"{name} has no stub" for name in modules if name.split(".")[0] not in stubs]
    if not modules:
        problems.append("there is no extension module")
    if "scikitplot/memmap/py.typed" not in names:
        problems.append("py.typed is missing")
    if wheel.stat().st_size >= MOST_NBYTES:
        problems.append(f"{wheel.stat().st_size} bytes are too many")
    for name in modules:
        exported = subprocess.run(
            ["nm", "-D", "--defined-only", archive.extract(name, folder)], capture_output=True, text=True, check=True
        ).stdout.split()[2::3]
        problems += [f"{name} exports {symbol}" for symbol in exported if not symbol.startswith("PyInit_")]

shown = subprocess.run([sys.executable, "-m", "auditwheel", "show", wheel], capture_output=True, text=True, check=True)
tag = re.search(r'"manylinux_\w+"', shown.stdout)  # depends on the system it was built on
if tag is None:
    problems.append(shown.stdout)
print(f"{wheel.name}: {wheel.stat().st_size} bytes, {len(names)} files, {tag and tag[0]}")
sys.exit("\n".join(problems) or None)
