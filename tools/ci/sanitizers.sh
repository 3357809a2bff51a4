#!/usr/bin/env bash
# Run the tests under gcc's sanitizers and under valgrind.  Usage: sanitizers.sh [address|thread|valgrind]...
# Each first has to find planted bugs, in the same process set-up as the tests.
. "$(dirname "${BASH_SOURCE[0]}")/lane.sh"
gcc=${CC:-gcc}
system_packages "$gcc" gcc libc6-dev
findings=$work/findings
mkdir -m 777 "$findings" # some tests switch to another user

runtime() { realpath "$("$gcc" -print-file-name="$1")"; }

# Build the package and the planted bugs for the checker.
build() { # FLAGS...
    local flags=$*
    echo "Building with ${flags:-no checks}"
    package=$work/package-$checker
    CC=$gcc CFLAGS="$flags" LDFLAGS="$flags" PATH=$work/venv/bin:$PATH "$work/venv/bin/python" -m pip install \
        --no-deps --no-build-isolation --target "$package" -Cbuild-dir="$work/build-$checker" \
        -Csetup-args=-Dbuildtype=debugoptimized -Csetup-args=-Db_lundef=false "$root"
    # shellcheck disable=SC2086 # flags are words
    "$gcc" -std=gnu11 -O1 -g $flags -shared -fPIC "$root/tests/platform/canary.c" -o "$work/canary-$checker.so"
}

# Run Python under the checker: the interpreter itself, not a shim, away from the sources.
launch() { (cd "$work" && PYTHONPATH=$package CI=true "${before[@]}" "$work/venv/bin/python" "$@"); }

forget_findings() { find "$findings" -type f -delete; }

# must_find TEXT BUG: the checker has to report TEXT when two threads run that bug of canary.c.
must_find() {
    launch - "$work/canary-$checker.so" "$2" >"$findings/output" 2>&1 <<'END' || true
import ctypes, sys, threading
import scikitplot.memmap
mistake = ctypes.CDLL(sys.argv[1])[sys.argv[2]]
threads = [threading.Thread(target=mistake) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
END
    if ! grep -rq "$1" "$findings"; then
        echo "The $checker check does not find a planted mistake: $2" >&2
        find "$findings" -type f -exec tail {} + >&2
        return 1
    fi
    echo "found, as it must be: $1"
    forget_findings
}

# run_tests LANE NOTE TESTS...: run tests; fail if the checker finds anything, also in processes started by tests.
run_tests() {
    local status=0 results=$work/$checker.xml
    launch -m pytest -q -p no:cacheprovider -c "$root/pyproject.toml" --junit-xml="$results" "${@:3}" || status=$?
    if grep -rq . "$findings"; then
        status=1
        find "$findings" -type f -exec head -n 100 {} \;
    fi
    forget_findings
    report pytest "$1, CPython $version" "$results" "$2"
    return $status
}

check_address() {
    # CPython never frees some allocations; its own allocator would hide overruns between small blocks
    before=(env PYTHONMALLOC=malloc "LD_PRELOAD=$(runtime libasan.so) $(runtime libubsan.so)"
        ASAN_OPTIONS="detect_leaks=0:handle_sigbus=0:handle_segv=0:log_path=$findings/asan"
        UBSAN_OPTIONS=print_stacktrace=1) # writes to standard error and kills the process
    build -fsanitize=address,undefined -fno-sanitize-recover=all
    must_find heap-buffer-overflow write_past_the_end
    must_find "signed integer overflow" overflow
    run_tests "ASan and UBSan, GCC build" "whole suite" "$root/tests"
}

check_thread() {
    local tests log=$work/users.log flags
    # the interpreter is not instrumented, but TSan intercepts the calls that make up its lock
    before=(setarch -R env "LD_PRELOAD=$(runtime libtsan.so)"
        TSAN_OPTIONS="handle_sigbus=0:handle_segv=0:report_signal_unsafe=0:suppressions=$root/tools/ci/tsan.supp:print_suppressions=0:log_path=$findings/tsan")
    setarch -R true 2>/dev/null || before=("${before[@]:2}") # not allowed in every container; only some kernels need it
    build -fsanitize=thread
    must_find "data race" race
    mapfile -t tests < <(grep -lE 'in_threads|threading' "$root"/tests/test_*.py)
    run_tests "TSan, GCC build" "the test modules that start threads" "${tests[@]}"

    for flags in -O2 "-O1 -fsanitize=thread"; do
        # shellcheck disable=SC2086 # flags are words
        "$gcc" -std=gnu11 -g -Wall -Wextra -Werror $flags -pthread -I"$root/tests/platform/stub" -I"$platform/.." \
            -I"$platform" "$root/tests/platform/test_users.c" "$platform"/{region,parallel}_posix.c -o "$work/test_users"
        "$work/test_users" | tee -a "$log"
    done
    report counts "C threads on one mapping, without a GIL" "$log" "plain, and with TSan"
}

check_valgrind() {
    local tests
    system_packages valgrind valgrind libc6-dbg
    before=(env PYTHONMALLOC=malloc valgrind --quiet --fair-sched=yes --suppressions="$root/tools/ci/valgrind.supp"
        --log-file="$findings/valgrind.%p" --error-exitcode=1)
    build
    must_find "Invalid write" write_past_the_end
    must_find "uninitialised value" read_what_was_never_written
    tests=(test_region.py test_bytes.py test_arrays.py)
    run_tests "valgrind memcheck, GCC build" "${tests[*]}" "${tests[@]/#/$root/tests/}"
}

if [ $# = 0 ]; then set -- address thread valgrind; fi
python=$(find_python 3.11)
version=$("$python" -c 'import platform; print(platform.python_version())')
"$python" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install 'pip>=25.1'
(cd "$root" && "$work/venv/bin/python" -m pip install --group build --group test)
for checker; do
    start=$SECONDS
    "check_$checker"
    echo "$checker: $((SECONDS - start)) s"
done
