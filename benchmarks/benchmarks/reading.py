import warm


class ReadAt(warm.Subject):
    work = warm.READ_AT


class ReadAtBySize(warm.Subject):
    work = warm.READ_AT_GROWTH
