#!/usr/bin/env bash
# The folder in the tree of another project, where CPython 3.13 runs the whole test suite; and the wheel beside
# scikit-plots, in both orders.
# Arguments go to pytest.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PIP_NO_COMPILE=1 MPLBACKEND=Agg # modules are compiled on import
unset PYTHONDONTWRITEBYTECODE
theirs=scikit-plots==0.4.0.post11

build_host() { # a project that defines `py` and takes the folder; it has a scikitplot/__init__.py, as scikit-plots does
    mkdir -p "$work/host/scikitplot"
    cd "$work/host"
    git -C "$root" ls-files -z scikitplot | (cd "$root" && xargs -0 cp --parents -t "$work/host")
    echo '__version__ = "host"' >scikitplot/__init__.py
    printf '%s\n' "project('host', 'c', 'cython', version: '1', default_options: ['c_std=gnu11'])" \
        "py = import('python').find_installation(pure: false)" "subdir('scikitplot')" >meson.build
    printf '%s\n' "py.install_sources('__init__.py', subdir: 'scikitplot')" "subdir('memmap')" >scikitplot/meson.build
    printf '%s\n' '[build-system]' 'requires = ["meson-python>=0.17", "Cython>=3.1", "numpy>=2.0"]' \
        'build-backend = "mesonpy"' '[project]' 'name = "host"' 'version = "1"' >pyproject.toml
    "$(find_python 3.13)" -m venv "$work/venv"
    "$work/venv/bin/python" -m pip install 'pip>=25.1'
    with_warnings "$work/venv/bin/python" -m pip install --verbose .
}

# What of the two packages can be used?
cat >"$work/usable.py" <<'END'
usable = []
for name, code in {
    "scikit-plots": "import scikitplot.api; scikitplot.__version__",
    "MemMap": "from scikitplot.memmap import MemMap; MemMap.anonymous(8).close()",
    "MemoryMap": "from scikitplot.memmap import MemoryMap; MemoryMap.create_anonymous(4096).close()",
    "_memmap": "from scikitplot.memmap._memmap import MemoryMap; MemoryMap.create_anonymous(4096).close()",
}.items():
    try:
        exec(code)
        usable.append(name)
    except (ImportError, AttributeError):
        pass
print(*usable)
END
status=0
expect() { # WHAT EXPECTED
    local found
    found=$(cd "$work" && "$beside/bin/python" -W ignore -W error::ResourceWarning usable.py 2>/dev/null | tail -n 1)
    printf '%s: %s\n' "$1" "${found:-nothing}"
    if [ "$found" != "$2" ]; then echo "FAILED, expected: ${2:-nothing}" && status=1; fi
}
pip_beside() { "$beside/bin/python" -m pip "$1" "${@:2}"; }

try_both_orders() {
    cp -a "$(cached scikit_plots "$theirs" venv "$theirs")" "$beside"
    pip_beside wheel --no-deps --wheel-dir "$work/dist" "$root"
    expect "scikit-plots" "scikit-plots MemoryMap _memmap"
    pip_beside install --no-deps "$work"/dist/*.whl
    expect "then scikit-plots-memmap" "scikit-plots MemMap _memmap"
    (cd "$work" && "$beside/bin/python" -W ignore -W error::ResourceWarning "$root/tests/programs/scikit_plots_calls.py") || status=1
    pip_beside uninstall -y scikit-plots-memmap
    expect "then without scikit-plots-memmap" "scikit-plots _memmap"
    pip_beside install --no-deps --force-reinstall "$theirs"
    expect "scikit-plots again" "scikit-plots MemoryMap _memmap"
    pip_beside uninstall -y scikit-plots
    pip_beside install --no-deps "$work"/dist/*.whl
    expect "scikit-plots-memmap" "MemMap"
    pip_beside install --no-deps "$theirs"
    expect "then scikit-plots" "scikit-plots MemoryMap _memmap"
    pip_beside uninstall -y scikit-plots
    expect "then without scikit-plots" ""
    pip_beside install --no-deps --force-reinstall "$work"/dist/*.whl
    expect "scikit-plots-memmap again" "MemMap"
}

beside=$work/beside
try_both_orders

build_host
"$work/venv/bin/python" -m pip install --group "$root/pyproject.toml:test" --group "$root/pyproject.toml:consumers"
cd "$work"
"$work/venv/bin/python" -c 'import scikitplot, scikitplot.memmap as m; assert scikitplot.__version__ == "host"; print(m.__file__)'
"$work/venv/bin/pytest" -q -c "$root/pyproject.toml" -o cache_dir="$work/cache" --junit-xml "$work/junit.xml" \
    "${only_newest[@]}" "${@:-$root/tests}" || status=1
report pytest "Linux $(uname -m), CPython 3.13, in the tree of another project" "$work/junit.xml" \
    "built by a meson.build that defines py"
exit $status
