"""Opening and making files: what is replaced, what stays, what is flushed."""

import errno
import os
import pickle
import stat
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

import numpy as np
import pytest

from scikitplot.memmap import MemMap, _files
from scikitplot.memmap._files import absolute
from scikitplot.memmap._system import system_path

# ---- names


@pytest.mark.parametrize("name", ["a", Path("a"), b"a", "sub/a", "./a", "sub//a", "sub/./a"], ids=repr)
def test_absolute_makes_a_path_absolute(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    assert absolute(name) == str(tmp_path / os.fsdecode(name))
    inside = os.path.join(os.fsencode(tmp_path), os.fsencode(name))
    assert absolute(inside) == os.fsdecode(inside)


@pytest.mark.posix
def test_absolute_leaves_dots_after_a_link_to_the_system(tmp_path, monkeypatch):
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    (tmp_path / "far" / "data.bin").write_bytes(b"abc")
    monkeypatch.chdir(tmp_path)
    with MemMap.open("link/../data.bin") as mm:  # far/data.bin, not data.bin
        assert mm.read_at(0, 3) == b"abc"
        assert os.path.samefile(mm.path, tmp_path / "far" / "data.bin")


def test_absolute_refuses_an_empty_name():
    with pytest.raises(FileNotFoundError, match="empty"):
        absolute("")


@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_name_may_be_as_long_as_the_system_allows(tmp_path, mode):
    path = tmp_path / ("n" * 255)
    with MemMap.open(path, mode, shape=3) as mm:
        mm[:] = 1
    with MemMap.open(path, "w+", shape=2) as mm:
        mm[:] = 2
    assert path.read_bytes() == b"\2\2"


def test_path_may_be_unicode_and_longer_than_260_characters(tmp_path, run_python):
    name = Path(tmp_path, *["ordner-dĺhá-目录-😀" * 3] * 12, "dátá-数据-😀.bin")
    plain = Path(system_path(str(name)))
    plain.parent.mkdir(parents=True)
    assert len(str(name)) > 600
    with MemMap.open(name, "x+", shape=4) as mm:
        assert mm.path == str(name)
        mm[:] = 1
    with MemMap.open(name, "w+", shape=3) as mm:
        mm[:] = 2
    with MemMap.open(name, "r+") as mm:
        mm.append([3])
        read = run_python(
            "import pickle, sys; mm = pickle.loads(bytes.fromhex(sys.argv[1])); print(mm[...].tolist()); mm.close()",
            pickle.dumps(mm).hex(),
        )
        assert read == "[2, 2, 2, 3]"
    with MemMap.open(os.fsencode(name), "c") as mm:
        assert mm.read_at(0, 4) == b"\2\2\2\3"
    with pytest.raises(FileExistsError) as caught:
        MemMap.open(name, "x+", shape=1)
    assert caught.value.filename == str(name)
    plain.unlink()
    with pytest.raises(FileNotFoundError) as caught:
        MemMap.open(name)
    assert caught.value.filename == str(name)


@pytest.mark.parametrize("mode", ["r", "r+", "c", "w+", "x+"])
@pytest.mark.parametrize("how", ["closed", "revoked"])
def test_file_can_be_removed_at_once_after_close(tmp_path, make_file, mode, how):
    path = tmp_path / "new.bin" if mode == "x+" else make_file(b"abc")
    mm = MemMap.open(path, mode, shape=3)
    if how == "revoked":
        view = mm[1:]
        with pytest.warns(RuntimeWarning, match="1 view"):
            mm.close(views="revoke")
        assert view.tolist() == [0, 0]
    else:
        mm.close()
    path.unlink()
    assert not path.exists()
    path.write_bytes(b"the name is free")


@pytest.mark.skipif(sys.platform != "win32", reason="other systems do not know such locks")
@pytest.mark.parametrize("mode", ["r", "r+", "c", "w+"])
def test_file_that_another_program_has_for_itself_is_an_error_that_names_it(make_file, mode):
    import _winapi

    path = make_file(b"abc")
    alone = _winapi.CreateFile(str(path), _winapi.GENERIC_READ, 0, 0, _winapi.OPEN_EXISTING, 0, 0)
    try:
        with pytest.raises(PermissionError) as caught:
            MemMap.open(path, mode, shape=3)
    finally:
        _winapi.CloseHandle(alone)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"abc"


# ---- "w+" on a path


@pytest.mark.replaces
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_replaced_file_stays_whole_for_those_who_map_it(make_file, mode):
    path = make_file(b"old" * 5000)
    with MemMap.open(path, mode) as old, MemMap.open(path, "w+", shape=4) as new:
        new[:] = 7
        assert old.read_at(0, 15_000) == b"old" * 5000
        if mode != "r":
            old[0] = 0
        assert new.read_at(0, 4) == b"\7" * 4
    assert path.read_bytes() == b"\7" * 4


@pytest.mark.skipif(sys.platform != "win32", reason="other systems replace a file that is mapped")
@pytest.mark.parametrize("mode", ["r", "r+", "c"])
def test_file_that_is_mapped_is_not_replaced_and_the_error_names_the_way_out(make_file, leftovers, mode):
    path = make_file(b"old")
    with MemMap.open(path, mode) as old:
        before = leftovers()
        with pytest.raises(PermissionError, match='remove the file first, or open it with mode "r\\+"') as caught:
            MemMap.open(path, "w+", shape=4)
        assert caught.value.filename == str(path)
        assert old.read_at(0, 3) == b"old"
        assert leftovers() == before
    MemMap.open(path, "w+", shape=4).close()
    assert path.read_bytes() == bytes(4)


@pytest.mark.posix
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o666, 0o755])
def test_replaced_file_hands_its_permissions_on(make_file, permissions):
    path = make_file(b"old")
    path.chmod(permissions)
    MemMap.open(path, "w+", shape=4).close()
    assert stat.S_IMODE(path.stat().st_mode) == permissions


