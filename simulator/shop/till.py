"""One queue before all tills: who comes first is served first, at the first till that is free."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

STEP_SECONDS = 0.9  # from one place to the next
REACTION_SECONDS = 0.35  # until whoever stands behind notices, per place
FREE_AFTER = 1.0  # seconds after paying until the till is free
NEXT_AFTER = 1.0  # seconds between two who leave the queue


@dataclass(frozen=True)
class Comer:
    """Somebody who wants to pay.

    Attributes:
        decides: second of the day at which they look at the queue.
        way: seconds from there to the n-th place of the queue, 0 being its head.
        to_till: seconds from the head of the queue to the n-th till.
        service: seconds at the till until they have paid.
    """

    decides: float
    way: Callable[[int], float]
    to_till: Callable[[int], float]
    service: float


@dataclass(frozen=True)
class Turn:
    """How it went; seconds of the day.

    Attributes:
        place: of the queue where they arrived first.
        moves: when they set off to the next place ahead, one a place.
    """

    place: int
    arrives: float
    moves: tuple[float, ...]
    called: float
    till: int
    pays: float


def serve(comers: Iterable[Comer], tills: int, patience: int) -> Iterator[Turn | None]:
    """The turn of each, in the order in which they come; None for those who turn away.

    Args:
        comers: in the order of `decides`.
        tills: how many there are.
        patience: so many ahead are too many.
    """
    free = [0.0] * tills
    called: list[float] = []
    for comer in comers:
        ahead = [second for second in called if second > comer.decides]
        if len(ahead) >= patience:
            yield None
            continue
        clock = arrives = comer.decides + comer.way(len(ahead))
        moves: list[float] = []
        for gone, second in enumerate(ahead):
            place = len(ahead) - gone
            moves.append(max(clock, second + REACTION_SECONDS * place))
            clock = moves[-1] + STEP_SECONDS
        till = min(range(tills), key=free.__getitem__)
        turn_at = max(clock, free[till], (called[-1] + NEXT_AFTER) if called else 0.0)
        pays = turn_at + comer.to_till(till) + comer.service
        free[till] = pays + FREE_AFTER
        called.append(turn_at)
        yield Turn(len(ahead), arrives, tuple(moves), turn_at, till, pays)
