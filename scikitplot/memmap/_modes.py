"""What the mode and access strings mean."""

from typing import Literal, NamedTuple, NoReturn

Access = Literal["normal", "random", "sequential"]
Order = Literal["C", "F"]
ACCESSES = ("normal", "random", "sequential")
ORDERS = ("C", "F")


class Mode(NamedTuple):
    """How a file is opened and mapped."""

    name: str
    intent: Literal["read", "write", "copy"]
    writes_file: bool
    creates: bool
    replaces: bool = False


MODES = {
    "r": Mode("r", "read", writes_file=False, creates=False),
    "r+": Mode("r+", "write", writes_file=True, creates=False),
    "c": Mode("c", "copy", writes_file=False, creates=False),
    "w+": Mode("w+", "write", writes_file=True, creates=True, replaces=True),
    "x+": Mode("x+", "write", writes_file=True, creates=True),
}

# the long spellings of numpy.memmap
LONG_NAMES = {"readonly": "r", "readwrite": "r+", "copyonwrite": "c", "write": "w+"}


def refuse(what: str, choices: tuple[str, ...], given: object) -> NoReturn:
    raise ValueError(f"Expected {what} to be one of {', '.join(map(repr, choices))}, not {given!r}")


def parse_mode(mode: str) -> Mode:
    try:
        return MODES.get(mode) or MODES[LONG_NAMES[mode]]
    except (KeyError, TypeError):
        refuse("mode", tuple(MODES), mode)