@pytest.mark.posix
def test_new_file_has_the_permissions_that_the_umask_leaves(tmp_path, run_python):
    run_python(
        """
import os
from scikitplot.memmap import MemMap
os.umask(0o027)
for mode in ("w+", "x+"):
    MemMap.open(mode, mode, shape=1).close()
    assert os.stat(mode).st_mode & 0o777 == 0o640
"""
    )


@pytest.mark.thread_unsafe(reason="changes what all would share")
@pytest.mark.posix
def test_target_of_a_symlink_is_what_is_replaced(make_file, tmp_path):
    path = make_file(b"old")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "link").symlink_to("../data.bin")
    with MemMap.open(tmp_path / "folder" / "link", "w+", shape=4) as mm:
        mm[:] = 7
    assert (tmp_path / "folder" / "link").is_symlink()
    assert path.read_bytes() == b"\7" * 4
    assert sorted(os.listdir(tmp_path / "folder")) == ["link"]


@pytest.mark.posix
def test_hard_links_do_not_follow(make_file, tmp_path):
    path = make_file(b"old")
    os.link(path, tmp_path / "other")
    MemMap.open(path, "w+", shape=4).close()
    assert path.read_bytes() == bytes(4)
    assert (tmp_path / "other").read_bytes() == b"old"


@pytest.mark.knows_replaced_files
@pytest.mark.replaces
def test_name_is_taken_only_when_the_file_is_complete(make_file):
    """Whoever opens the name meanwhile gets the old file or the new one, never a part of one."""
    path, stop, sizes = make_file(bytes(10)), threading.Event(), set()

    def watch():
        while True:
            sizes.add(path.stat().st_size)
            if stop.is_set():
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for _ in range(20):
            MemMap.open(path, "w+", shape=10 if path.stat().st_size > 10 else 1 << 20).close()
    finally:
        stop.set()
        watcher.join()
    assert sizes <= {10, 1 << 20}


@pytest.mark.thread_unsafe(reason="changes what all would share")
def test_a_new_name_is_taken_only_when_the_file_is_complete_also_without_nameless_files(
    tmp_path, monkeypatch, hide_nameless_files
):
    def see(*args):
        assert not path.exists()
        return map_file(*args)

    path, map_file = tmp_path / "new", _files.map_file
    hide_nameless_files()
    monkeypatch.setattr(_files, "map_file", see)
    MemMap.open(path, "w+", shape=4).close()
    assert os.listdir(tmp_path) == ["new"]


@pytest.mark.linux
def test_a_read_only_disk_is_what_an_error_names(small_disk_of, tmp_path):
    path = small_disk_of("tmpfs", "16m") / "table.bin"
    path.write_bytes(bytes(8))
    subprocess.run(["mount", "-o", "remount,ro", path.parent], check=True)
    for mode, name in [("r+", "table.bin"), ("w+", "table.bin"), ("w+", "new.bin"), ("x+", "new.bin")]:
        with pytest.raises(OSError, match="Read-only file system") as refused:
            MemMap.open(path.with_name(name), mode, shape=8)
        assert (refused.value.errno, refused.value.filename) == (errno.EROFS, str(path.with_name(name)))
    MemMap.open(path, "c").close()


@pytest.mark.posix
def test_read_only_file_is_not_replaced_but_one_may_remove_it(run_unprivileged):
    said = run_unprivileged(
        """
with open("file.bin", "wb") as file:
    file.write(b"old")
os.chmod("file.bin", 0o444)
print(error_of(MemMap.open, "file.bin", "w+", shape=4))
with open("file.bin", "rb") as file:
    assert file.read() == b"old"
os.remove("file.bin")
MemMap.open("file.bin", "w+", shape=4).close()
"""
    )
    assert said.startswith("PermissionError")
    assert 'remove the file first, or open it with mode "r+"' in said


