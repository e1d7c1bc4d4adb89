"""The faults, and the order in which they are injected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from conf.errors import StorelakeError
from verification.faults import maintain, messages, network, rivals, state
from verification.faults.clock import step_clock
from verification.faults.disks import fill
from verification.faults.fault import Fault
from verification.faults.flood import flood
from verification.faults.hangs import hang, silence, terminate
from verification.faults.kills import kill, kill_supervisor, random_kills
from verification.faults.transactions import transactions

LATE = "answers of {} come 2 s late for 30 s"
SILENT = "connections of the programs to {} go silent, without a reset"
NEEDS = ("files", "s3", "pulsar")
SECONDS = {"once": 38, "lake": 60, "network": 50, "kills": 30, "disks": 75, "s3": 60, "pulsar": 75}
"""Of one fault, by its group."""

STRETCH = {"": 0, "proxies": 80, "disks": 150}
"""Seconds to put a deployment into it, and back."""

AGAIN = "another one is there within {} s"
SAME = "no row changes"
ON = "the application keeps running"
REPORTED = "reported within 65 s; streams go on afterwards"
RECONNECTED = "reconnected within 60 s, or reported and reconnected within two minutes"
STARTED = "garbage in the pid files of streams and gateway, then `storelake start`"
SUBMITTED = "README's `spark-submit` of one job beside the running streams"
TAKEN = "`storelake run --take-over` beside the running streams"

PROCESSES = (
    Fault("kill-gateway", "SIGKILL of the gateway", AGAIN.format(30), kill("gateway")),
    Fault(
        "kill-driver", "SIGKILL of the driver's Python process", AGAIN.format(60),
        kill("streams", 60.0), 120,
    ),
    Fault("kill-jvm", "SIGKILL of the JVM of the streams", AGAIN.format(60), kill("jvm", 60), 120),
    Fault(
        "kill-worker", "SIGKILL of a Python worker that runs tasks", AGAIN.format(60),
        kill("worker", 60), 120,
    ),
    Fault(
        "kill-supervisor", "SIGKILL of the supervisor, then `storelake start`",
        "the next one takes the programs over; none is started again", kill_supervisor,
    ),
    Fault("kill-kafka", "SIGKILL of Kafka", AGAIN.format(30), kill("kafka"), 120),
    Fault("kill-postgres", "SIGKILL of Postgres", AGAIN.format(30), kill("postgres"), 120),
    Fault(
        "lose-newest-commit", "SIGKILL of the driver, newest commit of each checkpoint deleted",
        SAME, state.while_down(state.delete_newest_commits), 120,
    ),
    Fault(
        "lose-checkpoints", "SIGKILL of the driver, all checkpoints deleted",
        SAME, state.while_down(state.delete_all), 120,
    ),
    Fault(
        "cut-state-files", "`wanted.json` of the supervisor cut in half",
        "nothing is switched off", state.cut_wanted,
    ),
    Fault("garbage-pid-files", STARTED, "no second driver", state.overwrite_pids),
    Fault(
        "second-application", SUBMITTED, "refused in one sentence: holder, since when, what to do",
        rivals.second_application,
    ),
    Fault("take-over", TAKEN, "the first application is fenced and ends", rivals.take_over, 120),
    Fault(
        "delete-dead-letter-topic", "topic `order-dlq` deleted for up to 90 s",
        "cameras go on; orders go on once it is there", messages.delete_dead_letter_topic, 120,
    ),
    Fault("hang-kafka", "SIGSTOP of Kafka for 75 s", REPORTED, hang("kafka"), 120),
    Fault("hang-postgres", "SIGSTOP of Postgres for 75 s", REPORTED, hang("postgres"), 120),
    Fault("hang-jvm", "SIGSTOP of the JVM of the streams for 75 s", REPORTED, hang("jvm"), 120),
    Fault(
        "terminate", "SIGTERM for every program while Postgres is in SIGSTOP",
        "all end by themselves within 20 s", terminate, 120,
    ),
    Fault(
        "fuzz", "one message of each odd kind to each topic",
        "in bronze once, and good or quarantined once", messages.fuzz,
    ),
)  # fmt: skip

MAINTENANCE = (
    Fault(
        "maintain-at-once", "`storelake maintain` twice at once beside the streams",
        "both succeed", maintain.maintain_at_once,
    ),
    Fault(
        "slow-reader", "a scan that was planned before compaction and expiry is read after them",
        "each planned row is read", maintain.slow_reader,
    ),
)  # fmt: skip

NETWORK = (
    Fault("slow-postgres", LATE.format("Postgres"), ON, network.slow("postgres"), 120),
    Fault("slow-kafka", LATE.format("Kafka"), ON, network.slow("kafka"), 120),
    Fault("silence-postgres", SILENT.format("Postgres"), RECONNECTED, silence("postgres"), 120),
    Fault("silence-kafka", SILENT.format("Kafka"), RECONNECTED, silence("kafka"), 120),
    Fault(
        "reset-in-copy", "connections to Postgres are reset in the middle of a COPY",
        ON, network.reset_in_copy, 120,
    ),
    Fault(
        "lost-commit", "Postgres commits, and the reply is lost", ON, network.lost_commit, 120
    ),
    Fault(
        "lost-ack", "Kafka appends records, and the acknowledgement is lost",
        "each record is in Kafka once", network.lost_produce, 120,
    ),
    Fault(
        "transactions", "a committed and an aborted transaction in Kafka",
        "the committed one is read, the aborted one is not; neither stays in the lag",
        transactions, 120,
    ),
    Fault(
        "step-clock", "the clock of the streams an hour ahead, an hour back, and right again",
        "every stream commits; no frame or order is late", step_clock, 120,
    ),
)  # fmt: skip

DISKS = tuple(
    Fault(f"full-{name}", f"the disk of {what} is full for 40 s", REPORTED, fill(name), 180)
    for name, what in (
        ("lake", "the lake"),
        ("checkpoints", "the checkpoints"),
        ("postgres", "Postgres"),
        ("kafka", "Kafka"),
    )
)

S3 = (
    Fault("kill-s3", "SIGKILL of MinIO", AGAIN.format(30), kill("minio"), 120),
    Fault("hang-s3", "SIGSTOP of MinIO for 75 s", REPORTED, hang("minio"), 120),
)
S3_NETWORK = (
    Fault("slow-s3", LATE.format("S3"), ON, network.slow("s3"), 120),
    Fault("refusing-s3", "S3 answers 500 and 503 for 30 s", ON, network.unavailable, 120),
    Fault("lost-put", "S3 stores objects, and the reply is lost", ON, network.lost_put, 120),
)
PULSAR = (
    Fault("kill-pulsar", "SIGKILL of Pulsar", AGAIN.format(60), kill("pulsar", 60), 180),
    Fault("hang-pulsar", "SIGSTOP of Pulsar for 75 s", REPORTED, hang("pulsar"), 180),
)


@dataclass(frozen=True)
class Extent:
    """How much of what takes long.

    Attributes:
        times: random SIGKILLs of each process.
        minutes: of ten times the load.
        seed: draws the moments.
    """

    times: int = 5
    minutes: float = 2.0
    seed: int = 1


def matrix(extent: Extent) -> list[Fault]:
    """All faults, in the order of their deployments and of what is around them."""
    title = f"ten times the load for {extent.minutes:g} minutes"
    must = "memory bounded; the lag is gone as many minutes later"
    heavy = Fault("flood", title, must, flood(extent.minutes * 60), 120, "load")
    return [
        *PROCESSES,
        *(replace(one, group="lake") for one in MAINTENANCE),
        heavy,
        *random_kills(extent.times, extent.seed),
        *(replace(one, group="network", inside="proxies") for one in NETWORK),
        *(replace(one, group="disks", inside="disks") for one in DISKS),
        *(replace(one, group="s3", needs="s3") for one in S3),
        *(replace(one, group="s3", needs="s3", inside="proxies") for one in S3_NETWORK),
        *(replace(one, group="pulsar", needs="pulsar") for one in PULSAR),
    ]


def chosen(
    names: Sequence[str] = (), groups: Sequence[str] = (), extent: Extent | None = None
) -> list[Fault]:
    """The faults of these names and groups, in the order of the matrix; all without any.

    Raises:
        StorelakeError: a name or a group is unknown.
    """
    faults = matrix(extent or Extent())
    for given, known in ((names, [f.name for f in faults]), (groups, [f.group for f in faults])):
        if unknown := [name for name in given if name not in known]:
            raise StorelakeError(
                f"{unknown[0]} is no fault; there are {', '.join(dict.fromkeys(known))}."
            )
    if not names and not groups:
        return faults
    return [fault for fault in faults if fault.name in names or fault.group in groups]


def minutes(faults: Sequence[Fault]) -> int:
    """About how long the faults take on two cores, with the start of their deployments."""
    seconds = sum(SECONDS.get(one.group, 40) for one in faults)
    seconds += sum(STRETCH[one.inside] for one in {f.needs + f.inside: f for f in faults}.values())
    return round(seconds / 60 + 3 * len({one.needs for one in faults}))
