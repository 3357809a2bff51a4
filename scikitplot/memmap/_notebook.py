"""What a map looks like in a notebook."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from ._core import MapCore
from ._display import human_size, printable
from ._paging import PAGE_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

PARTS = 200  # of the map in the bar,
PAGES = 64  # and of each part the most pages that are asked about
MOST_FIELDS = 12
HIDDEN_WIDTH = 0.5  # of the bar's 1000 units: what has bytes is drawn at least so wide

STYLE = """
.memmap {max-width: 46em; line-height: 1.5}
.memmap svg {display: block; width: 100%; height: 22px; margin: 4px 0; background: none}
.memmap svg .file {fill: currentColor; opacity: .25}
.memmap svg .data {fill: #4c8dff; opacity: .25}
.memmap svg .resident {fill: #4c8dff}
.memmap .note {opacity: .75; font-size: 90%}
.memmap .state {border: 1px solid; border-radius: 1em; padding: 0 .6em; font-size: 90%}
.memmap .open {color: #1a9d5a}
.memmap .closed {color: #888}
.memmap .damaged {color: #d9453d}
.memmap table {border: 0; margin: 4px 0; color: inherit; font-size: inherit}
.memmap :is(th, td) {text-align: left; vertical-align: top; padding: 0 1em 0 0; border: 0; background: none}
.memmap th {font-weight: normal; opacity: .75}
"""


def html(mm: MapCore, users: str) -> str:
    """Return the HTML of a map, of which so many users are alive; touches none of its pages."""
    from html import escape  # takes as long to import as much of this package

    name = "anonymous" if mm._region.info is None else printable(mm.path or "file without a name")
    state = "closed" if mm.closed else "damaged" if mm.damaged else "open"
    facts = {
        "mode": f"{mm.mode} ({_writes(mm)})",
        "shape": f"{' × '.join(f'{length:,}' for length in mm.shape) or 'none'}, order {mm.order}",
        "dtype": f"{mm.dtype if mm.dtype.names is None else 'record'}, {_storage(mm)}",
        "size": human_size(mm.nbytes) + (f", from byte {mm.offset:,} on" if mm.offset else ""),
        "access": mm.access,
        "alive": users,
    }
    rows = "".join(f"<tr><th>{what}</th><td>{escape(fact)}</td></tr>" for what, fact in facts.items())
    return (
        f"<div class='memmap'><style>{STYLE}</style>"
        f"<b>MemMap</b> <code>{escape(name)}</code> <span class='state {state}'>{state}</span>"
        f"{_bar(mm)}<table>{rows}</table>{_fields(mm.dtype, escape)}</div>"
    )


def _writes(mm: MapCore) -> str:
    if not mm.writable:
        return "read-only"
    if not mm.shared:
        return "private memory"
    return "shared memory" if mm._region.info is None else "writes reach the file"


def _storage(mm: MapCore) -> str:
    """Return how items lie in memory: size, byte order, alignment."""
    base = mm.dtype.base
    words = [f"{base.itemsize} bytes each" if base.itemsize > 1 else "1 byte each"]
    if base.byteorder != "|":
        words.append("little-endian" if base.newbyteorder("<") == base else "big-endian")
    fields = [(base, 0)] if base.fields is None else [field[:2] for field in base.fields.values()]
    if base.itemsize > 1:
        steps = [(field.alignment, mm.offset + offset, *mm.strides) for field, offset in fields]
        aligned = not any(place % alignment for alignment, *places in steps for place in places)
        words.append("aligned" if aligned else "unaligned")
    return ", ".join(words)


def _fields(dtype: np.dtype[Any], escape: Callable[[str], str]) -> str:
    if dtype.names is None or dtype.fields is None:
        return ""
    rows = []
    for name in dtype.names[:MOST_FIELDS]:
        field, offset = dtype.fields[name][:2]
        shown = f"{field.base} {field.shape or ''}"
        rows.append(f"<tr><td>{escape(name)}</td><td>{escape(shown)}</td><td>{offset}</td></tr>")
    if len(dtype.names) > MOST_FIELDS:
        rows.append(f"<tr><td>and {len(dtype.names) - MOST_FIELDS} more</td></tr>")
    return f"<table><tr><th>field</th><th>dtype</th><th>at byte</th></tr>{''.join(rows)}</table>"


def _bar(mm: MapCore) -> str:
    """Return a bar of the file, to scale: what is before the map, the map and what is resident of it, what follows."""
    info = mm._region.info
    size = max(mm.offset + mm.nbytes, 0 if info is None else info.size)
    if mm.closed or size == 0:
        return ""
    scale = 1000 / size
    start, stop = mm.offset * scale, (mm.offset + mm.nbytes) * scale
    shapes = [_rectangle("file", 0, start), _rectangle("data", start, stop), _rectangle("file", stop, 1000)]
    note = "residency unknown"
    shares = _resident_shares(mm)
    if shares is not None:
        edges = np.linspace(start, stop, len(shares) + 1)
        for share, (left, right) in zip(shares, pairwise(edges), strict=True):
            if share:
                shapes.append(_rectangle("resident", left, right, f' opacity="{0.25 + 0.75 * share:.2f}"'))
        note = f"{100 * shares.mean() if len(shares) else 100:.3g} % resident"
    parts = [("before the map", mm.offset), ("behind it", size - mm.offset - mm.nbytes)]
    note += "".join(f" · {human_size(nbytes)} {where}" for where, nbytes in parts if nbytes)
    attributes = "viewBox='0 0 1000 22' preserveAspectRatio='none' shape-rendering='crispEdges' role='img'"
    return f"<svg {attributes}><title>{note}</title>{''.join(shapes)}</svg><div class='note'>{note}</div>"


def _rectangle(kind: str, start: float, stop: float, attributes: str = "") -> str:
    if start == stop:
        return ""
    width = max(stop - start, HIDDEN_WIDTH)
    return f"<rect class='{kind}' x='{min(start, 1000 - width):.2f}' width='{width:.2f}' height='22'{attributes}/>"


def _resident_shares(mm: MapCore) -> npt.NDArray[np.float64] | None:
    """Return the resident share of each part, from some of its pages; None if the system does not tell."""
    region = mm._region
    if mm.nbytes == 0 or not region.knows_residency:
        return None
    shares = []
    pages = -(-mm.nbytes // PAGE_SIZE)
    edges = np.linspace(0, pages, min(pages, PARTS) + 1).astype(np.int64) * PAGE_SIZE
    try:
        for start, stop in pairwise(edges.tolist()):
            flags = region.residency(None, start, min(stop, start + PAGES * PAGE_SIZE, mm.nbytes))
            shares.append(sum(flags) / len(flags))
    except OSError:  # pages were lost
        return None
    return np.array(shares)
