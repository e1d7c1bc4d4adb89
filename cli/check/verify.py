"""A check in a house of its own, whose Spark application is killed in the middle.

Everything is fresh: a folder in <var>/verify and free ports, so that nothing else is disturbed.
"""

from __future__ import annotations

import json
import shutil
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from cli import processes
from cli.check.run import STREAMS
from conf.errors import StorelakeError
from conf.settings import Settings, load_settings
from infra import local
from infra.local.locks import exclusive
from infra.local.process import wait_until
from simulator.plan import Plan

HALF_SECONDS = 300.0
RECOVERY_SECONDS = 180.0
ARRIVAL_SECONDS = 300.0

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Seen:
    """What orders_raw shows to another client of Postgres."""

    settings: Settings

    def newest(self) -> int:
        """The number of the newest row; rows get rising ones."""
        return self._number("SELECT coalesce(max(seq), 0) FROM orders_raw")

    def count(self) -> int:
        """How many rows there are."""
        return self._number("SELECT count(*) FROM orders_raw")

    def _number(self, query: str) -> int:
        with psycopg.connect(self.settings.postgres.dsn) as connection:
            row = connection.execute(query.encode()).fetchone()
        return int(row[0]) if row else 0


def verify(base: Settings, plan: Plan, tell: Tell) -> tuple[dict[str, Any], dict[str, Any]]:
    """Run the whole proof; nothing goes on afterwards, however it ends.

    Args:
        base: of the operator; only its `var_dir` is used.
        plan: of the check.
        tell: hears what goes on.

    Returns:
        The result in short, and the report of the check. The data of a proof that failed stays in
        <var>/verify; logs always do.

    Raises:
        StorelakeError: something did not come up or died by itself.
    """
    folder = base.var_dir / "verify"
    with exclusive(base.var_dir / "run" / "verify.lock", "verify-orders", 0.0), _one_interrupt():
        settings, environment = _own_house(base, folder)
        local.reset(settings)
        shutil.rmtree(folder, ignore_errors=True)
        keep = False
        try:
            with ExitStack() as stack:
                ready = stack.enter_context(local.running(settings, tell))
                result, report = _prove(stack, ready, environment, plan, tell)
            keep = not result["ok"]
        except StorelakeError:
            keep = True
            raise
        finally:
            if not keep:
                local.reset(settings)
    return result, report


def _own_house(base: Settings, folder: Path) -> tuple[Settings, dict[str, str]]:
    """Settings of a house beside the operator's, and the variables that mean the same."""
    if base.kafka.bootstrap_servers or not base.postgres.local or base.catalog.warehouse:
        raise StorelakeError(
            "verify-orders works on local services and files of its own: unset "
            "STORELAKE_KAFKA__BOOTSTRAP_SERVERS, STORELAKE_POSTGRES__LOCAL and "
            "STORELAKE_CATALOG__WAREHOUSE for it."
        )
    kafka, controller, postgres, gateway = _free_ports(4)
    settings = load_settings(
        var_dir=folder,
        kafka={"port": kafka, "controller_port": controller},
        postgres={"port": postgres},
        gateway={"port": gateway},
    )
    return settings, {
        "STORELAKE_VAR_DIR": str(folder),
        "STORELAKE_KAFKA__PORT": str(kafka),
        "STORELAKE_KAFKA__CONTROLLER_PORT": str(controller),
        "STORELAKE_POSTGRES__PORT": str(postgres),
        "STORELAKE_GATEWAY__PORT": str(gateway),
    }


