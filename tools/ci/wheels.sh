#!/usr/bin/env bash
# Build the sdist, build a wheel from it for each Python, check the wheel, and test it away from the sources.
# Usage: wheels.sh [VERSION[,CONSTRAINT]...]...
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PIP_NO_COMPILE=1 # modules are compiled on import
unset PYTHONDONTWRITEBYTECODE

build_sdist() {
    python3 -m venv "$work/dist"
    "$work/dist/bin/python" -m pip install build auditwheel
    "$work/dist/bin/python" -m build --sdist --outdir "$work/dist" "$root" >/dev/null
}

test_wheel() { # VERSION CONSTRAINT...
    local version=$1 venv=$work/$1 constraints=$work/$1.txt
    shift
    printf '%s\n' "$@" >"$constraints"
    "$(find_python "$version")" -m venv "$venv"
    "$venv/bin/python" -m pip install 'pip>=25.3'
    with_warnings "$venv/bin/python" -m pip wheel --verbose --build-constraint "$constraints" --no-deps --wheel-dir "$venv/dist" \
        "$work"/dist/*.tar.gz
    "$work/dist/bin/python" "$root/tools/ci/check_wheel.py" "$venv"/dist/*.whl
    "$venv/bin/python" -m pip install --constraint "$constraints" --group "$root/pyproject.toml:test" \
        --group "$root/pyproject.toml:consumers" "$venv"/dist/*.whl
    cd "$work"
    "$venv/bin/python" -c 'import scikitplot.memmap as m, numpy; print(m.__file__, "NumPy", numpy.__version__)'
    "$venv/bin/pytest" -q -c "$root/pyproject.toml" --junit-xml "$work/$version.xml" "${only_newest[@]}" "$root/tests"
    report pytest "Linux $(uname -m), CPython $version" "$work/$version.xml" "wheel, ${*:-all newest}"
}

build_sdist
if [ $# = 0 ]; then set -- 3.11,numpy==2.0.0,Cython==3.1.0; fi # the oldest that pyproject.toml allows
for one in "$@"; do
    IFS=, read -ra words <<<"$one"
    test_wheel "${words[@]}"
done
