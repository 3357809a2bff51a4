"""What an ndarray does and a map does not: errors that say where it is done."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

_Class = TypeVar("_Class", bound=type)

BINARY = "add sub mul matmul truediv floordiv mod divmod pow lshift rshift and or xor".split()
UNARY = "neg pos abs invert".split()
OPERATORS = [*BINARY, *(f"r{name}" for name in BINARY), *UNARY, *"lt le gt ge".split()]


class _ArrayAttribute:
    """An attribute that is missing; not by `__getattr__`, which would make all the others slower."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __get__(self, mm: object, cls: type) -> Any:
        raise AttributeError(f"{cls.__name__!r} object has no attribute {self.name!r}: use mm[...].{self.name}")


def _refusal(name: str) -> Any:
    def refuse(self: object, *others: object) -> Any:
        raise TypeError(f"A MemMap does no arithmetic ({name}): use mm[...], or in place mm[...] += 1")

    refuse.__name__ = name
    return refuse


def refuse_arithmetic(cls: _Class) -> _Class:
    """Let operators and missing attributes of ndarrays say that ``mm[...]`` has them; a class decorator."""
    for operator in OPERATORS:
        setattr(cls, f"__{operator}__", _refusal(f"__{operator}__"))
    missing = {name for name in dir(np.ndarray) if not name.startswith("_") and not hasattr(cls, name)}
    for name in missing:
        setattr(cls, name, _ArrayAttribute(name))
    setattr(cls, "__dir__", lambda self: [name for name in object.__dir__(self) if name not in missing])  # noqa: B010
    return cls
