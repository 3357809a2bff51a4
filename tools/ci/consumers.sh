#!/usr/bin/env bash
# Hand maps to other libraries: the tests that need them, and the table in the user guide. With a suitable pip
# configuration, the CPU-only build of torch is installed.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PIP_NO_COMPILE=1 # modules are compiled on import
unset PYTHONDONTWRITEBYTECODE
system_packages g++ g++ libc6-dev
"$(find_python 3.11)" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH
pip install 'pip>=25.1'
pip install --group "$root/pyproject.toml:test" --group "$root/pyproject.toml:consumers" \
    --group "$root/pyproject.toml:libraries" "$root"
cd "$work" # away from the sources, so that the installed package is imported
status=0
pytest -q -c "$root/pyproject.toml" -o cache_dir="$work/cache" --junit-xml "$work/junit.xml" -m "torch or libraries" \
    "$root/tests" || status=1
report pytest "Linux $(uname -m), CPython 3.11 with other libraries" "$work/junit.xml" \
    "only what needs them; $(python -c 'import torch; print("torch", torch.__version__)')"
python "$root/tools/consumers.py" || status=1
exit $status
