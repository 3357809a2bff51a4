"""The names of variables in the errors of close and resize."""

import gc
import re
import sys
import threading

import numpy as np
import pytest

from scikitplot.memmap import MemMap

with_gil = pytest.mark.skipif(
    not getattr(sys, "_is_gil_enabled", lambda: True)(),
    reason="without a GIL only variables and their items are searched: to look behind them stops all threads",
)


@pytest.fixture
def mm(make_file):
    mm = MemMap.open(make_file(np.arange(100, dtype="f4")), "r+", dtype="f4")
    yield mm
    mm.close()


def refusal(mm):
    """Return the error of `close` from its count on."""
    with pytest.raises(BufferError, match="alive") as caught:
        mm.close()
    message = str(caught.value)
    caught.value.__traceback__ = None
    return re.search(r"[^:]* alive.*", message)[0]


def held_by(mm):
    """Return what `close` names, as a set."""
    return set(re.search(r"held by (.*?)(, made at .*)?\. Drop them", refusal(mm))[1].split(", "))


def test_the_refusal_names_the_variables_and_closes_without_them(mm):
    one = mm[3:5]
    two = one
    assert "1 view is alive, held by " in refusal(mm)
    name = test_the_refusal_names_the_variables_and_closes_without_them.__name__
    assert held_by(mm) == {f"one in {name}()", f"two in {name}()"}
    del one, two
    mm.close()


DERIVED = {
    "slice": lambda v: v[::-2],
    "reshape": lambda v: v.reshape(10, -1).T[1:],
    "empty": lambda v: v[100:],
    "other dtype": lambda v: v.view("u1"),
    "frombuffer": lambda v: np.frombuffer(memoryview(v), "u1"),
    "record": lambda v: v.view([("x", "f4"), ("y", "f4")])[3],
    "memoryview": lambda v: memoryview(v)[3:].cast("B"),
    "from_dlpack": np.from_dlpack,
    "masked": lambda v: np.ma.masked_equal(v, 7, copy=False),
}


@pytest.mark.parametrize("derive", DERIVED.values(), ids=DERIVED)
def test_the_refusal_names_what_was_derived_from_a_view(mm, derive):
    part = derive(mm[...])
    assert held_by(mm) == {"part in test_the_refusal_names_what_was_derived_from_a_view()"}
    del part


@pytest.mark.consumers
def test_the_refusal_names_arrow_arrays(mm):
    import pyarrow

    part = pyarrow.array(mm)
    assert held_by(mm) == {"part in test_the_refusal_names_arrow_arrays()"}
    del part


@pytest.mark.torch
def test_the_refusal_names_tensors(mm):
    import torch

    part = torch.from_numpy(mm[...])[3:].reshape(-1)
    assert held_by(mm) == {"part in test_the_refusal_names_tensors()"}
    del part


class Reader:
    def __init__(self, rows):
        self.rows = rows


def advanced(iterator):
    next(iterator)
    return iterator


HOLDERS = {
    "list": (lambda v: [0, v], "held[1]"),
    "tuple": (lambda v: (v, 1), "held[0]"),
    "dict": (lambda v: {"rows": v}, "held['rows']"),
    "instance": (Reader, "held.rows"),
    "nested": (lambda v: {"a": [(v,)]}, "held"),
    "closure": (lambda v: lambda: v[0], "held"),
    "generator": (lambda v: advanced(x for part in [v] for x in part), "held"),
    "bound method": (lambda v: v.item, "held"),
}


@pytest.mark.parametrize(
    ("hold", "name"),
    [
        pytest.param(
            *holder, id=kind, marks=[with_gil] if kind in ("nested", "closure", "generator", "bound method") else []
        )
        for kind, holder in HOLDERS.items()
    ],
)
def test_the_refusal_names_what_has_a_view_in_it(mm, hold, name):
    held = hold(mm[...])
    assert held_by(mm) == {f"{name} in test_the_refusal_names_what_has_a_view_in_it()"}
    del held


def test_the_refusal_names_windows_and_their_views(mm):
    rows = mm.window(1, 9)
    part = rows[...]
    where = " in test_the_refusal_names_windows_and_their_views()"
    assert held_by(mm) == {f"rows{where}", f"part{where}"}
    whole = mm[...]
    assert held_by(rows) == {f"part{where}"}
    del part, whole
    rows.close()


@with_gil
def test_the_refusal_names_variables_of_callers_and_of_generators(mm):
    def inner():
        return held_by(mm)

    def caller():
        mine = mm[1:]
        return inner(), mine[0]

    def generator():
        for row in mm[:9].reshape(3, 3):
            yield held_by(mm), row[0]

    assert caller()[0] == {"mine in caller()"}
    rows = generator()
    assert "row in generator()" in next(rows)[0]
    rows.close()


