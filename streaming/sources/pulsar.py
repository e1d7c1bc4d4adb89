"""Pulsar as a Spark source, over pulsar-client (C++), with the administration over HTTP.

Guarantees are those of `log.py`. Pulsar's own (docs/adr/0011 has the reasons):

- An offset is a message id (ledger, entry, index in the batch) as one number, see `pack`. In rows,
  `position` is `ledger:entry:partition:batch index` with leading zeros.
- A row's timestamp is the event time where the producer set one, else the publish time; headers are
  the properties. Keys are text; Pulsar does not distinguish an empty key from none: both are null.
- Ids have gaps, so the planner finds the end of a batch by reading ahead, at most `maxRowsPerBatch`
  messages; tasks read the same range again, in parallel by partition.
- A durable subscription named `groupId` keeps messages for the stream, from the last entry of a
  finished batch on. The first message of a reader must come from the ledger of its position, and at
  each change of ledgers it checks with the broker that none between them is missing: so it notices
  messages that were deleted unread. Streams that share a query share a subscription; it replaces
  those of queries that had only some of them, which it deletes.
- While a broker is away, restarts or unloads a topic, the planner waits for 30 s and a task for
  `fetchTimeoutSeconds`; then they fail with an error that names the broker, and the runner retries.
  A topic that is deleted during a read is an error.
- A topic that was deleted and created again has new ledgers, whose ids are larger than all before
  in its cluster, so its positions sort after the old ones. In a cluster that was set up again the
  ids restart, which no position shows: its topics need other names.

Options besides those of `ReadOptions`, topics as `persistent://tenant/namespace/topic`
(one partition, `...-partition-2`, is also a topic): `pulsar.service.url`, `pulsar.admin.url`,
`pulsar.token`, `pulsar.tls.ca.file`.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import httpx
import pulsar
import pyarrow as pa

from streaming.source import broker_time
from streaming.sources.log import (
    ROWS_WORTH_A_TASK,
    DataLossError,
    Limit,
    Offsets,
    Partition,
    Range,
    Task,
    lost,
    split,
)
from streaming.sources.options import ReadOptions, Subscription, replaces
from streaming.sources.readers import LogSource
from streaming.sources.rows import Header, Row, headers_of, message_bytes, to_arrow, to_batches

log = logging.getLogger(__name__)

ENTRIES = 10**12  # of a ledger, at most: Pulsar begins a new one after 50,000
BATCH = 10**6  # messages of an entry, at most: Pulsar's limit is the size, 5 MB
METADATA_REFRESH_SECONDS = 30.0
CALL_TIMEOUT_SECONDS = 10
ADMIN_TIMEOUT_SECONDS = 20  # the web server of a busy broker is slow
AWAY_SECONDS = 30.0  # how long a broker may restart, or move a topic, without an error
QUEUE_MESSAGES = 1_000
RETRY_SECONDS = 0.2
PROMISED_MILLIS = 2_000  # a message that the broker has announced arrives within

_task_clients: dict[PulsarConnection, pulsar.Client] = {}
"""Clients of this Python worker; Spark reuses workers between batches."""


class PulsarUnavailableError(Exception):
    """Pulsar could not be read; the message has the topic and Pulsar's error."""


class UnreachableError(PulsarUnavailableError):
    """The administration did not answer; the topic may exist or not."""


def _gone(topic: str) -> PulsarUnavailableError:
    return PulsarUnavailableError(f"topic {topic} was deleted while it was read")


def pack(ledger: int, entry: int, batch: int) -> int:
    """A message id as a number that rises along a partition; (12, 5, 0) -> 12000000000005000000.

    The next number is the offset after the message, even if it is no id of a message.
    """
    return (ledger * ENTRIES + entry) * BATCH + max(batch, 0)


def unpack(offset: int) -> tuple[int, int, int]:
    """The inverse of `pack`: ledger, entry, batch index (0 also for a message without a batch)."""
    rest, batch = divmod(offset, BATCH)
    ledger, entry = divmod(rest, ENTRIES)
    return ledger, entry, batch


