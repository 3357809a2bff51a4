"""Threads that start together and take turns often, so that a race has a chance to show."""

import sys
import threading


def in_threads(work, number=8):
    """Call `work(k)` in that many threads at once; return what the calls returned, or raise what they raised."""
    ready = threading.Barrier(number)
    results, errors = [], []

    def run(k):
        try:
            ready.wait()
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
    if errors:
        raise errors[0] if len(errors) == 1 else BaseExceptionGroup(f"{len(errors)} threads failed", errors)
    assert len(results) == number, f"{number - len(results)} threads ended without a result"
    return results
