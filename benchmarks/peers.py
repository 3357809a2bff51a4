"""Compare MemMap with its peers in one run: ``python benchmarks/peers.py`` prints the ratios.

A run takes about 10 minutes, and 8 GiB of disk space for the cold file. Comparisons that need Linux, fio, h5py, zarr,
tensorstore or torch are left out if those are missing. Those with scikit-plots need the environment variable
SCIKIT_PLOTS_PYTHON: the Python of another environment where it is installed.
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


def picture(found: list[Line], path: Path) -> None:
    """Plot the peers' times as multiples of ours, one row per subject."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "peers"}  # the same data give the same file
    shown = [line for line in found if "MemMap" not in line.peer and "by size" not in line.subject]
    shown = [line for line in shown if line.peer not in ("limit", "sum alone") and "max" not in line.peer]
    subjects = list(dict.fromkeys(line.subject for line in shown))
    figure = Figure((9, 0.34 * len(subjects) + 1.6), layout="constrained")
    axes = figure.subplots()
    for i, peer in enumerate(dict.fromkeys(line.peer for line in shown)):
        its = [line for line in shown if line.peer == peer]
        places = [subjects.index(line.subject) for line in its]
        axes.plot([1 / line.ratio for line in its], places, "os^Dv"[i // 4 % 5], color=f"C{i % 10}", label=peer)
    axes.axvline(1, color="0.3", lw=1)
    axes.set_xscale("log")
    axes.set_yticks(range(len(subjects)), subjects)
    axes.invert_yaxis()
    axes.set_xlabel("peer's time / MemMap's time (right of 1: MemMap is faster)")
    axes.grid(axis="y", lw=0.3)
    figure.legend(loc="outside lower center", ncols=5, fontsize="small")
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path(), help="folder for the cold file; selects the disk")
    parser.add_argument("--gib", type=float, default=8, help="size of the cold file; 0 skips cold files")
    parser.add_argument("--read-ahead", type=int, help="KiB, for cold files only; needs root, restored at the end")
    parser.add_argument("--write", type=Path, help="folder for the table and the plot")
    options = parser.parse_args()
    with setting(cold.read_ahead(options.folder), options.read_ahead):
        heading = f"{machine(options.folder)}\n\n{contest.heading()}"
        print(heading, flush=True)
        found = []
        parts = [] if options.read_ahead else [warm_lines(), bounds.lines()]
        if options.gib:
            parts.append(cold_lines(options.folder, int(options.gib * (1 << 30))))
        for part in parts:
            for line in part:
                print(contest.text(line), flush=True)
                found.append(line)
    if options.write:
        suffix = f"_{options.read_ahead}" if options.read_ahead else ""
        (options.write / f"_peers{suffix}.txt").write_text("\n".join([heading, *map(contest.text, found), ""]))
        if not suffix:
            picture(found, options.write / "_peers.svg")
    targets = [line for line in found if line.verdict]
    print(f"\n{len(targets)} targets, {sum(line.verdict == 'MISSED' for line in targets)} missed")


if __name__ == "__main__":
    main()
