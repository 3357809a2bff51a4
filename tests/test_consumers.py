"""What others do with the memory: whoever holds it keeps the map open, and whoever is left with it reads zeros."""

import array
import asyncio
import codecs
import collections
import concurrent.futures
import contextvars
import ctypes
import functools
import gc
import hashlib
import io
import mmap
import pickle
import queue
import re
import socket
import struct
import sys
import threading
import traceback
import types
import warnings
import weakref
import zlib

import numpy as np
import pytest

from scikitplot.memmap import MemMap

N = 4096


@pytest.fixture
def mm(make_file):
    mm = MemMap.open(make_file(b"\1" * N), "r+")
    yield mm
    with warnings.catch_warnings(action="ignore"):
        mm.close(views="revoke")


@pytest.fixture(autouse=True)
def _no_collector():
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def arrow():
    import pyarrow

    return pyarrow


def torch():
    import torch

    return torch


def advanced(iterator):
    next(iterator)
    return iterator


def out_of_band(view):
    buffers = []
    return pickle.dumps(view, protocol=5, buffer_callback=buffers.append), buffers


def arrow_reader(view):
    return arrow().BufferReader(arrow().py_buffer(view))


def arrow_table(view):
    return arrow().table({"column": arrow().array(view)}).slice(1)


class Capsule:
    """Has exported the memory of an array, and is asked for it later."""

    def __init__(self, view):
        self.capsule, self.device = view.__dlpack__(), view.__dlpack_device__()

    def __dlpack__(self, **_):
        return self.capsule

    def __dlpack_device__(self):
        return self.device


class Interface:
    """Shows the memory of an array by its address, as many libraries do."""

    def __init__(self, view):
        self.view = view
        self.__array_interface__ = view.__array_interface__


