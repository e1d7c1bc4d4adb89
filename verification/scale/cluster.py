"""An application on the cluster: its settings, its CPU seconds, the tasks of its executors."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from conf.settings import Settings
from infra.local.kafka import KafkaService
from infra.local.postgres import PostgresService
from tests.support.cluster_local import Cluster
from verification.processes import cpu_seconds

ROOT = Path(__file__).parents[2]
SHUFFLE_PARTITIONS = 2
LEAST_SHARE = 0.5
"""Of an equal share of the tasks: what each executor must have run at least."""


def variables(cluster: Cluster, executors: int, rows: int) -> dict[str, str]:
    """Settings of an application on the cluster, whose executors run the code of this checkout.

    Args:
        cluster: that runs.
        executors: of one core each.
        rows: at most so many in a batch.
    """
    extra = {
        "spark.cores.max": str(executors),
        "spark.executor.cores": "1",
        "spark.executor.memory": "640m",
        "spark.executor.extraJavaOptions": "-XX:+UseSerialGC -XX:TieredStopAtLevel=1",
        "spark.executorEnv.PYTHONPATH": str(ROOT),
        "spark.scheduler.minRegisteredResourcesRatio": "1.0",
        "spark.eventLog.enabled": "true",
        "spark.eventLog.dir": (cluster.folder / "events").as_uri(),
        "spark.eventLog.rolling.enabled": "false",
        "spark.eventLog.compress": "false",
    }
    return {
        "STORELAKE_SPARK__MASTER": cluster.url,
        "STORELAKE_SPARK__DRIVER_HOST": "127.0.0.1",
        "STORELAKE_SPARK__SHUFFLE_PARTITIONS": str(SHUFFLE_PARTITIONS),
        "STORELAKE_SPARK__EXTRA": json.dumps(extra),
        "STORELAKE_STREAMS__NICENESS": "0",  # executors beside the driver have none
        "STORELAKE_STREAMS__MAX_ROWS_PER_BATCH": str(rows),
        "PYSPARK_PYTHON": sys.executable,
    }


def cpu(settings: Settings, driver: int, cluster: Cluster) -> dict[str, float]:
    """CPU seconds until now by kind of process; the cluster's own daemons are left out.

    Args:
        settings: of services on this machine.
        driver: process id of `storelake run`.
        cluster: a worker is the parent of its executors.
    """
    own, executors = cpu_seconds(driver), [cpu_seconds(one.pid) for one in cluster.workers]
    services = {
        service.name: service.daemon.find()
        for service in (PostgresService(settings), KafkaService(settings))
    }
    return {
        "driver_python": own["driver"] + own["workers"],
        "driver_jvm": own["jvm"],
        "executor_python": sum(one["workers"] for one in executors),
        "executor_jvm": sum(one["jvm"] for one in executors),
        **{
            name: sum(cpu_seconds(process.pid).values())
            for name, process in services.items()
            if process
        },
    }


def tasks_by_executor(folder: Path) -> dict[str, int]:
    """Executor -> tasks that it has run well, by Spark's event log."""
    lines = map(json.loads, "".join(file.read_text() for file in folder.iterdir()).splitlines())
    ended = (line for line in lines if line["Event"] == "SparkListenerTaskEnd")
    good = (line for line in ended if line["Task End Reason"]["Reason"] == "Success")
    return dict(sorted(Counter(line["Task Info"]["Executor ID"] for line in good).items()))


def idle(tasks: Mapping[str, int], executors: int) -> list[str]:
    """One sentence when fewer executors than wanted have done their share of the tasks."""
    least = LEAST_SHARE * sum(tasks.values()) / executors
    working = sum(1 for count in tasks.values() if count >= least)
    return [f"tasks by executor: {tasks}"] * (working != executors)
