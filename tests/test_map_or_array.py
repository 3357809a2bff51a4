"""The page "mm or mm[...]?" of the guide: each of its calls, with the map and with the array."""

import collections
import pickle
import random
import re
import tracemalloc
import warnings
from pathlib import Path

import numpy as np
import pytest
from page_cache import cached, cold

from scikitplot.memmap import MemMap

PAGE = Path(__file__).parents[1] / "doc" / "user_guide" / "map_or_array.rst"
SECTIONS = re.split(r"^(.+)\n-{4,}\n", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
ROWS = 1 << 17


def calls(heading):
    """The calls of a section: what its rows begin with."""
    firsts = re.findall(r"^   \* - (.*)", SECTIONS[SECTIONS.index(heading) + 1], re.MULTILINE)
    found = re.findall(r"``(.*?\bx\b.*?)``", "\n".join(firsts))
    assert found
    return found


@pytest.fixture
def mm(make_file, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    array = np.random.default_rng(0).permutation(np.arange(2.0 * ROWS)).reshape(ROWS, 2)
    with MemMap.open(make_file(array), "r+", dtype="f8", shape=(-1, 2)) as mm:
        yield mm


def run(call, x):
    """Evaluate a call of the page, or execute a statement."""
    names = {"x": x, "w": np.ones(2), "np": np, "random": random, "rng": np.random.default_rng(0), "pickle": pickle}
    return eval(call, names) if "+=" not in call else exec(call, names)


def cost(call, x):
    """Bytes that a call allocates at most, beside what it had before."""
    run(call, x)
    tracemalloc.start()
    try:
        run(call, x)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("call", calls("Either: functions that read"))
def test_functions_that_read_take_either_and_copy_no_map(mm, call):
    found, expected = run(call, mm), run(call, mm[...])
    assert type(found) is type(expected)
    assert np.array_equal(found, expected) or call.startswith("np.save")
    del found, expected
    assert cost(call, mm) <= cost(call, mm[...]) + mm.nbytes // 8


@pytest.mark.parametrize("call", calls("The array: everything else about arrays"))
def test_what_only_an_array_can_do_is_refused_for_a_map(mm, call):
    before = mm[...].copy()
    with pytest.raises((TypeError, AttributeError)):
        run(call, mm)
    assert np.array_equal(mm, before)
    run(call, mm[...])


def test_a_map_is_equal_to_nothing_but_itself():
    with MemMap.anonymous(1) as mm:
        assert mm[...] == 0
        assert (mm == 0) is False


@pytest.mark.parametrize("call", calls("The array: functions that would copy"))
def test_functions_that_would_copy_a_map(mm, call):
    assert np.array_equal(run(call, mm), run(call, mm[...]))
    assert cost(call, mm) >= mm.nbytes > 0.6 * mm.nbytes > cost(call, mm[...])


@pytest.mark.parametrize("call", calls("The array: shuffling in place"))
@pytest.mark.parametrize("kind", ["map", "array"])
def test_who_shuffles_rows_in_place_and_who_loses_some(call, kind):
    with MemMap.anonymous((100, 2), "f8") as mm, warnings.catch_warnings(action="ignore"):
        mm[:] = np.arange(200).reshape(100, 2)
        before = collections.Counter(map(tuple, mm[...].tolist()))
        run(call, mm if kind == "map" else mm[...])
        is_right = collections.Counter(map(tuple, mm[...].tolist())) == before
    row = re.search(re.escape(f"``{call}``") + r"\n     - (.*)\n     - (.*)", PAGE.read_text(encoding="utf-8"))
    assert row[1 if kind == "map" else 2] == ("right" if is_right else "loses rows")


@pytest.mark.parametrize("call", ["np.random.shuffle(x)", "random.shuffle(x)"])
def test_one_dimension_is_shuffled_as_it_should(call):
    with MemMap.anonymous(100, "i8") as mm, warnings.catch_warnings(action="ignore"):
        mm[:] = np.arange(100)
        run(call, mm)
        assert sorted(mm) == list(range(100)) != mm[...].tolist()


@pytest.mark.consumers
def test_pandas_makes_columns_of_an_array_of_records():
    import pandas

    with MemMap.anonymous(3, [("a", "<i4"), ("b", "<f8")]) as mm:
        assert list(pandas.DataFrame(mm[...])) == ["a", "b"]
        assert pandas.DataFrame(mm).shape == (3, 1)


def test_a_map_is_pickled_by_reference(mm):
    assert len(run("pickle.dumps(x)", mm)) < 2000
    assert len(run("pickle.dumps(x)", mm[...])) > mm.nbytes


@pytest.mark.linux
@pytest.mark.consumers
def test_dask_reads_an_array_to_name_it_and_of_a_map_nothing(mm):
    import dask.array

    cold(mm.path)
    dask.array.from_array(mm, chunks=100)
    assert cached(mm.path) == []
    dask.array.from_array(mm[...], chunks=100)
    assert len(cached(mm.path)) == len(mm.residency())


def test_searchsorted_copies_an_array_in_another_byte_order_and_not_a_map(make_file):
    with MemMap.open(make_file(np.arange(2 * ROWS, dtype=">i8")), dtype=">i8") as mm:
        assert run("np.searchsorted(x, 5)", mm) == run("np.searchsorted(x, 5)", mm[...]) == 5
        assert cost("np.searchsorted(x, 5)", mm) < mm.nbytes // 8
        assert cost("np.searchsorted(x, 5)", mm[...]) >= mm.nbytes


def test_every_call_of_the_last_table_is_one_that_is_tested_here():
    assert calls("The map: other processes, and lazy libraries") == [
        "pickle.dumps(x)",
        "dask.array.from_array(x, chunks=100)",
        "np.searchsorted(x, 5)",
    ]
