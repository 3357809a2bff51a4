"""Who may do what with a file that replaces another, and which links are followed."""

import contextlib
import errno
import os
import stat
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest

from scikitplot.memmap import MemMap, _files

pytestmark = pytest.mark.posix

ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
BOB = 54321


def acl(owner, bob, group, mask, other):
    """Pack an access control list with an entry for the user BOB."""
    nobody = 0xFFFFFFFF
    entries = [(1, owner, nobody), (2, bob, BOB), (4, group, nobody), (16, mask, nobody), (32, other, nobody)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def list_of(path):
    with contextlib.suppress(OSError):
        return os.getxattr(path, ACL)
    return None


def set_attribute(path, name, value):
    try:
        os.setxattr(path, name, value)
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM):
            raise
        pytest.skip(f"{error.strerror}: {name}")


# The program runs as root, in a folder that everybody may enter and write to; `as_user` calls something in a child.
USERS = """
import os, stat, sys
from scikitplot.memmap import MemMap
os.chdir(sys.argv[1])
os.umask(0o022)

def as_user(user, call, *args, groups=(), **kwargs):
    read, write = os.pipe()
    if (child := os.fork()) == 0:
        os.setgroups(groups)
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)
        try:
            call(*args, **kwargs)
            said = "done"
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(write, said.encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    said = os.read(read, 10_000).decode()
    os.close(read)
    return said

def make(path, content=b"old"):
    with open(path, "xb") as file:
        file.write(content)

def replace(path):
    MemMap.open(path, "w+", shape=4).close()

def look(path):
    found = os.lstat(path)
    return found.st_uid, found.st_gid, oct(stat.S_IMODE(found.st_mode))
"""


@pytest.fixture
def among_users(run_python):
    """Run code as root, with `as_user(user, call, ...)`."""
    if os.geteuid():
        pytest.skip("needs root, to become other users")
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield lambda code, *args: run_python(USERS + code, folder, *args)


@pytest.fixture
def protected_symlinks():
    """Let the system refuse to follow another user's link in a sticky directory, as distributions do."""
    setting = Path("/proc/sys/fs/protected_symlinks")
    try:
        old = setting.read_text()
        setting.write_text("1")
    except OSError as error:
        pytest.skip(f"needs {setting}: {error.strerror}")
    yield
    setting.write_text(old)


# ----------------------------------------------------------------------------------------------- at every moment


@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("permissions", [0o600, 0o640, 0o604])
def test_nobody_may_open_a_new_file_at_any_step_who_might_not_open_the_old_one(
    make_file, hide_nameless_files, monkeypatch, permissions, nameless
):
    path = make_file(b"secret")
    path.chmod(permissions)
    old, seen = path.stat(), []

    def watch(owner, name):
        call = getattr(owner, name)

        def wrapper(*args, **kwargs):
            entries = [*path.parent.iterdir(), *(Path("/dev/fd", entry) for entry in os.listdir("/dev/fd"))]
            for entry in entries:
                with contextlib.suppress(OSError):  # of the listing itself
                    found = entry.stat()
                    if stat.S_ISREG(found.st_mode) and found.st_size in (0, 54321) and found.st_dev == old.st_dev:
                        seen.append(stat.S_IMODE(found.st_mode))
            return call(*args, **kwargs)

        monkeypatch.setattr(owner, name, wrapper)

    if not nameless:
        hide_nameless_files()
    for owner, name in [(_files, "set_size"), (_files, "map_file"), (os, "fchmod"), (os, "replace")]:
        watch(owner, name)
    MemMap.open(path, "w+", shape=54321).close()
    assert len(seen) >= 4
    assert [mode for mode in seen if mode & ~permissions] == []
    assert stat.S_IMODE(path.stat().st_mode) == permissions


def test_a_link_in_the_place_of_the_new_file_changes_no_other_file(
    make_file, monkeypatch, hide_nameless_files, tmp_path
):
    path, victim = make_file(b"old"), tmp_path / "victim"
    path.chmod(0o666)
    victim.write_bytes(b"private")
    victim.chmod(0o600)
    set_size = _files.set_size

    def swap(*args):
        for temporary in path.parent.glob(".memmap-*"):
            temporary.unlink()
            temporary.symlink_to(victim)
        set_size(*args)

    monkeypatch.setattr(_files, "set_size", swap)
    hide_nameless_files()
    MemMap.open(path, "w+", shape=4).close()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o600
    assert victim.read_bytes() == b"private"


