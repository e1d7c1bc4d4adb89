"""The faults, in the order in which they are injected; docs/RELIABILITY.md has what must hold."""

from __future__ import annotations

from collections.abc import Sequence

from conf.errors import StorelakeError
from verification.faults import messages, rivals, state
from verification.faults.fault import Fault
from verification.faults.hangs import hang, silence, terminate
from verification.faults.kills import kill, kill_supervisor

FAULTS = (
    Fault("kill-gateway", "SIGKILL of the gateway", kill("gateway")),
    Fault("kill-driver", "SIGKILL of the driver's Python process", kill("streams", 60.0), 120),
    Fault("kill-jvm", "SIGKILL of the JVM of the streams", kill("jvm", 60.0), 120),
    Fault("kill-worker", "SIGKILL of a Python worker that runs tasks", kill("worker", 60.0), 120),
    Fault("kill-supervisor", "SIGKILL of the supervisor, then `storelake start`", kill_supervisor),
    Fault("kill-kafka", "SIGKILL of Kafka", kill("kafka"), 120),
    Fault("kill-postgres", "SIGKILL of Postgres", kill("postgres"), 120),
    Fault(
        "lose-newest-commit",
        "SIGKILL of the driver, newest commit of each checkpoint deleted",
        state.while_down(state.delete_newest_commits),
        120,
    ),
    Fault(
        "lose-checkpoints",
        "SIGKILL of the driver, all checkpoints deleted",
        state.while_down(state.delete_all),
        120,
    ),
    Fault("cut-state-files", "`wanted.json` of the supervisor cut in half", state.cut_wanted),
    Fault(
        "garbage-pid-files",
        "garbage in the pid files of streams and gateway, then `storelake start`",
        state.overwrite_pids,
    ),
    Fault(
        "second-application",
        "README's `spark-submit` of one job beside the running streams",
        rivals.second_application,
    ),
    Fault(
        "take-over", "`storelake run --take-over` beside the running streams", rivals.take_over, 120
    ),
    Fault(
        "delete-dead-letter-topic",
        "topic `order-dlq` deleted for up to 90 s",
        messages.delete_dead_letter_topic,
        120,
    ),
    Fault("hang-kafka", "SIGSTOP of Kafka for 75 s", hang("kafka"), 120),
    Fault("hang-postgres", "SIGSTOP of Postgres for 75 s", hang("postgres"), 120),
    Fault("hang-jvm", "SIGSTOP of the JVM of the streams for 75 s", hang("jvm"), 120),
    Fault(
        "silence-postgres",
        "connections of the streams to Postgres go silent, without a reset",
        silence("postgres"),
        120,
    ),
    Fault(
        "silence-kafka",
        "connections of the streams to Kafka go silent, without a reset",
        silence("kafka"),
        120,
    ),
    Fault("terminate", "SIGTERM for every program while Postgres is in SIGSTOP", terminate, 120),
    Fault("fuzz", "one message of each odd kind to each topic", messages.fuzz),
)


def chosen(names: Sequence[str]) -> list[Fault]:
    """The faults of these names, in the order of the table; all without a name.

    Raises:
        StorelakeError: a name is unknown.
    """
    known = [fault.name for fault in FAULTS]
    if unknown := [name for name in names if name not in known]:
        raise StorelakeError(f"{unknown[0]} is no fault; there are {', '.join(known)}.")
    return [fault for fault in FAULTS if not names or fault.name in names]
