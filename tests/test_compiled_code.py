"""The page about compiled code: its functions, compiled, take maps without a copy."""

import importlib.util
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from scikitplot.memmap import MemMap

pytestmark = pytest.mark.libraries
PAGES = Path(__file__).parents[1] / "doc" / "how_to"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")


def by_cython(folder):
    includes = [sysconfig.get_path("include"), np.get_include()]
    subprocess.run(
        [sys.executable, "-m", "cython", "-3", PAGES / "column_means.pyx", "-o", folder / "column_means.c"], check=True
    )
    return "column_means", ["gcc", *(f"-I{path}" for path in includes), folder / "column_means.c"]


def by_pybind11(folder):
    import pybind11

    includes = [sysconfig.get_path("include"), pybind11.get_include()]
    return "column_means_cpp", ["g++", "-std=c++17", *(f"-I{path}" for path in includes), PAGES / "column_means.cpp"]


def by_nanobind(folder):
    import nanobind

    home = Path(nanobind.include_dir()).parent
    includes = [sysconfig.get_path("include"), home / "include", home / "ext" / "robin_map" / "include"]
    sources = [PAGES / "column_means_nanobind.cpp", home / "src" / "nb_combined.cpp"]
    options = ["-std=c++17", "-fno-strict-aliasing", *(f"-I{path}" for path in includes)]
    return "column_means_nanobind", ["g++", *options, *sources]


@pytest.fixture(scope="module", params=[by_cython, by_pybind11, by_nanobind])
def column_means(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("compiled")
    name, command = request.param(folder)
    library = folder / (name + SUFFIX)
    subprocess.run([*command, "-O2", "-shared", "-fPIC", "-o", library], check=True)
    spec = importlib.util.spec_from_file_location(name, library)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.column_means


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_compiled_code_takes_a_map_of_any_mode(column_means, make_file, mode):
    table = np.arange(3000, dtype="<f4").reshape(-1, 3)
    with MemMap.open(make_file(table), mode, dtype="<f4", shape=(-1, 3)) as mm:
        np.testing.assert_allclose(column_means(mm[...]), table.mean(axis=0))
        np.testing.assert_allclose(column_means(mm[100:200]), table[100:200].mean(axis=0))
        if column_means.__module__ == "column_means_nanobind":  # which asks for DLPack
            np.testing.assert_allclose(column_means(mm), table.mean(axis=0))


@pytest.mark.parametrize(("dtype", "order"), [(">f4", "C"), ("<f8", "C"), ("<f4", "F")])
def test_compiled_code_refuses_what_it_would_have_to_copy(column_means, make_file, dtype, order):
    path = make_file(np.zeros((10, 3), dtype))
    with MemMap.open(path, dtype=dtype, shape=(10, 3), order=order) as mm, pytest.raises((ValueError, TypeError)):
        column_means(mm[...])
