#!/usr/bin/env bash
# Build a wheel and run all tests with the CPython versions of Debian unstable, each with the newest NumPy. Debian
# unstable is unpacked into a folder, where everything runs: the packages and the apt configuration of this system stay
# as they are. The folder is read-only then, and its mounts belong to a mount namespace, which ends with its last process.
# Usage: unstable.sh [3.14|3.15]...
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
packages=gcc,libc6-dev,e2fsprogs,mount # tests make and mount file systems
for version in 3.14 3.15; do packages+=,python$version-venv,python$version-dev; done

unpack_unstable() { # FOLDER
    echo "Unpacking Debian unstable"
    unshare --mount debootstrap --variant=minbase --keyring="$debian_keyring" --include="$packages" \
        unstable "$1" "$(debian_mirror)" >"$work/debootstrap.log" 2>&1 || { tail -n 50 "$work/debootstrap.log"; return 1; }
    rm -rf "$1"/var/cache/apt/archives/*.deb "$1"/var/lib/apt/lists/*
    mkdir -p "$1"/mnt/{source,work,data} "$1/etc/ssl/certs"
    touch "$1"/etc/{resolv.conf,hosts,pip.conf}
}

# inside COMMAND...: run a command there. /mnt has the sources, which are read-only, $work, and the files of real data.
inside() {
    # shellcheck disable=SC2016 # variables of that shell
    unshare --mount bash -euc '
        mount --bind "$system" "$system"
        cd "$system"
        for name in resolv.conf hosts pip.conf ssl/certs; do
            if [ -e "/etc/$name" ]; then mount --bind "/etc/$name" "etc/$name"; fi
        done
        mount --rbind /dev dev
        mount --rbind /sys sys
        mount -t proc proc proc
        mount -t tmpfs -o mode=1777 tmpfs tmp
        mount -t tmpfs tmpfs run
        mount --bind "$root" mnt/source
        mount --bind "$work" mnt/work
        mount --bind "$MEMMAP_DATA" mnt/data
        mount -o remount,bind,ro mnt/source
        mount -o remount,bind,ro "$system"
        exec chroot . env -C /mnt/work -u PIP_FIND_LINKS HOME=/mnt/work TMPDIR=/mnt/work MEMMAP_DATA=/mnt/data \
            PATH=/usr/sbin:/usr/bin:/sbin:/bin "$@"
    ' inside "$@"
}

test_version() { # VERSION
    local python=/mnt/work/$1/bin/python status=0 wheel note tests=(/mnt/source/tests)
    [ "$1" = 3.15 ] || tests+=("${only_newest[@]/"$root"//mnt/source}")
    inside "python$1" -m venv "/mnt/work/$1"
    inside "$python" -m pip install 'pip>=25.3'
    if ! inside "$python" -m pip install --only-binary :all: numpy; then
        echo "CPython $1 is left out: there is no wheel of NumPy for it"
        return
    fi
    with_warnings inside "$python" -m pip wheel --verbose --no-deps --only-binary numpy -Cbuild-dir="/mnt/work/build-$1" \
        --wheel-dir "/mnt/work/dist-$1" /mnt/source
    wheel=$(basename "$work/dist-$1"/*.whl)
    inside "$python" -m pip install --only-binary :all: --group /mnt/source/pyproject.toml:test \
        --group /mnt/source/pyproject.toml:consumers "/mnt/work/dist-$1/$wheel"
    inside "$python" -m pytest -q -p no:cacheprovider -c /mnt/source/pyproject.toml --junit-xml "/mnt/work/$1.xml" \
        "${tests[@]}" || status=$?
    note=$(inside "$python" -c 'import numpy, platform; print(f"CPython {platform.python_version()}, NumPy {numpy.__version__}")')
    report pytest "Linux $(uname -m), CPython $1" "$work/$1.xml" "wheel, all newest: $note; Debian unstable" || status=1
    return "$status"
}

system_packages debootstrap debootstrap
export MEMMAP_DATA=${MEMMAP_DATA:-$cache/data}
python3 "$root/tests/real_data.py" >/dev/null
system=$(cached debian-unstable "$packages $(declare -f unpack_unstable)" unpack_unstable)
export root work system
if [ $# = 0 ]; then set -- 3.14 3.15; fi
for version; do test_version "$version"; done
