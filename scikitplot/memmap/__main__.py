"""``python -m scikitplot.memmap``: the layout of a file, and which of its pages are resident."""

from __future__ import annotations

import argparse
import errno
import json
import sys
from typing import Any

import numpy as np
import numpy.typing as npt

from ._display import human_size, share
from ._map import MemMap
from ._modes import ORDERS

COMMANDS = {
    "info": "print the layout of the file, and how much of it is resident",
    "residency": "print how much of the file is resident, and where",
    "prefetch": "read the file into the page cache",
    "evict": "evict the file from the page cache",
}
CELLS = 64  # of the line that shows the file
SHADES = " .:=#"  # from not resident to all resident


def parse(words: list[str]) -> argparse.Namespace:
    """Return the options in the words of a command line; end the program if they are wrong."""

    def integers(text: str) -> tuple[int, ...]:
        return tuple(int(number) for number in text.split(","))

    def dtype(text: str) -> np.dtype[Any]:
        try:
            return np.dtype(text)
        except SyntaxError:
            raise ValueError from None

    parser = argparse.ArgumentParser(prog="python -m scikitplot.memmap", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="|".join(COMMANDS))
    for name, meaning in COMMANDS.items():
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument("file")
        command.add_argument("--dtype", type=dtype, default="u1", help='of NumPy, for instance "<f4"')
        command.add_argument("--shape", type=integers, help="for instance -1,384; -1 is inferred")
        command.add_argument("--offset", type=int, default=0, help="first byte of the data")
        command.add_argument("--order", choices=ORDERS, default="C")
        command.add_argument("--json", action="store_true", help="print JSON")
    if "--shape" in words[:-1]:  # argparse takes a value that starts with a minus for an option
        at = words.index("--shape")
        words = [*words[:at], f"--shape={words[at + 1]}", *words[at + 2 :]]
    return parser.parse_args(words)


def facts(mm: MemMap, flags: npt.NDArray[np.bool_] | None) -> dict[str, object]:
    """Return what the commands print about a map."""
    return {
        "path": mm.path,
        "nbytes": mm.nbytes,
        "dtype": str(mm.dtype),
        "shape": mm.shape,
        "offset": mm.offset,
        "order": mm.order,
        "pages": None if flags is None else flags.size,
        "resident": None if flags is None else int(flags.sum()),
    }


def residency(mm: MemMap, command: str) -> npt.NDArray[np.bool_] | None:
    """Return which pages are resident; None if the system does not tell and the command is about something else."""
    try:
        return mm.residency()
    except OSError as error:
        if error.errno != errno.EOPNOTSUPP or command == "residency":
            raise
        return None


def strip(flags: npt.NDArray[np.bool_]) -> str:
    """Return a character for each part of the file: the more of it is resident, the darker."""
    parts = np.array_split(flags, min(flags.size, CELLS)) if flags.size else []
    return "".join(SHADES[int(np.ceil(part.mean() * (len(SHADES) - 1)))] for part in parts)


def main(words: list[str] | None = None) -> int:
    """Run one command; return the exit status."""
    options = parse(sys.argv[1:] if words is None else words)
    layout = {"dtype": options.dtype, "shape": options.shape, "offset": options.offset, "order": options.order}
    try:
        with MemMap.open(options.file, **layout) as mm:
            if options.command == "prefetch":
                mm.prefetch(wait=True)
            elif options.command == "evict":
                mm.evict()
            flags = residency(mm, options.command)
            found = facts(mm, flags)
    except (OSError, TypeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.json:
        print(json.dumps(found))
        return 0
    if options.command == "info":
        found["size"] = human_size(mm.nbytes)
        for name in ("path", "size", "dtype", "shape", "offset", "order"):
            print(f"{name:8}{found[name]}")
    print("resident: unknown" if flags is None else share(flags))
    if flags is not None and options.command == "residency":
        print(f"[{strip(flags)}]")
    return 0


if __name__ == "__main__":
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a file name may have bytes that are not text
    sys.exit(main())
