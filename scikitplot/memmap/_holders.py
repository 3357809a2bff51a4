"""Name the variables that keep views alive, for the errors that refuse to close or to resize.

The search is bounded, changes no variable, and runs no code of the objects that it meets. It leaves out what other
threads are running: to look at their variables keeps those alive meanwhile, and `close` in those threads would refuse.
"""

from __future__ import annotations

import builtins
import contextlib
import gc
import sys
import types
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

import numpy as np

from ._core import MapCore
from ._region import Lease

MOST_NAMES = 8
MOST_ITEMS = 10_000  # of a container
MOST_BEHIND = 300  # objects behind a variable; without a GIL none, because each look stops all threads
OPTIMIZED = 0x1  # inspect.CO_OPTIMIZED: the code of a function; that module takes long to import
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
NO_HOLDERS: tuple[type, ...] = str, bytes, int, float, complex, types.NoneType, types.CodeType
NO_HOLDERS += types.ModuleType, type, np.ndarray, MapCore


def holders(mm: MapCore) -> list[str]:
    """Return names of variables that keep views or windows of a map alive, at most as many as a person reads."""
    try:
        return list(islice(dict.fromkeys(_names(mm)), MOST_NAMES))
    except Exception:  # another thread has changed what is searched
        return []


def _names(mm: MapCore) -> Iterator[str]:
    """Yield variables that are views, then items of variables, then variables behind which other views are found."""
    named: set[int] = set()
    searched: set[int] = set()
    rest = []
    namespaces = list(_namespaces())  # all of them live as long as their ids are compared
    for prefix, variables, suffix in namespaces:
        if id(variables) in searched:
            continue
        searched.add(id(variables))
        for name in sorted(variables, key=lambda name: name.startswith("_")):  # Out before _oh, which is the same dict
            value = variables.get(name)
            if _is_over(mm, value):
                named.add(id(value))
                yield prefix + name + suffix
            elif not issubclass(type(value), NO_HOLDERS):
                rest.append((prefix + name, value, suffix))
    behind = []
    for name, value, suffix in rest:
        if id(value) in searched:
            continue
        searched.add(id(value))
        behind.append((name, value, suffix))
        for key, item in _items(value):
            if _is_over(mm, item):
                named.add(id(item))
                yield name + key + suffix
    for name, value, suffix in behind if HAS_GIL else ():
        found = {id(item) for item in _reachable(value, searched) if _is_over(mm, item)} - named
        if found:
            named |= found
            yield name + suffix


def _namespaces() -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """Yield the variables of this thread's frames, of their modules, and of `__main__`, between prefix and suffix."""
    yield from _frames(sys._getframe())
    yield "", vars(sys.modules["__main__"]), ""
    yield "", {name: value for name, value in vars(builtins).items() if name == "_"}, ""  # the result that was shown
    yield "", {"sys.last_value": getattr(sys, "last_value", None)}, ""


def _frames(frame: types.FrameType | None) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    while frame is not None:
        module = str(frame.f_globals.get("__name__", "__main__"))
        if not module.startswith(__package__):
            if frame.f_code.co_flags & OPTIMIZED:
                yield "", _locals(frame), f" in {frame.f_code.co_name}()"
            yield "" if module == "__main__" else module + ".", frame.f_globals, ""
        frame = frame.f_back


def _locals(frame: types.FrameType) -> dict[str, Any]:
    """Return the variables of a function's frame; afterwards the frame holds no more references than before."""
    variables = frame.f_locals
    copied = dict(variables)
    # before Python 3.13 a dict that the frame keeps; debuggers write from it to the variables
    if type(variables) is dict and sys.gettrace() is None is frame.f_trace and sys.getrefcount(variables) == 3:
        variables.clear()
    return copied


def _is_over(mm: MapCore, value: Any) -> bool:
    """Return whether an object is a view or a window of the map, and not closed."""
    with contextlib.suppress(Exception):
        if issubclass(type(value), MapCore):
            window = value
            while window is not None and window._window_of is not mm:
                window = window._window_of
            return window is not None and not value.closed
        array = None
        while True:
            if issubclass(type(value), memoryview):
                value = value.obj
            elif issubclass(type(value), np.ndarray | np.void):
                array, value = value, value.base
            else:
                break
        if type(value) is Lease:
            return mm._region.has_lease(value)
        return any(map(mm._region.has_address, _addresses(value if array is None else array)))
    return False


def _addresses(value: Any) -> list[int]:
    """Return where the memory begins that an array, a tensor or an Arrow array shows."""
    if issubclass(type(value), np.ndarray):
        return [value.__array_interface__["data"][0]]
    libraries: Any = sys.modules
    if "torch" in libraries and issubclass(type(value), libraries["torch"].Tensor):
        return [value.data_ptr()]
    if "pyarrow" in libraries and issubclass(type(value), libraries["pyarrow"].Array):
        return [buffer.address for buffer in value.buffers() if buffer is not None]
    return []


def _items(value: Any) -> Iterator[tuple[str, Any]]:
    """Yield the items of a container or the attributes of an object, each with what leads to it."""
    with contextlib.suppress(Exception):
        if issubclass(type(value), list | tuple):
            items = list.__iter__(value) if issubclass(type(value), list) else tuple.__iter__(value)
            for i, item in enumerate(islice(items, MOST_ITEMS)):
                yield f"[{i}]", item
        elif issubclass(type(value), dict):
            for key, item in islice(dict.items(value), MOST_ITEMS):
                yield f"[{key!r}]" if type(key) in (str, int) else "[...]", item
        else:
            for name, item in islice(object.__getattribute__(value, "__dict__").items(), MOST_ITEMS):
                yield f".{name}", item


def _reachable(value: Any, searched: set[int]) -> Iterator[Any]:
    """Yield objects that an object refers to, directly or through others, nearest first."""
    objects, known = [value], {id(value)}
    for one in islice(objects, MOST_BEHIND):
        if issubclass(type(one), types.FunctionType):
            found: Any = one.__closure__ or ()
        else:
            found = gc.get_referents(one)
        for item in found:
            if id(item) not in known and id(item) not in searched:
                known.add(id(item))
                yield item
                if not issubclass(type(item), NO_HOLDERS):
                    objects.append(item)
