"""Who owns the memory, for how long, and what a closed map answers."""

import contextlib
import ctypes
import gc
import os
import pickle
import re
import subprocess
import sys
import threading
import tracemalloc
import warnings
import weakref
from pathlib import Path

import numpy as np
import pytest
from in_threads import in_threads

from scikitplot.memmap import MemMap, open_maps, set_fault_policy

N = 65536
RESTRIDED = np.lib.stride_tricks


@pytest.fixture
def path(make_file):
    return make_file(b"\1" * N)


@pytest.fixture
def mm(path):
    mm = MemMap.open(path, "r+")
    yield mm
    with warnings.catch_warnings(action="ignore"):
        mm.close(views="revoke")


def is_mapped(path):
    return str(path) in Path("/proc/self/maps").read_text(errors="replace")


def is_open(path):
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return any(os.path.exists(link) and os.path.samefile(link, path) for link in links)


def address_is_mapped(address):
    for line in Path("/proc/self/maps").read_text(errors="replace").splitlines():
        first, last = (int(end, 16) for end in line.split()[0].split("-"))
        if first <= address < last:
            return True
    return False


def closed_message(path):
    return f"^{re.escape(f'MemMap is closed: {path}')}$"


# ---------------------------------------------------------------------------------------------------------- close


@pytest.mark.linux
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_close_unmaps_and_closes_the_file_before_it_returns(path, mode):
    mm = MemMap.open(path, mode)
    assert is_mapped(path)
    assert is_open(path) == (mode == "r+")
    mm.close()
    assert not is_mapped(path)
    assert not is_open(path)


def test_the_file_can_be_deleted_after_close(path):
    mm = MemMap.open(path, "r+")
    mm.close()
    path.unlink()
    assert not path.exists()


def test_close_may_be_called_twice(mm):
    mm.close()
    mm.close()
    mm.close(views="revoke")
    assert mm.closed


def test_close_refuses_an_unknown_policy_and_stays_open(mm):
    with pytest.raises(ValueError, match="'refuse', 'revoke', not 'drop'"):
        mm.close(views="drop")
    assert not mm.closed


NEED_DATA = {
    "item": lambda mm: mm[0],
    "slice": lambda mm: mm[1:3],
    "ellipsis": lambda mm: mm[...],
    "integer array": lambda mm: mm[[1, 2]],
    "store": lambda mm: mm.__setitem__(0, 1),
    "store a slice": lambda mm: mm.__setitem__(slice(2), 1),
    "iter": iter,
    "contains": lambda mm: 1 in mm,
    "bool": bool,
    "asarray": np.asarray,
    "ufunc": lambda mm: np.add(mm, 1),
    "to_numpy": lambda mm: mm.to_numpy(),
    "view": lambda mm: mm.view(),
    "view of another dtype": lambda mm: mm.view("<u2"),
    "memoryview": lambda mm: mm.memoryview(),
    "window": lambda mm: mm.window(0, 1),
    "gather": lambda mm: mm.gather([0]),
    "take": lambda mm: mm.take([0]),
    "searchsorted": lambda mm: mm.searchsorted(1),
    "read_at": lambda mm: mm.read_at(0, 1),
    "read_at, nothing": lambda mm: mm.read_at(0, 0),
    "read_at, out of range": lambda mm: mm.read_at(-5, 1),
    "readinto_at": lambda mm: mm.readinto_at(0, bytearray(1)),
    "write_at": lambda mm: mm.write_at(0, b"x"),
    "advise": lambda mm: mm.advise("random"),
    "evict": lambda mm: mm.evict(),
    "residency": lambda mm: mm.residency(),
    "lock": lambda mm: mm.lock(),
    "unlock": lambda mm: mm.unlock(),
    "flush": lambda mm: mm.flush(),
    "resize": lambda mm: mm.resize(1),
    "append": lambda mm: mm.append([1]),
    "refresh": lambda mm: mm.refresh(),
    "detach": lambda mm: mm.detach(),
    "with": lambda mm: mm.__enter__(),
    "pickle": pickle.dumps,
}


@pytest.mark.parametrize("call", NEED_DATA.values(), ids=NEED_DATA)
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_every_call_that_needs_data_says_that_the_map_is_closed(path, mode, call):
    mm = MemMap.open(path, mode)
    mm.close()
    with pytest.raises(ValueError, match=closed_message(path)):
        call(mm)
    assert path.read_bytes() == b"\1" * N


@pytest.mark.parametrize("call", NEED_DATA.values(), ids=NEED_DATA)
def test_every_call_on_a_closed_window_says_so_while_its_map_is_open(mm, path, call):
    part = mm.window(10, 20)
    part.close()
    with pytest.raises(ValueError, match=closed_message(path)):
        call(part)
    assert not mm.closed


