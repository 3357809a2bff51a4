"""Pages that vanish: the process lives, and nobody gets wrong numbers in silence. Each case has its own process."""

import functools
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scikitplot.memmap import DamagedError, MemMap, _guard, set_fault_policy

pytestmark = pytest.mark.linux
needs_64_bits = pytest.mark.skipif(sys.maxsize < 1 << 32, reason="needs a 64-bit address space")

PRELUDE = """
import os, resource, signal, sys, threading
from mmap import PAGESIZE as PAGE
import numpy as np
from scikitplot.memmap import DamagedError, MemMap, set_fault_policy
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
N = 1 << 20
ROWS = np.arange(1, N + 1, dtype="<f8")
ROWS.tofile("data.bin")

def cut(nbytes=PAGE):
    os.truncate("data.bin", nbytes)

def regrow():
    with open("data.bin", "r+b") as file:
        file.write(ROWS)

def raises(call, *args, **kwargs):
    try:
        call(*args, **kwargs)
        for _ in range(100): pass  # where an interrupt arrives at the latest
    except DamagedError as error:
        return error
    raise SystemExit(f"no DamagedError from {call}")
"""


@pytest.fixture
def survives(run_python):
    """Run code that meets lost pages; what it prints last is "done"."""

    def run(code, *args):
        assert run_python(PRELUDE + code + '\nprint("done")', *args).splitlines()[-1] == "done"

    return run


