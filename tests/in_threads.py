"""Threads that start together and take turns often, so that a race has a chance to show."""

import sys
import threading


def in_threads(work, number=8):
    """Call `work(k)` in that many threads at once; return what the calls returned, or raise what one of them raised."""
    ready = threading.Barrier(number)
    results, errors = [], []

    def run(k):
        ready.wait()
        try:
            results.append(work(k))
        except BaseException as error:
            errors.append(error)

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=run, args=(k,)) for k in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
    for error in errors:
        raise error
    return results