def test_attributes_and_repr_still_work_after_close(path):
    mm = MemMap.open(path, "r", dtype="<u4", shape=(2, -1), offset=8, order="F", access="random")
    names = (
        "path", "mode", "dtype", "shape", "ndim", "size", "itemsize", "nbytes", "strides", "offset", "order", "access",
        "writable", "shared", "damaged",
    )  # fmt: skip
    before = {name: getattr(mm, name) for name in names}
    mm.close()
    assert {name: getattr(mm, name) for name in names} == before
    assert len(mm) == 2
    assert mm.closed
    assert "closed" in repr(mm)
    assert repr(str(path)) in repr(mm)


# ----------------------------------------------------------------------------------------------- views are counted


VIEWS = {
    "slice": lambda mm: mm[10:20],
    "negative step": lambda mm: mm[::-1],
    "empty slice": lambda mm: mm[5:5],
    "ellipsis": lambda mm: mm[...],
    "newaxis": lambda mm: mm[None],
    "asarray": np.asarray,
    "to_numpy": lambda mm: mm.to_numpy(),
    "view": lambda mm: mm.view("<f4", offset=4),
    "iterator": iter,
    "memoryview": lambda mm: mm.memoryview(),
    "slice of a memoryview": lambda mm: mm.memoryview()[3:9],
    "cast of a memoryview": lambda mm: mm.memoryview().cast("f"),
    "read-only memoryview": lambda mm: mm.memoryview().toreadonly(),
    "frombuffer of a memoryview": lambda mm: np.frombuffer(mm.memoryview(), np.float32),
    "ndarray over a memoryview": lambda mm: np.ndarray(8, np.uint8, buffer=mm.memoryview()),
    "slice of a slice": lambda mm: mm[10:][5:10],
    "reshape": lambda mm: mm[...].reshape(256, 256),
    "transpose": lambda mm: mm[...].reshape(256, 256).T,
    "array.view": lambda mm: mm[...].view("f8"),
    "structured scalar": lambda mm: mm.view([("a", "u1"), ("b", "u1")])[0],
    "0-d": lambda mm: mm[5, ...],
    "as_strided": lambda mm: RESTRIDED.as_strided(mm[...], (3,), (2,)),
    "sliding_window_view": lambda mm: RESTRIDED.sliding_window_view(mm[...], 3),
    "broadcast_to": lambda mm: np.broadcast_to(mm[:1], (5, 5)),
    "split": lambda mm: np.split(mm[...], 4),
    "flat": lambda mm: mm[...].flat,
    "no-copy astype": lambda mm: mm[...].astype("u1", copy=False),
    "ctypes from a memoryview": lambda mm: (ctypes.c_char * 8).from_buffer(mm.memoryview()),
    "window": lambda mm: mm.window(3, 9),
    "view of a window": lambda mm: mm.window(3, 9)[1:],
}

COPIES = {
    "item": lambda mm: mm[5],
    "integer array": lambda mm: mm[[1, 2]],
    "mask": lambda mm: mm[mm[...] > 5],
    "array copy": lambda mm: np.array(mm),
    "to_numpy copy": lambda mm: mm.to_numpy(copy=True),
    "other dtype": lambda mm: np.asarray(mm, "i4"),
    "ufunc": lambda mm: np.add(mm, 1),
    "tolist": lambda mm: mm[:9].tolist(),
    "gather": lambda mm: mm.gather([1, 2]),
    "take": lambda mm: mm.take([1, 2], mode="wrap"),
    "searchsorted": lambda mm: mm.searchsorted([1, 2]),
    "read_at": lambda mm: mm.read_at(0, 10),
    "readinto_at": lambda mm: mm.readinto_at(0, bytearray(3)),
    "write_at": lambda mm: mm.write_at(0, b"\1"),
    "write_at its own view": lambda mm: mm.write_at(0, mm[:3]),
    "store its own view": lambda mm: mm.__setitem__(slice(3), mm[3:6]),
    "contains": lambda mm: 1 in mm,
    "bytes of a memoryview": lambda mm: bytes(mm.memoryview()),
    "reduction": np.sum,
    "ufunc of two": lambda mm: np.add(mm, mm),
    "list": list,
    "append": lambda mm: mm.append(mm[:2].copy()),
    "flush": lambda mm: mm.flush(),
    "repr": repr,
    "closed window": lambda mm: mm.window(0, 2).close(),
    "residency": lambda mm: mm.residency(),
    "rows": lambda mm: mm.evict([1, 2]),
}


@pytest.fixture
def no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("make", VIEWS.values(), ids=VIEWS)
def test_a_view_of_any_kind_counts_as_one_until_it_dies(mm, make):
    view = make(mm)
    assert mm._region.leases == 1
    with pytest.raises(BufferError, match="1 (view|window) is alive"):
        mm.close()
    del view
    assert mm._region.leases == 0
    mm.close()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("make", COPIES.values(), ids=COPIES)
def test_a_copy_does_not_keep_the_map_from_closing(mm, make):
    copy = make(mm)
    assert mm._region.leases == 0
    mm.close()
    del copy