@pytest.mark.linux
def test_a_directory_that_is_swapped_meanwhile_leads_nowhere_else(monkeypatch, tmp_path):
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_bytes(b"old")
    map_file = _files.map_file

    def swap(*args):
        (tmp_path / "data").rename(tmp_path / "moved")
        (tmp_path / "data").symlink_to("other")
        return map_file(*args)

    monkeypatch.setattr(_files, "map_file", swap)
    MemMap.open(tmp_path / "data" / "file", "w+", shape=4).close()
    assert (tmp_path / "other" / "file").read_bytes() == b"old"
    assert (tmp_path / "moved" / "file").read_bytes() == bytes(4)
    assert sorted(os.listdir(tmp_path / "other")) == sorted(os.listdir(tmp_path / "moved")) == ["file"]


# ------------------------------------------------------------------------------------------------------- links


@pytest.mark.linux
def test_a_link_that_the_system_does_not_follow_is_not_followed(among_users, protected_symlinks):
    said = among_users("""
os.mkdir("private")
make("private/victim")
os.mkdir("tmp")
os.chmod("tmp", 0o1777)
for target in ("victim", "new"):
    as_user(1234, os.symlink, f"../private/{target}", f"tmp/{target}")
    try:
        open(f"tmp/{target}", "w+b")
        raise SystemExit("open() follows it")
    except PermissionError:
        pass
    try:
        replace(f"tmp/{target}")
    except PermissionError as error:
        print(error.filename == os.path.abspath(f"tmp/{target}"))
print(os.listdir("private"), open("private/victim", "rb").read(), sorted(os.listdir("tmp")))
""")
    assert said.split("\n") == ["True", "True", "['victim'] b'old' ['new', 'victim']"]


@pytest.mark.parametrize("target", ["mine", "missing"])
def test_a_link_that_is_changed_during_the_call_is_an_error(make_file, tmp_path, monkeypatch, leftovers, target):
    make_file(b"old", "mine")
    victim = make_file(b"private", "victim") if target == "mine" else tmp_path / "created"
    link = tmp_path / "link"
    link.symlink_to(target)
    before = leftovers()
    realpath = os.path.realpath

    def swap(path):
        link.unlink()
        link.symlink_to(victim)
        found = realpath(path)
        link.unlink()
        link.symlink_to(target)
        return found

    monkeypatch.setattr(os.path, "realpath", swap)
    with pytest.raises(OSError, match=r"changed during the call|No such file") as caught:
        MemMap.open(link, "w+", shape=4)
    assert caught.value.filename == str(link)
    assert leftovers() == before
    assert target == "missing" or victim.read_bytes() == b"private"


@pytest.mark.linux
def test_a_dangling_link_is_followed_and_stays(tmp_path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder/new")
    with MemMap.open(tmp_path / "link", "w+", shape=4) as mm:
        mm[:] = 7
        mm.flush()
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "folder" / "new").read_bytes() == b"\7" * 4


def test_x_plus_follows_no_link(tmp_path):
    (tmp_path / "link").symlink_to("new")
    with pytest.raises(FileExistsError):
        MemMap.open(tmp_path / "link", "x+", shape=4)
    assert os.listdir(tmp_path) == ["link"]


def test_another_users_file_in_a_sticky_directory_is_not_replaced_by_root_either(among_users):
    said = among_users("""
os.mkdir("tmp")
os.chmod("tmp", 0o1777)
as_user(1234, make, "tmp/file")
os.chmod("tmp/file", 0o666)
for said in as_user(1235, replace, "tmp/file"), as_user(0, replace, "tmp/file"), as_user(1234, replace, "tmp/file"):
    print(said)
""").splitlines()
    for refused in said[:2]:
        assert refused.startswith("PermissionError: ")
        assert "remove the file first" in refused
        assert refused.endswith("tmp/file'")
    assert said[2] == "done"


# ------------------------------------------------------------------------------------ what follows the old file


def test_owner_and_group_follow_but_no_set_user_id_and_no_set_group_id(among_users):
    said = among_users("""
for permissions in (0o4755, 0o2755, 0o6711, 0o1644):
    make(f"{permissions}")
    os.chown(f"{permissions}", 1234, 2345)
    os.chmod(f"{permissions}", permissions)
    replace(f"{permissions}")
    print(*look(f"{permissions}"))
    os.chown(f"{permissions}", 1234, 1234)
    os.chmod(f"{permissions}", permissions)
    as_user(1234, replace, f"{permissions}")
    print(*look(f"{permissions}"))
""").splitlines()
    modes = ("0o755", "0o755", "0o711", "0o644")
    assert said == [f"1234 {group} {mode}" for mode in modes for group in (2345, 1234)]


