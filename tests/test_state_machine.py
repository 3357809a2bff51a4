"""Random sequences of calls on one file, against an array of plain bytes that does the same."""

import sys
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from scikitplot.memmap import MemMap, open_maps

HEAD = bytes(7)  # before the data, so that nothing is aligned
WIDTH = 3
DTYPE = np.dtype("<i2")
ROW = WIDTH * DTYPE.itemsize

rows = st.integers(0, 3000)  # up to a few pages
values = st.integers(-(1 << 15), (1 << 15) - 1)
keys = st.one_of(
    st.integers(-4000, 4000),
    st.builds(slice, *[st.none() | st.integers(-4000, 4000)] * 2, st.none() | st.integers(-5, 5).filter(bool)),
    st.lists(st.integers(-10, 10), max_size=5),
    st.just(...),
)

is_open = precondition(lambda self: self.mm is not None)
is_closed = precondition(lambda self: self.mm is None)
# Windows replaces no file that is mapped
is_replaceable = precondition(lambda self: self.mm is None and (sys.platform != "win32" or not self.detached))
# an array that was detached needs the pages of the file
is_alone = precondition(lambda self: self.mm is not None and not self.detached)


class Maps(RuleBasedStateMachine):
    """`data` is what the map must hold; `stored` what the file must (they differ in mode "c" only)."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "data.bin"
        self.mm = self.data = self.stored = None
        self.views = []
        self.windows = []
        self.detached = []  # pairs of arrays: what was handed over, and what it must hold

    def teardown(self):
        self.views.clear()
        self.detached.clear()
        for window, _, _ in self.windows:
            window.close()
        if self.mm is not None:
            self.mm.close()
        self.folder.cleanup()

    # ---- opening and closing

    @initialize(count=rows)
    def create(self, count):
        self.path.write_bytes(HEAD)
        self.open_new("w+", count)

    @is_closed
    @rule(mode=st.sampled_from(["r", "r+", "c"]), access=st.sampled_from(["normal", "random", "sequential"]))
    def open_existing(self, mode, access):
        self.mm = MemMap.open(self.path, mode, dtype=DTYPE, shape=(-1, WIDTH), offset=len(HEAD), access=access)
        self.data = self.stored if mode in ("r", "r+") else self.stored.copy()

    @is_replaceable
    @rule(mode=st.sampled_from(["w+", "x+"]), count=rows)
    def open_new(self, mode, count):
        if mode == "x+":
            with pytest.raises(FileExistsError):
                MemMap.open(self.path, mode, dtype=DTYPE, shape=(count, WIDTH), offset=len(HEAD))
            self.path.unlink()
        self.mm = MemMap.open(self.path, mode, dtype=DTYPE, shape=(count, WIDTH), offset=len(HEAD))
        self.data = self.stored = np.zeros((count, WIDTH), DTYPE)

    @is_open
    @rule()
    def close(self):
        if self.users():
            with pytest.raises(BufferError, match="alive"):
                self.mm.close()
            return
        self.mm.close()
        self.mm.close()
        with pytest.raises(ValueError, match="MemMap is closed"):
            self.mm.read_at(0, 0)
        self.mm = None

    @is_open
    @rule()
    def detach(self):
        if self.windows:
            with pytest.raises(BufferError, match="window"):
                self.mm.detach()
            return
        array = self.mm.detach()
        assert np.array_equal(array, self.data)
        if self.mm.mode != "c":  # whose pages may follow the file until they are written to
            self.detached.append((array, self.data))
        self.views.clear()
        self.mm = None

    @precondition(lambda self: self.detached)
    @rule()
    def drop_detached(self):
        self.detached.clear()

    def users(self):
        return len(self.views) + len(self.windows)

    # ---- reading

    @is_open
    @rule(key=keys)
    def index(self, key):
        try:
            expected = self.data[key]
        except IndexError:
            with pytest.raises(IndexError):
                self.mm[key]
        else:
            assert np.array_equal(self.mm[key], expected)

    @is_open
    @rule(offset=st.integers(-10, 20_000), size=st.integers(-3, 9000))
    def read_at(self, offset, size):
        if offset < 0 or size < 0 or offset + size > self.data.nbytes:
            with pytest.raises(ValueError, match="not offset"):
                self.mm.read_at(offset, size)
        else:
            assert self.mm.read_at(offset, size) == self.data.tobytes()[offset : offset + size]

    @is_open
    @rule(chosen=st.lists(st.integers(-5, 5), max_size=5))
    def gather(self, chosen):
        try:
            expected = np.take(self.data, np.array(chosen, np.intp), axis=0)
        except IndexError:
            with pytest.raises(IndexError):
                self.mm.gather(chosen)
        else:
            assert np.array_equal(self.mm.gather(chosen), expected)

    # ---- writing

    @is_open
    @rule(offset=st.integers(-10, 18_000), data=st.binary(max_size=50))
    def write_at(self, offset, data):
        if not self.mm.writable or offset < 0 or offset + len(data) > self.data.nbytes:
            with pytest.raises(ValueError, match=r"read-only|not offset"):
                self.mm.write_at(offset, data)
        else:
            assert self.mm.write_at(offset, data) == len(data)
            self.data.view("u1").reshape(-1)[offset : offset + len(data)] = np.frombuffer(data, "u1")

    @is_open
    @rule(key=keys, value=values)
    def assign(self, key, value):
        if not self.mm.writable:
            with pytest.raises(ValueError, match="read-only"):
                self.mm[key] = value
            return
        try:
            self.data[key] = value
        except IndexError:
            with pytest.raises(IndexError):
                self.mm[key] = value
        else:
            self.mm[key] = value

    @is_open
    @rule(wait=st.booleans())
    def flush(self, wait):
        self.mm.flush(wait=wait)
        assert self.path.read_bytes() == HEAD + self.stored.tobytes()

    @is_open
    @rule()
    def evict(self):
        self.mm.evict()

    # ---- views and windows

    @is_open
    @rule(start=st.integers(-50, 3100), stop=st.none() | st.integers(-50, 3100))
    def take_view(self, start, stop):
        view = self.mm[start:stop]
        self.views.append((view, self.data[start:stop]))

    @is_open
    @rule(items=st.integers(0, 200))
    def take_view_of_bytes(self, items):
        items = min(items, self.data.nbytes)
        self.views.append((self.mm.view("u1", shape=items), self.data.view("u1").reshape(-1)[:items]))

    @precondition(lambda self: self.views)
    @rule(value=values)
    def write_through_a_view(self, value):
        view, expected = self.views[-1]
        if view.flags.writeable:
            view[:1] = value % 100
            expected[:1] = value % 100

    @precondition(lambda self: self.views)
    @rule()
    def drop_views(self):
        self.views.clear()

    @is_open
    @rule(start=st.integers(0, 3000), count=st.integers(0, 3000))
    def take_window(self, start, count):
        self.windows.append((self.mm.window(start, start + count), start, start + count))

    @precondition(lambda self: self.windows)
    @rule(value=values)
    def write_through_a_window(self, value):
        window, start, stop = self.windows[-1]
        if window.writable:
            window[:] = value
            self.data[start:stop] = value

    @precondition(lambda self: self.windows)
    @rule()
    def close_windows(self):
        while self.windows:
            self.windows.pop()[0].close()

    # ---- size

    def change_size(self, data, call):
        """The map must hold `data` after the call, if it may be made now."""
        if self.mm.mode in ("r", "c"):
            with pytest.raises(ValueError, match="cannot change its size"):
                call()
        elif self.users():
            with pytest.raises(BufferError, match="alive"):
                call()
        else:
            call()
            self.data = self.stored = data

    @is_alone
    @rule(count=rows, whole=st.booleans())
    def resize(self, count, whole):
        data = np.zeros((count, WIDTH), DTYPE)
        kept = min(count, len(self.data))
        data[:kept] = self.data[:kept]
        self.change_size(data, lambda: self.mm.resize((count, WIDTH) if whole else count))

    @is_alone
    @rule(block=st.lists(st.lists(values, min_size=WIDTH, max_size=WIDTH), min_size=1, max_size=4), one=st.booleans())
    def append(self, block, one):
        block = np.array(block[0] if one else block, DTYPE)
        data = np.concatenate([self.data, block.reshape(-1, WIDTH)], dtype=DTYPE)
        self.change_size(data, lambda: self.mm.append(block))

    # ---- what must hold at any time

    @invariant()
    def map_holds_the_data(self):
        if self.mm is not None:
            assert self.mm.shape == self.data.shape
            assert self.mm.read_at(0, self.mm.nbytes) == self.data.tobytes()
            assert self.mm in open_maps()

    @invariant()
    def views_and_windows_hold_their_part(self):
        for view, expected in self.views + self.detached:
            assert view.tobytes() == expected.tobytes()
        for window, start, stop in self.windows:
            assert np.array_equal(window, self.data[start:stop])

    @invariant()
    def file_holds_what_was_stored(self):
        if self.stored is not None and self.path.exists():
            assert self.path.stat().st_size == len(HEAD) + self.stored.nbytes


Maps.TestCase.settings = settings(max_examples=30, stateful_step_count=40)
TestMaps = Maps.TestCase
