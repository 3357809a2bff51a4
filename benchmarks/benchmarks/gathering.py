import peers


class Gather(peers.Subject):
    work = peers.GATHER


class GatherLongRows(peers.Subject):
    work = peers.GATHER_LONG