def _behind(ledger: int, entry: int) -> int:
    """The offset after an entry with an unknown number of messages."""
    return pack(ledger, entry, BATCH - 1)


def _behind_an_entry(offset: int) -> bool:
    return offset % BATCH == BATCH - 1


def position(offset: int, partition: int) -> str:
    """The message id in an ordered text form."""
    ledger, entry, batch = unpack(offset)
    return f"{ledger:020d}:{entry:020d}:{partition:05d}:{batch:010d}"


def entries_behind(ledgers: Sequence[tuple[int, int]], offset: int) -> int:
    """Number of entries of the ledgers (id, entries) that begin at an offset or after it."""
    ledger, entry, batch = unpack(offset)
    begun = entry + (batch > 0)  # the offset may be within or after an entry
    return sum(
        entries if one > ledger else max(0, entries - begun)
        for one, entries in ledgers
        if one >= ledger
    )


def _show(offset: int) -> str:
    ledger, entry, batch = unpack(offset)
    return f"{ledger}:{entry}:{batch}"


def _bytes(text: Callable[[], str]) -> bytes | None:
    """Text of the broker as bytes, also where it is not UTF-8: that must not stop a stream."""
    try:
        return text().encode() or None
    except UnicodeDecodeError as error:
        return bytes(error.object)


def _row(topic: str, partition: int, offset: int, message: pulsar.Message) -> Row:
    millis = message.event_timestamp() or message.publish_timestamp()
    return (
        _bytes(message.partition_key),
        None if message.has_null_value() else message.data(),
        topic,
        partition,
        position(offset, partition),
        broker_time(millis),
        _headers(message),
    )


def _headers(message: pulsar.Message) -> list[Header] | None:
    return headers_of(lambda: [(k, v.encode()) for k, v in message.properties().items()])


def _size(message: pulsar.Message) -> int:
    value = None if message.has_null_value() else message.data()
    return message_bytes(_bytes(message.partition_key), value, _headers(message))


@dataclass(frozen=True)
class PulsarConnection:
    """Addresses and credentials of a cluster."""

    service_url: str
    admin_url: str
    token: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def client(self) -> pulsar.Client:
        """A client; it connects at first use."""
        return pulsar.Client(
            self.service_url,
            authentication=pulsar.AuthenticationToken(self.token) if self.token else None,
            tls_trust_certs_file_path=self.ca_file,
            operation_timeout_seconds=CALL_TIMEOUT_SECONDS,
            connection_timeout_ms=CALL_TIMEOUT_SECONDS * 1000,
            logger=pulsar.ConsoleLogger(pulsar.LoggerLevel.Error),
        )


class Administration:
    """Queries that only the HTTP API answers; the permission to consume is enough for all."""

    def __init__(self, connection: PulsarConnection) -> None:
        self._url = connection.admin_url
        self._client = httpx.Client(
            base_url=f"{connection.admin_url}/admin/v2",
            headers={"Authorization": f"Bearer {connection.token}"} if connection.token else {},
            verify=connection.ca_file or True,
            timeout=ADMIN_TIMEOUT_SECONDS,
        )

    def _get(self, path: str) -> Any:
        try:
            answer = self._client.get(path)
            if answer.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
                raise PulsarUnavailableError(
                    f"Pulsar at {self._url} refuses {path}: its token is not valid, or has no "
                    "right to consume; check STORELAKE_PULSAR__TOKEN"
                )
            # The web server of a starting or stopping broker also returns 404, but without JSON.
            found = answer.json()
            if answer.status_code == httpx.codes.NOT_FOUND:
                return None
            answer.raise_for_status()
            return found
        except (httpx.HTTPError, ValueError) as error:
            raise UnreachableError(f"Pulsar at {self._url} does not answer: {error}") from error

    def partitions(self, topic: str) -> list[str] | None:
        """The names of a topic's partitions, or its own name; None where there is no topic."""
        found = self._get(f"{_path(topic)}/partitions")
        if found is None:
            return None
        count = int(found["partitions"])
        if count == 0 and self._get(f"{_path(topic)}/internalStats") is None:
            return None  # Pulsar also returns 0 for a deleted partition
        return [f"{topic}-partition-{n}" for n in range(count)] or [topic]

    def ledgers(self, name: str) -> list[tuple[int, int]]:
        """(ledger, entries) of one partition, oldest first, without empty ledgers."""
        found = self._get(f"{_path(name)}/internalStats")
        if found is None:
            raise PulsarUnavailableError(f"topic {name} does not exist (any more)")
        closed = {int(one["ledgerId"]): int(one["entries"]) for one in found["ledgers"]}
        ledger, entry = map(int, found["lastConfirmedEntry"].split(":"))
        if ledger in closed:  # the open one is listed without its entries
            closed[ledger] = max(closed[ledger], entry + 1)
        return sorted((one, entries) for one, entries in closed.items() if entries)

    def subscriptions(self, name: str) -> list[str]:
        """The durable subscriptions of one partition."""
        return self._get(f"{_path(name)}/subscriptions") or []

    def unsubscribe(self, name: str, subscription: str) -> bool:
        """Delete a subscription of one partition; returns False where it has a consumer."""
        path = f"{_path(name)}/subscription/{quote(subscription, safe='')}"
        return self._client.delete(path).is_success


