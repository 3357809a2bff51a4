"""What the mode and access strings mean."""

from typing import Literal, NoReturn

Access = Literal["normal", "random", "sequential"]
Order = Literal["C", "F"]
ACCESSES = ("normal", "random", "sequential")
ORDERS = ("C", "F")


class Mode:
    """How a file is opened and mapped."""

    __slots__ = ("creates", "intent", "name", "replaces", "writes_file")

    def __init__(
        self, name: str, intent: Literal["read", "write", "copy"], creates: bool = False, replaces: bool = False
    ) -> None:
        self.name = name
        self.intent = intent
        self.writes_file = intent == "write"
        self.creates = creates
        self.replaces = replaces


MODES = {
    "r": Mode("r", "read"),
    "r+": Mode("r+", "write"),
    "c": Mode("c", "copy"),
    "w+": Mode("w+", "write", creates=True, replaces=True),
    "x+": Mode("x+", "write", creates=True),
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
