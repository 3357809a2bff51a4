#!/usr/bin/env python
"""Call everything public with hostile arguments.  Usage: fuzz.py CALLS [--seed N] [--threads N] [--processes N]

Errors of the documented kinds will do. Findings are: the end of the process by a signal, any other error, a hang, lost
pages that a method kept to itself, a mapping or descriptor that is left, a public name that is never called. Every
50 000 calls have a process of their own.
"""

import argparse
import array
import collections
import concurrent.futures
import contextlib
import copy
import faulthandler
import gc
import inspect
import io
import itertools
import math
import mmap
import operator
import os
import pathlib
import pickle
import random
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import unittest.mock
import warnings
from collections.abc import Iterator

import numpy as np

from scikitplot import memmap
from scikitplot.memmap import DamagedError, MemMap
from scikitplot.memmap._refused import OPERATORS, UNARY

ROUND = 50_000  # calls
PATIENCE = 120  # seconds that a call may take before it counts as a hang
MEMORY = 1 << 29  # bytes of address space, so that huge sizes are refused
SIZES = (0, 1, 100, 4096, 8197, 65536, 1 << 20)  # of the files, in bytes
MOST_MAPS, MOST_VIEWS = 14, 24
MOST_DIMS = 24  # np.take of NumPy 2.4 writes past the end of its stack where map and indices have many more together
BATCHES = type(memmap.batches(np.zeros(1), batch_size=1))


class Nasty(Exception):
    """What hostile arguments raise."""


class NastyExit(BaseException):
    """The same, where `except Exception` does not see it."""


class Liar(int):
    """An integer that says anything of itself."""

    def __eq__(self, other):
        return True

    def __lt__(self, other):
        return False

    def __hash__(self):
        return 0

    def __mul__(self, *other):
        return 1

    __le__ = __ge__ = __gt__ = __ne__ = __lt__
    __rmul__ = __add__ = __radd__ = __sub__ = __rsub__ = __floordiv__ = __mod__ = __neg__ = __abs__ = __mul__


EXPECTED = (
    TypeError, ValueError, IndexError, KeyError, OSError, OverflowError, BufferError, MemoryError, Nasty, NastyExit,
    RuntimeWarning, ResourceWarning, pickle.PicklingError,
)  # fmt: skip
OF_NUMPY = (  # RuntimeErrors of np.array() for some strings and some memoryviews
    "The string provided for NumPy ISO datetime formatting was too short", "Item size ",
)  # fmt: skip


# ------------------------------------------------------------------------------------------------ hostile arguments


def trap(hook, answer):
    """Make a class whose objects do something to the maps when one of their methods is called."""

    def spring(self, *args, **kwargs):
        self.fuzz.sabotage()
        return answer(self.fuzz)

    is_attribute = hook in ("dtype", "shape", "ndim", "size", "name", "file", "raw")
    body = {hook: property(spring) if is_attribute else spring, "__deepcopy__": lambda self, memo: self}
    return hook, type(f"Trap_{hook.strip('_')}", (), body)


TRAPS = dict([
    trap("__index__", lambda f: f.choose([f.small, f.anything])()),
    trap("__int__", lambda f: f.small()),
    trap("__float__", lambda f: float(f.small())),
    trap("__bool__", lambda f: f.choose([True, False, None])),
    trap("__eq__", lambda f: f.choose([True, False, f.anything()])),
    trap("__hash__", lambda f: f.small()),
    trap("__len__", lambda f: abs(f.small())),
    trap("__str__", lambda f: f.choose(["r", "<u1", f.anything()])),
    trap("__format__", lambda f: "text"),
    trap("__iter__", lambda f: iter([f.small(), f.anything()])),
    trap("__array__", lambda f: f.choose([f.buffer, f.rows, f.anything])()),
    trap("__fspath__", lambda f: f.choose([f.file, f.anything])()),
    trap("__buffer__", lambda f: memoryview(f.choose([f.buffer, f.anything])())),
    trap("__contains__", lambda f: True),
    trap("fileno", lambda f: f.small()),
    *[trap(name, lambda f: f.anything()) for name in ("dtype", "shape", "ndim", "size", "name", "file", "raw")],
])  # fmt: skip

