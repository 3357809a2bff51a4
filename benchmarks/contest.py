"""Compare contenders: they take turns, in an order that is shuffled in every round. The first round is dropped."""

import random
import statistics
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

Turn = Callable[[], float]  # one turn of a contender; returns seconds per call

ROUNDS = 101  # without the dropped one; fewer for a contender whose turns would exceed ENOUGH
ENOUGH = 5  # seconds
FEW_ROUNDS = 5  # at least


class Line(NamedTuple):
    """A line of the table. `most`, if given, is the target: the largest acceptable ratio of our time to the peer's."""

    subject: str
    ours: str
    peer: str
    its: str
    ratio: float
    most: float | None = None

    @property
    def verdict(self) -> str:
        return "" if self.most is None else "ok" if self.ratio <= self.most else "MISSED"


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def compare(turns: dict[str, Turn]) -> dict[str, list[float]]:
    """Return one figure per round for every contender."""
    taken: dict[str, list[float]] = {contender: [] for contender in turns}
    left = dict.fromkeys(turns, 1 + ROUNDS)
    while some := [contender for contender, rounds in left.items() if rounds]:
        for contender in random.sample(some, len(some)):
            start = time.perf_counter()
            taken[contender].append(turns[contender]())
            enough = max(FEW_ROUNDS, int(ENOUGH / (time.perf_counter() - start)))
            left[contender] = min(left[contender] - 1, enough)
    return {contender: figures[1:] for contender, figures in taken.items()}


def lines(subject: str, taken: dict[str, list[float]], against: str, most: float) -> Iterator[Line]:
    """Yield the lines of one comparison: the first contender against each of the others.

    If `against` names several contenders ("read | sum"), the target refers to the slowest of them in each round.
    """
    ours, *peers = taken
    if "|" in against:
        slowest = map(max, *(taken[name] for name in against.split(" | ")))
        taken, peers = taken | {f"max({against})": list(slowest)}, [*peers, f"max({against})"]
        against = peers[-1]
    for peer in peers:
        ratio = statistics.median(mine / its for mine, its in zip(taken[ours], taken[peer], strict=False))
        medians = (readable(statistics.median(taken[name])) for name in (ours, peer))
        yield Line(subject, next(medians), peer, next(medians), ratio, most if peer == against else None)


def readable(duration: float) -> str:
    """Format a duration with a unit and three digits."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("us", 1e-6), ("ns", 1e-9)):
        if duration >= size or unit == "ns":
            return f"{duration / size:#.3g}".rstrip(".") + f" {unit}"
    raise AssertionError


FORM = "{:36}{:>9}  {:28}{:>9}{:>7}  {:9}{}"


def heading() -> str:
    return FORM.format("work", "ours", "peer", "theirs", "ratio", "target", "")


def text(line: Line) -> str:
    target = "" if line.most is None else f"<= {line.most:.3g}"
    return FORM.format(line.subject, line.ours, line.peer, line.its, f"{line.ratio:.2f}", target, line.verdict).rstrip()
