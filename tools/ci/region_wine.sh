#!/usr/bin/env bash
# Build the C layer for Windows, and test it under Wine.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
. "$root/tools/ci/wine.sh"
lane="C layer, Windows API under Wine $wine_version, GCC build"
shm=
# on tmpfs a file can grow larger than what can be mapped
if [ -w /dev/shm ]; then shm=$(mktemp -d /dev/shm/region.XXXXXX); remove+=("$shm"); fi

echo "$lane"
"$cc" -std=gnu11 -O3 -Wall -Wextra -Werror -I"$platform" \
    "$root/tests/platform/test_region.c" "$platform/region_windows.c" -o "$work/test_region.exe"
"$cc" -std=gnu11 -O3 -Wall -Wextra -Werror -I"$platform" \
    "$root/tests/platform/test_fault_windows.c" "$platform"/{fault,region}_windows.c -o "$work/test_fault.exe"
run() { # PROGRAM FOLDER
    wine "$work/$1.exe" "Z:$2" | tee "$work/log"
    grep -q ' passed, 0 failed$' "$work/log" # a crash under Wine may exit with status 0
    cat "$work/log" >>"$work/logs"
}
run test_fault "$work"
for parent in "$work" $shm; do run test_region "$(mktemp -d "$parent/files.XXXXXX")"; done
report counts "$lane" "$work/logs"