@pytest.mark.parametrize(
    ("old", "new"),
    [(0o660, 0o600), (0o664, 0o644), (0o640, 0o600), (0o604, 0o600), (0o646, 0o644), (0o755, 0o755)],
    ids=oct,
)
def test_group_follows_where_the_caller_is_a_member_and_else_its_rights_go(among_users, old, new):
    said = among_users(
        """
make("file")
os.chown("file", 1234, 2345)
os.chmod("file", int(sys.argv[2]))
print(as_user(1234, replace, "file", groups=[2345]), *look("file"))
print(as_user(1234, replace, "file"), *look("file"))
""",
        old,
    )
    assert said.splitlines() == [f"done 1234 2345 {oct(old)}", f"done 1234 1234 {oct(new)}"]


def test_a_caller_who_does_not_own_the_old_file_becomes_the_owner(among_users):
    said = among_users("""
make("file")
os.chown("file", 1234, 2345)
os.chmod("file", 0o4660)
print(as_user(1235, replace, "file", groups=[2345]), *look("file"))
""")
    assert said == "done 1235 2345 0o660"


@pytest.mark.linux
def test_extended_attributes_follow_but_no_capability(make_file):
    path = make_file(b"old")
    set_attribute(path, "user.origin", b"telescope")
    if os.geteuid() == 0:
        set_attribute(path, "security.capability", struct.pack("<5I", 0x02000000, 1 << 10, 0, 0, 0))
    MemMap.open(path, "w+", shape=4).close()
    assert os.getxattr(path, "user.origin") == b"telescope"
    assert "security.capability" not in os.listxattr(path)


@pytest.mark.linux
@pytest.mark.parametrize("entries", [(6, 4, 0, 4, 0), (6, 0, 4, 6, 4)], ids=str)
def test_access_control_list_follows(make_file, entries):
    path = make_file(b"old")
    set_attribute(path, ACL, acl(*entries))
    before = path.stat().st_mode
    MemMap.open(path, "w+", shape=4).close()
    assert list_of(path) == acl(*entries)
    assert path.stat().st_mode == before


@pytest.mark.linux
def test_where_the_access_control_list_cannot_follow_only_the_owner_keeps_rights(among_users):
    """Its mask would become rights of the group, and without its entry a user who had none may do what others may."""
    said = among_users(
        """
make("file")
try:
    os.setxattr("file", "system.posix_acl_access", bytes.fromhex(sys.argv[2]))
except OSError as error:
    raise SystemExit(print("skip"))
os.chown("file", 1234, 2345)
print(as_user(1234, replace, "file"), *look("file"), os.listxattr("file"))
""",
        acl(6, 0, 0, 6, 4).hex(),
    )
    if said == "skip":
        pytest.skip("needs access control lists")
    assert said == "done 1234 1234 0o600 []"


@pytest.mark.linux
def test_default_list_of_the_directory_gives_no_rights_on_what_replaces_a_file(make_file):
    path = make_file(b"old")
    path.chmod(0o660)
    set_attribute(path.parent, DEFAULT_ACL, acl(7, 7, 7, 7, 7))
    MemMap.open(path, "w+", shape=4).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o660
    assert list_of(path) is None


@pytest.mark.linux
@pytest.mark.parametrize("nameless", [True, False])
@pytest.mark.parametrize("kind", ["plain", "set-group-id", "default list"])
@pytest.mark.parametrize("mode", ["w+", "x+"])
def test_new_file_has_the_rights_that_open_would_give(tmp_path, hide_nameless_files, mode, kind, nameless):
    if kind == "set-group-id":
        if os.geteuid():
            pytest.skip("needs root, to give a directory to a group")
        os.chown(tmp_path, -1, 2345)
        tmp_path.chmod(0o2775)
    if kind == "default list":
        set_attribute(tmp_path, DEFAULT_ACL, acl(7, 6, 5, 7, 4))
    if not nameless:
        hide_nameless_files()
    (tmp_path / "open").write_bytes(b"")
    MemMap.open(tmp_path / "new", mode, shape=4).close()
    found, wanted = (tmp_path / "new").stat(), (tmp_path / "open").stat()
    assert (found.st_mode, found.st_uid, found.st_gid) == (wanted.st_mode, wanted.st_uid, wanted.st_gid)
    assert list_of(tmp_path / "new") == list_of(tmp_path / "open")