INTEGERS = [
    sign * (n + d)
    for sign in (1, -1) for n in (0, 8, 4096, 1 << 31, 1 << 32, 1 << 53, 1 << 63, 1 << 64) for d in (-1, 0, 1)
] + [10**30, -(10**5000)]  # fmt: skip
ODD_NUMBERS = [
    math.nan, math.inf, -math.inf, 1.0, 1.5, 1j, True, False, None, "1", b"1", ..., np.int8(-1), np.uint64(2**64 - 1),
    Liar(1000), Liar(-5000), Liar(10**9), np.float32(2), np.float64("nan"), np.bool_(True), np.array(3), np.array([3]),
    np.array(1.0), np.datetime64("now"),
]  # fmt: skip
DTYPES = [
    "u1", "i1", "<i2", ">i4", "<u8", "f2", "<f4", ">f8", "g", "c8", "G", "?", "S5", "U3", "V7", "M8[ns]", "m8[s]",
    "i4,f8", "(2,3)<i4", "2u1", [("a", "u1"), ("b", "<f8")], [("a", "f4", (2, 2)), ("s", "S3")],
    {"names": ["x", "y"], "formats": ["u1", "<i8"], "offsets": [3, 9], "itemsize": 40},
    {"names": ["x", "y"], "formats": ["<i4", "<i2"], "offsets": [0, 2]}, np.dtype("i4,i8", align=True), np.float64, int,
]  # fmt: skip
ODD_DTYPES = [
    "O", "V0", "S0", "U0", "V", "S", [], [("a", "O")], [("a", "V0")], "(0,)i4", "(-1,)i4", "V2147483647", "garbage", "",
    "\0", "u1\0", "i4,", "(1000000,1000000)f8", np.dtypes.StringDType(), object, type, {}, {"names": ["a"]}, 3, b"u1",
    [("a", [("b", [("c", "O")])])], "M8", ("u1", 3), ("u1", (1,) * MOST_DIMS), np.record, "(1,)" * 3 + "u1", "\udc80",
]  # fmt: skip
WORDS = [
    "",
    "r",
    "C",
    "normal",
    "refuse",
    "raise",
    "\0",
    "\ud800",
    "R",
    "é" * 100,
    b"r",
    0,
    None,
    (),
    np.str_("r"),
    ["r"],
]
NAMES = [
    "new.bin",
    "x" * 300,
    "a\0b",
    "\udc80",
    "\ud800",
    "",
    ".",
    "folder",
    "fifo",
    "socket",
    "link",
    "no/such",
    "loop",
]