# name -> (what keeps the memory of an array, how a byte is read through it)
HOLDERS = {
    "np.ndarray(buffer=array)": (lambda v: np.ndarray(9, "u1", buffer=v), lambda h: h[0]),
    "np.ndarray(buffer=memoryview)": (lambda v: np.ndarray(9, "u1", buffer=memoryview(v)), lambda h: h[0]),
    "np.frombuffer": (lambda v: np.frombuffer(v, "<u2"), lambda h: h[0] & 1),
    "np.frombuffer of a PickleBuffer": (lambda v: np.frombuffer(pickle.PickleBuffer(v), "u1"), lambda h: h[0]),
    "__array_interface__": (lambda v: np.asarray(Interface(v)), lambda h: h[0]),
    "np.recarray": (lambda v: np.rec.array(v.view([("a", "u1")]), copy=False), lambda h: h.a[0]),
    "np.ma": (lambda v: np.ma.masked_equal(v, 7, copy=False), lambda h: h[0]),
    "np.nditer": (lambda v: advanced(np.nditer(v)), lambda h: int(h[0])),
    "np.nditer, external loop": (lambda v: np.nditer(v, ["external_loop"]), lambda h: h.value[0]),
    "np.ndenumerate": (lambda v: advanced(np.ndenumerate(v)), lambda h: next(h)[1]),
    "np.broadcast": (lambda v: np.broadcast(v, v[:1]), lambda h: next(h)[0]),
    "np.lib.Arrayterator": (lambda v: np.lib.Arrayterator(v, 64), lambda h: next(h.flat)),
    "array of objects": (lambda v: np.array([v, None], object), lambda h: h[0][0]),
    "array iterator": (lambda v: advanced(iter(v)), next),
    "memoryview iterator": (lambda v: advanced(iter(memoryview(v))), next),
    "memoryview.cast": (lambda v: memoryview(v).cast("b").cast("B", (2, N // 2)), lambda h: h[0, 0]),
    "memoryview, sliced": (lambda v: memoryview(v)[1:][::-1], lambda h: h[0]),
    "struct.iter_unpack": (lambda v: struct.iter_unpack("<B", v), lambda h: next(h)[0]),
    "re.Match": (lambda v: re.search(b"\1+", v), lambda h: h.group()[0] if h.group() else 0),
    "re.finditer": (lambda v: re.finditer(rb"(?s).", v), lambda h: next(h).group()[0]),
    "ctypes.from_buffer": (lambda v: (ctypes.c_ubyte * 9).from_buffer(v), lambda h: h[0]),
    "ctypes structure": (lambda v: ctypes.c_uint32.from_buffer(v), lambda h: h.value & 1),
    "np.ctypeslib": (lambda v: np.ctypeslib.as_array(np.ctypeslib.as_ctypes(v)), lambda h: h[0]),
    "ndarray.ctypes": (lambda v: v.ctypes.data_as(ctypes.POINTER(ctypes.c_ubyte)), lambda h: h[0]),
    "pickle, out of band": (out_of_band, lambda h: pickle.loads(h[0], buffers=h[1])[0]),
    "pickle.PickleBuffer": (pickle.PickleBuffer, lambda h: h.raw()[0]),
    "DLPack capsule": (Capsule, lambda h: np.from_dlpack(h)[0]),
    "np.from_dlpack": (np.from_dlpack, lambda h: h[0]),
    "closure": (lambda v: lambda: v[0], lambda h: h()),
    "functools.partial": (lambda v: functools.partial(np.take, v, 0), lambda h: h()),
    "bound method": (lambda v: v.item, lambda h: h(0)),
    "generator": (lambda v: advanced(x for part in [v, v] for x in part), next),
    "deque": (lambda v: collections.deque([v]), lambda h: h[0][0]),
    "namespace": (lambda v: types.SimpleNamespace(v=v), lambda h: h.v[0]),
    "pyarrow.py_buffer": (lambda v: arrow().py_buffer(v), lambda h: h[0]),
    "pyarrow.BufferReader": (arrow_reader, lambda h: h.read(1)[0]),
    "pyarrow.array": (lambda v: arrow().array(v).slice(1), lambda h: h[0].as_py()),
    "pyarrow.Array.to_numpy": (lambda v: arrow().array(v).to_numpy(), lambda h: h[0]),
    "pyarrow.Tensor": (lambda v: arrow().Tensor.from_numpy(v), lambda h: h.to_numpy()[0]),
    "pyarrow.Table": (arrow_table, lambda h: h["column"][0].as_py()),
    "torch.from_numpy": (lambda v: torch().from_numpy(v)[1:], lambda h: h[0].item()),
    "torch.asarray": (lambda v: torch().asarray(v).reshape(2, -1), lambda h: h[1, 0].item()),
    "torch.from_dlpack": (lambda v: torch().from_dlpack(v), lambda h: h[0].item()),
    "torch.frombuffer": (lambda v: torch().frombuffer(v, dtype=torch().uint8), lambda h: h[0].item()),
    "torch.Tensor.numpy": (lambda v: torch().from_numpy(v).numpy(), lambda h: h[0]),
}

# name -> what is made of an array, and needs it no more
COPIERS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "array.array": lambda v: array.array("B", v.tobytes()),
    "array.frombytes": lambda v: array.array("B").frombytes(v),
    "list": list,
    "struct.unpack_from": lambda v: struct.unpack_from("<9B", v, 5),
    "struct.pack_into": lambda v: struct.pack_into("<9B", v, 5, *[1] * 9),
    "int.from_bytes": lambda v: int.from_bytes(memoryview(v)[:9]),
    "io.BytesIO": io.BytesIO,
    "BytesIO.readinto": lambda v: io.BytesIO(b"\1" * N).readinto(v),
    "codecs": lambda v: codecs.decode(v, "latin-1"),
    "hashlib": hashlib.sha256,
    "zlib": lambda v: (zlib.crc32(v), zlib.compress(v), zlib.compressobj().compress(v)),
    "mmap": lambda v: mmap.mmap(-1, N).write(v),
    "bytes.join": lambda v: b"".join([v, v]),
    "str": lambda v: str(v, "latin-1"),
    "ctypes.from_buffer_copy": lambda v: (ctypes.c_ubyte * 9).from_buffer_copy(v),
    "pickle": lambda v: pickle.loads(pickle.dumps(v, protocol=5)),
    "np.save": lambda v: np.save(io.BytesIO(), v),
    "np.random": lambda v: np.random.default_rng(0).shuffle(v),
    "ufunc.at": lambda v: np.add.at(v, [0], 0),
    "ufunc with out=": lambda v: np.add(v, 0, out=v).sum(),
    "weak reference": weakref.ref,
    "pyarrow.compute": lambda v: __import__("pyarrow.compute").compute.add(arrow().array(v), 1),
    "torch.tensor": lambda v: torch().tensor(v),
}


def named(table):
    needed = {"pyarrow": pytest.mark.consumers, "torch": pytest.mark.torch}
    marks = [needed.get(name.partition(".")[0], ()) for name in table]
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), id=name, marks=mark)
        for (name, value), mark in zip(table.items(), marks, strict=True)
    ]


