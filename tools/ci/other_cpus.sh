#!/usr/bin/env bash
# Build and test for other CPUs: s390x (big-endian) and aarch64 (16 KiB pages) under emulation, i386 (32-bit addresses)
# natively. Debian 13's CPython and NumPy for that CPU are unpacked into a folder and run with the loader from there.
# The `python` of a virtual environment is a script that starts them, so that tests can start interpreters, too.
# Usage: other_cpus.sh [--all] [s390x|aarch64|i386]...
# Emulation is slow: without --all, s390x and aarch64 run only the C tests and the modules below.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
modules=("$root"/tests/test_{arrays,attributes,batches,bytes,files,layout,layouts_hypothesis,modes}.py
    "$root"/tests/test_{gather,interop,order,paging,real_files,region,shared_memory,size,stores}.py)
suite=trixie version=3.13
export CI=true # the same hypothesis examples every time

# download SUITE: download what the tests need, with the configuration in $apt.
download() {
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$apt/sources.list"
    cd "$apt/archives" && rm -f ./*.deb &&
        APT_CONFIG=$apt/apt.conf apt-get update -qq --error-on=any &&
        APT_CONFIG=$apt/apt.conf apt-get install -qq -y --download-only "python$version" \
            python3-{numpy,pytest,hypothesis} >/dev/null &&
        APT_CONFIG=$apt/apt.conf apt-get download -qq "libpython$version-dev" \
            python3-{nibabel,tqdm} >/dev/null # without the packages they recommend or are built with
}

# unpack_debian ARCHITECTURE FOLDER
# Unpack Python and what the tests import. A separate apt configuration leaves that of the system unchanged.
unpack_debian() {
    local apt=$work/apt-$1 mirror name
    mkdir -p "$apt"/{lists,archives}/partial "$apt"/{apt.conf,preferences}.d
    touch "$apt/status"
    # shellcheck disable=SC2016 # the words of apt
    mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 'Component: main' | grep -m1 '/debian/$')
    cat >"$apt/apt.conf" <<END
Dir "$apt";
Dir::State "$apt";
Dir::State::status "$apt/status";
Dir::Cache "$apt";
Dir::Etc "$apt";
Dir::Etc::parts "apt.conf.d";
APT::Architecture "$1";
APT::Architectures { "$1"; };
APT::Install-Recommends "false";
APT::Sandbox::User "root";
Acquire::Languages "none";
END
    # a proxy may have outdated package lists under one of the two names of the release
    download "$suite" || download stable
    for name in "$apt"/archives/*.deb; do dpkg-deb -x "$name" "$2"; done
    ln -sr "$2"/usr/lib/*/{blas/libblas,lapack/liblapack}.so.3 "$2"/usr/lib/*-linux-gnu # as Debian's alternatives do
    compile_modules "$2"/usr/lib/python3 "$2/usr/lib/python$version"
}

# compile_modules FOLDER...: compile natively what the emulated Python would compile at every start.
compile_modules() { "$(find_python $version)" -m compileall -q "$@"; }

# wheel_of_ml_dtypes FOLDER: for aarch64; the other two have no wheel.
wheel_of_ml_dtypes() {
    "$tools/bin/python" -m pip install --no-deps --target "$1" --only-binary :all: --python-version $version \
        --platform manylinux_2_28_aarch64 ml_dtypes
}

# make_venv: create a virtual environment in $venv, with a script as interpreter.
make_venv() {
    mkdir -p "$venv/bin" "$site"
    printf '%s\n' "home = $debian/usr/bin" "include-system-site-packages = true" "version = $version" >"$venv/pyvenv.cfg"
    cat >"$venv/bin/python" <<END
#!/bin/sh
exec ${start[*]} --argv0 "\$0" $debian/usr/bin/python$version "\$@"
END
    chmod +x "$venv/bin/python"
}

# build CPU COMPILER FAMILY ENDIAN
build() {
    cat >"$work/$1.ini" <<END
[binaries]
c = '$2-gcc'
ar = '$2-ar'
strip = '$2-strip'
cython = '$tools/bin/cython'
python = '$venv/bin/python'

[built-in options]
# the compiler's C library headers come before the unpacked ones
c_args = ['-I$debian/usr/include/python$version', '-idirafter', '$debian/usr/include']
python.platlibdir = '$site'
python.purelibdir = '$site'

[host_machine]
system = 'linux'
cpu_family = '$3'
cpu = '$3'
endian = '$4'
END
    if ! { PATH=$tools/bin:$PATH meson setup --cross-file "$work/$1.ini" "$work/build-$1" "$root" &&
        PATH=$tools/bin:$PATH meson install -C "$work/build-$1" --quiet; } >"$work/build-$1.log" 2>&1; then
        tail -n 50 "$work/build-$1.log"
        return 1
    fi
}

# lane NAME CPU DEBIAN-ARCHITECTURE TRIPLET COMPILER MESON-FAMILY ENDIAN LOADER EMULATOR...
lane() {
    local name=$1 cpu=$2 compiler=$5 venv=$work/$2 status=0 tests=("$root/tests") note="" debian lib site start test
    echo "$name"
    system_packages "$compiler-gcc" "gcc-$compiler" "libc6-dev-$3-cross"
    debian=$(cached "debian-$3" "$suite $version $(declare -f unpack_debian download)" unpack_debian "$3")
    lib=$debian/usr/lib/$4
    start=("${@:9}" "$lib/$8" --library-path "$lib")
    if [ $# -gt 8 ]; then
        "$compiler-gcc" -O2 -shared -fPIC "$root/tools/ci/mend_emulator.c" -o "$work/mended-$cpu.so"
        start+=(--preload "$work/mended-$cpu.so")
        note="a preloaded library works around bugs of $9: mincore; on s390x fstat and the address of a SIGBUS"
        export MEMMAP_EMULATOR=$9
        if [ "$all" = no ]; then tests=("${modules[@]}"); fi
    fi

    mkdir "$work/files-$cpu"
    for test in region fault_posix; do
        "$compiler-gcc" -std=gnu11 -O2 -g -Wall -Wextra -Werror -pthread -I"$platform" \
            "$root/tests/platform/test_$test.c" "$platform"/{fault,parallel,region}_posix.c -o "$work/test_$test-$cpu"
        "${start[@]}" "$work/test_$test-$cpu" "$work/files-$cpu" | tee -a "$work/$cpu.log"
    done
    report counts "C layer, $name" "$work/$cpu.log" "$note"

    site=$venv/lib/python$version/site-packages
    make_venv
    build "$cpu" "$compiler" "$6" "$7"
    if [ "$cpu" = aarch64 ]; then
        cp -r "$(cached ml_dtypes-aarch64 "$version" wheel_of_ml_dtypes)"/. "$site"
    fi
    compile_modules "$site"
    cd "$work" # so that the installed package is imported
    "$venv/bin/python" -m pytest -q -p no:cacheprovider -c "$root/pyproject.toml" --junit-xml "$work/$cpu.xml" \
        "${tests[@]}" || status=$?
    if [ ${#tests[@]} != 1 ]; then note="only ${tests[*]##*/}; $note"; fi
    report pytest "$name, CPython $version" "$work/$cpu.xml" \
        "$("$venv/bin/python" -c 'import numpy; print("NumPy", numpy.__version__)')${note:+; $note}"
    return $status
}

