import peers


class Open(peers.Subject):
    work = peers.OPEN


class OpenBySize(peers.Subject):
    work = peers.OPEN_GROWTH
