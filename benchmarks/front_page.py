"""The pictures of the front page: ``python benchmarks/front_page.py`` writes doc/_static/front_*.svg.

Times are read from doc/user_guide/_peers.txt, a run of peers.py. The rest is observed here and does not depend on the
speed of the machine: which pages of a file are resident after some rows were read, and how a program ends whose file is
cut off. Linux only; the folder must be on a disk, with 1 GiB free.
"""

import argparse
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import cold
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from scikitplot.memmap import MemMap
from scikitplot.memmap._modes import Access

ROOT = Path(__file__).parents[1]
NBYTES, ROW = 1 << 30, 512
ROWS = 40
CHUNKS = 24
OURS, THEIRS, BAD = "#2a7f9e", "#b0772f", "#c0392b"
INK = {"light": "#24292f", "dark": "#e6e6e6"}
TIMES = (  # the line of peers.py, the title, {peer: how it is called}
    ("cold gather, 8192 rows of 512 B", "8192 random rows of 512 B", {"numpy.memmap, MADV_RANDOM": "numpy.memmap"}),
    ("cold sum, 2048 MiB", "sum over 2 GiB", {"numpy.memmap": "numpy.memmap", "read and sum": "readinto"}),
)


def seconds(text: str) -> float:
    number, unit = text.split()
    return float(number) * {"s": 1, "ms": 1e-3, "us": 1e-6}[unit]


def measured(subject: str) -> dict[str, float]:
    """Return the times of a line of _peers.txt by contender."""
    found = {}
    for line in (ROOT / "doc/user_guide/_peers.txt").read_text().splitlines():
        if line.startswith(subject + " "):
            ours, peer, theirs = re.split(r" {2,}", line[len(subject) :].strip())[:3]
            found |= {"MemMap": seconds(ours), peer: seconds(theirs)}
    return found


def draw_times(figure: Figure, ink: str) -> None:
    for axes, (subject, title, peers) in zip(figure.subplots(1, 2), TIMES, strict=True):
        times = measured(subject)
        bars = {"MemMap": times["MemMap"], **{name: times[peer] for peer, name in peers.items()}}
        axes.barh(list(bars), list(bars.values()), color=[OURS, *[THEIRS] * len(peers)], height=0.6)
        axes.invert_yaxis()
        for place, value in enumerate(bars.values()):
            axes.text(value, place, f" {value:.2g} s", va="center", color=ink)
        axes.set_title(f"{title}, cold file", fontsize="medium", loc="left")
        axes.set_xticks([])
        axes.margins(x=0.25)


# ------------------------------------------------------------------------------------------- which pages are resident


