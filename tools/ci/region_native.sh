#!/usr/bin/env bash
# Build and test the C layer alone on this system: plain, then with ASan and UBSan.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
shm=
# on tmpfs a file can grow larger than what can be mapped
if [ -w /dev/shm ]; then shm=$(mktemp -d /dev/shm/region.XXXXXX); remove+=("$shm"); fi

check() { # NAME FLAGS...
    local name=$1 parent
    shift
    echo "C layer, $(uname -s) $(uname -m), $name"
    "${CC:-gcc}" -std=gnu11 -g -Wall -Wextra -Werror "$@" -pthread -I"$platform" \
        "$root/tests/platform/test_region.c" "$platform"/{region,parallel}_posix.c -o "$work/test_region"
    "${CC:-gcc}" -std=gnu11 -g -Wall -Wextra -Werror "$@" -pthread -I"$platform" \
        "$root/tests/platform/test_fault_posix.c" "$platform"/{fault,region,parallel}_posix.c -o "$work/test_fault"
    for parent in "$work" $shm; do
        "$work/test_region" "$(mktemp -d "$parent/files.XXXXXX")" | tee -a "$work/log"
        ASAN_OPTIONS=handle_sigbus=0:handle_segv=0 "$work/test_fault" "$(mktemp -d "$parent/files.XXXXXX")" | tee -a "$work/log"
    done
}

check "GCC build" -O2
check "GCC build with ASan and UBSan" -O1 -fsanitize=address,undefined -fno-sanitize-recover=all
report counts "C layer, $(uname -s) $(uname -m)" "$work/log" "plain, and with ASan and UBSan"