class Fuzz:
    """Maps in all modes, and calls on them; all that is random comes from one seed."""

    def __init__(self, seed, note, maps, views):
        self.random = random.Random(seed)
        self.note = note  # called with what is about to be done
        self.maps, self.views = maps, views  # which threads share
        self.target = None  # the map of the call that is being made
        self.depth = self.made = self.sprung = 0
        self.done, self.refused = collections.Counter(), collections.Counter()

    def choose(self, things):
        return self.random.choice(things)

    def one_in(self, n):
        return self.random.randrange(n) == 0

    def either(self, *makers):
        return self.choose(makers)()

    # ---- arguments

    def small(self):
        return self.random.randint(-3, 40)

    def trap(self, *hooks):
        made = TRAPS[self.choose(hooks if hooks and not self.one_in(4) else list(TRAPS))]()
        made.fuzz = self
        return made

    def number(self):
        kind = self.random.randrange(20)
        if kind < 13:
            return self.small()
        if kind < 16:
            return self.choose(INTEGERS)
        return self.choose(ODD_NUMBERS) if kind < 18 else self.trap("__index__", "__eq__", "__int__")

    def anything(self):
        return self.choose([
            self.number, self.dtype, self.word, self.shape, self.buffer, self.file, self.trap, self.map, object,
        ])()  # fmt: skip

    def word(self, *good):
        if good and not self.one_in(8):
            return self.choose(good)
        return self.trap("__eq__", "__hash__", "__bool__", "__str__") if self.one_in(3) else self.choose(WORDS)

    def dtype(self):
        kind = self.random.randrange(12)
        return self.choose(DTYPES) if kind < 9 else self.choose(ODD_DTYPES) if kind < 11 else self.trap("dtype")

    def shape(self):
        kind = self.random.randrange(12)
        if kind == 0:
            return self.trap("__index__", "__iter__", "__len__", "ndim")
        if kind == 1:
            return self.choose(
                ["", "12", (1,) * 65, [[1, 2]], np.arange(3), np.zeros((2, 2)), {3, 4}, range(4), b"ab", {}]
            )
        if kind < 6:
            return self.number()
        dims = [
            self.random.randrange(1, 9) if self.one_in(2) else self.number() for _ in range(self.random.randrange(4))
        ]
        return self.choose([tuple, list, iter])(dims)

    def usual_shape(self):
        return self.choose(
            [None, self.random.randrange(300), (self.random.randrange(50), 3), (-1, 2), (4, 2, 3), (), 4096]
        )

    def slice(self):
        return slice(*(self.choose([None, self.small(), self.number()]) for _ in range(3)))

    def rows(self):
        kind = self.random.randrange(9)
        n = self.random.randrange(5)
        if kind < 3:
            return (
                np.array([self.small() for _ in range(n)], self.choose(["i8", "i1", "u8", "f8", "?", "O"]), ndmin=1)
                if n
                else []
            )
        if kind == 3:
            return self.trap("__array__", "__iter__", "__len__", "__index__", "dtype")
        return [lambda: None, self.slice, lambda: [self.number() for _ in range(n)], self.buffer, self.anything][
            kind - 4
        ]()

    def key(self):
        kind = self.random.randrange(10)
        if kind < 3:
            return self.number()
        if kind < 5:
            return self.slice()
        if kind == 5:
            return tuple(
                self.choose([self.small, self.slice, self.rows, lambda: None, lambda: ...])() for _ in range(3)
            )
        if kind == 6:
            return self.choose([..., (), None, "a", ["a", "b"], "x", np.ones(3, bool), True, np.zeros((0,), int), [[]]])
        return self.rows() if kind < 9 else self.anything()

    def value(self):
        kind = self.random.randrange(7)
        if kind == 0:
            return self.trap(
                "__array__", "__float__", "__int__", "__index__", "__eq__", "__bool__", "__len__", "__iter__"
            )
        return [self.number, self.buffer, self.rows, self.anything, lambda: "text", lambda: (1, 2.5)][kind - 1]()

    def buffer(self):
        n = self.choose([0, 1, 8, 100, 4096, 5000])
        kind = self.random.randrange(17)
        if kind == 0:
            return bytes(n)
        if kind < 3:
            return bytearray(n)
        if kind == 3:
            return memoryview(bytearray(n))[:: self.choose([2, -1, -3])]
        if kind == 4:
            return memoryview(bytes(n))
        if kind == 5:
            return np.zeros(n, self.choose(["u1", "f8", ">i4", "m8[s]", "i4,f8", "O"]))[:: self.choose([1, 2, -1])]
        if kind == 6:
            return np.zeros((3, n // 3), order="F")
        if kind == 7:
            fixed = np.zeros(n)
            fixed.flags.writeable = False
            return fixed
        if kind == 8:
            gone = memoryview(bytearray(n))
            gone.release()
            return gone
        if kind == 9:
            return array.array("d", bytes(8 * n))
        if kind == 10:
            return mmap.mmap(-1, n + 1)
        if kind == 11:
            return np.broadcast_to(np.uint8(1), (n, 2))
        if kind < 14 and self.views:
            return self.choose(self.views)
        if kind == 14 and (mm := self.map()) is not None:
            return mm[...] if self.one_in(2) else mm  # over the map itself
        return self.trap("__buffer__", "__array__", "__len__") if kind == 15 else self.number()

    def map(self):
        if self.target is not None and not self.one_in(3):
            return self.target
        return self.choose([*self.maps, None])

    def file(self):
        return f"{self.random.randrange(len(SIZES))}.bin"

    def path(self):
        name = self.file()
        kind = self.random.randrange(16)
        if kind < 8:
            return name
        if kind == 8:
            return pathlib.Path(name)
        if kind == 9:
            return os.fsencode(name)
        if kind < 12:
            how = self.choose(["rb", "r+b", "r", "ab"])
            opened = open(name, how, buffering=0 if "b" in how and self.one_in(2) else -1)  # noqa: SIM115
            if self.one_in(8):
                opened.close()
            return opened
        if kind == 12:
            return self.choose([io.BytesIO(b"12345678"), io.StringIO(), sys.stdin, 0, -1])
        if kind == 13:
            return self.choose(NAMES)
        return self.trap("__fspath__", "fileno") if kind == 14 else self.anything()

    def new_rows(self):
        return np.zeros((self.random.randrange(9), *self.target.shape[1:]), self.target.dtype)

    def some(self, **kwargs):
        """Only some of the keyword arguments."""
        return {name: make() for name, make in kwargs.items() if self.one_in(2)}

    def layout(self):
        return self.some(dtype=self.dtype, shape=self.choose([self.shape, self.usual_shape]), order=self.order)

    def order(self):
        return self.word("C", "F")

    def mode(self):
        return self.word("r", "r+", "c", "w+", "x+", "readonly", "copyonwrite")

    def access(self):
        return self.word("normal", "random", "sequential")

    def full_open(self):
        more = self.some(offset=self.number, access=self.access, sparse=self.value) if self.one_in(3) else {}
        return [self.path(), self.mode()][: self.random.randrange(8) and 2], self.layout() | more

    def memmap(self):
        array = np.memmap(self.file(), mode=self.choose(["r", "r+", "c"]))
        return self.choose(
            [array, array[3:], array[::2], array[:8].view("<i4"), np.asarray(array)[:100].reshape(2, -1).T]
        )

    def npy(self):
        return self.choose(["x.npy", "x.npz", "new.npy"]) if self.one_in(2) else self.path()

    # ---- what hostile arguments do

    def sabotage(self):
        self.sprung += 1
        mm = self.map()
        kind = self.random.randrange(14)
        if kind == 0:
            raise self.choose([Nasty, NastyExit, ValueError, KeyError, MemoryError])("trap")
        if kind == 1:
            self.cut_or_grow()
        elif kind == 2:
            gc.collect(0)
        elif kind == 3 and self.depth < 3:
            self.step()
        elif mm is None:
            self.drop()
        elif kind == 4:
            mm.close()
        elif kind < 7:
            mm.close("revoke")
        elif kind == 7:
            self.keep(mm.detach())
        elif kind < 10:
            mm.resize((self.random.randrange(300), *mm.shape[1:]))
        elif kind == 10:
            self.touch(mm[...])
        elif kind == 11:
            os.truncate(mm.path or "1.bin", 0)

    def cut_or_grow(self):
        """Another process could do that to a file at any time."""
        name = self.file()
        with contextlib.suppress(FileNotFoundError), open(name, "r+b") as file:
            full = SIZES[int(name.split(".")[0])]
            if self.one_in(3):
                file.truncate(self.random.randrange(full + 1))
            else:
                file.write(bytes(full))

    def touch(self, view):
        """Use memory as programs do, which know nothing of maps."""
        kind = self.random.randrange(8)
        if isinstance(view, MemMap):
            return
        if kind < 3 and isinstance(view, np.ndarray):
            view.sum() if view.dtype.kind in "iuf" else view.copy()
        elif kind == 3 and isinstance(view, np.ndarray):
            view.fill(0)
        elif kind == 4 and isinstance(view, np.ndarray):
            self.keep(view[self.key()])
        elif kind == 5:
            bytes(view)
        elif kind == 6:
            with open(os.devnull, "wb") as sink:
                sink.write(view)
        elif kind == 7 and isinstance(view, memoryview):
            view.release()

    def keep(self, result):
        if isinstance(result, MemMap):
            self.maps.append(result)
        elif isinstance(result, np.ndarray | memoryview) and self.one_in(3):
            self.views.append(result)
        elif isinstance(result, list | tuple | Iterator | BATCHES):
            for thing in itertools.islice(result, 3):
                self.keep(thing)

    def drop(self):
        with contextlib.suppress(IndexError):  # another thread was first
            self.views.pop(self.random.randrange(len(self.views) or 1))
        if self.one_in(2):
            with contextlib.suppress(IndexError):
                self.maps.pop(self.random.randrange(len(self.maps) or 1))

    # ---- calls

    def step(self):
        """Make one call."""
        self.depth += 1
        outer = self.target
        try:
            while len(self.maps) > MOST_MAPS or len(self.views) > MOST_VIEWS:
                self.drop()
            kind = self.random.randrange(20)
            if kind == 0:
                self.cut_or_grow()
            elif kind == 1 and self.views:
                self.touch(self.choose(self.views))
            elif kind == 2:
                self.drop()
            elif kind < 5 or not self.maps:
                self.call(self.choose(["open", "open", "anonymous", "from_memmap"]))
            elif kind == 5:
                self.call(self.choose(FUNCTIONS))
            else:
                self.target = self.choose(self.maps)
                if self.target.closed and not self.one_in(4):
                    return self.maps.remove(self.target)
                self.call(self.choose(METHODS))
        finally:
            self.depth -= 1
            self.target = outer

    def call(self, name):
        mm, sprung = self.target, self.sprung
        self.made += 1
        self.note(f"{name}: being made")
        make = CALLS[name]
        if make is None:
            self.note(f"{mm!r}: {name}")
            self.keep(operator.attrgetter(name)(mm))
            self.done[name] += 1
            return
        args, kwargs = make(self)
        self.note(f"{name}{self.say(args)} {self.say(kwargs)} on {mm!r}")
        function = OPERATIONS.get(name) or getattr(memmap if name in FUNCTIONS else MemMap, name)
        was_whole = mm is not None and not mm.damaged and threading.active_count() == 1
        given = args if name in FUNCTIONS or name in CLASS_METHODS else (mm, *args)
        self.keep(function(*given, **kwargs))
        self.done[name] += 1
        if was_whole and mm.damaged and sprung == self.sprung and name in TOUCHING:
            raise SystemError(f"{name} met lost pages and said nothing")

    def say(self, argument):
        """Say what an argument is, without calling anything of it."""
        if isinstance(argument, dict):
            return "{" + ", ".join(f"{name}={self.say(value)}" for name, value in argument.items()) + "}"
        if type(argument) in (tuple, list):
            return "(" + ", ".join(map(self.say, argument)) + ")"
        if type(argument) is np.ndarray:
            return f"<array {argument.dtype} {argument.shape} {argument.strides} writeable={argument.flags.writeable}>"
        if type(argument) is int and abs(argument) > 10**40:
            return "<huge>"
        if type(argument) in (str, int, float, bool, type(None)):
            return ascii(argument)
        return f"<{type(argument).__name__}>"

    def run(self, calls):
        while self.made < calls:
            try:
                self.step()
            except EXPECTED as error:
                self.refused[type(error).__name__] += 1
            except RuntimeError as error:
                if not str(error).startswith(OF_NUMPY):
                    raise

    def run_on(self, calls):
        """Run, though the error for a touched view may arrive between two steps."""
        while self.made < calls:
            with contextlib.suppress(DamagedError):
                self.run(calls)


def policy(fuzz):
    return (fuzz.choose(["raise", "flag", *WORDS]),), {}  # no trap that says it equals "off"


def next_rows(mm):
    return list(itertools.islice(mm, 3))


def use_block(mm, fuzz):
    with mm as same:
        fuzz.sabotage()
        return same[...] if fuzz.one_in(2) else None


def round_trip(mm, protocol):
    return pickle.loads(pickle.dumps(mm, protocol))


def switch_guard_off(mm):
    """For a moment in which nothing is touched."""
    if threading.active_count() > 1:
        return
    try:
        memmap.set_fault_policy("off")
    finally:
        memmap.set_fault_policy("raise")


def nothing(fuzz):
    return (), {}


def rows_only(fuzz):
    return (fuzz.rows(),)[: fuzz.random.randrange(2)], {}


def one_thing(fuzz):
    return (fuzz.anything(),), {}


def one_value(fuzz):
    return (fuzz.value(),), {}


# what is called without a method's name -> its arguments after the map
OPERATIONS = {
    "with": use_block,
    "pickle": round_trip,
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "next": next_rows,
    "bytes": bytes,
    "np.asarray": np.asarray,
    "np.add": np.add,
    "np.take": np.take,
    "np.concatenate": lambda mm, other: np.concatenate([mm, other]),
    "memoryview()": memoryview,
    "==": operator.eq,
    "<": operator.lt,
    "+": operator.add,
    "index": operator.index,
    "reversed": lambda mm: list(itertools.islice(reversed(mm), 3)),
    "str": str,
    "policy off": switch_guard_off,
}
OPERATION_CALLS = {
    "with": lambda f: ((f,), {}),
    "pickle": lambda f: ((f.random.randrange(6),), {}),
    **dict.fromkeys(["copy", "deepcopy", "next", "bytes", "memoryview()", "index", "reversed"], nothing),
    **dict.fromkeys(["str", "policy off"], nothing),
    "np.asarray": lambda f: ((), f.some(dtype=f.dtype, copy=lambda: f.choose([True, False, None, f.value()]))),
    "np.add": one_value,
    "np.take": lambda f: ((f.rows(),), f.some(axis=f.number, out=f.buffer)),
    **dict.fromkeys(["np.concatenate", "==", "<", "+"], one_value),
}  # fmt: skip

METHOD_CALLS = {
    "open": Fuzz.full_open,
    "from_memmap": lambda f: ((f.either(f.memmap, f.value),), f.some(mode=f.mode, access=f.access)),
    "anonymous": lambda f: ((f.either(f.shape, f.usual_shape),), f.some(dtype=f.dtype, order=f.order, shared=f.value)),
    "__getitem__": lambda f: ((f.key(),), {}),
    "__setitem__": lambda f: ((f.key(), f.value()), {}),
    "__delitem__": lambda f: ((f.key(),), {}),
    "__contains__": one_value,
    "__array__": lambda f: ((), f.some(dtype=f.dtype, copy=f.value)),
    "__exit__": lambda f: ((None, f.choose([None, ValueError()]), None), {}),
    **dict.fromkeys(["__bool__", "__len__", "__iter__", "__repr__", "__str__", "__reduce__", "__enter__"], nothing),
    **dict.fromkeys(["__del__", "__hash__", "__sizeof__", "__dir__", "__getstate__"], nothing),
    **dict.fromkeys(["__eq__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__reduce_ex__"], one_thing),
    "__format__": lambda f: ((f.choose(["", f.anything()]),), {}),
    "read_at": lambda f: ((f.number(), f.number()), {}),
    "readinto_at": lambda f: ((f.number(), f.buffer()), {}),
    "write_at": lambda f: ((f.number(), f.buffer()), {}),
    "gather": lambda f: ((f.rows(),), f.some(out=lambda: f.either(f.new_rows, f.buffer))),
    "take": lambda f: (
        (f.rows(),),
        f.some(axis=f.number, out=lambda: f.either(f.new_rows, f.buffer), mode=lambda: f.word("raise", "wrap", "clip")),
    ),
    "searchsorted": lambda f: (
        (f.value(),),
        f.some(side=lambda: f.word("left", "right"), sorter=f.rows, field=lambda: f.either(f.value, lambda: "a")),
    ),
    "view": lambda f: ((f.dtype(),)[: f.random.randrange(2)], f.some(offset=f.number, shape=f.shape, order=f.order)),
    "window": lambda f: ((f.choose([None, f.number()]), f.choose([None, f.number()])), {}),
    "to_numpy": lambda f: ((), f.some(dtype=f.dtype, copy=lambda: f.choose([True, False, None, f.value()]))),
    **dict.fromkeys(["memoryview", "detach", "verify", "recover", "refresh"], nothing),
    **dict.fromkeys(["residency", "lock", "unlock"], rows_only),
    "evict": lambda f: (rows_only(f)[0], f.some(cache=f.value)),
    "prefetch": lambda f: (rows_only(f)[0], f.some(wait=f.value, progress=lambda: False)),
    "iter_chunks": lambda f: (
        rows_only(f)[0],
        f.some(nbytes=lambda: f.either(f.number, lambda: 4096), evict=f.value, progress=lambda: False),
    ),
    "flush": lambda f: (rows_only(f)[0], f.some(wait=f.value)),
    "advise": lambda f: ((f.access(),), {}),
    "close": lambda f: ((f.word("refuse", "revoke"),)[: f.random.randrange(2)], {}),
    "resize": lambda f: ((f.either(f.shape, lambda: (f.random.randrange(300), *f.target.shape[1:])),), {}),
    "append": lambda f: ((f.either(f.value, f.new_rows),), {}),
    "__getitems__": lambda f: ((f.rows(),), {}),
    "__dlpack__": lambda f: ((), f.some(stream=lambda: None)),
    **dict.fromkeys(["__dlpack_device__", "__dask_tokenize__", "__bytes__", "__copy__", "__index__"], nothing),
    "__deepcopy__": lambda f: (({},), {}),
    **{f"__{name}__": nothing if name in UNARY else one_thing for name in OPERATORS},
}  # fmt: skip
FUNCTION_CALLS = {
    "plot_residency": lambda f: ((f.either(f.map, f.value), unittest.mock.Mock()), {}),
    "open_maps": nothing,
    "open_npy": lambda f: (
        (f.npy(), f.mode()),
        f.some(member=lambda: f.either(f.value, lambda: "x"), access=f.access) | (f.layout() if f.one_in(3) else {}),
    ),
    "set_fault_policy": policy,
    "set_num_threads": lambda f: ((f.number(),), {}),
    "batches": lambda f: (
        [f.either(f.map, f.value) for _ in range(f.random.randrange(3))],
        {"batch_size": f.either(f.number, lambda: 7)}
        | f.some(
            shuffle=lambda: f.word("blocks", True),
            seed=f.number,
            epoch=f.number,
            buffer_nbytes=f.number,
            start=f.number,
            shard=lambda: f.either(f.value, lambda: (1, 3)),
            drop_last=f.value,
            prefetch=f.number,
        ),
    ),
    "concat": lambda f: ([[f.either(f.map, f.map, f.value) for _ in range(f.random.randrange(4))]], {}),
    "DamagedError": lambda f: ([f.anything() for _ in range(f.random.randrange(4))], {}),
}
CLASS_METHODS = ["open", "from_memmap", "anonymous"]
HOPELESS = [
    "__delitem__",
    "memoryview()",
    "index",
    "__index__",
    "+",
    "<",
    *(f"__{name}__" for name in OPERATORS),
]  # always an error
# not called: they are Python's, and do what a class or an object of any kind lets them do
OF_PYTHON = {
    "__class__", "__class_getitem__", "__new__", "__init__", "__init_subclass__", "__subclasshook__",
    "__getattribute__", "__setattr__", "__delattr__", "__doc__", "__module__", "__slots__", "__weakref__",
    "__pyx_vtable__",
    "__arrow_array__", "__arrow_c_array__", "__arrow_c_stream__",  # pyarrow takes more address space than there is here
}  # fmt: skip
# methods that raise themselves if they meet a lost page
TOUCHING = [
    "read_at",
    "readinto_at",
    "write_at",
    "gather",
    "take",
    "searchsorted",
    "__setitem__",
    "__contains__",
    "to_numpy",
    "__array__",
    "append",
]


def is_public(name):
    return hasattr(MemMap, name) and (not name.startswith("_") or (name.startswith("__") and name not in OF_PYTHON))


def attributes_of(cls):
    return [name for name in dir(cls) if is_public(name) and not callable(inspect.getattr_static(cls, name))
            and not isinstance(inspect.getattr_static(cls, name), classmethod | staticmethod)]  # fmt: skip


CALLS = FUNCTION_CALLS | METHOD_CALLS | OPERATION_CALLS | dict.fromkeys(attributes_of(MemMap))
FUNCTIONS = [name for name in memmap.__all__ if name != "MemMap"]
METHODS = [*(name for name in dir(MemMap) if is_public(name) and name not in CLASS_METHODS), *OPERATION_CALLS]
if unknown := [name for name in [*FUNCTIONS, *METHODS, *CLASS_METHODS] if name not in CALLS]:
    sys.exit(f"fuzz.py knows no arguments for what is public: {', '.join(unknown)}")


# ------------------------------------------------------------------------------------------------------- processes


def held():
    """Count what this process has of the folder: mappings, and descriptors."""
    here = os.getcwd()
    with open("/proc/self/maps", errors="replace") as maps:
        mappings = [line for line in maps if here in line or "/dev/zero (deleted)" in line]
    descriptors = pathlib.Path("/proc/self/fd").iterdir()
    names = [os.readlink(fd) for fd in descriptors if fd.is_symlink()]
    return sorted(mappings + [name for name in names if here in name]) + list(pathlib.Path().glob(".memmap-*"))


def limit():
    with open("/proc/self/statm") as statm:
        used = int(statm.read().split()[0]) * mmap.PAGESIZE
    resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY + threading.active_count() * (160 << 20),) * 2)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 26,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, 200))


