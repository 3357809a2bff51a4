# wine.sh - code shared by the lanes that run under Wine, which source it after lane.sh.
# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154
PATH=$PATH:/usr/lib/wine # where Debian keeps wine64 and wineserver
system_packages x86_64-w64-mingw32-gcc gcc-mingw-w64-x86-64
system_packages wine64 wine64
cc=x86_64-w64-mingw32-gcc
wine_version=$(wine64 --version)
wine_version=${wine_version#wine-}
wine_version=${wine_version%% *}
export WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml=" # no .NET and no browser, which Wine would offer to download

# wine PROGRAM ARGUMENT...
# Run a Windows program through a pipe: writing to a file may lose output.
wine() { wine64 "$@" </dev/null 2>&1 | tr -d '\r'; }

new_prefix() { # FOLDER
    WINEPREFIX=$1 wine wineboot -i
    WINEPREFIX=$1 wineserver -w # until everything is written
}
WINEPREFIX=$(cached wine "$wine_version" new_prefix)
export WINEPREFIX
