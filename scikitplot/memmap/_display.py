"""Text for people: sizes, counts, progress bars."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def human_size(nbytes: int) -> str:
    """Return a number of bytes as text, in powers of 1024.

    >>> human_size(1536), human_size(7)
    ('1.5 KiB', '7 B')
    """
    power = max(nbytes.bit_length() - 1, 0) // 10
    if power == 0:
        return f"{nbytes} B"
    return f"{nbytes / (1 << 10 * power):.1f} {' KMGTPE'[power]}iB"


def count(number: int, noun: str) -> str:
    """Return a number with its noun.

    >>> count(1, "view"), count(2, "batch")
    ('1 view', '2 batches')
    """
    return f"{number} {noun}" + ("" if number == 1 else "es" if noun.endswith("ch") else "s")


def printable(path: str) -> str:
    r"""Return a path as text; bytes that are not text become escapes.

    >>> print(printable("caf\udce9"))
    caf\udce9
    """
    return path.encode(errors="backslashreplace").decode()


def share(flags: npt.NDArray[np.bool_]) -> str:
    """Return the share of resident pages as text.

    >>> share(np.array([True, False, False, False]))
    '25 % of 4 pages resident'
    """
    return f"{100 * flags.mean() if flags.size else 100:.3g} % of {count(flags.size, 'page')} resident"


def tqdm_class() -> Any:
    """Return tqdm's class of progress bars."""
    try:
        with warnings.catch_warnings():  # in notebooks without ipywidgets tqdm falls back to bars of text
            warnings.simplefilter("ignore")
            from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install tqdm") from error
    return tqdm


def progress_bar(total: int, unit: str, shown: bool) -> Any:
    """Return a tqdm bar, or an object that shows nothing and needs no tqdm."""
    if not shown:
        return NoBar()
    return tqdm_class()(total=total, unit=unit, unit_scale=unit == "B", unit_divisor=1024)


class NoBar:
    def update(self, n: int) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""
