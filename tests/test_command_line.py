"""``python -m scikitplot.memmap``."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scikitplot.memmap.__main__ import main, strip


@pytest.fixture
def table(make_file):
    return str(make_file(np.arange(1 << 14, dtype="<f4")))


def test_info_shows_the_layout_and_what_is_in_memory(table, capsys):
    assert main(["info", table, "--dtype", "<f4", "--shape", "-1,4", "--offset", "16"]) == 0
    shown = capsys.readouterr().out
    assert re.search(rf"^path +{re.escape(table)}$", shown, re.M)
    for line in ("size +64.0 KiB", "dtype +float32", r"shape +\(4095, 4\)", "offset +16", "order +C"):
        assert re.search(f"^{line}$", shown, re.M)
    assert re.search(r"^[0-9.]+ % of [0-9]+ pages resident$", shown, re.M)


@pytest.mark.parametrize("command", ["info", "residency", "prefetch", "evict"])
def test_every_command_prints_json(table, capsys, command):
    assert main([command, table, "--dtype=<f4", "--shape=64,-1", "--order", "F", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["path"] == table
    assert (found["dtype"], found["shape"], found["order"], found["offset"]) == ("float32", [64, 256], "F", 0)
    assert found["nbytes"] == 1 << 16
    assert 0 <= found["resident"] <= found["pages"]


@pytest.mark.keeps_pages
@pytest.mark.linux
def test_prefetch_reads_all_and_residency_says_so(table, capsys):
    assert main(["prefetch", table]) == 0
    assert main(["residency", table]) == 0
    first, second, where = capsys.readouterr().out.splitlines()
    assert first == second
    assert first.startswith("100 % of ")
    assert set(where) == set("[#]")


def test_the_strip_is_darker_where_more_is_in_memory():
    flags = np.zeros(640, bool)
    flags[:10], flags[10:13], flags[630:639] = True, True, True
    shown = strip(flags)
    assert len(shown) == 64
    assert shown[0] == "#"
    assert shown[1] in ".:"
    assert shown[2:63].strip() == ""
    assert shown[63] == "#"
    assert strip(np.zeros(0, bool)) == ""
    assert strip(np.array([True, False])) == "# "


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["info", "missing.bin"], "missing.bin"),
        (["info", ".", "--json"], "regular file, not a directory"),
        (["info", __file__, "--shape", "100000000"], "error: .*100000000"),
        (["info", __file__, "--dtype", "O"], "objects"),
    ],
)
def test_what_cannot_be_mapped_is_a_line_on_stderr_and_status_1(words, says, capsys):
    assert main(words) == 1
    shown = capsys.readouterr()
    assert shown.out == ""
    assert re.search(says, shown.err)
    assert shown.err.startswith("error: ")


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["open", "x"],
        ["info"],
        ["info", "x", "--dtype", "nonsense"],
        ["info", "x", "--shape", "a"],
        ["info", "x", "--dtype", "(,)f4"],
    ],
)
def test_wrong_words_are_status_2(words, capsys):
    with pytest.raises(SystemExit) as caught:
        main(words)
    assert caught.value.code == 2
    assert "usage: python -m scikitplot.memmap" in capsys.readouterr().err


def test_the_module_runs_as_a_program(table):
    command = [sys.executable, "-W", "error", "-m", "scikitplot.memmap", "info", table, "--json"]
    done = subprocess.run(command, cwd=Path(table).parent, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["nbytes"] == 1 << 16


@pytest.mark.linux
def test_a_file_name_need_not_be_text(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff.bin"
    with open(path, "wb") as file:
        file.write(bytes(10))
    command = [sys.executable, "-W", "error", "-m", "scikitplot.memmap", "info", path]
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert r"\udcff.bin" in done.stdout
