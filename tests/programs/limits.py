"""Use up a limit of the system, and print what an error then says: "address space" PATH ALLOWED, or "mappings" PATH."""

import mmap
import resource
import sys

from scikitplot.memmap import MemMap


def error_of(call):
    try:
        call()
    except OSError as error:
        assert error.errno is not None
        return str(error)
    raise AssertionError("no error")


def use_up_address_space(path, allowed):
    resource.setrlimit(resource.RLIMIT_AS, (allowed, allowed))
    print(error_of(lambda: MemMap.anonymous(allowed)))
    print(error_of(lambda: MemMap.open(path + ".new", "w+", shape=allowed, sparse=True)))
    MemMap.anonymous(1 << 20).close()


def use_up_mappings(path):
    maps = []
    try:
        while True:  # every other one with another protection, so that none can be merged
            protection = mmap.PROT_READ if len(maps) % 2 else mmap.PROT_WRITE
            maps.append(mmap.mmap(-1, mmap.PAGESIZE, prot=protection))
    except OSError:
        for _ in range(20):
            maps.pop().close()
    held = []
    print(error_of(lambda: held.extend(MemMap.open(path, offset=i % 2) for i in range(100))))
    for one in held:
        one.close()
    for one in maps:
        one.close()


match sys.argv[1:]:
    case ["address space", path, allowed]:
        use_up_address_space(path, int(allowed))
    case ["mappings", path]:
        use_up_mappings(path)
