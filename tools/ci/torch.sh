#!/usr/bin/env bash
# Run the tests that need torch. With a suitable pip configuration, the CPU-only build is installed.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PIP_NO_COMPILE=1 # modules are compiled on import
unset PYTHONDONTWRITEBYTECODE
"$(find_python 3.11)" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH
pip install 'pip>=25.1'
pip install --group "$root/pyproject.toml:test" torch==2.13.0 "$root"
cd "$work" # away from the sources, so that the installed package is imported
status=0
pytest -q -c "$root/pyproject.toml" -o cache_dir="$work/cache" --junit-xml "$work/junit.xml" -m torch "$root/tests" || status=1
report pytest "Linux $(uname -m), CPython 3.11 with torch" "$work/junit.xml" \
    "only what needs torch; $(python -c 'import torch; print("torch", torch.__version__)')"
exit $status