run() { # CPU
    case $1 in
        s390x) lane "Linux s390x (big-endian) under qemu-user" s390x s390x s390x-linux-gnu s390x-linux-gnu s390x big \
            ld64.so.1 qemu-s390x-static ;;
        # a CPU without pointer authentication, which is slow to emulate
        aarch64) lane "Linux aarch64 with 16 KiB pages under qemu-user" aarch64 arm64 aarch64-linux-gnu \
            aarch64-linux-gnu aarch64 little ld-linux-aarch64.so.1 qemu-aarch64-static -cpu cortex-a72 -p 16384 ;;
        i386) lane "Linux i386" i386 i386 i386-linux-gnu i686-linux-gnu x86 little ld-linux.so.2 ;;
        *) echo "usage: other_cpus.sh [--all] [s390x|aarch64|i386]..." >&2; return 2 ;;
    esac
}

all=no
if [ "${1:-}" = --all ]; then all=yes; shift; fi
if [ $# = 0 ]; then set -- s390x aarch64 i386; fi
system_packages qemu-s390x-static qemu-user-static
tools=$(cached build-tools "$(<"$root/pyproject.toml") $(declare -f venv)" venv --group "$root/pyproject.toml:build")
"$tools/bin/python" "$root/tests/real_data.py" >/dev/null # the unpacked Pythons have no pip
for cpu; do (run "$cpu" </dev/null); done
