"""The faults, in the order in which they are injected; the table of docs/RELIABILITY.md."""

from __future__ import annotations

from collections.abc import Sequence

from conf.errors import StorelakeError
from verification.faults import hangs, kills, messages, rivals, state
from verification.faults.fault import Fault

FAULTS = (
    Fault(
        "kill-gateway",
        "SIGKILL of the gateway",
        "another one is there within 30 s; clients send again",
        kills.kill_gateway,
    ),
    Fault(
        "kill-driver",
        "SIGKILL of the driver's Python process",
        "another one is there within 60 s",
        kills.kill_driver,
        120,
    ),
    Fault(
        "kill-jvm",
        "SIGKILL of the JVM of the streams",
        "another one is there within 60 s",
        kills.kill_jvm,
        120,
    ),
    Fault(
        "kill-supervisor",
        "SIGKILL of the supervisor, then `storelake start`",
        "the next one takes the programs over; none is started again",
        kills.kill_supervisor,
    ),
    Fault(
        "kill-kafka",
        "SIGKILL of Kafka",
        "another one is there within 30 s; streams go on",
        kills.kill_kafka,
        120,
    ),
    Fault(
        "kill-postgres",
        "SIGKILL of Postgres",
        "another one is there within 30 s; streams go on",
        kills.kill_postgres,
        120,
    ),
    Fault(
        "lose-newest-commit",
        "SIGKILL of the driver, newest commit of each checkpoint deleted",
        "the batch is computed again and changes no row",
        state.lose_newest_commit,
        120,
    ),
    Fault(
        "lose-checkpoints",
        "SIGKILL of the driver, all checkpoints deleted",
        "topics are read again from the start and change no row",
        state.lose_checkpoints,
        120,
    ),
    Fault(
        "cut-state-files",
        "`wanted.json` of the supervisor cut in half",
        "nothing is switched off",
        state.cut_wanted,
    ),
    Fault(
        "garbage-pid-files",
        "garbage in the pid files of streams and gateway, then `storelake start`",
        "what runs is found; no second driver",
        state.overwrite_pids,
    ),
    Fault(
        "second-application",
        "README's `spark-submit` of one job beside the running streams",
        "refused in one sentence: holder, since when, what to do",
        rivals.second_application,
    ),
    Fault(
        "take-over",
        "`storelake run --take-over` beside the running streams",
        "the first application is fenced, logs it and ends",
        rivals.take_over,
        120,
    ),
    Fault(
        "delete-dead-letter-topic",
        "topic `order-dlq` deleted for up to 90 s",
        "cameras go on; orders go on once the topic is there",
        messages.delete_dead_letter_topic,
        120,
    ),
    Fault(
        "hang-kafka",
        "SIGSTOP of Kafka for 75 s",
        "reported within 65 s; streams go on afterwards",
        hangs.hang_kafka,
        120,
    ),
    Fault(
        "hang-postgres",
        "SIGSTOP of Postgres for 75 s",
        "reported within 65 s; streams go on afterwards",
        hangs.hang_postgres,
        120,
    ),
    Fault(
        "hang-jvm",
        "SIGSTOP of the JVM of the streams for 75 s",
        "reported within 65 s; streams go on afterwards",
        hangs.hang_jvm,
        120,
    ),
    Fault(
        "silence-postgres",
        "connections of the streams to Postgres go silent, without a reset",
        "reconnected within 60 s, or reported and reconnected within two minutes",
        hangs.silence_postgres,
        120,
    ),
    Fault(
        "silence-kafka",
        "connections of the streams to Kafka go silent, without a reset",
        "reconnected within 60 s, or reported and reconnected within two minutes",
        hangs.silence_kafka,
        120,
    ),
    Fault(
        "terminate",
        "SIGTERM for every program while Postgres is in SIGSTOP",
        "all end by themselves within 20 s",
        hangs.terminate,
        120,
    ),
    Fault(
        "fuzz",
        "one message of each odd kind to each topic",
        "in bronze once, and good or quarantined once; streams go on",
        messages.fuzz,
    ),
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
