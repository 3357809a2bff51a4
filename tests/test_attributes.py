"""The contract's promises about attributes."""

import operator
import os

import numpy as np
import pytest

from scikitplot.memmap import MemMap

ATTRIBUTES = ["path", "mode", "dtype", "shape", "ndim", "size", "itemsize", "nbytes", "strides", "offset", "order"]
ATTRIBUTES += ["access", "writable", "shared", "closed", "damaged"]


@pytest.fixture
def path(make_file):
    """A file of 100 bytes."""
    return make_file(bytes(range(100)))


def attributes(mm):
    return {name: getattr(mm, name) for name in ATTRIBUTES}


def test_attributes_of_a_file(path):
    with MemMap.open(path, "c", dtype="<u2", shape=(2, 3, 4), offset=7, order="F", access="random") as mm:
        assert attributes(mm) == {
            "path": str(path),
            "mode": "c",
            "dtype": np.dtype("<u2"),
            "shape": (2, 3, 4),
            "ndim": 3,
            "size": 24,
            "itemsize": 2,
            "nbytes": 48,
            "strides": (2, 4, 12),
            "offset": 7,
            "order": "F",
            "access": "random",
            "writable": True,
            "shared": False,
            "closed": False,
            "damaged": False,
        }
        assert len(mm) == 2


def test_attributes_are_those_of_the_array(path):
    with MemMap.open(path, dtype=[("a", "u1"), ("b", "<f8")], shape=(5, 2)) as mm:
        for name in ("dtype", "shape", "ndim", "size", "itemsize", "nbytes", "strides"):
            assert getattr(mm, name) == getattr(mm[...], name), name


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_attributes_cannot_be_set(path, name):
    with MemMap.open(path, "r+") as mm, pytest.raises(AttributeError):
        setattr(mm, name, getattr(mm, name))


def test_shared_says_whether_a_write_reaches_others(path, tmp_path):
    for mode, shared in {"r": True, "r+": True, "c": False, "w+": True}.items():
        with MemMap.open(path, mode, shape=3) as mm:
            assert mm.shared is shared
    for shared in (True, False):
        with MemMap.anonymous(3, shared=shared) as mm:
            assert mm.shared is shared


def test_len_of_a_map_without_dimensions_is_a_type_error(path):
    with MemMap.open(path, shape=()) as mm:
        assert (mm.ndim, mm.size, mm.nbytes, mm.strides) == (0, 1, 1, ())
        with pytest.raises(TypeError, match="unsized"):
            len(mm)


# ---- repr


def test_repr_is_one_line_with_the_layout(path):
    with MemMap.open(path, "r+", dtype="<u2", shape=(2, 3), offset=5) as mm:
        text = repr(mm)
        for part in (repr(str(path)), "'r+'", str(np.dtype("<u2")), "(2, 3)", "offset=5", "12 B"):
            assert part in text
        assert "\n" not in text
        assert str(mm) == text
    assert repr(mm).replace("closed", "12 B") == text


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1024, "1.0 KiB"), (1 << 20, "1.0 MiB"), (3 << 29, "1.5 GiB")]
)
def test_repr_shows_a_size_for_people(size, text):
    with MemMap.anonymous(size) as mm:
        assert text in repr(mm)
        assert "anonymous" in repr(mm)


def test_repr_is_one_line_for_any_dtype_and_name(make_file):
    many = np.dtype([(f"field {i}", "<f8") for i in range(50)])
    name = "two\nlines" if os.name == "posix" else "data.bin"
    with MemMap.open(make_file(bytes(800), name), dtype=many) as mm:
        assert "\n" not in repr(mm)


# ---- what an ndarray does


def test_truth_is_that_of_an_ndarray():
    with MemMap.anonymous(3) as mm, pytest.raises(ValueError, match="ambiguous"):
        bool(mm)
    with MemMap.anonymous(1) as mm:
        assert not mm
        mm[0] = 1
        assert mm