@pytest.fixture
def ends_by(tmp_path):
    """Run code that is ended by a signal, because nothing of ours guards what it touches."""

    def run(number, code):
        command = [sys.executable, "-c", PRELUDE + code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == -number, done.stderr
        return done.stderr

    return run


@pytest.fixture
def ends_by_sigbus(ends_by):
    return functools.partial(ends_by, signal.SIGBUS)


# ------------------------------------------------------------------------------------------------------- truncation


@pytest.mark.maps_shared
def test_control_numpy_memmap_is_ended_by_a_truncation(ends_by_sigbus):
    ends_by_sigbus("""
array = np.memmap("data.bin", "<f8", "r")
cut()
array.sum()
""")


@pytest.mark.parametrize("store", ["mm[:] = ROWS", "mm.write_at(0, ROWS)"])
def test_a_large_store_never_grows_a_file_that_was_truncated(survives, store):
    survives(f"""
mm = MemMap.open("data.bin", "r+", dtype="<f8")
mm.evict()
cut()
def store():
    {store}
assert "truncated" in str(raises(store))
assert os.path.getsize("data.bin") == PAGE
regrow()
before = open("data.bin", "rb").read()
ROWS += 1
raises(store)  # nothing reaches the file of a map that is damaged
assert open("data.bin", "rb").read() == before
mm.close()
""")


def test_threads_fork_at_the_same_time(run_python):
    out = run_python("""
import faulthandler, os, threading, time
faulthandler.dump_traceback_later(30, exit=True)
os.register_at_fork(before=lambda: time.sleep(0.01))  # runs after ours, and lets another thread go on
from scikitplot.memmap import MemMap
open("data.bin", "wb").write(bytes(10))
mm = MemMap.open("data.bin")

def work():
    for _ in range(5):
        if (child := os.fork()) == 0:
            os._exit(mm[0])
        assert os.waitpid(child, 0)[1] == 0

threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("done")
""")
    assert out == "done"


def test_the_main_thread_gets_the_error_at_the_very_call(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
assert not mm.damaged
cut()
total = None
try:
    total = view.sum()
except DamagedError as error:
    assert error.filename == os.path.abspath("data.bin")
    assert f"Bytes {PAGE}:8388608 of the map" in str(error) and "truncated" in str(error)
assert total is None and mm.damaged
""")


@pytest.mark.parametrize("call", [
    "mm[-1]", "mm.read_at(8 * N - 8, 8)", "mm.readinto_at(PAGE, bytearray(9))", "mm.gather([0, N - 1])", "mm[[0, -1]]",
    "mm[mm[:] > 0]", "-1 in mm", "mm.view('u1').sum()", "list(mm)",
])  # fmt: skip
def test_a_method_that_meets_a_lost_page_raises_itself_and_once(survives, call):
    survives(f"""
mm = MemMap.open("data.bin", dtype="<f8")
cut()
error = raises(lambda: {call})
for _ in range(1000): pass
assert mm.damaged and error.errno and error.filename == mm.path
""")


def test_stores_into_a_lost_tail_are_reported(survives):
    survives("""
for store in (lambda: mm.write_at(PAGE + 5, b"abc"), lambda: mm.__setitem__(-1, 5), lambda: mm[:].fill(1)):
    mm = MemMap.open("data.bin", "r+", dtype="<f8")
    cut()
    assert "What was written may be lost" in str(raises(store))
    mm.close()
    regrow()
""")


def test_every_later_call_that_needs_data_raises_and_the_others_work(survives):
    survives("""
set_fault_policy("flag")
mm = MemMap.open("data.bin", "r+", dtype="<f8")
cut()
mm[:].sum()
for call in (lambda: mm[0], lambda: mm[:2], lambda: mm[...], lambda: mm.read_at(0, 1), lambda: mm.write_at(0, b"a"),
             lambda: mm.view("u1"), mm.memoryview, lambda: mm.window(0, 1), mm.to_numpy, lambda: mm.gather([0]),
             lambda: np.asarray(mm), lambda: iter(mm), mm.flush, mm.evict, mm.lock, lambda: mm.resize(5),
             lambda: mm.append([1]), mm.detach, mm.verify, mm.recover):
    raises(call)
assert mm.damaged and mm.shape == (N,) and "data.bin" in repr(mm) and not mm.closed
mm.close()
assert mm.closed and mm.damaged
""")


def test_a_file_cut_and_regrown_is_whole_again_after_recover(survives):
    survives("""
for mode in ("r", "r+", "c"):
    mm = MemMap.open("data.bin", mode, dtype="<f8")
    view = mm[:]
    cut()
    raises(view.sum)
    assert f"Bytes {PAGE}:" in str(raises(mm.recover)) and mm.damaged
    regrow()
    mm.recover()
    mm.verify()
    assert not mm.damaged and view.sum() == ROWS.sum() and mm[-1] == N
    cut()
    raises(view.sum)
    regrow()
    mm.recover()
    del view
    mm.close()
""")


def test_a_file_that_is_not_found_is_recovered_once_it_is_back(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
os.rename("data.bin", "away.bin")
os.truncate("away.bin", PAGE)
assert "can no longer be found or read" in str(raises(mm.read_at, 2 * PAGE, 8))
for there in ["nothing", "another file"]:
    error = raises(mm.recover)
    assert "Bytes 8192:12288" in str(error) and isinstance(error.__context__, OSError) and mm.damaged
    ROWS.tofile("data.bin")
os.rename("away.bin", "data.bin")
regrow()
mm.recover()
assert np.array_equal(mm[:], ROWS) and not mm.damaged
""")


def test_private_changes_outlast_a_recovery(survives):
    survives("""
mm = MemMap.open("data.bin", "c", dtype="<f8")
mm[0] = -1
cut()
raises(lambda: mm[-1])
regrow()
mm.recover()
assert mm[0] == -1 and mm[-1] == N and np.fromfile("data.bin", "<f8")[0] == 1
mm.close()
""")


def test_a_cut_inside_the_last_page_is_seen_by_verify(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
cut(8 * N - 8)
assert mm[-1] == 0  # no signal: a known limit
assert "Bytes 8388600:8388608" in str(raises(mm.verify)) and not mm.damaged
mm.close()
""")


def test_a_file_removed_or_replaced_leaves_the_map_whole_and_verify_tells(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
mm.verify()
ROWS[:5].tofile("other.bin")
os.replace("other.bin", "data.bin")
try:
    mm.verify()
except DamagedError:
    raise
except OSError as error:
    assert "Another file has taken the place" in str(error)
os.unlink("data.bin")
try:
    mm.verify()
except FileNotFoundError:
    pass
else:
    raise SystemExit("removed")
assert not mm.damaged and (mm[...] == ROWS).all()
mm.close()
""")


@pytest.mark.parametrize("moved", ["os.rename('data.bin', 'away.bin')", "os.unlink('data.bin')"])
def test_verify_tells_of_a_truncation_first_where_the_name_is_lost_as_well(survives, moved):
    survives(f"""
mm = MemMap.open("data.bin", "r+", dtype="<f8")
cut()
{moved}
assert f"Bytes {{PAGE}}:" in str(raises(mm.verify)) and not mm.damaged
mm.close()
""")


def test_a_map_that_is_damaged_while_its_new_size_is_asked_for_keeps_its_size_and_its_damage(survives):
    survives("""
set_fault_policy("flag")
mm = MemMap.open("data.bin", "r+", dtype="<f8")
class Rows:
    def __index__(self):
        global lost
        cut()
        assert lost[-1] == 0
        regrow()
        lost = None  # no view is in the way
        return rows
for rows in (N // 2, 2 * N):
    lost = mm[:]
    assert "truncated" in str(raises(mm.resize, Rows()))
    assert mm.damaged and os.path.getsize("data.bin") == ROWS.nbytes and mm.shape == (N,)
    mm.recover()
    assert (mm[:] == ROWS).all()
mm.close()
""")


@pytest.mark.parametrize("sizes", [(0, 1024), (1024, 4096), (4096, 1024), (1024, 0, 1024), (1024, "too many", 1024)])
def test_a_map_is_guarded_whatever_its_size_was_before(survives, sizes):
    survives(f"""
mm = MemMap.open("other.bin", "w+", shape={sizes[0]} * PAGE)
for size in {sizes[1:]}:
    try:
        mm.resize(1 << 60 if size == "too many" else size * PAGE)
    except (OSError, ValueError):
        assert size == "too many"
view = mm[:]
os.truncate("other.bin", 10 * PAGE)
assert f"Bytes {{10 * PAGE}}:{{len(view)}} of" in str(raises(view.sum))
""")


def test_flush_tells_that_stores_were_cut_off(survives):
    survives("""
mm = MemMap.open("data.bin", "r+", dtype="<f8")
mm[:] = 5
cut()
assert f"Bytes {PAGE}:" in str(raises(mm.flush))
regrow()
mm.flush()
mm.close()
""")


@pytest.mark.unsanitized  # with checkers, locking does nothing
def test_locking_pages_that_were_cut_off_names_the_truncation_and_locks_nothing(survives):
    survives("""
def locked():
    with open("/proc/self/status") as status:
        return next(line for line in status if line.startswith("VmLck"))
before = locked()
for mode in ("r", "r+"):
    mm = MemMap.open("data.bin", mode, dtype="<f8")
    cut(4 * PAGE)
    assert f"Bytes {4 * PAGE}:" in str(raises(mm.lock)) and locked() == before
    regrow()
    mm.lock()
    mm.close()
""")


def test_a_with_block_closes_and_then_raises(survives):
    survives("""
set_fault_policy("flag")
def block():
    global mm
    with MemMap.open("data.bin", dtype="<f8") as mm:
        cut()
        mm[:].sum()
raises(block)
assert mm.closed
regrow()
try:
    with MemMap.open("data.bin", dtype="<f8") as mm:
        cut()
        mm[:].sum()
        raise KeyError("from the body")
except KeyError:
    assert mm.closed
""")


def test_a_with_block_raises_although_a_view_outlives_it(survives):
    survives("""
import warnings
set_fault_policy("flag")
def block():
    global mm, view
    with MemMap.open("data.bin", dtype="<f8") as mm:
        view = mm[:]
        cut()
        view.sum()
for how in "always", "error":
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter(how)
        raises(block)
    assert mm.closed and len(seen) == (how == "always")
    del view
    regrow()
""")


def test_the_bytes_that_were_lost_are_named_when_the_map_is_closed(survives):
    survives("""
set_fault_policy("flag")
def block():
    with MemMap.open("data.bin", dtype="<f8") as mm:
        cut()
        mm[:].sum()
assert f"Bytes {PAGE}:{8 * N} of the map are damaged" in str(raises(block))
""")


def test_windows_share_the_damage(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
window = mm.window(N // 2, N)
cut()
raises(lambda: window[0])
assert window.damaged and mm.damaged
raises(lambda: mm[0])
window.close()
mm.close()
assert mm.damaged
""")


def test_t_of_a_damaged_map_works_and_is_damaged(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8", shape=(-1, 16))
cut()
raises(mm.gather, [-1])
turned = mm.T
assert turned.damaged and turned.shape == mm.shape[::-1]
raises(lambda: turned[0])
regrow()
turned.recover()
assert not mm.damaged and (turned[...] == ROWS.reshape(-1, 16).T).all()
turned.close()
mm.close()
""")


def test_a_detached_array_is_guarded_too(survives):
    survives("""
array = MemMap.open("data.bin", dtype="<f8").detach()
cut()
raises(array.sum)
assert array[-1] == 0
""")


@pytest.mark.native
@needs_64_bits
def test_a_1_tib_sparse_file_is_survived(survives):
    survives("""
with open("big.bin", "wb") as file:
    file.truncate(1 << 40)
mm = MemMap.open("big.bin", "r+")
os.truncate("big.bin", 0)
raises(lambda: mm[1 << 39])
raises(lambda: mm[:0])
assert mm.damaged
mm.close()
""")


@pytest.mark.unsanitized
@needs_64_bits
def test_a_writer_that_never_checks_takes_bounded_memory(survives):
    survives("""
set_fault_policy("flag")
with open("big.bin", "wb") as file:
    file.truncate(1 << 34)
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
mm = MemMap.open("big.bin", "r+")
view = mm[:]
os.truncate("big.bin", 0)
for start in range(0, 1 << 33, 1 << 26):
    view[start : start + (1 << 26) : PAGE] = 1
assert mm.damaged
""")


def test_no_sum_is_wrong_although_the_file_is_cut_while_it_runs(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
for round in range(20):
    sums = []
    cutter = threading.Timer(0.001 * round, cut)
    cutter.start()
    try:
        while True: sums.append(view.sum())
    except DamagedError as error:
        assert "truncated" in str(error)
    assert set(sums) <= {ROWS.sum()}
    cutter.join()
    regrow()
    mm.recover()
""")


# --------------------------------------------------------------------------------------- writes to a read-only map


WRITERS = """
import ctypes
def forced(view):  # an array over the same memory that NumPy takes for writable
    return np.ctypeslib.as_array((ctypes.c_uint8 * view.nbytes).from_address(view.ctypes.data))

def poke(view, at=9000, size=1):
    ctypes.memset(view.ctypes.data + at, 9, size)

def unchanged():
    return np.array_equal(np.fromfile("data.bin", "<f8"), ROWS)
"""


def test_control_numpy_memmap_is_ended_by_a_write_to_a_read_only_map(ends_by):
    ends_by(signal.SIGSEGV, WRITERS + "poke(np.memmap('data.bin', mode='r'))")


@pytest.mark.parametrize(("write", "start", "stop"), [
    ("poke(view)", "2 * PAGE", "3 * PAGE"),  # without the GIL
    ("forced(view)[9000] = 9", "2 * PAGE", "3 * PAGE"),  # with it
    ("poke(view, PAGE - 4, 8)", "0", "2 * PAGE"),
    ("poke(view, view.nbytes - 1)", "view.nbytes - PAGE", "view.nbytes"),
    ("forced(view).fill(9)", "0", "view.nbytes"),
    ("np.add(forced(view), 1, out=forced(view))", "0", "view.nbytes"),
])  # fmt: skip
def test_c_code_that_writes_to_a_read_only_map_raises_and_changes_nothing(survives, write, start, stop):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
for _ in range(2):
    error = raises(lambda: exec({write!r}))
    said = f'Something wrote to bytes {{{start}}}:{{{stop}}} of a map opened with "r". The file is unchanged'
    assert said in str(error) and 'mode="c"' in str(error) and "recover()" in str(error)
    assert error.errno == 13 and error.filename == mm.path
    assert mm.damaged and unchanged()
    for call in (lambda: mm[0], lambda: mm[...], lambda: mm.read_at(0, 1), lambda: mm.gather([0]), mm.verify, mm.evict):
        assert said in str(raises(call))
    mm.recover()
    mm.verify()
    assert not mm.damaged and (view == ROWS).all() and (mm[...] == ROWS).all()
del view, error  # its traceback has the view
mm.close()
""")


def test_one_error_is_raised_for_a_write_over_a_whole_map(survives):
    survives(f"""{WRITERS}
os.truncate("data.bin", 1 << 26)
mm = MemMap.open("data.bin")
array = forced(mm[...])
for step in (PAGE, -PAGE):
    assert f"bytes 0:{{1 << 26}} of" in str(raises(array[::step].fill, 9))
    array[::step].fill(8)
    for _ in range(1000): pass  # no other is raised
    mm.recover()
assert (array[: 8 * N] == ROWS.view("u1")).all()
""")


def test_a_thread_that_writes_to_a_read_only_map_gets_the_error(survives):
    survives(f"""{WRITERS}
from concurrent.futures import ThreadPoolExecutor
def write(call):
    try:
        call()
        for _ in range(1000): pass
    except DamagedError as error:
        return str(error)
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
array = forced(view)
with ThreadPoolExecutor(1) as pool:
    for call in (lambda: poke(view), lambda: array.fill(9), lambda: array.__setitem__(-1, 9)):
        assert "Something wrote to bytes" in pool.submit(write, call).result()
        for _ in range(1000): pass  # nothing is raised here
        mm.recover()
assert (view == ROWS).all()
""")


def test_threads_that_write_to_the_same_read_only_map_all_get_the_error(survives):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
told = []
gate = threading.Barrier(8)
def work(k):
    gate.wait()
    try:
        for at in range(k * PAGE, view.nbytes, 8 * PAGE): poke(view, at, PAGE)
        mm[0]
    except DamagedError:
        told.append(k)
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert sorted(told) == list(range(8)) and unchanged()
mm.recover()
assert (view == ROWS).all()
""")


def test_windows_and_t_of_a_read_only_map_share_what_was_written(survives):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8", shape=(-1, 16))
window, turned = mm.window(100, 200), mm.T
raises(poke, window[...], 8)
assert window.damaged and turned.damaged and mm.damaged
raises(lambda: turned[0])
turned.recover()
assert not mm.damaged and (window[...] == ROWS.reshape(-1, 16)[100:200]).all()
""")


@pytest.mark.parametrize("lost", ["os.unlink('data.bin')", "ROWS[:9].tofile('new'); os.rename('new', 'data.bin')"])
def test_what_was_written_can_be_dropped_although_the_file_was_removed_or_replaced(survives, lost):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8")
raises(poke, mm[...])
{lost}
mm.recover()
assert not mm.damaged and (mm[...] == ROWS).all()
""")


def test_a_map_is_written_and_then_truncated(survives):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
raises(poke, view)
cut(4 * PAGE)
error = raises(poke, view, 9 * PAGE)
assert error.errno == 5 and "truncated" in str(error) and 'wrote to a map opened with "r"' in str(error)
raises(mm.recover)
regrow()
mm.recover()
assert not mm.damaged and (mm[...] == ROWS).all()
""")