@pytest.mark.parametrize(("hold", "read"), named(HOLDERS))
def test_whoever_holds_the_memory_keeps_the_map_open(mm, hold, read):
    holder = hold(mm[...])
    with pytest.raises(BufferError, match="alive"):
        mm.close()
    assert read(holder) == 1
    del holder
    mm.close()


@pytest.mark.parametrize(("hold", "read"), named(HOLDERS))
def test_whoever_is_left_with_the_memory_reads_zeros(mm, hold, read):
    holder = hold(mm[...])
    with pytest.warns(RuntimeWarning, match="read zeros"):
        mm.close(views="revoke")
    assert read(holder) == 0
    del holder
    assert mm._region.leases == 0


@pytest.mark.parametrize("make", named(COPIERS))
def test_whoever_copies_lets_the_map_close(mm, make):
    copy = make(mm[...])
    mm.close()
    del copy


def test_a_socket_holds_the_memory_for_no_longer_than_the_call(mm):
    left, right = socket.socketpair()
    with left, right:
        left.send(mm[:9])
        assert right.recv_into(mm[9:]) == 9
        left.sendall(mm[:9])
        assert right.recv(99) == b"\1" * 9
    mm.close()


# -------------------------------------------------------------------------------- variables that somebody keeps alive


def fail(mm):
    view = mm[...]
    raise KeyError(view[0])


def failed(mm):
    with pytest.raises(KeyError) as caught:
        fail(mm)
    return caught.value


def test_a_stored_exception_keeps_the_map_open_until_its_frames_are_cleared(mm):
    stored = failed(mm)
    with pytest.raises(BufferError, match="1 view is alive"):
        mm.close()
    traceback.clear_frames(stored.__traceback__)
    mm.close()


@pytest.mark.parametrize("link", ["__cause__", "__context__"])
def test_so_does_the_cause_of_a_stored_exception(mm, link):
    stored = ValueError()
    setattr(stored, link, failed(mm))
    with pytest.raises(BufferError, match="1 view is alive"):
        mm.close()
    del stored
    mm.close()


def test_the_last_exception_of_an_interactive_session_is_named_as_a_cause(mm, monkeypatch):
    monkeypatch.setattr(sys, "last_value", failed(mm), raising=False)
    with pytest.raises(BufferError, match="A stored exception keeps the variables of its frames alive"):
        mm.close()
    monkeypatch.undo()
    mm.close()


def test_a_coroutine_keeps_what_it_uses_until_it_is_closed(mm):
    async def use():
        view = mm[...]
        await asyncio.sleep(0)
        return view

    coroutine = use()
    coroutine.send(None)
    with pytest.raises(BufferError, match="1 view is alive"):
        mm.close()
    coroutine.close()
    mm.close()


def test_a_finished_future_keeps_its_result(mm):
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        future = pool.submit(lambda: mm[...])
        assert future.result()[0] == 1
        with pytest.raises(BufferError, match="1 view is alive"):
            mm.close()
        del future
        pool.submit(int).result()  # the worker has let go of what it did before
    mm.close()


def test_a_thread_keeps_its_variables(mm):
    started, end = threading.Event(), threading.Event()

    def work():
        local = threading.local()
        local.view = mm[...]
        started.set()
        end.wait()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    with pytest.raises(BufferError, match="1 view is alive"):
        mm.close()
    end.set()
    thread.join()
    mm.close()


def test_a_queue_a_context_and_a_finalizer_keep_what_was_put_there(mm):
    waiting, variable, owner = queue.SimpleQueue(), contextvars.ContextVar("view"), threading.Event()
    context = contextvars.copy_context()
    waiting.put(mm[...])
    context.run(variable.set, mm[1:])
    weakref.finalize(owner, np.sum, mm[2:])
    with pytest.raises(BufferError, match="3 views are alive"):
        mm.close()
    waiting.get()
    del context, owner
    mm.close()


def test_a_sum_that_closes_the_map_from_within_is_refused(mm):
    class Closing(np.ndarray):
        def __array_ufunc__(self, ufunc, method, *inputs, **kwargs):
            mm.close()

    with pytest.raises(BufferError, match="alive"):
        np.add(mm[...].view(Closing), 1)
    mm.close()


def test_a_sort_whose_comparison_closes_the_map_is_refused(mm):
    with pytest.raises(BufferError, match="alive"):
        sorted(mm[:9], key=lambda _: mm.close())
    mm.close()