def test_close_refuses_while_a_slice_is_alive_and_changes_nothing(mm, path):
    part = mm[10:20]
    with pytest.raises(BufferError, match=r"(?s)1 view is alive.*del.*\.copy\(\).*detach\(\).*revoke"):
        mm.close()
    assert not mm.closed
    assert mm in open_maps()
    part[:] = 7
    assert mm.read_at(10, 1) == b"\7"
    mm.flush()
    assert path.read_bytes()[9:21] == b"\1" + b"\7" * 10 + b"\1"


def test_the_refusal_counts_views_and_windows(mm):
    views = [mm[1:], mm.memoryview(), np.asarray(mm)[3:]]
    windows = [mm.window(0, 5), mm.window(5, 9)]
    with pytest.raises(BufferError, match="3 views and 2 windows are alive"):
        mm.close()
    windows.pop().close()
    views.clear()
    with pytest.raises(BufferError, match="1 window is alive"):
        mm.close()
    windows.clear()
    mm.close()


def test_the_refusal_names_the_map(mm, path):
    part = mm[1:]
    with pytest.raises(BufferError, match=re.escape(repr(str(path)))):
        mm.close()
    del part


def test_the_refusal_says_where_views_were_made_while_tracemalloc_is_tracing(mm):
    part = mm[1:]
    with pytest.raises(BufferError, match="tracemalloc"):
        mm.close()
    tracemalloc.start()
    try:
        line = sys._getframe().f_lineno + 1
        twice = [mm[i:] for i in (2, 3)]
        dead = mm[4:]
        del dead
        other = MemMap.anonymous(8)
        others = other[1:]
        made_at = rf"3 views are alive, held by .*, made at .*test_lifetime\.py:{line} \(2\)\. "
        with pytest.raises(BufferError, match=made_at) as caught:
            mm.close()
        assert str(caught.value).count(".py:") == 1  # neither dead views nor those of other maps
    finally:
        tracemalloc.stop()
    del part, twice, others
    other.close()


@pytest.mark.usefixtures("no_collector")
def test_close_collects_views_that_only_a_cycle_keeps(mm):
    class Node:
        pass

    node = Node()
    node.self, node.view = node, mm[1:]
    del node
    assert mm._region.leases == 1
    mm.close()
    assert mm.closed


@pytest.mark.usefixtures("no_collector")
def test_close_runs_the_collector_once_and_only_if_views_are_left(mm):
    full = []
    gc.callbacks.append(lambda phase, info: full.append(phase) if info["generation"] == 2 else None)
    try:
        other = MemMap.anonymous(8)
        other.close()
        assert full == []
        part = mm[1:]
        with pytest.raises(BufferError, match="1 view is alive"):
            mm.close()
        assert full == ["start", "stop"]
    finally:
        gc.callbacks.pop()
    del part


class Failing:
    """Fails whatever is done with it, from Python code with frames of its own."""

    def fail(self, *args, **kwargs):
        raise RuntimeError("failing")

    __index__ = __int__ = __float__ = __array__ = __eq__ = __len__ = __getitem__ = fail
    __hash__ = None


FAILING = {
    "index": lambda mm: mm[N],
    "key": lambda mm: mm["a"],
    "indices": lambda mm: mm[0, 0, 0],
    "array": lambda mm: mm[[N]],
    "mask": lambda mm: mm[np.ones(3, bool)],
    "bound": lambda mm: mm[Failing() :],
    "store": lambda mm: mm.__setitem__(slice(3), [1, 2]),
    "store past the end": lambda mm: mm.__setitem__([N], 0),
    "store a word": lambda mm: mm.__setitem__(slice(3), "words"),
    "store a value": lambda mm: mm.__setitem__(0, Failing()),
    "dtype": lambda mm: np.asarray(mm, "M8[s]", copy=False),
    "to_numpy": lambda mm: mm.to_numpy("f4", copy=False),
    "to_numpy of no dtype": lambda mm: mm.to_numpy("nonsense"),
    "view": lambda mm: mm.view("u4", shape=N),
    "memoryview": lambda mm: MemMap.memoryview(mm.window(0, 1)).cast("B", (7,)),
    "gather": lambda mm: mm.gather([N]),
    "take": lambda mm: mm.take([N]),
    "searchsorted": lambda mm: mm.searchsorted([1, 2], sorter=[N] * N),
    "gather out": lambda mm: mm.gather([1], out=np.empty(2, "u1")),
    "readinto_at": lambda mm: mm.readinto_at(N, bytearray(1)),
    "write_at": lambda mm: mm.write_at(N, mm[:1]),
    "contains": lambda mm: Failing() in mm,
    "truth": bool,
    "ufunc": lambda mm: np.add(mm, np.ones(3)),
    "append": lambda mm: mm.append(np.ones((1, 2), "u1")),
    "append a word": lambda mm: mm.append(["word"]),
    "append a fraction": lambda mm: mm.append(1.5),
    "resize": lambda mm: mm.resize((3, 3)),
    "window": lambda mm: mm.window("a", None),
    "rows": lambda mm: mm.evict([N]),
    "rows that fail": lambda mm: mm.residency(Failing()),
}


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("call", FAILING.values(), ids=FAILING)
def test_a_stored_exception_of_a_failed_call_keeps_no_view_alive(mm, call):
    with pytest.raises(Exception) as stored:  # noqa: PT011
        call(mm)
    assert mm._region.leases == 0
    mm.close()
    assert stored.value.__traceback__.tb_frame is sys._getframe()


