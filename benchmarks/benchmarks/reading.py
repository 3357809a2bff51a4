import peers


class ReadAt(peers.Subject):
    work = peers.READ_AT


class ReadAtBySize(peers.Subject):
    work = peers.READ_AT_GROWTH
