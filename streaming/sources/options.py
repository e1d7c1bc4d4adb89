"""The options of a log source: topics, start, and limits of a batch."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

QUERY_GROUP = "storelake-"
"""Begin of the option `groupId` of a query; the names of its streams follow, joined by `+`."""


def replaces(group: str, other: str) -> bool:
    """Whether a query has taken over all streams of another one, by their groups, and has more.

    The other one ran before two queries were joined, or before a release added a stream.
    """
    mine, its = (set(one.removeprefix(QUERY_GROUP).split("+")) for one in (group, other))
    return group.startswith(QUERY_GROUP) and other.startswith(QUERY_GROUP) and its < mine


@dataclass(frozen=True)
class Subscription:
    """Topics by name."""

    names: tuple[str, ...]

    def among(self, present: Iterable[str]) -> list[str]:
        """The topics to read, sorted.

        Raises:
            LookupError: a topic is not present.
        """
        there = set(present)
        for name in self.names:
            if name not in there:
                raise LookupError(f"topic {name} does not exist; `storelake up` makes the topics")
        return sorted(self.names)


@dataclass(frozen=True)
class Generation:
    """One of the topics that had the same name.

    Attributes:
        topic_id: of the broker.
        number: of earlier topics of the name.
    """

    topic_id: str
    number: int


@dataclass(frozen=True)
class ReadOptions:
    """The options of a log source, parsed from Spark's (case-insensitive) option map.

    Attributes:
        group_id: option `groupId`: the consumer group, or subscription, that shows progress.
        fetch_timeout: option `fetchTimeoutSeconds`: seconds without a message until reading fails.
        heartbeat: option `heartbeatSeconds`: seconds without a message until a heartbeat; 0: never.
        packed: option `packed` (true or false): whether rows are of `source.PACKED_DDL`.
        given: all options with their names in lower case, those of one broker included.
    """

    topics: Subscription
    starting: str = "earliest"
    max_rows: int = 20_000
    max_bytes: int = 32 * 1024 * 1024
    prefetch_rows: int = 2_000
    tasks: int = 2
    on_data_loss: str = "fail"
    generations: Mapping[str, Generation] = field(default_factory=dict)
    group_id: str = "storelake"
    fetch_timeout: float = 30.0
    heartbeat: float = 0.0
    packed: bool = False
    given: Mapping[str, str] = field(default_factory=dict, repr=False)

    def required(self, name: str) -> str:
        """The value of a required option; `ValueError` names a missing one."""
        if name not in self.given:
            raise ValueError(f"option '{name}' is required")
        return self.given[name]

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> ReadOptions:
        """Parse and check the options; `ValueError` names a wrong one."""
        given = {k.lower(): v for k, v in options.items()}
        names = tuple(t.strip() for t in given.get("subscribe", "").split(",") if t.strip())
        if not names:
            raise ValueError("option 'subscribe' must name topics")
        starting = given.get("startingoffsets", "earliest")
        if starting not in ("earliest", "latest") and not _is_json_object(starting):
            raise ValueError("option 'startingOffsets' is earliest, latest, or JSON by topic")
        loss = given.get("ondataloss", "fail")
        if loss not in ("fail", "continue"):
            raise ValueError("option 'onDataLoss' is fail or continue")
        return cls(
            Subscription(names),
            starting,
            max_rows=_whole_number(given, "maxRowsPerBatch", cls.max_rows, at_least=1),
            max_bytes=_whole_number(given, "maxBytesPerBatch", cls.max_bytes, at_least=1),
            prefetch_rows=_whole_number(given, "prefetchRows", cls.prefetch_rows, at_least=0),
            tasks=_whole_number(given, "readTasks", cls.tasks, at_least=1),
            on_data_loss=loss,
            generations={
                topic: Generation(*known)
                for topic, known in json.loads(given.get("topicgenerations", "{}")).items()
            },
            group_id=given.get("groupid", cls.group_id),
            fetch_timeout=float(given.get("fetchtimeoutseconds", cls.fetch_timeout)),
            heartbeat=float(given.get("heartbeatseconds", cls.heartbeat)),
            packed=given.get("packed", "false").lower() == "true",
            given=given,
        )


def _is_json_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except ValueError:
        return False


def _whole_number(given: Mapping[str, str], option: str, default: int, at_least: int) -> int:
    text = given.get(option.lower(), str(default))
    if not text.isascii() or not text.isdigit() or int(text) < at_least:
        raise ValueError(f"option {option!r} is a whole number of at least {at_least}")
    return int(text)