@pytest.mark.unsanitized  # with checkers, locking does nothing
def test_pages_that_were_locked_and_written_are_locked_again_by_recover(survives):
    survives(f"""{WRITERS}
def locked():
    with open("/proc/self/status") as status:
        return next(line for line in status if line.startswith("VmLck"))
mm = MemMap.open("data.bin", shape=32 * PAGE)
mm.lock(slice(0, 8 * PAGE))
before = locked()
raises(poke, mm[...], 0, 16 * PAGE)
mm.recover()
assert locked() == before and (mm[...] == ROWS.view("u1")[: 32 * PAGE]).all()
""")


def test_what_is_left_of_a_revoked_read_only_map_can_be_written(survives):
    survives(f"""{WRITERS}
import warnings; warnings.simplefilter("ignore", RuntimeWarning)
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
mm.close(views="revoke")
raises(poke, view)
assert not view[:9].any() and mm.closed and unchanged()
""")


def test_a_with_block_in_which_a_read_only_map_was_written_closes_and_then_raises(survives):
    survives(f"""{WRITERS}
set_fault_policy("flag")
def block():
    global mm
    with MemMap.open("data.bin", dtype="<f8") as mm:
        poke(mm[...])
assert "Something wrote to bytes" in str(raises(block)) and mm.closed and unchanged()
""")


