#!/usr/bin/env bash
# Run the lanes, or those named ("windows", "sanitizers address"), as many at once as there are processors, and print
# what they reported as one table.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export here MEMMAP_REPORTS=${MEMMAP_REPORTS:-$here/../../build/lanes}
if [ $# = 0 ]; then
    rm -rf "$MEMMAP_REPORTS"
    # the long ones first; s390x and aarch64 are emulated, which takes longer than all of these, and are called by name
    set -- free_threaded "sanitizers address" windows wheels "sanitizers thread valgrind" "other_cpus i386" \
        region_wine region_native compile_only
fi

run_lane() { # NAME ARGUMENT...
    local start=$SECONDS status=0 log
    log=$(mktemp)
    "$here/$1.sh" "${@:2}" </dev/null >"$log" 2>&1 || status=$?
    printf '\n--- %s\n' "$*"
    tail -n 400 "$log"
    [ $status = 0 ] || printf 'FAILED '
    echo "--- $*: $((SECONDS - start)) s"
    rm "$log"
    return $status
}
export -f run_lane
status=0
printf '%s\n' "$@" | xargs -P "$(nproc)" -I{} bash -c 'run_lane {}' || status=1
python3 "$here/report.py" table
exit $status