def test_equality_is_identity(path):
    with MemMap.open(path) as one, MemMap.open(path) as other:
        assert one == one
        assert one != other
        assert (one == one[...]) is False
        assert (one != one[...]) is True
        assert len({one, other, one}) == 2


@pytest.mark.parametrize("name", ["__array_ufunc__", "__array_function__", "__array_interface__", "sum", "copy"])
def test_attributes_by_which_libraries_would_take_a_map_for_an_array_are_missing(name):
    assert not hasattr(MemMap, name)


OPERATIONS = {
    "mm + 1": lambda mm: mm + 1,
    "1 - mm": lambda mm: 1 - mm,
    "mm - array": lambda mm: mm - np.ones(3),
    "mm @ array": lambda mm: mm @ np.ones(3),
    "divmod": lambda mm: divmod(mm, 2),
    "mm ** 2": lambda mm: mm**2,
    "mm & 1": lambda mm: mm & 1,
    "mm > 0": lambda mm: mm > 0,
    "mm <= array": lambda mm: mm <= np.ones(3),
    "-mm": lambda mm: -mm,
    "abs": abs,
    "mm += 1": lambda mm: operator.iadd(mm, 1),
    "mm -= array": lambda mm: operator.isub(mm, np.ones(3)),
    "mm //= 2": lambda mm: operator.ifloordiv(mm, 2),
}


@pytest.mark.parametrize("operate", OPERATIONS.values(), ids=OPERATIONS)
def test_arithmetic_on_the_map_itself_says_use_the_array(operate):
    with MemMap.anonymous(3, "i8") as mm, pytest.raises(TypeError, match=r"use mm\[...\]"):
        operate(mm)


@pytest.mark.parametrize("name", ["sum", "mean", "astype", "copy", "reshape", "flags", "tobytes", "tolist"])
def test_attributes_of_an_array_say_use_the_array(name):
    with MemMap.anonymous(3) as mm:
        assert not hasattr(mm, name)
        assert name not in dir(mm)
        with pytest.raises(AttributeError, match=rf"use mm\[...\].{name}"):
            getattr(mm, name)
        with pytest.raises(AttributeError, match="no attribute 'nosuch'$"):
            mm.nosuch  # noqa: B018


def test_an_array_does_arithmetic_with_a_map(path):
    array = np.arange(100)
    with MemMap.open(path) as mm:
        assert np.array_equal(array + mm, 2 * array)
        assert (array == mm).all()
        array += mm
        assert array[-1] == 198


def test_map_takes_no_other_attributes(path):
    with MemMap.open(path) as mm, pytest.raises(AttributeError):
        mm.label = "x"


def test_attributes_show_no_address_descriptor_or_constant(path):
    with open(path, "rb") as file, MemMap.open(file, "c") as mm:
        shown = [name for name in dir(mm) if not name.startswith("_")]
        for word in ("address", "pointer", "ptr", "fd", "fileno", "handle", "errno", "flags", "PROT_", "MAP_", "MADV_"):
            assert not [name for name in shown if word in name], word
        assert "0x" not in repr(mm)


@pytest.mark.linux
def test_attributes_touch_no_page_of_data(run_python, make_file):
    said = run_python(
        """
import sys
from scikitplot.memmap import MemMap
def resident(mm):
    with open("/proc/self/smaps") as maps:
        lines = maps.read().split("data.bin", 1)[1].splitlines()
    return next(line for line in lines if line.startswith("Rss")).split()[1]
with MemMap.open(sys.argv[1], shape=(-1, 4096)) as mm:
    before = resident(mm)
    [getattr(mm, name) for name in sys.argv[2].split()], len(mm), repr(mm), mm[3], mm[2:5], mm.view("u4")
    print(before, resident(mm))
    mm[3].sum()
    assert resident(mm) != "0"
""",
        make_file(bytes(10 * 4096)),
        " ".join(ATTRIBUTES),
    )
    assert said == "0 0"