def test_a_child_inherits_what_was_written_and_writes_for_itself(survives):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
raises(poke, view)
child = os.fork()
if not child:
    raises(poke, view, 9 * PAGE)
    assert forced(view)[9000] == 9
    mm.recover()
    assert (mm[...] == ROWS).all()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert mm.damaged and forced(view)[9000] == 9 and (view[PAGE:] == ROWS[PAGE:]).all()
""")


def test_a_read_only_map_still_shows_what_others_write_to_the_file(survives):
    survives(f"""{WRITERS}
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[...]
for write in (None, poke):
    if write: raises(write, view); mm.recover()
    assert view[1125] == ROWS[1125]
    with open("data.bin", "r+b") as file:
        file.seek(9000)
        file.write(np.float64(-1))
    assert view[1125] == -1
    regrow()
""")


@pytest.mark.parametrize("set_up", ["", "MemMap.open('data.bin').close(); "])
def test_policy_off_leaves_writes_to_read_only_maps_to_the_program(ends_by, set_up):
    ends_by(signal.SIGSEGV, f"{WRITERS}{set_up}set_fault_policy('off')\npoke(MemMap.open('data.bin')[...])")


def test_policy_flag_interrupts_no_writer(survives):
    survives(f"""{WRITERS}
set_fault_policy("flag")
mm = MemMap.open("data.bin", dtype="<f8")
poke(mm[...])
for _ in range(1000): pass
assert mm.damaged and "Something wrote" in str(raises(lambda: mm[0]))
""")


# ---------------------------------------------------------------------------------------------------------- threads


def test_a_thread_that_reads_a_view_gets_the_error(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
cut()
said = []
def work():
    try:
        while True: view.sum()
    except DamagedError as error:
        said.append(str(error))
thread = threading.Thread(target=work)
thread.start()
thread.join(60)
assert not thread.is_alive() and "truncated" in said[0]
""")


