"""Anonymous memory that processes share: by fork, and by pickles that name it."""

import errno
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from scikitplot.memmap import MemMap, open_maps

# macOS has no memory that a pickle could name
pytestmark = pytest.mark.skipif(sys.platform not in ("linux", "win32"), reason="needs the memory of Linux or Windows")

MAKER = """
import pickle, sys
from scikitplot.memmap import MemMap
mm = MemMap.anonymous(10, dtype="<i4", shared=True)
mm[:] = 5
print(pickle.dumps(mm).hex(), flush=True)
sys.stdin.readline()
"""
TAKER = """
import pickle, sys
mm = pickle.loads(bytes.fromhex(sys.argv[1]))
assert mm.shared and mm.writable and mm.path is None
print(mm.shape, mm[...].tolist())
mm[0] = 77
print(pickle.dumps(mm) == bytes.fromhex(sys.argv[1]))
mm.close()
"""


@pytest.fixture
def mm():
    with MemMap.anonymous((4, 3), dtype="<i4", order="F", shared=True) as mm:
        mm[...] = np.arange(12).reshape(4, 3)
        yield mm


@pytest.fixture
def maker(tmp_path):
    """A process that has made shared memory; and a pickle of that."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", MAKER], cwd=tmp_path, text=True, **pipes) as process:
        yield process, bytes.fromhex(process.stdout.readline())
        process.kill()


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_maps_the_same_memory_any_number_of_times(mm, protocol):
    code = pickle.dumps(mm, protocol)
    assert len(code) < 2000
    for value in range(3):
        with pickle.loads(code) as again:
            assert again is not mm
            assert again in open_maps()
            names = ("mode", "dtype", "shape", "order", "strides", "offset", "shared", "writable", "path")
            assert [getattr(again, name) for name in names] == [getattr(mm, name) for name in names]
            again[1, 2] = -value
            assert mm[1, 2] == -value
            assert pickle.dumps(again, protocol) == code


def test_a_window_pickles_as_the_rows_that_it_shows():
    with MemMap.anonymous((100, 3), dtype="<i4", shared=True) as mm, mm.window(10, 90) as part:
        mm[...] = np.arange(300).reshape(100, 3)
        with part.window(5, 7) as inner, pickle.loads(pickle.dumps(inner)) as again:
            assert np.array_equal(again[...], mm[15:17])
            again[0] = 0
            assert not mm[15].any()
            with again.window(1, 2) as innermost, pickle.loads(pickle.dumps(innermost)) as last:
                assert np.array_equal(last[...], mm[16:17])


@pytest.mark.parametrize("shape", [0, (0, 3), ()])
def test_memory_of_any_size_is_shared(shape):
    with MemMap.anonymous(shape, dtype="<f8", shared=True) as mm, pickle.loads(pickle.dumps(mm)) as again:
        assert again.shape == mm.shape
        mm[...] = 3
        assert (again[...] == 3).all()


def test_another_process_maps_the_memory_and_passes_it_on(mm, run_python):
    code = pickle.dumps(mm).hex()
    for first in (0, 77):
        printed = run_python(TAKER.replace("mm[0]", "mm[0, 0]"), code).splitlines()
        assert printed == [f"(4, 3) {[[first, 1, 2], *mm[1:].tolist()]}", "True"]
        assert mm[0, 0] == 77


def test_spawned_workers_get_the_memory(mm):
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.map(np.sum, [mm, mm]) == [66, 66]


@pytest.mark.posix
def test_forked_children_pass_the_memory_on(run_python):
    assert (
        run_python("""
import os, pickle
from scikitplot.memmap import MemMap
with MemMap.anonymous(3, shared=True) as mm:
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        mm[0] = 1
        os.write(write, pickle.dumps(mm))
        mm.close()
        os._exit(0)
    os.waitpid(child, 0)
    with pickle.loads(os.read(read, 4096)) as again:
        again[1] = 2
    print(mm[...].tolist())
""")
        == "[1, 2, 0]"
    )


def check_gone(code):
    with pytest.raises(FileNotFoundError, match="process that made it has closed it, or has ended") as caught:
        pickle.loads(code)
    assert caught.value.errno == errno.ENOENT


def test_after_the_maker_has_closed_it_unpickling_says_so(mm):
    code = pickle.dumps(mm)
    with pickle.loads(code) as again:
        mm.close()
        check_gone(code)
        assert again[3, 2] == 11  # who has it keeps it
        check_gone(pickle.dumps(again))


def test_after_views_outlived_the_map_it_is_still_gone():
    with pytest.warns(ResourceWarning, match="1 view outlived"), MemMap.anonymous(3, shared=True) as mm:
        code, view = pickle.dumps(mm), mm[:]
    del view
    check_gone(code)
    mm = MemMap.anonymous(3, shared=True)
    code, view = pickle.dumps(mm), mm[:]
    with pytest.warns(RuntimeWarning, match="1 view"):
        mm.close(views="revoke")
    check_gone(code)
    assert not view.any()


def test_after_the_maker_was_killed_nothing_is_left(maker):
    process, code = maker
    with pickle.loads(code) as mm:
        mm[0] = 6
        process.kill()
        process.wait()
        check_gone(code)
        assert mm[...].tolist() == [6, *[5] * 9]


@pytest.mark.linux
def test_another_user_gets_no_memory(maker, run_unprivileged):
    if os.geteuid():
        pytest.skip("needs root, to become another user")
    said = run_unprivileged("import pickle; print(error_of(pickle.loads, bytes.fromhex(sys.argv[2])))", maker[1].hex())
    assert said.startswith("PermissionError")
    assert "process that made it has ended, is another user's" in said


@pytest.mark.linux
def test_memory_of_a_process_that_nobody_has_waited_for_is_out_of_reach(run_unprivileged):
    said = run_unprivileged("""