def fill(folder):
    os.chdir(folder)
    for i, size in enumerate(SIZES):
        pathlib.Path(f"{i}.bin").write_bytes(bytes(size))
    np.save("x.npy", np.zeros((100, 3), "<i4"))
    np.savez("x.npz", x=np.zeros(10), y=np.zeros((0, 3)))
    os.mkdir("folder")
    os.mkfifo("fifo")
    os.symlink("3.bin", "link")
    os.symlink("loop", "loop")
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")


def fuzz_round(seed, calls, threads):
    """Make calls in this process; the folder to use is the current one."""
    file = os.open("last call", os.O_CREAT | os.O_WRONLY)  # not mapped: a call may cut off any file that is open

    def note_for(i):
        def note(text):  # stays when this process ends
            os.pwrite(file, f"{text}".encode("ascii", "backslashreplace")[:4096].ljust(4096), 4096 * i)

        return note

    unraisable = []
    sys.unraisablehook = lambda what: None if isinstance(what.exc_value, EXPECTED) else unraisable.append(what)
    faulthandler.enable()
    warnings.simplefilter("ignore")
    if seed % 2:
        warnings.simplefilter("error", RuntimeWarning)
        warnings.simplefilter("error", ResourceWarning)
    maps, views, errors = [], [], []
    fuzzers = [Fuzz(f"{seed}/{i}", note_for(i), maps, views) for i in range(threads)]

    def work(fuzz):
        try:
            fuzz.run_on(calls // threads)
        except BaseException as error:
            errors.append(error)
            raise

    # NumPy casts bytes to dates without the GIL, and crashes where they are none; seen with threads and in 32 bits
    if threads > 1 or sys.maxsize < 1 << 32:
        for dtypes in (DTYPES, ODD_DTYPES):
            dtypes[:] = [dtype for dtype in dtypes if not str(dtype).startswith("M8")]
    limit()
    before = held()
    faulthandler.dump_traceback_later(PATIENCE + calls // 100, exit=True)
    if threads == 1:
        work(fuzzers[0])
    else:
        workers = [threading.Thread(target=work, args=(fuzz,)) for fuzz in fuzzers]
        for worker in workers:
            worker.start()
        for worker in workers:
            while worker.is_alive():
                with contextlib.suppress(DamagedError):  # for one that has ended before it could be told
                    worker.join()
    if errors or unraisable:
        raise SystemError(f"{errors} {unraisable}")
    maps.clear()
    views.clear()
    gc.collect()
    if (left := held()) != before:
        raise SystemError(f"left behind: {left}, not {before}")
    if left := memmap.open_maps():
        raise SystemError(f"still listed: {left}")
    done = sum((fuzz.done for fuzz in fuzzers), collections.Counter())
    refused = sum((fuzz.refused for fuzz in fuzzers), collections.Counter())
    made, sprung = sum(fuzz.made for fuzz in fuzzers), sum(fuzz.sprung for fuzz in fuzzers)
    said = dict(refused.most_common())
    print(f"seed {seed}: {made} calls, {done.total()} succeeded, {sprung} traps; errors: {said}", flush=True)
    never = [name for name in CALLS if not done[name] and name not in HOPELESS]
    if threads == 1 and calls >= 20_000 and never:
        raise SystemError(f"never succeeded: {never}")


def start_round(seed, calls, threads):
    """Run one round in a process of its own; returns what to say of it, and whether it went well."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, str(calls), f"--seed={seed}", f"--threads={threads}", f"--folder={folder}"]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode == 0:
            return done.stdout.strip(), True
        last = pathlib.Path(folder, "last call").read_text().replace("\0", "").split()
        end = f"signal {signal.Signals(-done.returncode).name}" if done.returncode < 0 else f"status {done.returncode}"
        found = f"FOUND: {end}; the last call: {' '.join(last)}\nagain: {' '.join(command[:-1])}"
        return f"{done.stderr}\n{done.stdout}{found}", False


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("calls", type=int)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--processes", type=int, default=1, help="at once")
    parser.add_argument("--folder", help="make the calls in this process")
    given = parser.parse_args()
    if given.folder:
        fill(given.folder)
        fuzz_round(given.seed, given.calls, given.threads)
        return
    rounds = [(given.seed + i, min(ROUND, given.calls - at), given.threads)
              for i, at in enumerate(range(0, given.calls, ROUND))]  # fmt: skip
    with concurrent.futures.ThreadPoolExecutor(given.processes) as pool:
        all_went_well = True
        for text, went_well in pool.map(lambda one: start_round(*one), rounds):
            print(text, flush=True)
            all_went_well &= went_well
    sys.exit(not all_went_well)


if __name__ == "__main__":
    main()
