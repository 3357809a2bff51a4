"""Compare MemMap with its peers in one run: ``python benchmarks/peers.py`` prints the ratios.

A run takes about 20 minutes, and 8 GiB of disk space for the cold file. Cold files are read at two read-ahead settings
of the disk, where this process may change it (as root, on Linux); it is restored at the end. Comparisons that need
Linux, fio, h5py, zarr, tensorstore or torch are left out if those are missing. Those with scikit-plots need the
environment variable SCIKIT_PLOTS_PYTHON: the Python of another environment where it is installed.
"""

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import bounds
import cold
import contest
import hot
import warm
from contest import Line

READ_AHEADS = (8192, 128)  # KiB: much, and Linux's default


def cpu() -> str:
    try:
        models = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
        return models[0].partition(": ")[2]
    except (OSError, IndexError):
        return platform.processor() or platform.machine()


def machine(folder: Path) -> str:
    packages = ["scikit-plots-memmap", "numpy", "pyarrow", *warm.HERE]
    versions = [f"{name} {importlib.metadata.version(name)}" for name in packages]
    if warm.SCIKIT_PLOTS_PYTHON:
        code = "import importlib.metadata; print('scikit-plots', importlib.metadata.version('scikit-plots'))"
        versions.append(subprocess.check_output([warm.SCIKIT_PLOTS_PYTHON, "-c", code], text=True).strip())
    ahead = cold.read_ahead(folder)
    return (
        f"{platform.system()} {platform.release().partition('-')[0]}, {cpu()}, {os.cpu_count()} CPUs, "
        f"read-ahead {ahead.read_text().strip() if ahead.exists() else '?'} KiB\n"
        f"CPython {platform.python_version()}, {', '.join(versions)}"
    )


@contextmanager
def setting(path: Path, value: int | None) -> Iterator[None]:
    """Change a kernel setting for the duration of the block."""
    if value is None:
        yield
        return
    before = path.read_text()
    path.write_text(str(value))
    try:
        yield
    finally:
        path.write_text(before)


def warm_lines() -> Iterator[Line]:
    for work in warm.ALL:
        with ExitStack() as stack:
            taken = contest.compare(work.turns(work.prepare(stack)))
        yield from contest.lines(work.subject, taken, work.against, work.most)


def cold_lines(folder: Path, nbytes: int) -> Iterator[Line]:
    for work in cold.Disk(folder, nbytes).works():
        yield from contest.lines(work.subject, contest.compare(work.turns), work.against, work.most)
    yield from hot.lines(folder / "cold.bin")


KINDS = {  # of work, by the words with which its subjects begin
    "One value, one view": ("open + close", "mm[", "read_at"),
    "Rows by number": ("gather", "cold gather", "cold random", "hot row"),
    "Whole files": ("cold sum", "cold block", "prefetch", "fill"),
    "Memory and growth": ("new memory", "append"),
}
# what the work cannot do without
NO_PEERS = ("limit", "sum alone", "one contiguous copy", "no other thread", "bare system calls")


def picture(found: list[Line], path: Path) -> None:
    """Draw a panel for each kind of work: a bar for each peer, as long as its time is a multiple of ours."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "peers"}  # the same data give the same file
    shown = [line for line in found if "MemMap" not in line.peer and "by size" not in line.subject]
    shown = [line for line in shown if line.peer not in NO_PEERS and "max" not in line.peer]
    panels = {kind: [line for line in shown if line.subject.startswith(starts)] for kind, starts in KINDS.items()}
    heights = [len(lines) + len({line.subject for line in lines}) for lines in panels.values()]
    figure = Figure((9, 0.19 * sum(heights) + 1.8), layout="constrained")
    for axes, (kind, lines) in zip(
        figure.subplots(len(panels), sharex=True, height_ratios=heights), panels.items(), strict=True
    ):
        place, labels = 0, {}
        for subject in dict.fromkeys(line.subject for line in lines):
            labels[place] = subject
            for line in sorted((line for line in lines if line.subject == subject), key=lambda line: -line.ratio):
                place += 1
                labels[place] = line.peer
                times = 1 / max(line.ratio, 1e-3)
                axes.barh(place, times - 1, left=1, color="#2a7f9e" if times >= 1 else "#c0392b", height=0.7)
                text = f"{times:,.0f}" if times > 9.5 else f"{times:.1f}"
                axes.text(max(times, 1) * 1.06, place, text, va="center", fontsize=7)
            place += 1
        axes.set_yticks(list(labels), list(labels.values()), fontsize=8)
        for label in axes.get_yticklabels():
            if label.get_text() in {line.subject for line in lines}:
                label.set_fontweight("bold")
        axes.set_title(kind, loc="left", fontsize=10)
        axes.set_xscale("log")
        axes.axvline(1, color="0.3", lw=1)
        axes.invert_yaxis()
        axes.tick_params(left=False)
        axes.spines[["top", "right", "left"]].set_visible(False)
    axes.xaxis.set_major_formatter("{x:,.4g}")
    axes.set_xlabel("time of the peer / time of MemMap")
    figure.savefig(path, metadata={"Date": None})


def measured(parts: list[Iterator[Line]], heading: str) -> Iterator[Line]:
    """Print the lines as they come."""
    print(heading, flush=True)
    for part in parts:
        for line in part:
            print(contest.text(line), flush=True)
            yield line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="folder for the cold file; selects the disk")
    parser.add_argument("--gib", type=float, default=8, help="size of the cold file; 0 skips cold files")
    parser.add_argument("--write", type=Path, help="folder for the tables and the plot")
    options = parser.parse_args()
    path = cold.read_ahead(options.folder)
    read_aheads = READ_AHEADS if options.gib and os.access(path, os.W_OK) else (None,)
    targets = []
    for read_ahead in read_aheads:
        is_first = read_ahead == read_aheads[0]
        with setting(path, read_ahead):
            heading = f"{machine(options.folder)}\n\n{contest.heading()}"
            parts = [warm_lines(), bounds.lines()] if is_first else []
            if options.gib:
                parts.append(cold_lines(options.folder, int(options.gib * (1 << 30))))
            found = list(measured(parts, heading))
        targets += [line for line in found if line.verdict]
        if options.write:
            name = "_peers.txt" if is_first else f"_peers_{read_ahead}.txt"
            (options.write / name).write_text("\n".join([heading, *map(contest.text, found), ""]))
            if is_first:
                picture(found, options.write / "_peers.svg")
    print(f"\n{len(targets)} targets, {sum(line.verdict == 'MISSED' for line in targets)} missed")


if __name__ == "__main__":
    main()