def _path(topic: str) -> str:
    return "/" + quote(topic.replace("://", "/"))


class _Reader:
    """Reads one partition from an offset on, and checks that it skips no message.

    Attributes:
        at: the offset after the last message that it returned.
    """

    def __init__(
        self, client: pulsar.Client, admin: Administration, name: str, partition: Partition, at: int
    ) -> None:
        self._admin, self._name, self._partition = admin, name, partition
        self.at = at
        self._ledger, entry, _ = unpack(at)
        # Start with the entry of `at`, and drop messages before `at`: to read a finished entry
        # again shows that the ledger is still there.
        before = pulsar.MessageId(-1, self._ledger, entry - 1, -1)
        self._reader = client.create_reader(
            name, before if at else pulsar.MessageId.earliest, receiver_queue_size=QUEUE_MESSAGES
        )

    def waiting(self) -> Iterator[tuple[int, pulsar.Message]]:
        """Every present (offset, message); ends when the broker has no more.

        Raises:
            DataLossError: messages in between were deleted.
            pulsar.PulsarException: the broker is away, or does not send an announced message.
        """
        while True:
            try:
                message = self._reader.read_next(0)
            except pulsar.Timeout:
                # The queue of the client is empty: query the broker.
                if not self._reader.has_message_available():
                    return
                message = self._reader.read_next(PROMISED_MILLIS)
            found = message.message_id()
            offset = pack(found.ledger_id(), found.entry_id(), found.batch_index())
            if found.ledger_id() != self._ledger:
                self._cross(found.ledger_id())
            if offset >= self.at:
                self.at = offset + 1
                yield offset, message

    def _cross(self, ledger: int) -> None:
        """Move to the next ledger, and check that none between them is missing."""
        if self._ledger:
            held = [one for one, _ in self._admin.ledgers(self._name)]
            between = [one for one in held if self._ledger < one < ledger]
            if self._ledger not in held or between:
                raise lost(self._partition, f"message {_show(self.at)}", f"[{ledger}:0:0, ...)")
        self._ledger = ledger

    def close(self) -> None:
        """Close the connection."""
        self._reader.close()


