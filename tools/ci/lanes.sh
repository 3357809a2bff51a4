#!/usr/bin/env bash
# Run all lanes or those named ("windows", "sanitizers address"), one per processor at a time, and print their reports
# as one table.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
export root work MEMMAP_REPORTS=${MEMMAP_REPORTS:-$root/build/lanes}
if [ $# = 0 ]; then
    rm -rf "$MEMMAP_REPORTS"
    # the long ones first
    set -- free_threaded "sanitizers address" windows wheels "unstable 3.14" "unstable 3.15" "sanitizers thread valgrind" "windows 3.13" \
        scikit_plots "other_cpus i386" "other_cpus s390x" "other_cpus aarch64" file_systems documentation consumers region_wine region_native compile_only
fi

run_lane() { # NAME ARGUMENT...
    local start=$SECONDS status=0 log
    log=$(mktemp "$work/log.XXXXXX")
    "$root/tools/ci/$1.sh" "${@:2}" </dev/null >"$log" 2>&1 || status=$?
    printf '\n--- %s\n' "$*"
    tail -n 400 "$log"
    [ "$status" = 0 ] || printf 'FAILED '
    echo "--- $*: $((SECONDS - start)) s"
    return "$status"
}
export -f run_lane
status=0
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'run_lane {}' || status=1
report table
exit $status
