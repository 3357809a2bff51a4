"""Pages that vanish: the process lives, and nobody gets wrong numbers in silence. Each case has its own process."""

import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from scikitplot.memmap import DamagedError, MemMap, set_fault_policy

pytestmark = pytest.mark.linux

PRELUDE = """
import os, resource, signal, sys, threading
import numpy as np
from scikitplot.memmap import DamagedError, MemMap, set_fault_policy
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
N = 1 << 20
ROWS = np.arange(1, N + 1, dtype="<f8")
ROWS.tofile("data.bin")

def cut(nbytes=4096):
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
def ends_by_sigbus(tmp_path):
    """Run code that is ended by the signal, because nothing of ours guards what it touches."""

    def run(code):
        command = [sys.executable, "-c", PRELUDE + code]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False)
        assert done.returncode == -signal.SIGBUS, done.stderr

    return run


# ------------------------------------------------------------------------------------------------------- truncation


def test_control_numpy_memmap_is_ended_by_a_truncation(ends_by_sigbus):
    ends_by_sigbus("""
array = np.memmap("data.bin", "<f8", "r")
cut()
array.sum()
""")


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
    assert "Bytes 4096:8388608 of the map" in str(error) and "truncated" in str(error)
assert total is None and mm.damaged
""")


@pytest.mark.parametrize("call", [
    "mm[-1]", "mm.read_at(8 * N - 8, 8)", "mm.readinto_at(5000, bytearray(9))", "mm.gather([0, N - 1])", "mm[[0, -1]]",
    "mm[mm[...] > 0]", "mm.to_numpy(copy=True)", "np.asarray(mm, 'f4')", "-1 in mm", "mm.view('u1').sum()", "list(mm)",
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
for store in (lambda: mm.write_at(5000, b"abc"), lambda: mm.__setitem__(-1, 5), lambda: mm[:].fill(1)):
    mm = MemMap.open("data.bin", "r+", dtype="<f8")
    cut()
    assert "Stores went there, and may be lost" in str(raises(store))
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
    assert "Bytes 4096:" in str(raises(mm.recover)) and mm.damaged
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


def test_private_changes_outlast_a_recovery(survives):
    survives("""
mm = MemMap.open("data.bin", "c", dtype="<f8")
mm[0] = -1
cut()
raises(lambda: mm[-1])
regrow()
mm.recover()
assert mm[0] == -1 and mm[-1] == N and np.fromfile("data.bin")[0] == 1
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


def test_a_detached_array_is_guarded_too(survives):
    survives("""
array = MemMap.open("data.bin", dtype="<f8").detach()
cut()
raises(array.sum)
assert array[-1] == 0
""")


def test_a_1_tib_sparse_file_is_survived(survives):
    survives("""
with open("big.bin", "wb") as file:
    file.truncate(1 << 40)
mm = MemMap.open("big.bin", "r+")
os.truncate("big.bin", 0)
raises(lambda: mm[1 << 39])
assert mm[:0].size == 0 if not mm.damaged else True
mm.close()
""")


@pytest.mark.unsanitized
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
    view[start : start + (1 << 26) : 4096] = 1
assert mm.damaged
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
        while True: view[k * N // 8 : (k + 1) * N // 8].sum() if k % 2 else mm.gather(np.arange(k, N, 997))
    except DamagedError:
        said.append(k)
threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 9)]
for thread in threads: thread.start()
gate.wait()
try:
    cut(0)
    for thread in threads: thread.join(10)
except DamagedError:
    pass
mm[0] if not mm.damaged else None
# a thread that only meets zeros that are there already is told by its next method call
assert set(said) >= {2, 4, 6, 8}, said
os._exit(0) if print("done") else os._exit(0) if sys.stdout.flush() else os._exit(0)
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


# ----------------------------------------------------------------------------------------------------- system calls


def test_system_calls_over_lost_pages_fail_and_nothing_crashes(survives):
    survives("""
import socket
mm = MemMap.open("data.bin", "r+", dtype="u1")
view = mm[:]
cut()
left, right = socket.socketpair()
for call in (lambda: open("out.bin", "wb", buffering=0).write(view[8192:16384]), lambda: left.send(view[8192:16384]),
             lambda: os.write(1, view[8192:16384])):
    try:
        call()
    except (DamagedError, OSError) as error:
        assert error.errno
    else:
        raise SystemExit("no error")
left.send(b"abc")
try:
    right.recv_into(view[8192:16384])
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


def test_a_signal_that_is_no_fault_is_for_the_handler_that_was_there(survives):
    survives("""
calls = []
signal.signal(signal.SIGBUS, lambda *_: calls.append(1))
mm = MemMap.open("data.bin", dtype="<f8")
os.kill(os.getpid(), signal.SIGBUS)
for _ in range(1000): pass
assert calls == [1] and not mm.damaged
""")


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
    assert "not 'never'" in run_python(code)


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


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_control_numpy_memmap_is_ended_by_a_full_disk(ends_by_sigbus, small_disk_of, kind):
    folder = small_disk_of(kind, "16m")
    ends_by_sigbus(f"""
os.chdir({os.fspath(folder)!r})
array = np.memmap("sparse.bin", "u1", "w+", shape=1 << 26)
array[:] = 1
""")


def test_damaged_error_is_an_oserror():
    assert issubclass(DamagedError, OSError)
    assert DamagedError(5, "text", "name").filename == "name"


def test_maps_that_lost_nothing_are_not_damaged(make_file):
    with MemMap.open(make_file(np.arange(5)), dtype="i8") as mm:
        assert mm.damaged is False
        mm.verify()
        mm.recover()
        assert mm[...].sum() == 10
    assert mm.damaged is False
    with pytest.raises(ValueError, match="closed"):
        mm.verify()
