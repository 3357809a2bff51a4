# lane.sh - code shared by the lanes, which source it. A lane is a script that tests the project on one platform. It can
# be called alone, and reports what it ran.
# shellcheck shell=bash
set -euo pipefail
shopt -s inherit_errexit # so that `cached` keeps no incomplete folder
export LC_ALL=C.UTF-8 # file names are UTF-8, under Wine too
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1 PIP_NO_INPUT=1 PIP_ROOT_USER_ACTION=ignore
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
# shellcheck disable=SC2034 # lanes use it
platform=$root/scikitplot/memmap/_platform
cache=${XDG_CACHE_HOME:-$HOME/.cache}/scikit-plots-memmap
mkdir -p "$cache"
work=$(mktemp -d)
chmod a+rx "$work" # some tests switch to another user
remove=("$work")
trap clean_up EXIT # also when a signal kills the lane

descendants() { # PID
    local child
    # shellcheck disable=SC2013 # numbers are words
    for child in $(cat /proc/"$1"/task/*/children 2>/dev/null); do
        echo "$child"
        descendants "$child"
    done
}

clean_up() {
    # shellcheck disable=SC2046 # numbers are words
    kill $(descendants $$) 2>/dev/null || true
    rm -rf "${remove[@]}"
}

# cached NAME KEY COMMAND...
# Print the path of a cached folder. If there is none for KEY, run COMMAND with the path as last argument to fill it.
# KEY contains all that the contents depend on: versions, checksums, the text of a script.
cached() {
    local folder
    folder=$cache/$1-$(printf %s "$2" | sha256sum | cut -c1-12)
    (
        flock 9
        if [ ! -d "$folder" ]; then
            rm -rf "$folder.part"
            mkdir "$folder.part"
            "${@:3}" "$folder.part" >&2
            mv "$folder.part" "$folder"
        fi
    ) 9>"$cache/$1.lock"
    echo "$folder"
}

# system_packages COMMAND PACKAGE...
# Install Debian packages unless COMMAND exists.
system_packages() {
    if command -v "$1" >/dev/null; then return; fi
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
        echo "$(basename "$0") needs the Debian packages ${*:2}" >&2
        return 1
    fi
    (
        flock 9
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "${@:2}" >/dev/null
    ) 9>"$cache/apt.lock"
}

debian_keyring=/usr/share/keyrings/debian-archive-keyring.gpg
# debian_mirror: print the URL that this system downloads packages of Debian from.
debian_mirror() {
    # shellcheck disable=SC2016 # variables of apt
    apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -m1 '/debian/*$'
}

# debian_source SUITE PACKAGE
# Download the upstream sources of a Debian package into the current folder. Apt verifies the signature; the system's
# apt configuration is not changed.
debian_source() {
    local apt_get
    echo "deb-src [signed-by=$debian_keyring] $(debian_mirror) $1 main" >sources.list
    mkdir -p apt/partial
    apt_get=(apt-get -qq -o "Dir::Etc::SourceList=$PWD/sources.list" -o Dir::Etc::SourceParts=/dev/null
        -o "Dir::State::Lists=$PWD/apt" -o "Dir::Cache=$PWD/apt" -o APT::Sandbox::User=root)
    "${apt_get[@]}" update
    "${apt_get[@]}" source --download-only --tar-only "$2"
}

# find_python VERSION: print the path of that interpreter.
find_python() {
    local python
    for python in "python$1" "$(pyenv root 2>/dev/null || echo ~/.pyenv)"/versions/"$1".*/bin/python; do
        "$python" -c 'import ensurepip, sys; print(sys.executable)' 2>/dev/null && return
    done
    echo "Python $1 is needed" >&2
    return 1
}

# venv PACKAGE... FOLDER: create a virtual environment for `cached`; its scripts contain the folder's final path.
venv() {
    local folder=${*: -1}
    "$(find_python 3.11)" -m venv "$folder"
    "$folder/bin/python" -m pip install 'pip>=25.1'
    "$folder/bin/python" -m pip install "${@:1:$#-1}"
    grep -lI '^#!' "$folder"/bin/* | xargs sed -i --follow-symlinks "1s|$folder|${folder%.part}|"
}

# with_warnings COMMAND...
# Run pip, which hides what compilers say, and print only their warnings; if it fails, the end of what it printed.
# In Cython's code two kinds are no mistake: fields that C sets to zero, and functions that return an atomic type.
with_warnings() {
    local log
    log=$(mktemp "$work/build.XXXXXX")
    if ! PIP_QUIET=0 "$@" >"$log" 2>&1; then
        tail -n 100 "$log"
        return 1
    fi
    grep ' warning: ' "$log" | grep -Ev '\.pyx\.c:.*\[-W(missing-field-initializers|ignored-qualifiers)\]$' || echo "no compiler warnings"
}

# Tests that take long and look at the operating system or at our own logic, not at the interpreter: the newest one runs
# them.
# shellcheck disable=SC2034 # lanes use it
only_newest=(--ignore="$root/tests/test_failing_calls.py" --ignore="$root/tests/test_state_machine.py")

# report ...: record what was run; see report.py.
report() { python3 "$root/tools/ci/report.py" "$@"; }