import pickle
read, write = os.pipe()
if (child := os.fork()) == 0:
    mm = MemMap.anonymous(10, shared=True)
    os.write(write, pickle.dumps(mm))
    os.read(os.pipe()[0], 1)
code = os.read(read, 4096)
os.kill(child, 9)
os.waitid(os.P_PID, child, os.WEXITED | os.WNOWAIT)
print(error_of(pickle.loads, code))
""")
    assert "process that made it has ended" in said or "has closed it, or has ended" in said


@pytest.mark.linux
@pytest.mark.native
def test_where_the_system_gives_no_name_forks_still_share_and_pickles_say_so(run_python):
    assert run_python("""
import os, pickle, resource
from scikitplot.memmap import MemMap
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
with MemMap.anonymous(1 << 20, shared=True) as mm:
    if (child := os.fork()) == 0:
        mm[-1] = 7
        os._exit(0)
    os.waitpid(child, 0)
    assert mm[-1] == 7
    try:
        pickle.dumps(mm)
    except TypeError as error:
        print(error)
""").startswith("This anonymous memory cannot be pickled by reference, the system refused to make shared memory")


@pytest.mark.linux
@pytest.mark.native
def test_nobody_can_cut_the_memory_off(mm):
    folder = "/proc/self/fd"
    links = {
        name: os.readlink(f"{folder}/{name}") for name in os.listdir(folder) if os.path.lexists(f"{folder}/{name}")
    }
    ours = [int(name) for name, target in links.items() if target.startswith("/memfd:memmap-")]
    assert ours
    for descriptor in ours:
        for size in (0, 1 << 20):
            with pytest.raises(PermissionError):
                os.ftruncate(descriptor, size)
        assert not os.get_inheritable(descriptor)


@pytest.mark.linux
def test_pickles_leave_no_mapping_and_no_descriptor(leftovers):
    before = leftovers()
    with MemMap.anonymous(1 << 16, shared=True) as mm:
        for _ in range(20):
            pickle.loads(pickle.dumps(mm)).close()
        code = pickle.dumps(mm)
    check_gone(code)
    assert leftovers() == before


def test_what_the_pickle_shows_is_no_descriptor_and_no_address(mm):
    code = pickle.dumps(mm)
    address = mm[...].__array_interface__["data"][0]
    assert str(address).encode() not in code
    assert address.to_bytes(8, "little") not in code
    with MemMap.anonymous((4, 3), dtype="<i4", order="F", shared=True) as other:  # has other descriptors
        names = [re.search(rb"memmap-[0-9a-f]{32}", pickle.dumps(map_))[0] for map_ in (mm, other)]
        assert code.replace(names[0], names[1]) == pickle.dumps(other)


@pytest.mark.linux
@pytest.mark.native
def test_a_process_that_is_stopped_still_shares(maker):
    process, code = maker
    os.kill(process.pid, signal.SIGSTOP)
    try:
        pickle.loads(code).close()
    finally:
        os.kill(process.pid, signal.SIGCONT)


@pytest.fixture
def forged():
    """Call what a pickle of shared memory calls, with another token or shape."""
    with MemMap.anonymous(4096, shared=True) as mm:
        call, (cls, token, dtype, shape, *rest) = mm.__reduce__()
        yield lambda token=token, shape=shape: call(cls, token, dtype, shape, *rest)


@pytest.mark.linux
@pytest.mark.parametrize("shape", [4097, 1 << 20, 1 << 40 if sys.maxsize > 1 << 32 else 1 << 30])
def test_a_pickle_maps_no_more_than_the_shared_memory_has(forged, leftovers, shape):
    before = leftovers()
    with pytest.raises(OSError, match=f"fewer bytes than the {shape}"):
        forged(shape=shape)
    assert leftovers() == before


@pytest.mark.linux
def test_a_pickle_maps_no_memory_but_that_of_this_package(forged, leftovers):
    name = "memmap-" + "0" * 32  # such a name, but somebody may cut it off
    foreign, unsealed = os.memfd_create("secret"), os.memfd_create(name, os.MFD_ALLOW_SEALING)
    try:
        for descriptor in (foreign, unsealed):
            os.ftruncate(descriptor, 4096)
        before = leftovers()
        tokens = [f"{os.getpid()}:secret", f"{os.getpid()}:../{name}", f"-1:{name}", "9" * 30 + f":{name}", "", "1"]
        for token in tokens:
            with pytest.raises(ValueError, match=r"not the name of memory that MemMap\.anonymous has shared"):
                forged(token=token)
        with pytest.raises(FileNotFoundError, match="The shared memory is gone"):
            forged(token=f"{os.getpid()}:{name}")
        assert leftovers() == before
    finally:
        os.close(foreign)
        os.close(unsealed)
