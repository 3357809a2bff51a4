"""An error of the system names the limit that was met."""

import errno
import mmap
import os
import re
import sys

import pytest

from scikitplot.memmap import MemMap, _limits
from scikitplot.memmap._limits import ADDRESS_SPACE, explain_lock, explain_memory, explain_space

beyond_address_space = pytest.mark.skipif(sys.maxsize < 1 << 32, reason="no array of a 32-bit process is that large")


@beyond_address_space
def test_more_than_the_address_space_is_enomem_that_says_so(leftovers):
    before = leftovers()
    with pytest.raises(OSError, match=f"Cannot map .* address space of a process ends at {ADDRESS_SPACE}") as caught:
        MemMap.anonymous(sys.maxsize // 2)
    assert caught.value.errno == errno.ENOMEM
    assert leftovers() == before


@pytest.mark.skipif(sys.maxsize > 1 << 32, reason="a 64-bit process has room for more maps than a test can make")
def test_full_address_space_of_32_bits_is_enomem_that_says_so(leftovers):
    before = leftovers()
    maps = []
    with pytest.raises(
        OSError, match=r"Cannot map 1073741824 bytes: no such gap .* 32-bit process, 4294967296 bytes"
    ) as caught:
        maps.extend(MemMap.anonymous(1 << 30) for _ in range(4))
    for mm in maps:
        mm.close()
    assert caught.value.errno == errno.ENOMEM
    assert leftovers() == before


def test_array_larger_than_the_address_space_is_refused():
    with pytest.raises(ValueError, match=f"{sys.maxsize + 1}.* larger than the address space"):
        MemMap.anonymous(sys.maxsize + 1)


@pytest.mark.posix
@beyond_address_space
def test_file_larger_than_the_address_space_leaves_nothing(tmp_path, leftovers):
    before = leftovers()
    with pytest.raises(OSError, match=r"big\.bin") as caught:
        MemMap.open(tmp_path / "big.bin", "w+", shape=sys.maxsize // 2, sparse=True)
    assert caught.value.errno in (errno.ENOMEM, errno.EFBIG)
    assert leftovers() == before


@pytest.mark.posix
@pytest.mark.unsanitized
@pytest.mark.native
def test_limit_on_the_address_space_is_named(make_file, run_program):
    path = make_file(b"abc")
    allowed = 1 << (32 if sys.maxsize > 1 << 32 else 30)
    said = run_program("programs/limits.py", "address space", path, allowed)
    lines = said.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert f"Cannot map {allowed} bytes" in line
        assert f"limited to {allowed} bytes (ulimit -v)" in line
    assert [found.name for found in path.parent.iterdir()] == [path.name]


@pytest.mark.linux
@pytest.mark.unsanitized
@pytest.mark.native
def test_limit_on_the_number_of_mappings_is_named(make_file, run_program):
    with open("/proc/sys/vm/max_map_count") as setting:
        most = int(setting.read())
    if most > 200_000:
        pytest.skip(f"vm.max_map_count is {most}: too many to use up")
    path = make_file(bytes(2 * mmap.PAGESIZE))
    said = run_program("programs/limits.py", "mappings", path)
    assert f"a process may have {most} mappings (vm.max_map_count)" in said
    assert str(path) in said


@pytest.mark.linux
@pytest.mark.parametrize(
    ("most", "named"),
    [(None, r"\(overcommit, vm\.overcommit_memory\)"), (1 << 40, r"1099511627776 bytes \(ulimit -v\)")],
)
def test_overcommit_is_named_when_no_other_limit_was_met(monkeypatch, most, named):
    monkeypatch.setattr(_limits, "resource_limit", {"RLIMIT_AS": most}.get)
    error = explain_memory(OSError(errno.ENOMEM, "Cannot allocate memory"), 1 << 30, None)
    assert error.errno == errno.ENOMEM
    assert re.search(rf"1073741824 bytes.*{named}", error.strerror)


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EFBIG])
def test_no_space_says_how_much_was_needed(code):
    error = explain_space(OSError(code, "No space"), 12345, "/data/x")
    assert (error.errno, error.filename, error.strerror) == (code, "/data/x", "No space: the file needs 12345 bytes")


@pytest.mark.skipif(sys.platform != "win32", reason="the codes are those of Windows")
@pytest.mark.parametrize("code", [8, 14, 1455])
def test_commit_limit_of_windows_is_enomem_that_says_so(code):
    error = explain_memory(OSError(code, "The paging file is too small", "/data/x", code), 1 << 30, "/data/x")
    assert (error.errno, error.filename) == (errno.ENOMEM, "/data/x")
    assert "1073741824 bytes" in error.strerror
    assert "commit limit" in error.strerror


def test_errors_of_another_kind_stay_as_they_are():
    error = OSError(errno.EIO, "Input/output error", "/data/x")
    assert explain_memory(error, 1, None) is error
    assert explain_space(error, 1, None) is error


def test_lock_error_keeps_its_code_and_file():
    error = explain_lock(OSError(errno.EAGAIN, "Try again"), 99, "/data/x")
    assert (error.errno, error.filename) == (errno.EAGAIN, "/data/x")
    assert "cannot lock 99 bytes" in error.strerror


@pytest.mark.linux
@pytest.mark.parametrize("mode", ["r", "c"])
def test_a_file_system_without_mappings_is_named_as_the_reason(mode, leftovers):
    setting = "/sys/kernel/notes"
    if not os.path.exists(setting):
        pytest.skip(f"needs {setting}")
    before = leftovers()
    with pytest.raises(OSError, match=r"maps no file \(sysfs\): copy the file") as caught:
        MemMap.open(setting, mode)
    assert (caught.value.errno, caught.value.filename) == (errno.ENODEV, setting)
    assert leftovers() == before
