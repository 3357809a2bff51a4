#!/usr/bin/env bash
# Build free-threaded CPython from Debian's copy of its sources, and run all tests with it. Tests that allow it run in
# four threads at once.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PIP_NO_COMPILE=1 # modules are compiled on import
unset PYTHONDONTWRITEBYTECODE
# The version in Debian trixie. Debian lists sources of 3.14 and 3.15 in other suites, but they could not be downloaded.
version=3.13.5
configure=(--disable-gil --with-ensurepip=install --disable-test-modules)
needed=(gcc make xz-utils libbz2-dev libffi-dev liblzma-dev libssl-dev zlib1g-dev)
lane="Linux x86_64, free-threaded CPython 3.13t"

build_python() { # FOLDER
    echo "Building free-threaded CPython $version"
    mkdir "$work/python"
    cd "$work/python"
    debian_source trixie python3.13
    tar -xf "python3.13_$version.orig.tar.xz" --strip-components 1
    ./configure -q --prefix="$1" "${configure[@]}" >/dev/null # the interpreter finds its library after a move
    make -s -j2 >log 2>&1 || { tail -n 50 log; return 1; }
    make -s install >log 2>&1 || { tail -n 50 log; return 1; }
}

dpkg -s "${needed[@]}" >/dev/null 2>&1 || system_packages "" "${needed[@]}"
python=$(cached "cpython-$version" "${configure[*]}" build_python)/bin/python3.13t
"$python" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH
pip install 'pip>=25.1'
# wheels only: pip picks the last NumPy and hypothesis that have a wheel for 3.13t
cd "$root"
pip install --only-binary :all: --group build --group test pytest-run-parallel
with_warnings pip wheel --verbose --no-build-isolation --no-deps --wheel-dir "$work/dist" .
pip install --no-deps "$work"/dist/*.whl
note=$(python -c 'import hypothesis, numpy; print(f"NumPy {numpy.__version__}, hypothesis {hypothesis.__version__}")')

cd "$work" # away from the sources, so that the installed package is imported
status=0
# tests that are not thread-safe run once; so do hypothesis tests, whose threads would wait for a lock of hypothesis
pytest -c "$root/pyproject.toml" -o cache_dir="$work/cache" --junit-xml "$work/junit.xml" --parallel-threads=4 \
    --mark-hypothesis-as-unsafe "${only_newest[@]}" "$root/tests" | tee "$work/log" || status=1
parallel=$(sed -n 's/^Collected \([0-9]*\) items to run in parallel$/\1/p' "$work/log")
report pytest "$lane" "$work/junit.xml" "$parallel tests in 4 threads at once; $note; not 3.14t, whose sources could not be downloaded" || status=1
exit $status
