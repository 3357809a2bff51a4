"""Fork while a thread changes the size of a map, and print how the children ended: file|anonymous resize|append."""

import os
import signal
import sys
import threading

from scikitplot.memmap import MemMap

sys.setswitchinterval(1e-5)
on_file, how = sys.argv[1] == "file", sys.argv[2]
mm = MemMap.open("data.bin", "w+", dtype="<i4", shape=(1, 2)) if on_file else MemMap.anonymous((1, 2), "<i4")


def work():
    while not done:
        for rows in range(1, 100):
            mm.resize(rows) if how == "resize" else mm.append([rows, rows])
        mm.resize(1)


def child():
    signal.alarm(50)  # ends those that hang
    try:
        mm[0]
        mm.unlock() if on_file else mm.append([1, 2])  # what waits for its turn; the file is the parent's
        lost = 0
    except ValueError as error:
        assert str(error).startswith("MemMap was being resized when this process was forked"), error
        assert str(error).endswith(mm.path or "anonymous"), error
        assert mm.closed
        lost = 3
    mm.close()
    mm.close()
    assert mm.closed
    return lost


done = False
thread = threading.Thread(target=work)
thread.start()
ends = []
for _ in range(200):
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = child()
        finally:
            os._exit(code)
    ends.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
done = True
thread.join()
mm.append([7, 7])
assert mm[-1].tolist() == [7, 7]
mm.close()
print(*sorted(set(ends)))
