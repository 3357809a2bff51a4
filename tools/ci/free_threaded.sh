#!/usr/bin/env bash
# Build CPython without the GIL from Debian's copy of its sources, and run all tests there: in eight threads, each
# of which runs every test that may be run so.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PIP_NO_COMPILE=1 # modules are compiled when they are imported
unset PYTHONDONTWRITEBYTECODE
version=3.13.5 # that of Debian trixie
configure=(--disable-gil --with-ensurepip=install --disable-test-modules)
needed=(gcc make xz-utils libbz2-dev libffi-dev liblzma-dev libssl-dev zlib1g-dev)
lane="Linux x86_64, free-threaded CPython 3.13t"

build_python() { # FOLDER
    echo "Building free-threaded CPython $version"
    mkdir "$work/python"
    cd "$work/python"
    debian_source trixie python3.13
    tar -xf "python3.13_$version.orig.tar.xz" --strip-components 1
    ./configure -q --prefix="$1" "${configure[@]}" >/dev/null # an interpreter that is moved finds its library
    make -s -j2 >log 2>&1 || { tail -n 50 log; return 1; }
    make -s install >log 2>&1 || { tail -n 50 log; return 1; }
}

dpkg -s "${needed[@]}" >/dev/null 2>&1 || system_packages "" "${needed[@]}"
python=$(cached "cpython-$version" "${configure[*]}" build_python)/bin/python3.13t
"$python" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH
pip install 'pip>=25.1'
# wheels only: the newest NumPy and hypothesis have none for 3.13t, so that their last ones that have are taken
cd "$root"
pip install --only-binary :all: --group build --group test pytest-run-parallel
pip wheel --no-build-isolation --no-deps --wheel-dir "$work/dist" .
pip install --no-deps "$work"/dist/*.whl
note=$(python -c 'import hypothesis, numpy; print(f"NumPy {numpy.__version__}, hypothesis {hypothesis.__version__}")')

cd "$work" # away from the sources, so that the installed package is the one that is imported
status=0
# what may not run many times at once runs once; the threads of a hypothesis test would wait for a lock of hypothesis
pytest -c "$root/pyproject.toml" -o cache_dir="$work/cache" --junit-xml "$work/junit.xml" --parallel-threads=8 \
    --mark-hypothesis-as-unsafe "$root/tests" | tee "$work/log" || status=1
parallel=$(sed -n 's/^Collected \([0-9]*\) items to run in parallel$/\1/p' "$work/log")
report pytest "$lane" "$work/junit.xml" "$parallel tests in 8 threads at once; $note" || status=1
exit $status
