import warm


class Gather(warm.Subject):
    work = warm.GATHER
    calls = 10


class GatherLongRows(warm.Subject):
    work = warm.GATHER_LONG
    calls = 10


class GatherBySize(warm.Subject):
    work = warm.GATHER_GROWTH


class BatchBySize(warm.Subject):
    work = warm.BATCH_GROWTH
    calls = 100
