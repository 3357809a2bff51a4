#!/usr/bin/env bash
# Run the tests that depend on the file system, or --all tests, on file systems of several kinds: the temporary folder of
# the tests is on each of them in turn. "images" are file systems that can only be read, "failing" one that fails on
# command.
# Usage: file_systems.sh [--all] [ext4|xfs|btrfs|overlay|tmpfs|fuse|fuse_direct_io|images|failing]...
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export PATH=$PATH:/usr/sbin:/sbin PIP_NO_COMPILE=1 # modules are compiled on import
unset PYTHONDONTWRITEBYTECODE

# Files are opened, made, replaced, resized, read, written, paged, lost, and left by a killed process. The other tests
# touch a file system only as these do, or mount their own. So do some of these files, too.
tests=(opening files rights size npy stores paging batches concat sharing crash_safety faults)
chosen="(not test_faults or trunc or cut or lost) and not (ext2 or tmpfs or power_cut or billion or memory_stays or storm)"
all=
if [ "${1:-}" = --all ]; then
    all=1
    shift
fi
export MEMMAP_KILLS=5

# mount_KIND FOLDER: mount a new file system.
mount_image() { # KIND FOLDER
    truncate -s 2G "$2.image"
    "mkfs.$1" -q "$2.image"
    mount -t "$1" -o loop "$2.image" "$2"
}
mount_ext4() { mount_image ext4 "$1"; }
mount_xfs() { mount_image xfs "$1"; }
mount_btrfs() { mount_image btrfs "$1"; }
mount_tmpfs() { mount -t tmpfs -o size=8G tmpfs "$1"; }
mount_overlay() { # as in a container
    mkdir "$1".{lower,upper,work}
    mount -t overlay -o "lowerdir=$1.lower,upperdir=$1.upper,workdir=$1.work" overlay "$1"
}
mount_fuse() { # OPTION...
    mkdir "$1.source"
    bindfs "${@:2}" "$1.source" "$1"
}
mount_fuse_direct_io() { mount_fuse "$1" -o direct_io; }

run_tests() { # LANE NOTE ARGUMENT...
    local results status=0
    results=$(mktemp "$work/results.XXXXXX")
    pytest -q -p no:cacheprovider -c "$root/pyproject.toml" -o tmp_path_retention_policy=failed --junit-xml="$results" \
        "${@:3}" || status=1
    report pytest "File system: $1" "$results" "$2" || status=1
    return "$status"
}

run_on() { # KIND
    local folder=$work/$1 status=0
    mkdir "$folder"
    "mount_$1" "$folder"
    chmod 1777 "$folder"
    if [ -n "$all" ] && [ "$1" != fuse_direct_io ]; then # where numpy.memmap maps nothing that can be written
        TMPDIR=$folder run_tests "$1" "" -m "not consumers" "$root/tests" || status=1
    else
        TMPDIR=$folder run_tests "$1" "the tests that depend on it" -k "$chosen" -m "not consumers" "${tests[@]}" ||
            status=1
    fi
    umount --lazy "$folder"
    return "$status"
}

run_images() { run_tests "squashfs and erofs" "read only" "$root/tests/test_read_only_file_systems.py"; }
run_failing() { run_tests "FUSE that fails" "EIO, delays, cuts on command" "$root/tests/test_failing_file_system.py"; }

known() { grep -qw "$1" /proc/filesystems || modprobe -q "$1"; } # NAME: whether the kernel has that file system

clean_up_mounts() {
    local folder
    for folder in "$work"/*/; do
        if mountpoint -q "$folder"; then umount --lazy "$folder"; fi
    done
    clean_up
}
trap clean_up_mounts EXIT

system_packages mkfs.ext4 e2fsprogs
system_packages mkfs.xfs xfsprogs
system_packages mkfs.btrfs btrfs-progs
system_packages bindfs bindfs libfuse2
system_packages mksquashfs squashfs-tools
system_packages mkfs.erofs erofs-utils
"$(find_python 3.11)" -m venv "$work/venv"
export PATH=$work/venv/bin:$PATH
pip install 'pip>=25.1'
pip install --group "$root/pyproject.toml:test" --group "$root/pyproject.toml:fuse" "$root"
tests=("${tests[@]/#/$root/tests/test_}")
tests=("${tests[@]/%/.py}")
cd "$work" # away from the sources, so that the installed package is imported

if [ $# = 0 ]; then set -- ext4 xfs btrfs overlay tmpfs fuse fuse_direct_io images failing; fi
status=0
for name; do
    start=$SECONDS
    case $name in
        images) needed="squashfs erofs" ;;
        fuse* | failing) needed=fuse ;;
        *) needed=$name ;;
    esac
    for kind in $needed; do
        if ! known "$kind"; then
            echo "$name is left out: this kernel has no $kind"
            continue 2
        fi
    done
    case $name in
        images | failing) "run_$name" || status=1 ;;
        *) run_on "$name" || status=1 ;;
    esac
    echo "$name: $((SECONDS - start)) s"
done
exit $status