@pytest.mark.posix
def test_file_in_a_folder_that_cannot_be_written_can_be_opened_but_not_replaced(run_unprivileged):
    said = run_unprivileged(
        """
os.mkdir("folder")
with open("folder/file.bin", "wb") as file:
    file.write(b"old")
os.chmod("folder", 0o555)
print(error_of(MemMap.open, "folder/file.bin", "w+", shape=4))
with MemMap.open("folder/file.bin", "r+") as mm:
    mm[0] = ord("O")
with open("folder/file.bin", "rb") as file:
    assert file.read() == b"Old"
os.chmod("folder", 0o755)
"""
    )
    assert 'mode "w+" replaces the old file by a new one; remove the file first' in said


# ---- file objects


def test_unflushed_writes_of_a_file_object_are_seen(tmp_path):
    with open(tmp_path / "data.bin", "w+b") as file:
        file.write(b"not flushed yet")
        with MemMap.open(file) as mm:
            assert mm.read_at(0, mm.nbytes) == b"not flushed yet"


@pytest.mark.parametrize("old", [b"", b"old", b"old and longer than the new one" * 500])
def test_file_object_is_resized_in_place(make_file, old):
    path = make_file(old)
    inode = path.stat().st_ino
    with open(path, "r+b") as file:
        with MemMap.open(file, "w+", dtype="<i4", shape=4, offset=3) as mm:
            assert (mm.mode, mm.path, mm.shape) == ("w+", str(path), (4,))
            mm[:] = -1
        assert file.read() == old[:3].ljust(3, b"\0") + b"\xff" * 16
    assert path.stat().st_ino == inode


def test_file_object_without_a_name_is_mapped(tmp_path):
    with tempfile.TemporaryFile(dir=tmp_path) as file:
        file.write(b"abc")
        with MemMap.open(file) as mm:
            assert mm.path == (None if os.name == "posix" else file.name)  # on Windows every file has a name
            assert mm.read_at(0, 3) == b"abc"
            assert "closed" not in repr(mm)
        with MemMap.open(file, "w+", shape=5) as mm:
            mm.write_at(0, b"01234")
        file.seek(0)
        assert file.read() == b"01234"


def test_file_object_whose_name_was_taken_by_another_file_has_no_path(make_file, tmp_path):
    path = make_file(b"abc")
    with open(path, "rb") as file:
        if os.name == "posix":
            path.rename(tmp_path / "moved")
            path.write_bytes(b"another")
        with MemMap.open(file) as mm:
            assert mm.read_at(0, 3) == b"abc"
            assert mm.path == (None if os.name == "posix" else str(path))


def test_named_temporary_file_is_a_file_object(tmp_path):
    with tempfile.NamedTemporaryFile(dir=tmp_path, suffix=".bin") as file:
        file.write(b"abc")
        with MemMap.open(file, "r+") as mm:
            assert mm.path == file.name
            mm[0] = ord("x")
        file.seek(0)
        assert file.read() == b"xbc"


@pytest.mark.posix
def test_file_object_of_a_pipe_is_refused(leftovers):
    before = leftovers()
    read, write = os.pipe()
    with open(read, "rb") as file, open(write, "wb"), pytest.raises(OSError, match="not a FIFO"):
        MemMap.open(file)
    assert leftovers() == before


def test_failed_open_of_a_file_object_leaves_it_as_it_was(make_file, leftovers):
    path = make_file(b"0123456789")
    before = leftovers()
    with open(path, "r+b") as file:
        file.seek(4)
        for mode, layout, match in (
            ("r", {"shape": 11}, "needs 11 bytes"),
            ("w+", {"shape": -1}, "full shape"),
            ("w+", {"shape": 1 << 70}, "address space"),
        ):
            with pytest.raises(ValueError, match=match):
                MemMap.open(file, mode, **layout)
        assert file.tell() == 4
    assert path.read_bytes() == b"0123456789"
    assert leftovers() == before


def test_array_saved_by_numpy_is_mapped_from_where_its_header_ends(tmp_path):
    path = tmp_path / "array.npy"
    values = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    np.save(path, values)
    with open(path, "rb") as file:
        version = np.lib.format.read_magic(file)
        assert version == (1, 0)
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        with MemMap.open(file, dtype=dtype, shape=shape, order="F" if fortran else "C", offset=file.tell()) as mm:
            assert np.array_equal(mm, values)


@pytest.mark.posix
def test_a_failed_clean_up_does_not_hide_the_error(tmp_path, monkeypatch):
    def refuse(code):
        def call(*arguments):
            raise OSError(code, os.strerror(code), str(arguments[0]))

        return call

    path = tmp_path / "old"
    path.write_bytes(b"abc")
    monkeypatch.setattr(os, "replace", refuse(errno.ENOSPC))
    monkeypatch.setattr(os, "unlink", refuse(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
        MemMap.open(path, "w+", shape=8)
    assert path.read_bytes() == b"abc"