def _free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all open at once while choosing so that they differ."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def _prove(
    stack: ExitStack, settings: Settings, environment: dict[str, str], plan: Plan, tell: Tell
) -> tuple[dict[str, Any], dict[str, Any]]:
    started = time.monotonic()
    first = processes.start_streams(stack, settings, tell, STREAMS, environment)
    processes.start_gateway(stack, settings, environment)
    checking = stack.enter_context(
        processes.process("check", _arguments(plan), settings, environment)
    )
    seen = Seen(settings)
    killed_at_rows = _half_way(settings, seen, plan, (first, checking), tell)
    tell(f"{killed_at_rows} events are in Postgres: killing the Spark application")
    killed = time.monotonic()
    processes.kill(first)
    second = stack.enter_context(
        processes.process("streams", ["run", *STREAMS], settings, environment)
    )
    recovery = _recovery(settings, seen, second, tell) - killed
    code = _finish(settings, seen, checking, second, tell)
    report = _report(settings, checking)
    result = {
        "ok": code == 0 and bool(report["ok"]),
        "sent": report["sent"],
        "missing": report["missing"],
        "duplicated": report["duplicated"],
        "latency_p50_s": report["latency_seconds"]["p50"],
        "latency_p95_s": report["latency_seconds"]["p95"],  # the outage included
        "recovery_s": round(recovery, 1),
        "killed_at_rows": killed_at_rows,
        "seconds": round(time.monotonic() - started, 1),
    }
    return result, report


def _arguments(plan: Plan) -> list[str]:
    options = {
        "count": plan.count,
        "rate": plan.rate,
        "poison": plan.poison,
        "late": plan.late,
        "duplicates": plan.duplicates,
        "seed": plan.seed,
        "source": plan.source,
        "patience": ARRIVAL_SECONDS,
    }
    pairs = [(f"--{name}", str(value)) for name, value in options.items() if value is not None]
    return ["check", *(part for pair in pairs for part in pair)]


def _half_way(
    settings: Settings,
    seen: Seen,
    plan: Plan,
    children: tuple[processes.Child, processes.Child],
    tell: Tell,
) -> int:
    """Wait until half of the events are in Postgres; returns how many that were."""
    streams, checking = children
    wanted, rows = (plan.count or 0) // 2, 0

    def half() -> bool:
        nonlocal rows
        processes.require_alive(streams, "streams", settings)
        rows = seen.count()
        tell(f"{rows} events in Postgres, the streams are killed at {wanted}")
        if rows < wanted:
            processes.require_alive(checking, "check", settings)
        return rows >= wanted

    if not wait_until(half, HALF_SECONDS + _sending_seconds(plan), every=1.0):
        raise processes.ProcessError(
            f"only {rows} events are in Postgres, not {wanted}; see {settings.var_dir}/logs"
        )
    return rows


def _sending_seconds(plan: Plan) -> float:
    return 60 * (plan.count or 0) / plan.rate if plan.rate else 0.0


def _recovery(settings: Settings, seen: Seen, second: processes.Child, tell: Tell) -> float:
    """The moment (monotonic) at which the first row of the new application is visible."""
    newest = seen.newest()

    def row_of_the_new_one() -> bool:
        nonlocal newest
        processes.require_alive(second, "streams", settings)
        now = seen.newest()
        if not processes.stream_states(settings):
            newest = now  # until the new one runs, a last commit of the killed one may appear
            return False
        return now > newest

    tell("the Spark application starts again")
    if not wait_until(row_of_the_new_one, RECOVERY_SECONDS, every=0.1):
        raise processes.ProcessError(
            f"no new row {RECOVERY_SECONDS:.0f} s after the kill; see {settings.var_dir}/logs"
        )
    return time.monotonic()


def _finish(
    settings: Settings,
    seen: Seen,
    checking: processes.Child,
    second: processes.Child,
    tell: Tell,
) -> int:
    """Wait for the check, which has a deadline of its own; returns its exit code."""
    while checking.poll() is None:
        processes.require_alive(second, "streams", settings)
        tell(f"{seen.count()} events in Postgres, the check goes on")
        wait_until(lambda: checking.poll() is not None, 2.0)
    return int(checking.returncode)


def _report(settings: Settings, checking: processes.Child) -> dict[str, Any]:
    path = settings.var_dir / "check" / "report.json"
    if not path.is_file():
        processes.require_alive(checking, "check", settings)
    return dict(json.loads(path.read_text(encoding="utf-8")))


@contextmanager
def _one_interrupt() -> Iterator[None]:
    """The first Ctrl-C or SIGTERM ends the run in order; further ones do not disturb that."""
    signals = (signal.SIGINT, signal.SIGTERM)

    def interrupt(*_: object) -> None:
        for number in signals:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
