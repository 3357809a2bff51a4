import warm


class Open(warm.Subject):
    work = warm.OPEN


class OpenBySize(warm.Subject):
    work = warm.OPEN_GROWTH


class PickleBySize(warm.Subject):
    work = warm.PICKLE_GROWTH
