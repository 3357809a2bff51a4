"""How a MemMap shows itself."""


def human_size(nbytes: int) -> str:
    """Write a number of bytes for people, in powers of 1024.

    >>> human_size(1536), human_size(7)
    ('1.5 KiB', '7 B')
    """
    power = max(nbytes.bit_length() - 1, 0) // 10
    if power == 0:
        return f"{nbytes} B"
    return f"{nbytes / (1 << 10 * power):.1f} {' KMGTPE'[power]}iB"


def count(number: int, noun: str) -> str:
    """Write a number with its noun.

    >>> count(1, "view"), count(2, "view")
    ('1 view', '2 views')
    """
    return f"{number} {noun}" + ("" if number == 1 else "s")