def test_the_refusal_names_the_loop_variable_that_kept_the_last_chunk(mm):
    for chunk in mm.iter_chunks(nbytes=100):
        assert len(chunk) == 25
    assert held_by(mm) == {"chunk in test_the_refusal_names_the_loop_variable_that_kept_the_last_chunk()"}
    del chunk


def test_variables_of_another_thread_are_counted_and_left_alone(mm):
    ready, end = threading.Event(), threading.Event()

    def work():
        mine = mm[1:]
        ready.set()
        end.wait()
        del mine

    thread = threading.Thread(target=work)
    thread.start()
    ready.wait()
    try:
        assert "1 view is alive. Drop" in refusal(mm)
    finally:
        end.set()
        thread.join()


@with_gil
def test_the_refusal_names_the_last_exception(mm, monkeypatch):
    def fail():
        mine = mm[1:]
        raise KeyError(mine[0])

    with pytest.raises(KeyError) as caught:
        fail()
    monkeypatch.setattr(sys, "last_value", caught.value, raising=False)
    del caught
    assert "sys.last_value" in held_by(mm)
    monkeypatch.undo()
    gc.collect()


def test_naming_keeps_no_variable_alive(mm):
    def work():
        part = mm[1:]
        assert held_by(mm) == {"part in work()"}
        assert part[0] == 1  # unchanged
        del part
        gc.disable()
        try:
            assert mm._region.leases == 0
        finally:
            gc.enable()

    work()


def test_naming_changes_no_dict_that_others_have_of_the_variables(mm):
    def work():
        part = mm[1:]
        mine = locals()
        refusal(mm)
        assert mine["part"] is part

    work()
    gc.collect()


def test_variables_that_locals_still_shows_are_not_views(mm):
    part = mm[1:]
    assert "part" in locals()  # before Python 3.13, it keeps the view in a dict of the frame
    del part
    mm.close()


def test_naming_runs_no_code_of_the_objects(mm):
    class Hostile:
        def __getattribute__(self, name):
            raise SystemExit(name)

        __class__ = property(lambda self: sys.exit("class"))
        __eq__ = __hash__ = __len__ = __iter__ = __getitem__ = lambda self, *_: sys.exit("called")

    hostile, part = Hostile(), mm[1:]
    many = [hostile] * 100_000
    assert held_by(mm) == {"part in test_naming_runs_no_code_of_the_objects()"}
    del part, many


def test_no_more_names_than_a_person_reads(mm):
    parts = [mm[i:] for i in range(100)]
    assert "100 views are alive" in refusal(mm)
    assert len(held_by(mm)) == 8
    del parts


def test_resize_names_them_too(mm):
    part = mm[1:]
    with pytest.raises(BufferError, match=r"1 view is alive, held by part in test_resize_names_them_too\(\)"):
        mm.resize(3)
    del part


def test_a_script_is_told_its_own_names(run_python):
    said = run_python("""
from scikitplot.memmap import MemMap
mm = MemMap.anonymous((4, 4))
rows = [mm[0], mm[1]]
_ = mm[2]
for chunk in mm.iter_chunks(nbytes=8):
    pass
try:
    mm.close()
except BufferError as error:
    print(str(error).partition(": ")[2])
del rows, _, chunk
mm.close()
""")
    names = "chunk, _, rows[0], rows[1]"
    assert said.startswith(f"4 views are alive, held by {names}. Drop them (del)")


def test_an_interactive_session_is_told_of_its_last_result(run_python):
    said = run_python("""
import builtins, code
from scikitplot.memmap import MemMap
mm = MemMap.anonymous(3)
session = code.InteractiveInterpreter(vars())
session.runsource("mm[1:]")
try:
    mm.close()
except BufferError as error:
    print(error)
del builtins._
mm.close()
""")
    assert "1 view is alive, held by _. Drop" in said


def test_a_refusal_imports_nothing(run_python):
    """A child that is forked while another thread imports a module waits forever when it imports that, too."""
    run_python("""if True:
        import sys
        from scikitplot.memmap import MemMap

        mm = MemMap.anonymous(8)
        view = mm[...]
        known = set(sys.modules)
        try:
            mm.close()
        except BufferError as error:
            assert "view" in str(error) and set(sys.modules) == known, set(sys.modules) - known
        else:
            raise AssertionError
        del view
        mm.close()
    """)
