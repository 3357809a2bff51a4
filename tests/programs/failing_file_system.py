"""A file system in memory that fails, waits and cuts files on command: FOLDER [OPTION]...

It prints "ready" when FOLDER is mounted, then answers each line of its standard input. The commands:

fail read|write START STOP    requests that touch these bytes of any file are answered by EIO
hold read|write               requests wait, at most HOLD seconds; other kinds go on
waiting                       the answer is how many wait
release                       the same, and they wait no more
resize NAME SIZE              a file gets another size without the kernel knowing, as on another host
mend                          nothing fails any more

OPTION is one of FUSE's, such as direct_io, or keep_cache: opening a file does not drop its pages from the page cache.
"""

import errno
import stat
import sys
import threading

import mfusepy

HOLD = 20  # seconds


class Files(mfusepy.Operations):
    use_ns = True

    def __init__(self, keep_cache):
        self.keep_cache = keep_cache
        self.files = {}  # path -> bytearray
        self.failing = {"read": range(0), "write": range(0)}
        self.held = dict.fromkeys(self.failing, False)
        self.waiting = 0
        self.changed = threading.Condition()

    def init(self, path):
        threading.Thread(target=self.obey, daemon=True).start()

    def obey(self):
        print("ready", flush=True)
        for line in sys.stdin:
            name, *arguments = line.split()
            with self.changed:
                print(getattr(self, f"do_{name}")(*arguments), flush=True)
                self.changed.notify_all()

    def do_fail(self, kind, start, stop):
        self.failing[kind] = range(int(start), int(stop))

    def do_mend(self):
        self.failing = dict.fromkeys(self.failing, range(0))

    def do_hold(self, kind):
        self.held[kind] = True

    def do_waiting(self):
        return self.waiting

    def do_release(self):
        self.held = dict.fromkeys(self.held, False)
        return self.waiting

    def do_resize(self, name, size):
        self.truncate(f"/{name}", int(size))

    def found(self, path):
        if path not in self.files:
            raise mfusepy.FuseOSError(errno.ENOENT)
        return self.files[path]

    def request(self, kind, offset, size):
        """Wait or fail as the commands say."""
        with self.changed:
            self.waiting += 1
            self.changed.wait_for(lambda: not self.held[kind], HOLD)
            self.waiting -= 1
            failing = self.failing[kind]
            if offset < failing.stop and failing.start < offset + size:
                raise mfusepy.FuseOSError(errno.EIO)

    def getattr(self, path, fh=None):
        if path == "/":
            return {"st_mode": stat.S_IFDIR | 0o777, "st_nlink": 2}
        size = len(self.found(path))
        return {"st_mode": stat.S_IFREG | 0o666, "st_nlink": 1, "st_size": size, "st_blocks": -(-size // 512)}

    def readdir(self, path, fh):
        return [".", "..", *(name[1:] for name in self.files)]

    def create(self, path, mode, fi):
        self.files[path] = bytearray()
        return self.open(path, fi)

    def open(self, path, fi):
        self.found(path)
        fi.keep_cache = self.keep_cache
        return 0

    def read(self, path, size, offset, fi):
        self.request("read", offset, size)
        return bytes(self.found(path)[offset : offset + size])

    def write(self, path, data, offset, fi):
        self.request("write", offset, len(data))
        file = self.found(path)
        file.extend(bytes(max(offset - len(file), 0)))
        file[offset : offset + len(data)] = data
        return len(data)

    def truncate(self, path, length, fh=None):
        file = self.found(path)
        del file[length:]
        file.extend(bytes(length - len(file)))
        return 0

    def rename(self, old, new):
        self.found(old)
        self.files[new] = self.files.pop(old)
        return 0

    def unlink(self, path):
        self.found(path)
        del self.files[path]
        return 0

    def chmod(self, path, mode):
        return 0

    def chown(self, path, uid, gid):
        return 0

    def utimens(self, path, times=None):
        return 0

    def fsync(self, path, datasync, fi):
        return 0


if __name__ == "__main__":
    folder, *options = sys.argv[1:]
    keep_cache = "keep_cache" in options
    mfusepy.FUSE(
        Files(keep_cache),
        folder,
        raw_fi=True,
        foreground=True,
        attr_timeout=0,  # the kernel asks for sizes again
        hard_remove=True,  # a file that is still open is not kept under another name
        **{option: True for option in options if option != "keep_cache"},
    )
