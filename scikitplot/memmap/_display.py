"""How a MemMap shows itself, and how far a loop has come."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import MapCore
from ._region import PAGE_SIZE

if TYPE_CHECKING:
    import numpy.typing as npt
    from matplotlib.axes import Axes

    from ._map import MemMap

MOST_BARS = 1000  # of a plot, which is about as wide in pixels


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


def html(mm: MemMap) -> str:
    """Show a map in a notebook."""
    from html import escape

    facts = {
        "file": "none" if mm.path is None else printable(mm.path),
        "mode": mm.mode,
        "dtype": mm.dtype,
        "shape": mm.shape,
        "offset": f"{mm.offset} bytes",
        "order": mm.order,
        "size": human_size(mm.nbytes),
        "state": "closed" if mm.closed else "damaged" if mm.damaged else "open",
    }
    rows = (f"<tr><th>{name}</th><td>{escape(str(value))}</td></tr>" for name, value in facts.items())
    return f"<table><caption>MemMap</caption>{''.join(rows)}</table>"


def plot_residency(mm: MemMap, ax: Axes | None = None) -> Axes:
    """Draw which part of a map is in memory.

    Parameters
    ----------
    mm : MemMap
        Its pages are asked for as `MemMap.residency` does, and not touched.
    ax : matplotlib.axes.Axes, optional
        Where to draw. Default: the axes of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        Along x the map, in MiB from its start; along y the share of the pages there that are in memory, 0 to 1.

    Raises
    ------
    ImportError
        If there is no matplotlib.
    TypeError
        If `mm` is no MemMap.
    ValueError
        If the map is closed.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> from scikitplot.memmap import MemMap, plot_residency
    >>> with MemMap.anonymous(1 << 24) as mm:
    ...     mm[: 1 << 20] = 1
    ...     ax = plot_residency(mm, Figure().subplots())
    >>> ax.get_xlabel()
    'MiB from the start of the map'
    """
    if not isinstance(mm, MapCore):
        raise TypeError(f"Expected a MemMap, not {type(mm).__name__}")
    flags = mm.residency()
    if ax is None:
        try:
            from matplotlib import pyplot
        except ImportError as error:
            raise ImportError("plot_residency needs matplotlib: pip install matplotlib") from error
        ax = pyplot.figure(figsize=(8, 2), layout="constrained").subplots()
    edges = np.linspace(0, flags.size, min(flags.size, MOST_BARS) + 1).astype(np.intp)
    shares = np.add.reduceat(flags, edges[:-1], dtype=np.float64) / np.diff(edges) if flags.size else np.empty(0)
    ax.stairs(shares, edges * (PAGE_SIZE / 2**20), fill=True)
    ax.set(
        xlim=(0, max(flags.size, 1) * PAGE_SIZE / 2**20),
        ylim=(0, 1),
        xlabel="MiB from the start of the map",
        ylabel="share in memory",
    )
    name = "anonymous" if mm.path is None else printable(mm.path)
    ax.set_title(f"{name}: {share(flags)}", parse_math=False)  # a path may have dollar signs
    return ax


def printable(path: str) -> str:
    r"""Make text of a path, which may have bytes that are none.

    >>> print(printable("caf\udce9"))
    caf\udce9
    """
    return path.encode(errors="backslashreplace").decode()


def share(flags: npt.NDArray[np.bool_]) -> str:
    """Say how many pages are in memory.

    >>> share(np.array([True, False, False, False]))
    '25 % of 4 pages in memory'
    """
    return f"{100 * flags.mean() if flags.size else 100:.3g} % of {count(flags.size, 'page')} in memory"


def tqdm_class() -> Any:
    """What shows bars."""
    try:
        from tqdm.auto import tqdm  # type: ignore[import-untyped,unused-ignore]
    except ImportError as error:
        raise ImportError("progress=True needs tqdm: pip install tqdm") from error
    return tqdm


def progress_bar(total: int, unit: str, shown: bool) -> Any:
    """A tqdm bar, or one that is not shown and needs no tqdm."""
    if not shown:
        return NoBar()
    return tqdm_class()(total=total, unit=unit, unit_scale=unit == "B", unit_divisor=1024)


class NoBar:
    def update(self, n: int) -> None:
        """Nothing is shown."""

    def close(self) -> None:
        """Nothing was shown."""
