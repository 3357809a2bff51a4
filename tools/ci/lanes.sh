#!/usr/bin/env bash
# Run all lanes, or those named, one after the other, and print what they reported as one table.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export MEMMAP_REPORTS=${MEMMAP_REPORTS:-$here/../../build/lanes}
failed=
if [ $# = 0 ]; then
    rm -rf "$MEMMAP_REPORTS"
    set -- region_native wheels region_wine windows free_threaded sanitizers other_cpus compile_only
fi
for lane in "$@"; do
    start=$SECONDS
    printf '\n--- %s\n' "$lane"
    "$here/$lane.sh" </dev/null || failed+=" $lane"
    echo "--- $lane: $((SECONDS - start)) s"
done
python3 "$here/report.py" table
[ -z "$failed" ] || { echo "Failed:$failed"; exit 1; }