def test_eight_threads_that_meet_lost_pages_all_get_the_error(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
said = []
gate = threading.Barrier(9)
def work(k):
    gate.wait()
    try:
        # a thread that only meets zeros that are there already is told by its next method call
        while True: (view[k * N // 8 :].sum(), mm[k]) if k % 2 else mm.gather(np.arange(k, N, 997))
    except DamagedError:
        said.append(k)
threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
for thread in threads: thread.start()
gate.wait()
cut(0)
for thread in threads: thread.join()
assert sorted(said) == list(range(8))
""")


@pytest.mark.parametrize("size", [100, 1 << 20], ids=["with the GIL", "without the GIL"])
def test_no_thread_of_a_pool_hands_on_a_wrong_result(survives, size):
    survives(f"""
from concurrent.futures import ThreadPoolExecutor
def total(view):
    return float(view.sum())
sys.setswitchinterval(1e-5)
with ThreadPoolExecutor(4) as pool:
    for _ in range(200):
        maps = [MemMap.open("data.bin", dtype="<f8") for _ in range(4)]
        views = [mm[-{size}:] for mm in maps]
        cut()
        futures = [pool.submit(total, view) for view in views[:2]] + [pool.submit(view.sum) for view in views[2:]]
        assert all(isinstance(future.exception(60), DamagedError) for future in futures)
        del futures
        os.truncate("data.bin", 8 * N)
    assert pool.submit(int).result(60) == 0 and len(pool._threads) == 4
""")


@pytest.mark.unsanitized
def test_the_main_thread_gets_the_error_of_a_thread_without_python_before_its_result(survives):
    survives("""
import ctypes
libc = ctypes.CDLL(None)
strlen = ctypes.cast(libc.strlen, ctypes.c_void_p)
mm = MemMap.open("data.bin", dtype="<f8")
for _ in range(200):
    thread = ctypes.c_void_p()
    place = ctypes.c_void_p(mm[N // 2 :].ctypes.data)
    cut()
    done = None
    try:
        assert libc.pthread_create(ctypes.byref(thread), None, strlen, place) == 0
        done = libc.pthread_join(thread, None)
    except DamagedError as error:
        assert "truncated" in str(error)
    assert done is None and mm.damaged
    os.truncate("data.bin", 8 * N)
    mm.recover()
""")


@pytest.mark.unsanitized
def test_who_gathers_rows_in_several_threads_gets_the_error_and_the_main_thread_does_not(survives):
    survives("""
from scikitplot.memmap import set_num_threads
set_num_threads(4)
mm = MemMap.open("data.bin", dtype="<f8")
rows = np.arange(N)[::-1].copy()
said = []
def work():
    said.append(raises(mm.gather, rows))
for _ in range(50):
    cut()
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    os.truncate("data.bin", 8 * N)
    mm.recover()
assert len(said) == 50 and "truncated" in str(said[0])
""")


def test_asyncio_gets_the_error_where_the_page_was_touched(survives):
    survives("""
import asyncio
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
async def main():
    cut()
    try:
        view.sum()
        await asyncio.sleep(0)
    except DamagedError:
        return "seen"
assert asyncio.run(main()) == "seen"
""")


@pytest.mark.maps_shared
def test_a_map_is_revoked_while_a_thread_meets_its_lost_pages(survives):
    survives("""
import gc, warnings; warnings.simplefilter("ignore", RuntimeWarning); gc.freeze()
set_fault_policy("flag")
sys.setswitchinterval(1e-5)
views, stop = [], []
def work():
    while not stop:
        if views: views.pop()[::4096].sum()
thread = threading.Thread(target=work)
thread.start()
for round in range(1000):
    with open("other.bin", "wb") as file:
        file.truncate(64 * 4096)
    mm = MemMap.open("other.bin", "r+")
    os.truncate("other.bin", 0)
    views.append(mm[:])
    for _ in range(round % 50): pass
    mm.close(views="revoke")
stop.append(1)
thread.join()
""")


@pytest.mark.consumers
@pytest.mark.parametrize("threads", [False, True])
def test_pyarrow_computes_over_lost_pages_and_the_caller_gets_the_error(survives, threads):
    survives(f"""
import pyarrow, pyarrow.compute
mm = MemMap.open("data.bin", dtype="<f8")
array = pyarrow.array(mm[...])
table = pyarrow.table({{"key": pyarrow.array(np.arange(N) % 7), "value": array}})
calls = [lambda: table.group_by("key", use_threads={threads}).aggregate([("value", "sum")]),
         lambda: pyarrow.compute.sum(array), lambda: pyarrow.compute.add(array, 1)]
for call in calls:
    expected = call()
    cut(0)
    result = None
    try:
        result = call()
    except DamagedError as error:
        assert "truncated" in str(error)
    assert result is None and mm.damaged
    regrow()
    mm.recover()
    assert call() == expected
del array, table
mm.close()
""")


@pytest.mark.torch
@pytest.mark.parametrize("threads", [1, 4])
def test_torch_computes_over_lost_pages_and_the_caller_gets_the_error(survives, threads):
    survives(f"""
import torch
torch.set_num_threads({threads})
mm = MemMap.open("data.bin", "r+", dtype="<f8")
tensor = torch.from_numpy(mm[...])
calls = [tensor.sum, tensor.max, tensor.reshape(1024, -1).std]
for call in calls:
    expected = call()
    cut(0)
    result = None
    try:
        result = call()
    except DamagedError as error:
        assert "truncated" in str(error)
    assert result is None and mm.damaged
    regrow()
    mm.recover()
    assert call() == expected
del tensor, calls, call
mm.close()
""")


# ----------------------------------------------------------------------------------------------------- system calls


def test_system_calls_over_lost_pages_fail_and_nothing_crashes(survives):
    survives("""
import socket
mm = MemMap.open("data.bin", "r+", dtype="u1")
lost = mm[2 * PAGE : 4 * PAGE]
cut()
left, right = socket.socketpair()
for call in (lambda: open("out.bin", "wb", buffering=0).write(lost), lambda: left.send(lost),
             lambda: os.write(1, lost)):
    try:
        call()
    except (DamagedError, OSError) as error:
        assert error.errno
    else:
        raise SystemExit("no error")
left.send(b"abc")
try:
    right.recv_into(lost)
except OSError:
    pass
import warnings; warnings.simplefilter("ignore", ResourceWarning)
""")


# ---------------------------------------------------------------------------------------- other handlers of SIGBUS

ELSEWHERE = """
import mmap
def fault_elsewhere():
    file = open("other.bin", "w+b", buffering=0)
    file.truncate(1 << 16)
    other = mmap.mmap(file.fileno(), 1 << 16)
    file.truncate(0)
    other[4096]
"""


HANDLERS = {
    "none": "",
    "faulthandler": "import faulthandler; faulthandler.enable()",
    "faulthandler, disabled": "import faulthandler; faulthandler.enable(); faulthandler.disable()",
    "ignored": "signal.signal(signal.SIGBUS, signal.SIG_IGN)",
    "Python": "signal.signal(signal.SIGBUS, lambda *_: print('called'))",
}
OPEN = '\nmm = MemMap.open("data.bin", dtype="<f8")\n'


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
@pytest.mark.parametrize("again", ["mm[...]", "mm[...]; faulthandler.disable(); faulthandler.enable(); mm[...]"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_fault_of_others_ends_the_process_as_ever(ends_by_sigbus, handler, order, again):
    steps = handler + OPEN if order == "before" else OPEN + handler
    ends_by_sigbus(f"{ELSEWHERE}import faulthandler\n{steps}\n{again}\nfault_elsewhere()\n")


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
@pytest.mark.parametrize("order", ["before", "after"])
def test_ours_are_survived_whoever_else_handles_the_signal(survives, handler, order):
    # the whole map as an array puts the guard in front again
    survives(
        (handler + OPEN if order == "before" else OPEN + handler)
        + """
view = mm[...]
cut()
raises(view.sum)
"""
    )


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
@pytest.mark.parametrize("call", ["mm[-1]", "mm[-9:].sum()", "mm.read_at(9000, 8)", "mm.gather([0, -1])"])
def test_the_first_call_on_a_map_puts_the_guard_in_front_again(survives, handler, call):
    # as in a worker process, where maps are unpickled before the loop that it is for takes the signals
    survives(f"{OPEN}{handler}\ncut()\nraises(lambda: {call})")


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
def test_every_large_gather_puts_the_guard_in_front_again(survives, handler):
    survives(f"{OPEN}mm.gather([0])\n{handler}\ncut()\nraises(mm.gather, np.full(1 << 17, -1))")


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_write_of_ours_is_survived_whoever_else_handles_the_signal(survives, handler, order):
    handler = handler.replace("SIGBUS", "SIGSEGV")
    steps = handler + OPEN if order == "before" else OPEN + handler
    survives(f"{WRITERS}{steps}\nraises(poke, mm[...])\nmm.recover()\nassert (mm[...] == ROWS).all()\n")


@pytest.mark.parametrize("handler", HANDLERS.values(), ids=list(HANDLERS))
@pytest.mark.parametrize("again", ["mm[...]", "mm[...]; faulthandler.disable(); faulthandler.enable(); mm[...]"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_write_to_nowhere_ends_the_process_as_ever(ends_by, handler, order, again):
    handler = handler.replace("SIGBUS", "SIGSEGV")
    steps = handler + OPEN if order == "before" else OPEN + handler
    said = ends_by(signal.SIGSEGV, f"{WRITERS}import faulthandler\n{steps}\n{again}\nctypes.memset(0, 0, 1)\n")
    if "enable()" in again or handler.endswith("enable()"):
        assert said.count("Fatal Python error: Segmentation fault") == 1


@pytest.mark.parametrize("handler", [HANDLERS["none"], HANDLERS["faulthandler"]], ids=["none", "faulthandler"])
@pytest.mark.parametrize("order", ["before", "after"])
def test_a_stack_overflow_ends_the_process_as_ever(ends_by, handler, order):
    steps = handler + OPEN if order == "before" else OPEN + handler
    said = ends_by(signal.SIGSEGV, f"import faulthandler\n{steps}\nmm[...]\nfaulthandler._stack_overflow()\n")
    assert ("Fatal Python error: Segmentation fault" in said) == (handler != "")


def test_a_segmentation_fault_that_is_no_fault_is_for_the_handler_that_was_there(survives, ends_by):
    survives("""
calls = []
signal.signal(signal.SIGSEGV, lambda *_: calls.append(1))
mm = MemMap.open("data.bin", dtype="<f8")
for number in range(1, 4):
    os.kill(os.getpid(), signal.SIGSEGV)
    for _ in range(1000): pass
    assert len(calls) == number and not mm.damaged
""")
    ends_by(signal.SIGSEGV, OPEN + "os.kill(os.getpid(), signal.SIGSEGV)")


def test_a_signal_that_is_no_fault_is_for_the_handler_that_was_there(survives):
    survives("""
calls = []
signal.signal(signal.SIGBUS, lambda *_: calls.append(1))
mm = MemMap.open("data.bin", dtype="<f8")
os.kill(os.getpid(), signal.SIGBUS)
for _ in range(1000): pass
assert calls == [1] and not mm.damaged
""")


def test_a_signal_that_is_no_fault_ends_a_process_that_does_not_handle_it(ends_by_sigbus):
    ends_by_sigbus(OPEN + "os.kill(os.getpid(), signal.SIGBUS)")


def test_policy_off_leaves_the_signal_to_the_program(ends_by_sigbus, survives, monkeypatch):
    touch = """
mm = MemMap.open("data.bin", dtype="<f8")
cut()
mm[-1]
"""
    ends_by_sigbus('set_fault_policy("off")' + touch)
    ends_by_sigbus('MemMap.open("data.bin").close(); set_fault_policy("off")' + touch)
    survives('set_fault_policy("off"); set_fault_policy("raise")\nraises(lambda: exec("""' + touch + '"""))')
    monkeypatch.setenv("SCIKITPLOT_MEMMAP_FAULTS", "off")
    ends_by_sigbus(touch)


def test_policy_is_one_of_three(run_python, monkeypatch):
    with pytest.raises(ValueError, match=r"'raise', 'flag', 'off', not 'never'"):
        set_fault_policy("never")
    monkeypatch.setenv("SCIKITPLOT_MEMMAP_FAULTS", "never")
    code = "try:\n    import scikitplot.memmap\nexcept ValueError as error:\n    print(error)"
    assert re.search("SCIKITPLOT_MEMMAP_FAULTS to be one of .* not 'never'", run_python(code))
    monkeypatch.setenv("SCIKITPLOT_MEMMAP_FAULTS", "")
    assert run_python(code) == ""


def test_policy_flag_interrupts_nobody(survives):
    survives("""
set_fault_policy("flag")
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
cut(0)
assert view.sum() == 0 and mm.damaged
for _ in range(1000): pass
raises(lambda: mm[0])
""")


# --------------------------------------------------------------------------------------------------------- processes


def test_children_are_guarded_and_told_as_well(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
def child():
    try:
        view.sum()
        return 1
    except DamagedError:
        pass
    said = []
    def work():
        try:
            while True: view[N // 2 :].sum(), mm[0]
        except DamagedError: said.append(1)
    thread = threading.Thread(target=work); thread.start(); thread.join(20)
    return 0 if said else 2
cut()
for _ in range(20):
    pid = os.fork()
    if not pid:
        os._exit(child())
    assert os.waitpid(pid, 0)[1] == 0
assert not mm.damaged
""")


def test_a_child_that_handles_the_signal_is_guarded_from_its_first_call_on(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
cut()
pid = os.fork()
if not pid:
    signal.signal(signal.SIGBUS, lambda *_: os._exit(1))
    mm[0]
    raises(view.sum)
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""")


def test_a_storm_of_forks_while_threads_meet_lost_pages(survives):
    survives("""
set_fault_policy("flag")
stop, turns = [], {"0.bin": 0, "1.bin": 0}
def work(name):
    while not stop:
        ROWS[:1024].tofile(name)
        try:
            with MemMap.open(name, "r+") as mm:
                os.truncate(name, 0)
                mm[:][4096] = 1
                assert mm.damaged
        except DamagedError:  # as the block ends
            turns[name] += 1
threads = [threading.Thread(target=work, args=(name,)) for name in turns]
for thread in threads: thread.start()
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
cut()
for _ in range(300):
    pid = os.fork()
    if not pid:
        os._exit(0 if view[N // 2] == 0 and mm.damaged else 1)
    assert os.waitpid(pid, 0)[1] == 0
assert min(turns.values()) > 10 and all(thread.is_alive() for thread in threads)
stop.append(1)
for thread in threads: thread.join()
assert not mm.damaged
""")


def test_a_spawned_process_sends_the_error_back(survives):
    survives("""
import multiprocessing, pickle
from concurrent.futures import ProcessPoolExecutor
with open("worker.py", "w") as file:
    file.write("import os\\ndef cut_and_read(mm): os.truncate(mm.path, 4096); return mm[-1]")
import worker
mm = MemMap.open("data.bin", dtype="<f8")
with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
    error = raises(pool.submit(worker.cut_and_read, mm).result)
again = pickle.loads(pickle.dumps(error))
assert type(error) is type(again) is DamagedError and "truncated" in str(error) and str(again) == str(error)
assert (again.errno, again.strerror, again.filename) == (error.errno, error.strerror, mm.path)
assert not mm.damaged
raises(lambda: mm[-1])
""")


def test_a_subinterpreter_is_refused_and_leaves_the_guard_in_place(survives):
    survives("""
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
    sub = interpreters.create("legacy")
else:
    import _xxsubinterpreters as interpreters
    sub = interpreters.create(isolated=False)
mm = MemMap.open("data.bin", dtype="<f8")
view = mm[:]
interpreters.run_string(sub, '''
import warnings
warnings.simplefilter("ignore")  # NumPy 2.0 only warns
try:
    import scikitplot.memmap
except ImportError:
    open("refused", "w").close()
''')
interpreters.destroy(sub)
assert os.path.exists("refused")
cut()
raises(view.sum)
""")


def test_threads_that_read_a_damaged_map_are_no_trouble_at_exit(survives):
    survives("""
mm = MemMap.open("data.bin", dtype="<f8")
views = [mm[:], mm[N // 2 :]]
def work(view):
    while True:
        try:
            while True: view.sum()
        except DamagedError: pass
for view in views * 2: threading.Thread(target=work, args=(view,), daemon=True).start()
cut(0)
try:
    while not mm.damaged: pass
except DamagedError: pass
""")


def test_a_damaged_map_is_no_trouble_at_exit(survives):
    survives("""
import warnings; warnings.simplefilter("ignore", ResourceWarning)
set_fault_policy("flag")
mm = MemMap.open("data.bin", "r+", dtype="<f8")
view = mm[:]
cut()
view[:] = 1
""")


# -------------------------------------------------------------------------------------------- a disk without room


@pytest.mark.native  # needs a pagemap of its own
@pytest.mark.parametrize("kind", ["tmpfs", "ext4", "ext2"])
def test_stores_that_found_no_room_are_in_the_file_after_recover(survives, small_disk_of, kind):
    survives(
        """
os.chdir(sys.argv[1])
set_fault_policy("flag")
mm = MemMap.open("sparse.bin", "x+", dtype="<i8", shape=1 << 20, sparse=True)
with open("filler", "wb", buffering=0) as filler:
    try:
        while True: filler.write(bytes(4096))
    except OSError: pass
    os.fsync(filler)
view = mm[:]
for k in range(4):
    view[k::4] = np.arange(k, 1 << 20, 4)
assert mm.damaged
error = raises(mm.flush)
assert error.errno == 28 and "no room" in str(error) and "kept in memory" in str(error)
raises(mm.recover)
assert (view == np.arange(1 << 20)).all()
os.unlink("filler")
os.sync()
if sys.argv[2] == "small":
    raises(mm.recover)  # there is not room for all of it
    assert (view == np.arange(1 << 20)).all()
else:
    mm.recover()
    mm.flush()
    assert not mm.damaged and (np.fromfile("sparse.bin", "<i8") == np.arange(1 << 20)).all()
del view
mm.close()
os.chdir("/")
""",
        small_disk_of(kind, "16m"),
        "large",
    )


@pytest.mark.native
@pytest.mark.parametrize("how", ["r+b", "a+b"])
@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_file_object_is_written_where_it_stood_before_pages_were_lost(survives, small_disk_of, kind, how):
    survives(
        """
os.chdir(sys.argv[1])
set_fault_policy("flag")
with open("sparse.bin", "wb") as file:
    file.truncate(4 << 20)
    file.seek(0, 2)
    file.write(b"end")
with open("filler", "wb", buffering=0) as filler:
    try:
        while True: filler.write(bytes(4096))
    except OSError: pass
    os.fsync(filler)
file = open("sparse.bin", sys.argv[2], buffering=0)
file.seek(5)
with MemMap.open(file, "r+") as mm:
    view = mm[:]
    view[5 * PAGE : 4 << 20 : PAGE] = 7
    assert mm.damaged and file.tell() == 5
    os.unlink("filler")
    os.sync()
    mm.recover()
    assert file.tell() == 5 and os.path.getsize("sparse.bin") == (4 << 20) + 3
    del view
file.write(b"here")
content = np.fromfile("sparse.bin", "u1")
assert (content[5 * PAGE : 4 << 20 : PAGE] == 7).all()
assert content[5:9].tobytes() == b"here" if sys.argv[2] == "r+b" else content[-7:].tobytes() == b"endhere"
os.chdir("/")
""",
        small_disk_of(kind, "16m"),
        how,
    )


@pytest.mark.native
def test_a_full_disk_affects_all_of_a_map(survives, small_disk_of):
    survives(
        """
os.chdir(sys.argv[1])
set_fault_policy("flag")
mm = MemMap.open("sparse.bin", "x+", shape=1 << 22, sparse=True)
with open("filler", "wb", buffering=0) as filler:
    try:
        while True: filler.write(bytes(4096))
    except OSError: pass
    os.fsync(filler)
mm[:][-1] = 1
assert "Bytes 0:4194304 of the map" in str(raises(mm.flush))
os.unlink("filler")
os.sync()
mm.recover()
mm.close()
os.chdir("/")
""",
        small_disk_of("ext4", "16m"),
    )


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_append_to_a_sparse_map_on_a_full_disk_changes_nothing(survives, small_disk_of, kind):
    survives(
        """
os.chdir(sys.argv[1])
mm = MemMap.open("sparse.bin", "x+", shape=1 << 20, sparse=True)
try:
    mm.append(np.ones(1 << 25, "u1"))
except DamagedError:
    raise
except OSError as error:
    assert error.errno == 28 and f"{(1 << 25) + (1 << 20)} bytes" in str(error)
else:
    raise SystemExit("more than the disk has")
assert mm.shape == (1 << 20,) and os.path.getsize("sparse.bin") == 1 << 20 and not mm.damaged
mm.append(np.frombuffer(b"abc", "u1"))
assert mm[-3:].tobytes() == b"abc"
mm.close()
os.chdir("/")
""",
        small_disk_of(kind, "16m"),
    )


@pytest.fixture
def failing_disk(small_disk_of):
    """A disk with the rows in data.bin, of which the last ones cannot be read; and its image, and what that was."""
    folder = small_disk_of("ext4", "16m")
    np.arange(1, (1 << 20) + 1, dtype="<f8").tofile(folder / "data.bin")
    subprocess.run(["umount", folder], check=True)
    image = folder.with_name("image")
    whole = folder.with_name("whole")
    shutil.copyfile(image, whole)
    subprocess.run(["mount", "-o", "loop,ro", image, folder], check=True)
    os.truncate(image, 6 << 20)
    return folder, image, whole


def test_a_device_that_fails_is_an_error_until_it_can_be_read_again(survives, failing_disk):
    survives(
        """
disk, image, whole = sys.argv[1:]
mm = MemMap.open(disk + "/data.bin", dtype="<f8")
view = mm[:]
for call in (view.sum, lambda: mm[-1], lambda: mm[N // 2], mm.recover):
    error = raises(call)
    assert error.errno == 5 and error.filename == mm.path and "the device failed to read" in str(error)
assert mm.damaged and 0 < np.count_nonzero(view) < N
with open(image, "r+b") as file:
    file.write(open(whole, "rb").read())
mm.recover()
assert not mm.damaged and (view == ROWS).all()
""",
        *failing_disk,
    )


def test_private_changes_outlast_a_device_that_fails(survives, failing_disk):
    survives(
        """
disk, image, whole = sys.argv[1:]
set_fault_policy("flag")
def mend():
    with open(image, "r+b") as file, open(whole, "rb") as before:
        file.write(before.read())
mend()
mm = MemMap.open(disk + "/data.bin", "c", dtype="<f8", access="random")
view = mm[:]
mine = view[:: 3 * PAGE // 8]
mine[:] = -1
with open(mm.path, "rb") as file:
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
os.truncate(image, 6 << 20)
zeros = N - np.count_nonzero(view)
assert mm.damaged and 0 < zeros < N
assert (mine == -1).all()
pages = (view == 0).nonzero()[0][[0, -1]] * 8 // PAGE
assert f"Bytes {pages[0] * PAGE}:{(pages[1] + 1) * PAGE} of the map" in str(raises(lambda: mm[0]))
mend()
mm.recover()
ROWS[:: 3 * PAGE // 8] = -1
assert not mm.damaged and (view == ROWS).all()
""",
        *failing_disk,
    )


def test_control_numpy_memmap_is_ended_by_a_device_that_fails(ends_by_sigbus, failing_disk):
    ends_by_sigbus(f"np.memmap({os.fspath(failing_disk[0] / 'data.bin')!r}, mode='r').sum()")


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_control_numpy_memmap_is_ended_by_a_full_disk(ends_by_sigbus, small_disk_of, kind):
    folder = small_disk_of(kind, "16m")
    ends_by_sigbus(f"""
os.chdir({os.fspath(folder)!r})
array = np.memmap("sparse.bin", "u1", "w+", shape=1 << 26)
array[:] = 1
""")


def test_the_guard_is_in_one_module_only():
    # a second copy would have guards of its own, of which the handler of the first knows nothing
    modules = Path(_guard.__file__).parent.glob("*.so")
    assert [module.name.partition(".")[0] for module in modules if b"lost stores" in module.read_bytes()] == ["_guard"]


def test_damaged_error_is_an_oserror():
    assert issubclass(DamagedError, OSError)
    assert DamagedError(5, "text", "name").filename == "name"


def test_maps_that_lost_nothing_are_not_damaged(make_file):
    with MemMap.open(make_file(np.arange(5, dtype="i8")), dtype="i8") as mm:
        assert mm.damaged is False
        mm.verify()
        mm.recover()
        assert mm[...].sum() == 10
    assert mm.damaged is False
    with pytest.raises(ValueError, match="closed"):
        mm.verify()
