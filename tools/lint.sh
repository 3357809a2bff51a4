#!/usr/bin/env bash
# Check style, types and warnings: everything that can be found without running a test.
# Needs the group "lint" and the package, both installed in the Python that is first in PATH.
set -euo pipefail
shopt -s extglob
cd "$(dirname "${BASH_SOURCE[0]}")/.."
platform=scikitplot/memmap/_platform
elsewhere=$(mktemp -d)
trap 'rm -rf "$elsewhere"' EXIT

check() { # NAME COMMAND...
    echo "lint: $1"
    "${@:2}"
}
compile() { # COMPILER FILES...
    local file
    for file in "${@:2}"; do
        "$1" -std=gnu11 -O2 -Wall -Wextra -Werror -Itests/platform/stub -I"$platform/.." -I"$platform" \
            -c "$file" -o /dev/null
    done
}
spelling() { git ls-files -z | xargs -0 codespell; }
types_of_installed() { # from elsewhere, so that what is installed is looked at and not the sources here
    local config=$PWD/pyproject.toml allowed=$PWD/tools/stubtest-allowed.txt examples=$PWD/doc/examples
    local results=$PWD/tests/types_of_results.py
    (cd "$elsewhere" && stubtest scikitplot.memmap --mypy-config-file "$config" --allowlist "$allowed")
    (cd "$elsewhere" && mypy "$examples"/!(word_vectors|downloads|plot_*).py) # those that need NumPy only
    (cd "$elsewhere" && mypy --strict "$results" && basedpyright --level error "$results")
}

check ruff ruff check .
check "ruff format" ruff format --check .
check cython-lint cython-lint scikitplot
check codespell spelling
check shellcheck shellcheck .ci/run tools/*.sh tools/ci/*.sh
check actionlint actionlint
check mypy mypy
check "types of what is installed" types_of_installed
check "C, ${CC:-gcc}" compile "${CC:-gcc}" "$platform"/*_posix.c tests/platform/!(*_windows).c
if command -v x86_64-w64-mingw32-gcc >/dev/null; then
    check "C, mingw" compile x86_64-w64-mingw32-gcc "$platform"/*_windows.c tests/platform/!(*_posix).c
fi
