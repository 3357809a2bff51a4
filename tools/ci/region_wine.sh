#!/usr/bin/env bash
# Build the C layer for Windows and test it under Wine.
set -euo pipefail
export LC_ALL=C.UTF-8 # file names are UTF-8, under Wine too
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
platform=$root/scikitplot/memmap/_platform
cc=x86_64-w64-mingw32-gcc
PATH=$PATH:/usr/lib/wine # where Debian keeps wine64 and wineserver

if ! command -v "$cc" >/dev/null || ! command -v wine64 >/dev/null; then
    if [ "$(id -u)" != 0 ]; then
        echo "region_wine.sh needs the Debian packages gcc-mingw-w64-x86-64 and wine64" >&2
        exit 1
    fi
    apt-get update -q
    apt-get install -q -y --no-install-recommends gcc-mingw-w64-x86-64 wine64
fi

build=$(mktemp -d)
shm=
trap 'rm -rf "$build" $shm' EXIT
# on tmpfs a file can grow to a size that cannot be mapped
if [ -w /dev/shm ]; then shm=$(mktemp -d /dev/shm/region.XXXXXX); fi

cache=${XDG_CACHE_HOME:-$HOME/.cache}/scikit-plots-memmap
mkdir -p "$cache"
export WINEPREFIX=$cache/wine WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="
wine() { wine64 "$@" </dev/null 2>&1 | tr -d '\r'; } # Wine writes to a pipe, not to a file
(
    flock 9
    [ -e "$WINEPREFIX/system.reg" ] || wine wineboot -i 9>&- >/dev/null # the server lives on and must not hold the lock
) 9>"$cache/wine.lock"

version=$(wine --version)
version=${version#wine-}
echo "C layer, Windows API under Wine ${version%% *}, GCC build"
"$cc" -std=gnu11 -O2 -Wall -Wextra -Werror -I"$platform" \
    "$root/tests/platform/test_region.c" "$platform/region_windows.c" -o "$build/test_region.exe"
for parent in "$build" $shm; do
    wine "$build/test_region.exe" "Z:$(mktemp -d "$parent/files.XXXXXX")" | tee "$build/log"
    grep -q ' passed, 0 failed$' "$build/log" # a crash under Wine may end with status 0
done
