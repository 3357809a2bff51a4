"""What a map looks like in a notebook, and the picture of what is resident."""

import io
import os
import re

import numpy as np
import pytest
from page_cache import cold

from scikitplot.memmap import MemMap, plot_residency


def test_html_is_a_table_with_the_layout(make_file):
    path = make_file(bytes(48), name="a&b.bin")
    with MemMap.open(path, dtype="<f4", shape=(-1, 2), offset=8) as mm:
        shown = mm._repr_html_()
    for fact in ("a&amp;b.bin", "<td>r</td>", "float32", "(5, 2)", "8 bytes", "40 B", "open"):
        assert fact in shown
    assert "closed" in mm._repr_html_()
    assert "0x" not in shown
    with MemMap.anonymous(3) as mm:
        assert "<td>none</td>" in mm._repr_html_()


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
