"""How a MemMap shows itself."""


def human_size(nbytes: int) -> str:
    """A number of bytes for people, in units of 1024.

    >>> human_size(1536), human_size(7)
    ('1.5 KiB', '7 B')
    """
    if nbytes < 1024:
        return f"{nbytes} B"
    size = float(nbytes)
    for unit in ("KiB", "MiB", "GiB", "TiB", "PiB", "EiB"):
        size /= 1024
        if size < 1024:
            break
    return f"{size:.1f} {unit}"


def count(number: int, noun: str) -> str:
    """A number with its noun.

    >>> count(1, "view"), count(2, "view")
    ('1 view', '2 views')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")