def test_the_refusal_says_that_a_stored_exception_keeps_variables(mm):
    def work():
        view = mm[1:]
        raise KeyError(view.size)

    try:
        work()
    except KeyError:
        with pytest.raises(BufferError, match="exception keeps the variables"):
            mm.close()
    mm.close()


@pytest.mark.usefixtures("no_collector")
def test_a_cycle_of_map_and_view_is_collected(path):
    class Sub(MemMap):
        pass

    mm = Sub.open(path)
    mm.own = mm[1:]
    gone = weakref.ref(mm)
    with pytest.warns(ResourceWarning, match="dropped without close"):
        del mm
        gc.collect()
    assert gone() is None
    gc.collect()
    if sys.platform == "linux":
        assert not is_mapped(path)


# --------------------------------------------------------------------------------------------------------- revoke


@pytest.mark.linux
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_revoke_lets_the_file_go_although_views_are_alive(path, mode):
    mm = MemMap.open(path, mode)
    part = mm[10:]
    with pytest.warns(RuntimeWarning, match="1 view"):
        mm.close(views="revoke")
    assert mm.closed
    assert not is_mapped(path)
    assert not is_open(path)
    assert address_is_mapped(part.ctypes.data)


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_revoked_views_read_zeros_and_keep_their_writability(path, mode):
    mm = MemMap.open(path, mode, dtype="<u2", shape=(-1, 16), offset=32)
    parts = [mm[...], mm[3], mm[::2, ::-1], mm.memoryview()]
    with pytest.warns(RuntimeWarning, match="4 views .* zeros"):
        mm.close(views="revoke")
    assert [np.asarray(part).any() for part in parts] == [False] * 4
    assert [np.asarray(part).flags.writeable for part in parts] == [mode != "r"] * 4
    path.unlink()
    assert parts[0].shape == ((N - 32) // 32, 16)


def test_stores_into_revoked_views_go_nowhere(path):
    mm = MemMap.open(path, "r+")
    part = mm[10:]
    part[0] = 2
    with pytest.warns(RuntimeWarning, match="1 view"):
        mm.close(views="revoke")
    part[:] = 7
    assert (part == 7).all()
    assert path.read_bytes() == b"\1" * 10 + b"\2" + b"\1" * (N - 11)


def test_revoked_anonymous_memory_reads_zeros():
    for shared in (False, True):
        mm = MemMap.anonymous(9, shared=shared)
        part = mm[...]
        part[:] = 5
        with pytest.warns(RuntimeWarning, match="1 view"):
            mm.close(views="revoke")
        assert not part.any()


def test_revoke_without_views_warns_of_nothing(path):
    mm = MemMap.open(path, "r+")
    mm.close(views="revoke")
    assert mm.closed
    path.unlink()


@pytest.mark.usefixtures("no_collector")
def test_revoke_warns_of_no_view_that_only_a_cycle_keeps(path):
    class Node:
        pass

    node = Node()
    mm = MemMap.open(path)
    node.self, node.view = node, mm[1:]
    del node
    mm.close(views="revoke")
    assert mm.closed


@pytest.mark.linux
def test_revoke_closes_even_where_the_warning_is_an_error(path):
    mm = MemMap.open(path)
    part = mm[1:]
    with warnings.catch_warnings(action="error"), pytest.raises(RuntimeWarning, match="1 view"):
        mm.close(views="revoke")
    assert mm.closed
    assert not is_mapped(path)
    assert not part.any()


def test_the_addresses_of_revoked_views_are_given_to_nobody_else(path):
    mm = MemMap.open(path)
    part = mm[...]
    with pytest.warns(RuntimeWarning, match="read zeros"):
        mm.close(views="revoke")
    others = [MemMap.anonymous(N) for _ in range(50)]
    for other in others:
        assert not np.may_share_memory(part, other[...])
        other[:] = 3
    assert not part.any()
    for other in others:
        other.close()


@pytest.mark.linux
def test_the_last_revoked_view_gives_the_addresses_back():
    mm = MemMap.anonymous(1 << 28)
    part = mm[1 << 27 :]
    address = part.ctypes.data
    with pytest.warns(RuntimeWarning, match="read zeros"):
        mm.close(views="revoke")
    assert address_is_mapped(address)
    del part
    assert not address_is_mapped(address)


def test_revoke_closes_windows_and_their_views_read_zeros(path):
    mm = MemMap.open(path, "r+")
    part = mm.window(10, 20)
    inner = part.window(2, 5)
    views = [part[...], inner[...]]
    with pytest.warns(RuntimeWarning, match="read zeros"):
        mm.close(views="revoke")
    assert part.closed
    assert inner.closed
    with pytest.raises(ValueError, match=closed_message(path)):
        inner[0]
    assert [view.any() for view in views] == [False, False]
    views[0][:] = 9
    assert path.read_bytes() == b"\1" * N


def test_revoke_closes_windows_of_a_window_that_was_closed_before(path):
    mm = MemMap.open(path)
    with pytest.warns(ResourceWarning, match="1 (view|window)"), mm.window(10, 20) as part:
        inner = part.window(2, 5)
    with warnings.catch_warnings(action="ignore"):
        mm.close(views="revoke")
    assert inner.closed


def test_revoke_warns_once_and_counts_the_views_of_windows(path):
    mm = MemMap.open(path)
    part = mm.window(10, 20)
    views = [mm[1:], part[1:], part[2:]]
    with pytest.warns(RuntimeWarning) as caught:
        mm.close(views="revoke")
    assert [str(warning.message).split(" of ")[0] for warning in caught] == [f"{len(views)} views"]


def test_a_window_that_is_revoked_leaves_its_map_whole(mm):
    part = mm.window(10, 20)
    view = part[...]
    with pytest.warns(RuntimeWarning, match="1 view"):
        part.close(views="revoke")
    assert part.closed
    assert not mm.closed
    assert (mm[...] == 1).all()
    del view
    mm.close()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot put memory in the place of a map in one step")
def test_revoke_while_threads_sum_the_views_crashes_nobody(make_file):
    path = make_file(b"\1" * (1 << 22))
    mm = MemMap.open(path)
    whole = mm[...]
    started = threading.Barrier(4)
    sums = []

    def work():
        started.wait()
        for _ in range(20):
            sums.append(int(whole.sum(dtype="u4")))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    started.wait()
    with pytest.warns(RuntimeWarning, match="1 view"):
        mm.close(views="revoke")
    for thread in threads:
        thread.join()
    assert len(sums) == 60
    assert all(0 <= total <= 1 << 22 for total in sums)
    assert int(whole.sum()) == 0


CALLS_AT_WORK = {
    "gather": lambda mm: mm.gather(range(0, len(mm), 64)).all(),
    "index": lambda mm: mm[list(range(0, len(mm), 64))].all(),
    "read_at": lambda mm: b"\0" not in mm.read_at(0, mm.nbytes),
    "readinto_at": lambda mm: mm.readinto_at(0, (read := bytearray(mm.nbytes))) and b"\0" not in read,
    "write_at": lambda mm: mm.write_at(0, b"\2" * mm.nbytes) and np.fromfile(mm.path, "u1").min() == 2,
    "store": lambda mm: mm.__setitem__(slice(None), 2) or np.fromfile(mm.path, "u1").min() == 2,
}


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot put memory in the place of a map in one step")
@pytest.mark.parametrize("policy", ["raise", "off"])
@pytest.mark.parametrize("call", CALLS_AT_WORK)
def test_a_call_at_work_when_the_map_is_revoked_does_it_all_or_raises(make_file, call, policy):
    path = make_file(b"\1" * (1 << 21))
    refused = []

    def work(mm):
        try:
            while True:
                assert CALLS_AT_WORK[call](mm)
        except ValueError as error:
            refused.append(str(error))

    set_fault_policy(policy)
    try:
        for k in range(100):
            mm = MemMap.open(path, "r+")
            thread = threading.Thread(target=work, args=(mm,))
            thread.start()
            for _ in range(k * 20):
                pass
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # the call may count as a view
                mm.close(views="revoke")
            thread.join()
            assert not mm.damaged
    finally:
        set_fault_policy("raise")
    assert len(refused) == 100
    assert all("closed" in text for text in refused)


# ----------------------------------------------------------------------------------------------------------- with


def test_with_leaves_nothing_behind(path, leftovers):
    before = leftovers()
    with MemMap.open(path, "r+") as mm:
        mm[...].sum()
        part = mm.window(1, 5)
        part.close()
    assert mm.closed
    assert leftovers() == before


def test_with_accepts_a_map_that_the_body_closed(path):
    with MemMap.open(path) as mm:
        mm.close()
    assert mm.closed


@pytest.mark.linux
def test_views_that_outlive_the_block_stay_valid_and_the_last_one_unmaps(path):
    with pytest.warns(ResourceWarning, match="2 views"), MemMap.open(path, "r+") as mm:
        first, last = mm[:100], mm[100:][5:]
    assert mm.closed
    assert mm not in open_maps()
    assert first.sum() == 100
    last[0] = 7
    del first
    assert is_mapped(path)
    assert last[0] == 7
    del last
    assert not is_mapped(path)
    assert not is_open(path)
    assert path.read_bytes()[105] == 7


@pytest.mark.linux
def test_windows_that_outlive_the_block_stay_valid_and_the_last_one_unmaps(path):
    with pytest.warns(ResourceWarning, match="1 (view|window)"), MemMap.open(path, "r+") as mm:
        part = mm.window(10, 20)
    assert mm.closed
    assert not part.closed
    part[0] = 7
    assert part.read_at(0, 2) == b"\7\1"
    part.flush()
    assert is_mapped(path)
    part.close()
    assert not is_mapped(path)
    assert path.read_bytes()[10] == 7


def test_an_exception_of_the_body_is_what_the_caller_sees(path):
    with pytest.raises(KeyError, match="mine"), MemMap.open(path) as mm:
        raise KeyError("mine")
    assert mm.closed


def test_an_exception_of_the_body_wins_over_views_and_over_warnings_as_errors(path):
    with warnings.catch_warnings(action="error"):
        with pytest.raises(KeyError, match="mine"), MemMap.open(path) as mm:
            part = mm[1:]
            raise KeyError("mine")
        with pytest.raises(ResourceWarning, match="1 view"), MemMap.open(path) as other:
            rest = other[1:]
    assert mm.closed
    assert other.closed
    assert part.all()
    assert rest.all()


# --------------------------------------------------------------------------------------------------------- detach


@pytest.mark.linux
def test_detach_hands_the_mapping_to_the_array_and_the_last_view_unmaps(path):
    mm = MemMap.open(path, "r+", dtype="<u2", shape=(-1, 4))
    part = mm[5]
    array = mm.detach()
    assert type(array) is np.ndarray
    assert array.shape == mm.shape
    assert mm.closed
    assert mm not in open_maps()
    assert np.may_share_memory(array, part)
    part[:] = 7
    assert (array[5] == 7).all()
    rest = array.T[2]
    del array, part
    assert is_mapped(path)
    assert rest[5] == 7
    del rest
    assert not is_mapped(path)
    assert not is_open(path)
    assert path.read_bytes()[40:48] == b"\7\0" * 4


def test_detach_refuses_while_windows_are_alive_and_changes_nothing(mm):
    part = mm.window(3, 5)
    with pytest.raises(BufferError, match="1 window"):
        mm.detach()
    assert not mm.closed
    assert part[0] == mm[3]
    part.close()
    assert mm.detach().shape == (N,)


def test_a_function_may_return_a_mapped_array(path):
    def load():
        with MemMap.open(path) as mm:
            return mm.detach()

    assert load().sum() == N


def test_detach_keeps_shape_dtype_and_writability():
    for shape in ((), (0,), (0, 3), (2, 3)):
        array = MemMap.anonymous(shape, "<f8", order="F").detach()
        assert (array.shape, array.dtype, array.flags.writeable) == (shape, np.dtype("<f8"), True)


# ---------------------------------------------------------------------------------------------------------- drop


def test_a_map_that_is_dropped_unclosed_warns_and_is_unmapped(path, leftovers):
    before = leftovers()
    with pytest.warns(ResourceWarning, match=rf"{re.escape(repr(str(path)))}.* dropped without close"):
        MemMap.open(path, "r+")
    assert leftovers() == before


@pytest.mark.linux
def test_a_map_that_is_dropped_under_views_is_unmapped_with_the_last(path):
    with pytest.warns(ResourceWarning, match="dropped without close"):
        part = MemMap.open(path)[5:]
    assert part.all()
    assert is_mapped(path)
    del part
    assert not is_mapped(path)


def test_a_window_that_is_dropped_warns_of_nothing(mm):
    mm.window(3, 5)
    mm.close()


def test_a_window_that_is_dropped_under_a_view_leaves_the_view(mm):
    view = mm.window(3, 5)[...]
    gc.collect()
    assert view.tolist() == [1, 1]
    with pytest.raises(BufferError, match="1 view"):
        mm.close()
    del view
    mm.close()


def test_a_call_that_fails_warns_of_no_dropped_map(path):
    with pytest.raises(ValueError, match="needs"):
        MemMap.open(path, shape=N + 1)
    with pytest.raises(ValueError, match="access"):
        MemMap.open(path, access="often")


# ------------------------------------------------------------------------------------------------------ open_maps


def test_open_maps_lists_what_is_open_but_no_windows(path):
    before = open_maps()
    maps = [MemMap.open(path), MemMap.anonymous(3), MemMap.open(path, "c")]
    part = maps[0].window(0, 1)
    assert open_maps() == before + maps
    part.close()
    maps[1].close()
    assert open_maps() == [*before, maps[0], maps[2]]
    maps[0].detach()
    maps[2].close(views="revoke")
    assert open_maps() == before


def test_open_maps_keeps_no_map_alive():
    before = len(open_maps())
    with pytest.warns(ResourceWarning, match="dropped without close"):
        mm = MemMap.anonymous(3)
        listed = open_maps()
        del mm, listed
    assert len(open_maps()) == before


# ------------------------------------------------------------------------------- closing where it is least expected


def test_closing_from_another_thread_is_safe(mm):
    thread = threading.Thread(target=mm.close)
    thread.start()
    thread.join()
    assert mm.closed


@pytest.mark.parametrize("views", ["refuse", "revoke"])
def test_closing_twice_at_once_is_safe(path, views):
    for _ in range(50):
        mm = MemMap.open(path, "r+")
        assert in_threads(lambda _, mm=mm: mm.close(views=views), 4) == [None] * 4
        assert mm.closed


def test_closing_twice_at_once_refuses_every_time_while_a_view_is_alive(mm):
    part = mm[1:]

    def refused(_):
        with pytest.raises(BufferError, match="alive"):
            mm.close()

    for _ in range(10):
        in_threads(refused, 4)
    assert part.all()
    assert mm.read_at(0, 1) == b"\1"


@pytest.mark.parametrize("second", ["close", "revoke", "with", "detach"])
@pytest.mark.parametrize("first", ["revoke", "with", "detach"])
def test_leaving_twice_at_once_never_unmaps_what_a_view_still_shows(run_program, first, second):
    assert run_program("programs/leaving_twice.py", first, second) == "alive"


class Closing:
    """An index that closes the map when it is asked for its value."""

    def __init__(self, mm, **how):
        self.mm, self.how = mm, how

    def __index__(self):
        self.mm.close(**self.how)
        return 2


# calls that ask for an index before they enter the memory, and calls that NumPy makes while a view is alive
CLOSED_IN_TIME = {
    "slice": lambda mm, i: mm[i:9],
    "step": lambda mm, i: mm[::i],
    "read_at": lambda mm, i: mm.read_at(i, 4),
    "read_at size": lambda mm, i: mm.read_at(0, i),
    "readinto_at": lambda mm, i: mm.readinto_at(i, bytearray(4)),
    "write_at": lambda mm, i: mm.write_at(i, b"abc"),
    "view": lambda mm, i: mm.view(offset=i),
    "view shape": lambda mm, i: mm.view("u1", shape=(i, 3)),
    "window": lambda mm, i: mm.window(i, 9),
    "resize": lambda mm, i: mm.resize(i),
    "flush": lambda mm, i: mm.flush(slice(i, None)),
    "evict": lambda mm, i: mm.evict(slice(i, None)),
    "residency": lambda mm, i: mm.residency(slice(i, None)),
    "lock": lambda mm, i: mm.lock(slice(i, None)),
    "store at a slice": lambda mm, i: mm.__setitem__(slice(i, 9), 7),
}
CLOSED_TOO_LATE = {
    "item": lambda mm, i: mm[i],
    "store": lambda mm, i: mm.__setitem__(i, 7),
}
CLOSED_INSIDE = CLOSED_IN_TIME | CLOSED_TOO_LATE


@pytest.mark.parametrize("call", CLOSED_IN_TIME.values(), ids=CLOSED_IN_TIME)
def test_closing_inside_index_closes_and_raises(path, call):
    mm = MemMap.open(path, "r+")
    with pytest.raises(ValueError, match=closed_message(path)):
        call(mm, Closing(mm))
    assert mm.closed
    assert path.read_bytes() == b"\1" * N


@pytest.mark.parametrize("call", CLOSED_TOO_LATE.values(), ids=CLOSED_TOO_LATE)
def test_closing_inside_index_is_refused_while_numpy_has_the_memory(mm, path, call):
    # NumPy reports an index that raises as one that is none
    with pytest.raises((BufferError, IndexError), match="Cannot close|only integers"):
        call(mm, Closing(mm))
    assert not mm.closed
    assert path.read_bytes() == b"\1" * N


@pytest.mark.parametrize("call", CLOSED_INSIDE.values(), ids=CLOSED_INSIDE)
def test_revoking_inside_index_is_safe(path, call):
    mm = MemMap.open(path, "r+")
    with warnings.catch_warnings(action="ignore"):
        try:
            call(mm, Closing(mm, views="revoke"))
        except ValueError as error:
            assert "MemMap is closed" in str(error)
    assert mm.closed
    assert path.read_bytes() == b"\1" * N


def test_closing_while_appended_rows_are_made_raises(path):
    mm = MemMap.open(path, "r+")

    class Rows:
        def __array__(self, dtype=None, copy=None):
            mm.close()
            return np.ones(3, "u1")

    with pytest.raises(ValueError, match="MemMap is closed"):
        mm.append(Rows())
    assert path.stat().st_size == N


def test_closing_while_a_stored_value_is_made_refuses(mm):
    class Value:
        def __array__(self, dtype=None, copy=None):
            mm.close()
            return np.ones(3, "u1")

    with pytest.raises(BufferError, match="1 view is alive"):
        mm[:3] = Value()
    assert not mm.closed


def test_closing_in_a_finalizer_is_safe(path):
    class Owner:
        def __init__(self):
            self.mm = MemMap.open(path)
            self.view = self.mm[1:]

        def __del__(self):
            del self.view
            self.mm.close()

    owner = Owner()
    mm = owner.mm
    del owner
    assert mm.closed
    cyclic = Owner()
    mm, cyclic.self = cyclic.mm, cyclic
    del cyclic
    gc.collect()
    assert mm.closed


@pytest.mark.usefixtures("no_collector")
def test_closing_in_a_finalizer_that_close_itself_sets_off_is_safe(path):
    class Owner:
        def __del__(self):
            del self.view
            self.mm.close()

    mm = MemMap.open(path)
    owner = Owner()
    owner.self, owner.mm, owner.view = owner, mm, mm[1:]
    del owner
    mm.close()
    assert mm.closed


@pytest.mark.posix
def test_closing_after_fork_leaves_the_parent_alone(path, run_python):
    code = """if True:
        import os, sys, warnings
        import numpy as np
        from scikitplot.memmap import MemMap, open_maps
        mm = MemMap.open(sys.argv[1], "r+")
        dropped = MemMap.open(sys.argv[1])
        part = mm[10:]
        child = os.fork()
        if child == 0:
            assert open_maps() == [mm, dropped]
            part[0] = 2
            del part
            mm.close()
            assert mm.closed
            with warnings.catch_warnings(action="ignore"):
                del dropped
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        print(part[0], part[1], mm.read_at(0, 1), dropped[0])
        del part
        mm.close()
        dropped.close()
    """
    assert run_python(code, path) == "2 1 b'\\x01' 1"


# ----------------------------------------------------------------------------------------------- interpreter exit


def stderr_of(code, path, *options):
    done = subprocess.run([sys.executable, *options, "-c", code, path], cwd=path.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stderr


OPEN_AT_EXIT = """if True:
    import atexit, builtins, sys
    import numpy as np
    from scikitplot.memmap import MemMap
    mm = MemMap.open(sys.argv[1], "r+")
    view = mm[5:]
    anonymous = MemMap.anonymous(100)
    part = mm.window(3, 9)
    cycle = [MemMap.open(sys.argv[1])]
    cycle.append((cycle, cycle[0][1:]))
    builtins.kept = MemMap.open(sys.argv[1])
    atexit.register(lambda: mm[0] + view[1])
"""


def test_maps_that_are_open_at_interpreter_exit_are_silent_by_default(path):
    assert stderr_of(OPEN_AT_EXIT, path) == ""


@pytest.mark.parametrize("options", [("-W", "always"), ("-W", "error::ResourceWarning"), ("-X", "dev")])
def test_maps_that_are_open_at_interpreter_exit_say_only_the_warnings_asked_for(path, options):
    stderr = stderr_of(OPEN_AT_EXIT, path, *options)
    for line in re.sub("Object allocated at .*:\n.*\n", "", stderr).splitlines():
        if "error" in options[1]:  # an error in a finalizer is reported with a traceback
            allowed = r"(Exception ignored|Traceback| +File| +\^*|ResourceWarning: .* dropped without close)"
        else:
            allowed = r"( |.*ResourceWarning: (<MemMap .* dropped without close|Enable tracemalloc))"
        assert re.match(allowed, line), stderr


@pytest.mark.parametrize("views", ["refuse", "revoke"])
def test_closing_at_interpreter_exit_is_safe(path, views):
    code = f"""if True:
        import atexit, builtins, sys
        from scikitplot.memmap import MemMap
        class Late:
            def __init__(self):
                self.mm = MemMap.open(sys.argv[1], "r+")
            def __del__(self):
                self.mm[0] = 7
                self.mm.close(views={views!r})
        builtins.late = Late()
        late = Late()
        early = Late().mm
        atexit.register(lambda mm=MemMap.open(sys.argv[1]): mm.close())
    """
    assert stderr_of(code, path, "-W", "error").strip() == ""
    assert path.read_bytes()[:2] == b"\7\1"


@pytest.fixture
def huge_file(small_disk_of):
    """A file whose pages are huge, on a file system that the system has set some aside for."""
    folder, setting = small_disk_of("hugetlbfs", "2m"), Path("/proc/sys/vm/nr_hugepages")
    before = setting.read_text()
    setting.write_text("4")
    path = folder / "data"
    try:
        if int(setting.read_text()) < 1:
            pytest.skip("needs a huge page, and the system has none to spare")
        with open(path, "w+b") as file:
            file.truncate(os.statvfs(folder).f_bsize)
        yield path
        path.unlink()
    finally:
        setting.write_text(before)


@pytest.mark.linux
@pytest.mark.native
@pytest.mark.parametrize("views", ["refuse", "revoke"])
def test_a_part_of_a_huge_page_is_unmapped_as_a_whole(huge_file, views):
    mm = MemMap.open(huge_file, "r+", shape=1000)
    view = mm[:] if views == "revoke" else None
    mm[:] = 1
    with pytest.warns(RuntimeWarning, match="read zeros") if views == "revoke" else contextlib.nullcontext():
        mm.close(views=views)
    assert str(huge_file) not in Path("/proc/self/maps").read_text()
    assert view is None or not view.any()
