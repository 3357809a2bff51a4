import warm


class Open(warm.Subject):
    work = warm.OPEN


class NewMemory(warm.Subject):
    work = warm.ANONYMOUS
    calls = 1


class OpenBySize(warm.Subject):
    work = warm.OPEN_GROWTH


class PickleBySize(warm.Subject):
    work = warm.PICKLE_GROWTH