def residency_after(folder: Path, read: Callable[[Path, np.ndarray], object]) -> np.ndarray:
    """Return which pages are resident after `read` got some rows of a cold file."""
    path, rows = folder / "cold.bin", np.random.default_rng(0).integers(0, NBYTES // ROW, ROWS)
    if not path.exists():
        with open(path, "wb") as file:
            for _ in range(NBYTES >> 24):
                file.write(np.random.default_rng(0).integers(0, 64, 1 << 24, "u1"))
            os.fsync(file.fileno())
    with MemMap.open(path) as mm:
        mm.evict()
        if mm.residency().any():
            sys.exit(f"{path} stays in the page cache: use --folder to name a folder on a disk")
        read(path, rows)
        return mm.residency()


def read_by_memmap(path: Path, rows: np.ndarray) -> None:
    np.memmap(path, "u1", "r", shape=(NBYTES // ROW, ROW))[rows].sum()


def read_by_gather(access: Access, path: Path, rows: np.ndarray) -> None:
    with MemMap.open(path, shape=(-1, ROW), access=access) as mm:
        mm.gather(rows)


def draw_residency(figure: Figure, ink: str, found: dict[str, np.ndarray], read_ahead: int) -> None:
    for axes, (name, pages) in zip(figure.subplots(3, 1, sharex=True), found.items(), strict=True):
        ours = name.startswith("MemMap")
        edges = np.flatnonzero(np.diff(np.concatenate(([0], pages.view("i1"), [0]))))
        mib = NBYTES / len(pages) / 2**20
        runs = [(start * mib, max((stop - start) * mib, 1.2)) for start, stop in edges.reshape(-1, 2)]
        axes.broken_barh(runs, (0, 1), color=OURS if ours else THEIRS)
        axes.set(xlim=(0, NBYTES >> 20), ylim=(0, 1), yticks=[])
        axes.set_title(f"{name}: {pages.sum() * mib:.3g} MiB read", fontsize="medium", loc="left")
    axes.set_xlabel(f"position in the file, MiB; read-ahead setting of the disk: {read_ahead} KiB", color=ink)


# ------------------------------------------------------------------------------------------------------ a file is cut

PROGRAM = """
import os, subprocess, sys
import numpy as np
from scikitplot.memmap import DamagedError, MemMap
path, library, chunks = "data.bin", sys.argv[1], int(sys.argv[2])
mm = np.memmap(path, "<f8", "r") if library == "numpy.memmap" else MemMap.open(path, dtype="<f8")
size = len(mm) // chunks

def total(k):
    return float(mm[k * size : (k + 1) * size].sum())

for k in range(chunks):
    if k == chunks // 2:
        subprocess.run(["truncate", "-s", str(os.path.getsize(path) // 3), path], check=True)
    try:
        found = total(k)
    except DamagedError:
        print("damaged", flush=True)
        np.full(size * chunks, 1.0, "<f8").tofile(path)  # the file is written again
        mm.recover()
        found = total(k)
    print("correct" if found == size else "wrong", flush=True)
"""


def course_of(folder: Path, library: str) -> list[str]:
    """Return what a program that sums a file chunk by chunk, and whose file is cut off, met at each step."""
    np.full(CHUNKS << 15, 1.0, "<f8").tofile(folder / "data.bin")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, library, str(CHUNKS)], cwd=folder, capture_output=True, text=True, check=False
    )
    died = [signal.Signals(-done.returncode).name] if done.returncode < 0 else []
    if done.returncode > 0:
        sys.exit(done.stderr)
    return [*done.stdout.split(), *died]


def draw_courses(figure: Figure, ink: str, found: dict[str, list[str]]) -> None:
    axes = figure.subplots()
    colours = {"correct": OURS, "damaged": "#e0a030", "wrong": BAD}
    for row, course in enumerate(found.values()):
        for step, outcome in enumerate(course):
            axes.barh(row, 0.86, left=step, height=0.5, color=colours.get(outcome, BAD))
        end = {"correct": "finished, all sums correct"}.get(course[-1], f"{course[-1]}: the process is killed")
        axes.text(len(course) + 0.3, row, end, va="center", color=ink)
        if "damaged" in course:
            at = course.index("damaged") + 0.43
            axes.plot([at, at], [row + 0.27, row + 0.45], color=ink, lw=1)
            axes.text(at, row + 0.48, "DamagedError, then recover()", ha="center", va="top", color=ink)
    axes.plot([CHUNKS // 2 - 0.07] * 2, [-0.5, 1.3], color=ink, lw=1, ls=":")
    axes.text(CHUNKS // 2 - 0.07, -0.55, "another program cuts the file off", ha="center", va="bottom", color=ink)
    axes.set(xlim=(0, CHUNKS + 13), ylim=(1.9, -0.9), xticks=[])
    axes.set_yticks(range(len(found)), list(found))
    axes.tick_params(length=0)


def save(name: str, size: tuple[float, float], draw: Callable[[Figure, str], None]) -> None:
    for scheme, ink in INK.items():
        colours = dict.fromkeys(("text.color", "axes.labelcolor", "xtick.color", "ytick.color", "axes.edgecolor"), ink)
        style = {"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 10, "axes.facecolor": "none", **colours}
        style |= dict.fromkeys(
            ("axes.spines.top", "axes.spines.right", "axes.spines.left", "axes.spines.bottom"), False
        )
        with mpl.rc_context(style):  # the same data give the same file
            figure = Figure(size, layout="constrained", facecolor="none")
            draw(figure, ink)
            figure.savefig(ROOT / f"doc/_static/front_{name}_{scheme}.svg", metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="where the files are made; selects the disk")
    with tempfile.TemporaryDirectory(dir=parser.parse_args().folder) as name:
        folder = Path(name)
        pages = {
            "numpy.memmap, array[rows]": residency_after(folder, read_by_memmap),
            "MemMap, mm.gather(rows)": residency_after(folder, partial(read_by_gather, "normal")),
            'MemMap, mm.gather(rows), access="random"': residency_after(folder, partial(read_by_gather, "random")),
        }
        read_ahead = int(cold.read_ahead(folder).read_text())
        courses = {library: course_of(folder, library) for library in ("numpy.memmap", "MemMap")}
    save("times", (8, 1.5), draw_times)
    save("rows", (8, 2.4), lambda figure, ink: draw_residency(figure, ink, pages, read_ahead))
    save("cut", (8, 1.7), lambda figure, ink: draw_courses(figure, ink, courses))


if __name__ == "__main__":
    main()
