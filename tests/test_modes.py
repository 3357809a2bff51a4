"""What the mode, access and order strings mean."""

import pytest

from scikitplot.memmap import MemMap
from scikitplot.memmap._modes import ACCESSES, MODES, ORDERS, parse_mode


@pytest.mark.parametrize(
    ("name", "intent", "writes_file", "creates", "replaces"),
    [
        ("r", "read", False, False, False),
        ("r+", "write", True, False, False),
        ("c", "copy", False, False, False),
        ("w+", "write", True, True, True),
        ("x+", "write", True, True, False),
    ],
)
def test_mode_says_how_a_file_is_opened_and_mapped(name, intent, writes_file, creates, replaces):
    mode = parse_mode(name)
    found = (mode.name, mode.intent, mode.writes_file, mode.creates, mode.replaces)
    assert found == (name, intent, writes_file, creates, replaces)


@pytest.mark.parametrize(
    ("long", "short"), [("readonly", "r"), ("readwrite", "r+"), ("copyonwrite", "c"), ("write", "w+")]
)
def test_long_mode_is_the_short_one(make_file, long, short):
    assert parse_mode(long) is MODES[short]
    with MemMap.open(make_file(b"abc"), long, shape=3) as mm:
        assert mm.mode == short


@pytest.mark.parametrize("mode", ["", "w", "x", "rb", "R", " r", "+r", "copy", None, 0, b"r", ["r"], {}])
def test_unknown_mode_lists_the_five(mode):
    with pytest.raises(ValueError, match=r"'r', 'r\+', 'c', 'w\+', 'x\+', not "):
        parse_mode(mode)


@pytest.mark.parametrize(("name", "known"), [("access", ACCESSES), ("order", ORDERS)])
def test_access_and_order_are_taken_as_they_are_or_refused(name, known):
    for value in known:
        with MemMap.open(shape=(2, 3), **{name: value}) as mm:
            assert getattr(mm, name) == value
    for unknown in ("", "c", "f", "A", "Random", None, 0, b"C", ["C"]):
        with pytest.raises(ValueError, match=f"Expected {name} to be one of '{known[0]}'.*'{known[-1]}', not "):
            MemMap.open(shape=(2, 3), **{name: unknown})
