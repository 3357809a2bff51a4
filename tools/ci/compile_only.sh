#!/usr/bin/env bash
# Cross-compile and link with Zig, which is Clang with the headers and libraries of its targets: for macOS and Windows,
# which cannot be run here, and for Linux with musl, whose static test programs are run.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
zig_version=0.17.1

zig() { "$tools/bin/python" -m ziglang "$@"; }

c_layer() { # TARGET: build the C tests as $work/TARGET-TEST
    local test
    for test in region fault_posix; do
        zig cc -target "$1" -std=gnu11 -O2 -Wall -Wextra -Werror -pthread -I"$platform" \
            "$root/tests/platform/test_$test.c" "$platform"/{fault,parallel,region}_posix.c -o "$work/$1-$test"
    done
}

# Generate Cython's C files with the options of the normal build.
generate() {
    local targets
    meson setup "$work/build" "$root" || return
    mapfile -t targets < <(ninja -C "$work/build" -t targets all | sed -n 's/^\(.*\.pyx\.c\): .*/\1/p')
    ninja -C "$work/build" "${targets[@]}"
}

numpy_headers() { # ARCHITECTURE FOLDER
    "$tools/bin/python" -m pip install --no-deps --target "$2/wheel" --only-binary :all: --platform "macosx_14_0_$1" numpy
    mv "$2/wheel/numpy/_core/include" "$2"
    rm -r "$2/wheel"
}

extension_modules() { # TARGET ARCHITECTURE
    local source numpy
    numpy=$(cached "numpy-headers-$2" "$(declare -f numpy_headers)" numpy_headers "$2")
    for source in "$work"/build/scikitplot/memmap/*.p/*.pyx.c; do
        zig cc -target "$1" -std=gnu11 -O2 -shared -undefined dynamic_lookup -DNPY_NO_DEPRECATED_API=NPY_2_0_API_VERSION \
            -DNPY_TARGET_VERSION=NPY_2_0_API_VERSION -I"$python_include" -I"$numpy/include" \
            -I"$platform/.." "$source" "$platform"/{fault,parallel,region}_posix.c -o "$work/$(basename "$source" .pyx.c)-$1.so"
    done
}

tools=$(cached zig "$zig_version $(<"$root/pyproject.toml") $(declare -f venv)" \
    venv "ziglang==$zig_version" --group "$root/pyproject.toml:build")
export ZIG_GLOBAL_CACHE_DIR=$cache/zig-cache ZIG_LOCAL_CACHE_DIR=$cache/zig-cache
python_include=$("$tools/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
PATH=$tools/bin:$PATH
generate >"$work/log" 2>&1 || { cat "$work/log"; exit 1; }

for target in "macOS arm64" "macOS x86_64"; do
    triplet=${target#macOS } triplet=${triplet/arm64/aarch64}-macos
    c_layer "$triplet"
    extension_modules "$triplet" "${target#macOS }"
    report compiled "$target" "the C layer and its test; the extension modules, with the headers of NumPy for macOS and of CPython for Linux"
done

for test in region fault_windows; do
    zig cc -target x86_64-windows-gnu -std=gnu11 -O2 -Wall -Wextra -Werror -I"$platform" \
        "$root/tests/platform/test_$test.c" "$platform"/{fault,region}_windows.c -o "$work/$test.exe"
done
report compiled "Windows x86_64, Clang build" "the C layer and its tests, with the headers of MinGW-w64"

c_layer x86_64-linux-musl
mkdir "$work/files"
for test in region fault_posix; do "$work/x86_64-linux-musl-$test" "$work/files" | tee -a "$work/log"; done
report counts "C layer, Linux x86_64 with musl" "$work/log" "a static program"
