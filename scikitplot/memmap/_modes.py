"""Modes, orders, access intents and fault policies: what callers may say, and what a mode means."""

from typing import Literal, NoReturn, get_args

# The one list of each; the order of accesses and intents is that of their enums in region.h.
Access = Literal["normal", "random", "sequential"]
Intent = Literal["read", "write", "copy"]
Order = Literal["C", "F"]
Policy = Literal["raise", "flag", "off"]
ACCESSES: tuple[Access, ...] = get_args(Access)
INTENTS: tuple[Intent, ...] = get_args(Intent)
ORDERS: tuple[Order, ...] = get_args(Order)
POLICIES: tuple[Policy, ...] = get_args(Policy)


class Mode:
    """How a file is opened and mapped."""

    __slots__ = ("creates", "intent", "name", "replaces", "writes_file")

    def __init__(self, name: str, intent: Intent, creates: bool = False, replaces: bool = False) -> None:
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
    """Raise the ValueError that lists the choices."""
    raise ValueError(f"Expected {what} to be one of {', '.join(map(repr, choices))}, not {given!r}")


def parse_mode(mode: str) -> Mode:
    """Return the Mode with a name, short or long."""
    try:
        return MODES.get(mode) or MODES[LONG_NAMES[mode]]
    except (KeyError, TypeError):
        refuse("mode", tuple(MODES), mode)