def test_open_file_and_resize_keep_the_file_and_its_rights(make_file):
    path = make_file(bytes(8))
    path.chmod(0o640)
    before = path.stat()
    with open(path, "r+b") as file, MemMap.open(file, "w+", shape=4) as mm:
        mm.append([1])
        mm.resize(99)
    after = path.stat()
    assert (after.st_ino, after.st_mode, after.st_uid) == (before.st_ino, before.st_mode, before.st_uid)


# ------------------------------------------------------------------------------------------------------ errors


@pytest.mark.parametrize("name", ["ENOSPC", "EROFS", "EPERM", "EACCES", "EIO", "EBUSY", "EXDEV", "ENAMETOOLONG"])
def test_errors_name_the_path_of_the_caller(make_file, monkeypatch, leftovers, name):
    path, code = make_file(b"old"), getattr(errno, name)

    def refuse(source, target):
        raise OSError(code, os.strerror(code), source, None, target)

    before = leftovers()
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match=os.strerror(code)) as caught:
        MemMap.open(path, "w+", shape=8)
    error = caught.value
    assert (error.errno, error.filename, error.filename2) == (code, str(path), None)
    assert ".memmap-" not in str(error)
    assert path.read_bytes() == b"old"
    assert leftovers() == before


@pytest.mark.parametrize("mode", ["w+", "x+"])
@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("n" * 256, errno.ENAMETOOLONG),
        ("missing/file", errno.ENOENT),
        ("file/file", errno.ENOTDIR),
        ("loop", errno.ELOOP),
    ],
)
def test_errors_of_names_are_those_of_open(tmp_path, leftovers, mode, name, code):
    (tmp_path / "file").write_bytes(b"old")
    (tmp_path / "loop").symlink_to("loop")
    before = leftovers()
    with pytest.raises(OSError, match=r"\[Errno") as caught:
        MemMap.open(tmp_path / name, mode, shape=8)
    expected = errno.EEXIST if (name, mode) == ("loop", "x+") else code
    assert (caught.value.errno, caught.value.filename) == (expected, str(tmp_path / name))
    assert leftovers() == before


@pytest.mark.linux
def test_a_full_disk_is_an_error_of_the_path_and_the_old_file_stays(small_disk_of):
    path = small_disk_of("tmpfs", "1m") / "file"
    path.write_bytes(b"old")
    with pytest.raises(OSError, match="No space left on device: the file needs 8388608 bytes") as caught:
        MemMap.open(path, "w+", shape=1 << 23)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == ["file"]


@pytest.mark.linux
def test_a_bind_mount_is_not_replaced_and_the_error_says_so(small_disk_of):
    folder = small_disk_of("tmpfs", "1m")
    for name in ("source", "file"):
        (folder / name).write_bytes(b"old")
    subprocess.run(["mount", "--bind", folder / "source", folder / "file"], check=True)
    try:
        with pytest.raises(OSError, match='mode "w\\+" replaces the old file by a new one; remove') as caught:
            MemMap.open(folder / "file", "w+", shape=4)
        assert (caught.value.errno, caught.value.filename) == (errno.EBUSY, str(folder / "file"))
        assert (folder / "source").read_bytes() == b"old"
        assert sorted(os.listdir(folder)) == ["file", "source"]
    finally:
        subprocess.run(["umount", folder / "file"], check=True)


@pytest.mark.linux
@pytest.mark.native
def test_descriptors_that_run_out_at_any_step_are_an_error_that_says_so(make_file, run_python):
    path = make_file(b"old")
    (path.parent / "link").symlink_to(path.name)
    said = run_python(
        """
import errno, os, resource, sys
from scikitplot.memmap import MemMap
MemMap.open(sys.argv[1]).close()
first = os.open("/", os.O_RDONLY)
os.close(first)
for more in range(4):
    resource.setrlimit(resource.RLIMIT_NOFILE, (first + more, 4096))
    try:
        MemMap.open(sys.argv[1], "w+", shape=4).close()
        print("done")
    except OSError as error:
        print(error.filename == sys.argv[1], "(ulimit -n)" in str(error) or error)
    resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
""",
        path.parent / "link",
    )
    assert said.splitlines() == ["True True"] * 3 + ["done"]
    assert sorted(os.listdir(path.parent)) == [path.name, "link"]
