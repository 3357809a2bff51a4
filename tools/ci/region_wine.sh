#!/usr/bin/env bash
# Build the C layer for Windows and test it under Wine.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
. "$root/tools/ci/wine.sh"
lane="C layer, Windows API under Wine $wine_version, GCC build"
shm=
trap 'rm -rf "$work" $shm' EXIT
# on tmpfs a file can grow to a size that cannot be mapped
if [ -w /dev/shm ]; then shm=$(mktemp -d /dev/shm/region.XXXXXX); fi

echo "$lane"
"$cc" -std=gnu11 -O2 -Wall -Wextra -Werror -I"$platform" \
    "$root/tests/platform/test_region.c" "$platform/region_windows.c" -o "$work/test_region.exe"
for parent in "$work" $shm; do
    wine "$work/test_region.exe" "Z:$(mktemp -d "$parent/files.XXXXXX")" | tee "$work/log"
    grep -q ' passed, 0 failed$' "$work/log" # a crash under Wine may end with status 0
    cat "$work/log" >>"$work/logs"
done
report counts "$lane" "$work/logs"
