"""Pictures of maps, drawn by matplotlib."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ._display import printable, share
from ._map import MemMap
from ._paging import PAGE_SIZE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MOST_BARS = 1000  # of a plot, which has about as many pixels


def plot_residency(mm: MemMap, ax: Axes | None = None) -> Axes:
    """Draw which part of a map is resident.

    Parameters
    ----------
    mm : MemMap
        Its pages are not touched, see `MemMap.residency`.
    ax : matplotlib.axes.Axes, optional
        Axes to draw on. Default: those of a new figure.

    Returns
    -------
    matplotlib.axes.Axes
        The x axis is the map, in MiB from its start; the y axis the share of resident pages there, 0 to 1.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    TypeError
        If `mm` is not a MemMap.
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
    if not isinstance(mm, MemMap):
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
        ylabel="resident share",
    )
    name = "anonymous" if mm.path is None else printable(mm.path)
    ax.set_title(f"{name}: {share(flags)}", parse_math=False)  # a path may have dollar signs
    return ax
