"""How a MemMap shows itself, and how far a loop has come."""

from typing import Any


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


def progress_bar(total: int, unit: str, shown: bool) -> Any:
    """A tqdm bar, or one that is not shown and needs no tqdm."""
    if not shown:
        return NoBar()
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install tqdm") from error
    return tqdm(total=total, unit=unit, unit_scale=unit == "B", unit_divisor=1024)


class NoBar:
    def update(self, n: int) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing was shown."""
