"""How many tills must be open so that a queue is short: Erlang C.

Customers arrive at random, service times are exponential, all tills share one queue, nobody leaves
(M/M/c; Gross, Shortle, Thompson, Harris: Fundamentals of Queueing Theory, 5th ed., section 3.3).
"""

from __future__ import annotations

import math


def share_in_time(tills: int, arrivals: float, service: float, target: float) -> float:
    """Share of the customers who wait at most `target`, 0..1; 0 where the queue only grows.

    Args:
        tills: that are open.
        arrivals: customers an hour.
        service: seconds that one customer takes on average.
        target: seconds of waiting.
    """
    load = arrivals * service / 3600
    if load >= tills:
        return 0.0
    blocked = 1.0  # Erlang B, by its recursion over the number of tills
    for number in range(1, tills + 1):
        blocked = load * blocked / (number + load * blocked)
    waits = blocked / (1 - load / tills * (1 - blocked))
    return 1 - waits * math.exp(-(tills - load) * target / service)


def tills_needed(arrivals: float, service: float, target: float, share: float = 0.8) -> int:
    """The fewest tills with which a share of the customers waits at most `target`.

    Args:
        arrivals: customers an hour; one till is open even without any.
        service: seconds that one customer takes on average.
        target: seconds of waiting.
        share: of the customers, below 1.
    """
    tills = max(1, math.ceil(arrivals * service / 3600))
    while share_in_time(tills, arrivals, service, target) < share:
        tills += 1
    return tills
