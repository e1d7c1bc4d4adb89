"""Whether what a deployment takes stays flat: late samples against early ones; no I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from statistics import median

from verification.soak.samples import (
    BACKEND_COUNT,
    CHECKPOINT_FILES,
    MEMORY,
    OPEN_FILES,
    STATE,
    THREADS,
    Sample,
)

WARM_UP_SHARE = 0.2
"""So much of the run is not compared: caches fill, and the first maintenance has not run yet."""
LEAST_SAMPLES = 4
"""In each of the two thirds that are compared."""


@dataclass(frozen=True)
class Bound:
    """How much a measure may grow from the first to the last third of what is compared.

    Attributes:
        factor: of its value.
        slack: on top of that, in its unit: a small value doubles for no reason.
    """

    factor: float
    slack: float


BOUNDS: Mapping[str, Bound] = {
    MEMORY: Bound(1.15, 64),
    OPEN_FILES: Bound(1.1, 32),
    THREADS: Bound(1.1, 16),
    BACKEND_COUNT: Bound(1.1, 4),
    STATE: Bound(1.3, 8),
    CHECKPOINT_FILES: Bound(1.2, 200),
}
"""What is stored is not compared: it grows by what is received, until its retention."""


@dataclass(frozen=True)
class Trend:
    """One measure of one process, early and late; medians, so that a restart does not count."""

    measure: str
    name: str
    early: float
    late: float

    @property
    def flat(self) -> bool:
        """Whether it has grown within its bound."""
        bound = BOUNDS[self.measure]
        return self.late <= self.early * bound.factor + bound.slack


def trends(taken: Sequence[tuple[datetime, Sample]]) -> Iterator[Trend]:
    """Every measure that is compared, of everything that had enough samples early and late.

    Args:
        taken: (UTC, sample), in order of time.
    """
    if not taken:
        return
    begun, ended = taken[0][0], taken[-1][0]
    warm = begun + WARM_UP_SHARE * (ended - begun)
    third = (ended - warm) / 3
    for measure in BOUNDS:
        for name in sorted({name for _, sample in taken for name in sample[measure]}):
            series = [(at, s[measure][name]) for at, s in taken if name in s[measure]]
            early = [value for at, value in series if warm <= at < warm + third]
            late = [value for at, value in series if at > ended - third]
            if min(len(early), len(late)) >= LEAST_SAMPLES:
                yield Trend(measure, name, median(early), median(late))


def sentence(trend: Trend) -> str:
    """What has grown, in words."""
    measure = trend.measure.replace("_", " ")
    return f"{measure} of {trend.name} grew from {trend.early:,.0f} to {trend.late:,.0f}"