class PulsarLog:
    """`log_source.Log` over one Pulsar cluster. Connections are made at first use."""

    def __init__(
        self,
        topics: Subscription,
        connection: PulsarConnection,
        group_id: str,
        fetch_timeout: float = 60.0,
    ) -> None:
        self._topics, self._connection, self._group = topics, connection, group_id
        self._fetch_timeout = fetch_timeout
        self._known: dict[Partition, str] = {}
        self._known_at = 0.0
        self._no_room_for: Partition | None = None
        self._away_since: float | None = None
        self._reset()

    def _reset(self) -> None:
        self._connected: pulsar.Client | None = None
        self._asked: Administration | None = None
        self._readers: dict[Partition, _Reader] = {}
        self._holders: dict[Partition, pulsar.Consumer] = {}
        self._sizes: dict[Range, int] = {}

    def __getstate__(self) -> dict[str, Any]:
        rest = ("_connected", "_asked", "_readers", "_holders", "_sizes")
        return {k: v for k, v in self.__dict__.items() if k not in rest}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._reset()

    @property
    def _client(self) -> pulsar.Client:
        if self._connected is None:
            self._connected = self._connection.client()
        return self._connected

    @property
    def _admin(self) -> Administration:
        if self._asked is None:
            self._asked = Administration(self._connection)
        return self._asked

    def _partitions(self) -> dict[Partition, str]:
        """Partitions of the topics and their own names; queried every 30 s."""
        if not self._known or time.monotonic() - self._known_at >= METADATA_REFRESH_SECONDS:
            try:
                self._known = self._look_up()
            except UnreachableError as error:
                if not self._known:
                    raise
                log.warning("topics not looked up: %s", error)
            self._known_at = time.monotonic()
        return self._known

    def _look_up(self) -> dict[Partition, str]:
        found: dict[Partition, str] = {}
        for topic in sorted(self._topics.names):
            names = self._admin.partitions(topic)
            if names is None:
                raise (
                    _gone(topic)
                    if self._known
                    else PulsarUnavailableError(
                        f"topic {topic} does not exist; `storelake up` makes the topics"
                    )
                )
            found.update({(topic, number): name for number, name in enumerate(names)})
        for topic, _ in self._known.keys() - found.keys():
            raise _gone(topic)
        return found

    def bounds(self) -> dict[Partition, tuple[int, int]]:
        """Offsets of the first message and after the last entry; (0, 0) of an empty partition."""
        found: dict[Partition, tuple[int, int]] = {}
        for partition, name in self._partitions().items():
            ledgers = self._admin.ledgers(name)
            found[partition] = (0, 0)
            if ledgers:
                (first, _), (last, entries) = ledgers[0], ledgers[-1]
                found[partition] = pack(first, 0, 0), _behind(last, entries - 1)
        return found

    def behind(self, position: Offsets) -> int:
        """Number of entries in the ledgers; a batch of a producer is one entry."""
        return sum(
            entries_behind(self._admin.ledgers(name), position.get(partition, 0))
            for partition, name in self._partitions().items()
        )

    def check(self, position: Offsets) -> None:
        """Compare with the present ledgers; offset 0 is always in the log."""
        bounds = self.bounds()
        for partition, offset in position.items():
            low, high = bounds.get(partition, (0, 0))
            if offset and not low <= offset <= high:
                held = f"[{_show(low)}, {_show(high)})"
                raise lost(partition, f"message {_show(offset)}", held)

    def origin(self, offset: int) -> int:  # noqa: ARG002
        """0: ids of ledgers rise within a cluster, also over deleted topics."""
        return 0

    def topic_ids(self) -> dict[str, str]:
        """Empty: Pulsar's topics have no ids, and need none."""
        return {}

    def poll(self, position: Offsets, limit: Limit) -> tuple[pa.RecordBatch | None, Offsets]:
        """Messages that the readers have received; queries the broker only where there are none."""
        rows: list[Row] = []
        size = 0
        end: Offsets = {p: position.get(p, 0) for p in self._partitions()}
        for topic, number in self._in_turn(end):
            for offset, message in self._waiting((topic, number), end[topic, number]):
                size += _size(message)
                if rows and size > limit.bytes:
                    self._no_room_for = (topic, number)
                    return to_arrow(rows), end
                rows.append(_row(topic, number, offset, message))
                end[topic, number] = offset + 1
                if len(rows) >= limit.rows:
                    return to_arrow(rows), end
        return (to_arrow(rows) if rows else None), end

    def _in_turn(self, partitions: Iterable[Partition]) -> list[Partition]:
        """All partitions, starting with the one that the last batch had no room for."""
        first = self._no_room_for
        return sorted(partitions, key=lambda p: (first is not None and p < first, p))

    def advance(self, position: Offsets, limit: Limit) -> tuple[Offsets, int]:
        """Read ahead. Each partition gets an equal share, then those with more get the rest."""
        began = time.monotonic()
        try:
            self.check(position)
        except UnreachableError as error:
            self._wait_for_broker(self._connection.admin_url, began, error)
            return position, 0
        end: Offsets = {p: position.get(p, 0) for p in self._partitions()}
        counts = dict.fromkeys(end, 0)
        hungry, left, room, cut = self._in_turn(end), limit.rows, limit.bytes, False
        while hungry and left:
            share = -(-left // len(hungry))
            for partition in [*hungry]:
                quota = Limit(min(share, left), room)
                taken, size, there_is_more = self._pass(partition, end, quota, left < limit.rows)
                counts[partition] += taken
                left, room = left - taken, max(0, room - size)
                if not there_is_more:
                    hungry.remove(partition)
                elif taken < quota.rows:  # the bytes are used up
                    self._no_room_for = partition
                    hungry, cut = [], True
                    break
        self._sizes = {
            Range(*p, position.get(p, 0), end[p]): count for p, count in counts.items() if count
        }
        # `limit.rows` where the limit of bytes cut the batch: more rows may wait.
        return end, limit.rows if cut else limit.rows - left

    def _pass(
        self, partition: Partition, end: Offsets, limit: Limit, begun: bool
    ) -> tuple[int, int, bool]:
        """Move the end of a batch over messages of one partition.

        Args:
            partition: to read.
            end: of the batch so far; changed.
            limit: of what is added.
            begun: whether the batch has a message already: then none is larger than the limit.

        Returns:
            Their number, their bytes, and whether the partition may have more.
        """
        taken = size = 0
        for offset, message in self._waiting(partition, end[partition]) if limit.rows else ():
            more = _size(message)
            if (begun or taken) and size + more > limit.bytes:
                return taken, size, True
            end[partition] = offset + 1
            taken, size = taken + 1, size + more
            if taken == limit.rows:
                return taken, size, True
        return taken, size, False

    def _waiting(self, partition: Partition, at: int) -> Iterator[tuple[int, pulsar.Message]]:
        """Present messages of one partition; none while its broker is away."""
        name, began = self._partitions()[partition], time.monotonic()
        try:
            self._hold(partition, name)
            reader = self._readers.get(partition)
            if reader is None or reader.at != at:
                if reader is not None:
                    self._readers.pop(partition).close()
                reader = _Reader(self._client, self._admin, name, partition, at)
                self._readers[partition] = reader
            for found in reader.waiting():
                self._away_since = None
                yield found
            self._away_since = None
        except DataLossError:
            # The reader has consumed a later message; the next reader starts at the position.
            self._readers.pop(partition).close()
            raise
        except (pulsar.PulsarException, UnreachableError) as error:
            # It may have consumed a message, too; the client keeps a reader that is not closed.
            if (broken := self._readers.pop(partition, None)) is not None:
                with suppress(pulsar.PulsarException):
                    broken.close()
            self._known_at = 0.0  # look up now, and before the next read, whether it was deleted
            self._partitions()
            self._wait_for_broker(name, began, error)

    def _wait_for_broker(self, name: str, began: float, error: Exception) -> None:
        """Warn; raise `PulsarUnavailableError` where no partition was read for 30 s."""
        self._away_since = self._away_since or began
        seconds = time.monotonic() - self._away_since
        if seconds > AWAY_SECONDS:
            raise PulsarUnavailableError(
                f"Pulsar at {self._connection.service_url} has not answered for {seconds:.0f} s "
                f"about {name}: {error}"
            ) from error
        log.warning("%s: waiting for its broker: %s", name, error)

    def _hold(self, partition: Partition, name: str) -> None:
        """Subscribe, so that the broker keeps messages that this stream has not finished."""
        if partition not in self._holders:
            self._holders[partition] = self._client.subscribe(
                name,
                self._group,
                # A planner that is still stopping must not block the next one.
                consumer_type=pulsar.ConsumerType.Failover,
                initial_position=pulsar.InitialPosition.Earliest,
                receiver_queue_size=1,
            )
            self._release(name)

    def _release(self, name: str) -> None:
        """Delete the subscriptions of queries whose streams this one has; a failure is only logged.

        Nobody reads them any more, so the broker would keep every message for them.
        """
        try:
            for other in self._admin.subscriptions(name):
                if replaces(self._group, other) and self._admin.unsubscribe(name, other):
                    log.info("%s: subscription %s deleted", name, other)
        except (PulsarUnavailableError, httpx.HTTPError) as error:
            log.warning("%s: subscriptions not looked up: %s", name, error)

    def split(self, ranges: Sequence[Range], tasks: int) -> list[Task]:
        """By the entries read ahead, where they are known."""
        return split({r: self._sizes.get(r, ROWS_WORTH_A_TASK) for r in ranges}, tasks)

    def fetch(self, ranges: Sequence[Range]) -> Iterator[pa.RecordBatch]:
        """Read ranges with this worker's own client."""
        if self._connection not in _task_clients:
            _task_clients[self._connection] = self._connection.client()
        client = _task_clients[self._connection]
        yield from to_batches(
            _row(piece.topic, piece.partition, offset, message)
            for piece in ranges
            for offset, message in self._read_range(client, piece)
        )

    def _read_range(
        self, client: pulsar.Client, piece: Range
    ) -> Iterator[tuple[int, pulsar.Message]]:
        partition, at = (piece.topic, piece.partition), piece.start
        name = self._partitions()[partition]
        give_up = time.monotonic() + self._fetch_timeout
        while time.monotonic() < give_up:
            why = "nothing more arrived"
            try:
                reader = _Reader(client, self._admin, name, partition, at)
                try:
                    for offset, message in reader.waiting():
                        if offset >= piece.end:
                            return
                        at = offset + 1
                        yield offset, message
                        if at == piece.end:
                            return
                finally:
                    reader.close()
                if _behind_an_entry(piece.end):
                    return
                self.check({partition: at})
            except (pulsar.PulsarException, UnreachableError) as error:
                why = str(error)
            time.sleep(RETRY_SECONDS)
        raise PulsarUnavailableError(
            f"{name}: {why} for {self._fetch_timeout:.0f} s while reading "
            f"[{_show(at)}, {_show(piece.end)}); is the broker up?"
        )

    def commit(self, offsets: Offsets) -> None:
        """Acknowledge finished entries except the last one; a failure is only logged."""
        for partition, offset in offsets.items():
            ledger, entry, _ = unpack(offset)
            if entry and partition in self._holders:
                try:
                    self._holders[partition].acknowledge_cumulative(
                        pulsar.MessageId(-1, ledger, entry - 1, -1)
                    )
                except pulsar.PulsarException as error:
                    log.warning("%s: subscription not moved: %s", partition[0], error)

    def close(self) -> None:
        """Close the connections; the subscription remains."""
        if self._connected is not None:
            self._connected.close()
        self._reset()


class PulsarSource(LogSource):
    """`format("storelake_pulsar")`, batch and streaming; rows as `source.SOURCE_DDL`."""

    @classmethod
    def name(cls) -> str:
        """The name to use in `format(...)`."""
        return "storelake_pulsar"

    def connect(self, options: ReadOptions) -> PulsarLog:
        """Topics are written as `persistent://tenant/namespace/topic`."""
        topics = options.topics
        for name in topics.names:
            if not re.match(r"persistent://[^/]+/[^/]+/[^/]", name):
                raise ValueError(f"{name} is not written as persistent://tenant/namespace/topic")
        cluster = PulsarConnection(
            options.required("pulsar.service.url"),
            options.required("pulsar.admin.url"),
            options.given.get("pulsar.token"),
            options.given.get("pulsar.tls.ca.file"),
        )
        return PulsarLog(topics, cluster, options.group_id, options.fetch_timeout)
