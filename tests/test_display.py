"""What a map looks like in a notebook, and the picture of what is resident."""

import io
import os
import re

import numpy as np
import pytest
from page_cache import cold

from scikitplot.memmap import DamagedError, MemMap, plot_residency


def rectangles(mm):
    """Return (kind, start, width) of what the bar of a map shows, in thousandths of it."""
    found = re.findall(r"<rect class='(\w+)' x='([\d.]+)' width='([\d.]+)'", mm._repr_html_())
    return [(kind, float(start), float(width)) for kind, start, width in found]


def test_html_has_the_layout_and_the_state(make_file):
    path = make_file(bytes(48), name="a&b.bin")
    with MemMap.open(path, dtype=">f4", shape=(5, 2), offset=6) as mm:
        view, window = mm[...], mm.window(0, 2)
        shown = mm._repr_html_()
        for fact in (
            "a&amp;b.bin", "r (read-only)", "&gt;f4, 4 bytes each, big-endian, unaligned", "5 × 2, order C",
            "40 B, from byte 6 on", "normal", "1 view and 1 window", "state open'", "6 B before the map",
            "2 B behind it",
        ):  # fmt: skip
            assert fact in shown
        assert "0x" not in shown
        del view, window
    assert "state closed'" in mm._repr_html_()
    with MemMap.anonymous(3) as mm:
        assert "<code>anonymous</code>" in mm._repr_html_()
        assert "r+ (private memory)" in mm._repr_html_()


@pytest.mark.parametrize(
    ("dtype", "words"),
    [
        ("u1", "uint8, 1 byte each</td>"),
        ([("x", "<f4"), ("y", "<u2")], "record, 6 bytes each, unaligned"),
        (np.dtype([("x", "<f4"), ("y", "<u2")], align=True), "record, 8 bytes each, aligned"),
    ],
)
def test_html_says_how_items_lie_in_memory(dtype, words):
    with MemMap.anonymous(2, dtype=dtype) as mm:
        assert words in mm._repr_html_()


def test_html_lists_fields_and_escapes_their_names():
    with MemMap.anonymous(2, dtype=[("a<b", "<f4", 3)] + [(f"f{k}", "u1") for k in range(20)]) as mm:
        shown = mm._repr_html_()
        assert "<td>a&lt;b</td><td>float32 (3,)</td><td>0</td>" in shown
        assert "<td>f10</td><td>uint8 </td><td>22</td>" in shown
        assert "f11" not in shown
        assert "and 9 more" in shown


def test_the_bar_shows_the_file_to_scale(make_file):
    with MemMap.open(make_file(bytes(1000)), offset=100, shape=600) as mm:
        assert [one for one in rectangles(mm) if one[0] != "resident"] == [
            ("file", 0, 100), ("data", 100, 600), ("file", 700, 300),
        ]  # fmt: skip
    with MemMap.open(make_file(bytes(1 << 20)), offset=1) as mm:
        assert rectangles(mm)[0] == ("file", 0, 0.5), "the smallest part is seen, too"
    with MemMap.open(make_file(b"")) as mm:
        assert rectangles(mm) == []


@pytest.mark.linux
@pytest.mark.native
def test_the_bar_shows_what_is_resident_and_touches_no_page(make_file):
    path = cold(make_file(np.ones(1 << 22, "u1")))
    with MemMap.open(path, access="random") as mm:
        assert "resident" not in {kind for kind, _, _ in rectangles(mm)}
        assert not mm.residency().any()
        assert mm[1 << 21 : 3 << 20].sum() == 1 << 20
        resident = [(start, start + width) for kind, start, width in rectangles(mm) if kind == "resident"]
        assert min(resident)[0] == pytest.approx(500, abs=5)
        assert max(resident)[1] == pytest.approx(750, abs=5)
        assert "25 % resident" in mm._repr_html_()


@pytest.mark.linux
def test_html_of_a_map_that_lost_pages_says_so(make_file):
    path = make_file(bytes(1 << 16))
    mm = MemMap.open(path)
    os.truncate(path, 0)
    with pytest.raises(DamagedError):
        mm.read_at(0, 1)
    assert "state damaged'" in mm._repr_html_()
    mm.close()


def test_names_of_fields_complete_a_key():
    with MemMap.anonymous(2, dtype="u1,f4") as mm, MemMap.anonymous(2) as plain:
        assert mm._ipython_key_completions_() == ["f0", "f1"]
        assert plain._ipython_key_completions_() == []


@pytest.mark.linux  # where file names are bytes
@pytest.mark.consumers
def test_file_names_that_are_no_text_are_shown_as_text(tmp_path):
    from matplotlib.figure import Figure

    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.bin")
    with open(path, "wb") as file:
        file.write(b"1")
    with MemMap.open(path) as mm:
        figure = Figure()
        assert r"caf\udce9.bin" in plot_residency(mm, figure.subplots()).get_title()
        figure.savefig(io.BytesIO(), format="png")
        assert r"caf\udce9.bin" in mm._repr_html_()


@pytest.mark.consumers
def test_the_picture_shows_the_share_of_each_part_that_is_in_memory():
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    with MemMap.anonymous(1 << 24) as mm:
        mm.advise("random")
        mm[: 1 << 22] = 1
        assert plot_residency(mm, axes) is axes
        shares, edges, _ = axes.patches[0].get_data()
        assert edges[0] == 0
        assert edges[-1] == 16
        assert shares[edges[1:] <= 4].min() == 1
        assert shares[edges[:-1] >= 4].max() == 0
        assert re.fullmatch("anonymous: 25 % of [0-9]+ pages resident", axes.get_title())
    with pytest.raises(ValueError, match="MemMap is closed"):
        plot_residency(mm)


@pytest.mark.consumers
@pytest.mark.linux
def test_the_picture_touches_no_page_and_makes_a_figure_if_there_is_none(make_file):
    import matplotlib

    matplotlib.use("Agg")
    path = cold(make_file(np.ones(1 << 20, "u1"), name=r"a$\b$.bin"))
    with MemMap.open(path) as mm:
        axes = plot_residency(mm)
        assert str(path) in axes.get_title()
        assert not mm.residency().any()
    axes.figure.canvas.draw()
    matplotlib.pyplot.close(axes.figure)


@pytest.mark.consumers
def test_the_picture_of_an_empty_map_is_empty(make_file):
    from matplotlib.figure import Figure

    with MemMap.open(make_file(b"")) as mm:
        axes = plot_residency(mm, Figure().subplots())
    assert len(axes.patches[0].get_data().values) == 0
