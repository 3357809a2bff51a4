import warm


class Append(warm.Subject):
    work = warm.APPEND


class AppendToLarge(warm.Subject):
    work = warm.APPEND_1GIB
