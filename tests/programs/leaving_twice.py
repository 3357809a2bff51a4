"""Leave one map in four threads at once, in two ways, and use the views that are left: WAY WAY."""

import contextlib
import gc
import sys
import threading
import warnings

from scikitplot.memmap import MemMap

warnings.simplefilter("ignore")
sys.setswitchinterval(1e-6)
gc.freeze()  # what close() collects is quickly collected then
ways = {
    "close": lambda mm: mm.close(),
    "revoke": lambda mm: mm.close(views="revoke"),
    "with": lambda mm: mm.__exit__(None, None, None),
    "detach": lambda mm: kept.append(mm.detach()),
}
leave = [ways[way] for way in sys.argv[1:]]


def work(k):
    ready.wait()
    with contextlib.suppress(ValueError, BufferError):
        leave[k % 2](mm)


for _ in range(200):
    mm = MemMap.anonymous(4096)
    view, kept, ready = mm[1:], [], threading.Barrier(4)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert mm.closed
    assert len(kept) <= 1
    while kept:
        kept.pop().sum()
    view.sum()
print("alive")
