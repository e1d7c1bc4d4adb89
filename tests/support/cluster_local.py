"""A standalone Spark cluster on loopback, by pyspark's own scripts, as on other machines.

Its processes have no access to the checkout: no PYTHONPATH, a Python without packages, other
folders.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pyspark

from infra.local.process import tail, wait_until
from tests.conftest import free_ports

SPARK_HOME = Path(pyspark.__file__).resolve().parent
MASTER = "org.apache.spark.deploy.master.Master"
WORKER = "org.apache.spark.deploy.worker.Worker"
OPTIONS = "-XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dspark.master.rest.enabled=false"


@dataclass
class Cluster:
    """A master and two workers of one core.

    Attributes:
        folder: of all their files; the environment of each process names it.
        workers: a worker is the parent of its executors.
    """

    folder: Path
    port: int = field(default_factory=lambda: free_ports(1)[0])
    workers: list[psutil.Popen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"spark://127.0.0.1:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """Of a machine that has Java, Spark and a Python, and nothing else."""
        java = os.environ.get("JAVA_HOME") or Path(shutil.which("java") or "").resolve().parents[1]
        return {
            "PATH": f"{sys.base_prefix}/bin:{java}/bin:/usr/bin:/bin",
            "HOME": str(self.folder),
            "LANG": "C.UTF-8",
            "JAVA_HOME": str(java),
            "SPARK_HOME": str(SPARK_HOME),
            "SPARK_LOCAL_IP": "127.0.0.1",
            "STORELAKE_VAR_DIR": str(self.folder),
        }

    def start(self) -> None:
        listen = ["--host", "127.0.0.1", "--webui-port", "0"]
        self._spawn("master", MASTER, "--port", str(self.port), *listen)
        assert self._reports("master", "I have been elected leader"), self.log("master")
        for number in range(2):
            own = ["--work-dir", str(self.folder / f"worker-{number}")]
            size = ["--cores", "1", "--memory", "1g"]
            name = f"worker-{number}"
            self.workers.append(self._spawn(name, WORKER, *listen, *own, *size, self.url))
        for number in range(2):
            assert self._reports(f"worker-{number}", "Successfully registered"), self.log(
                "worker-0"
            )

    def log(self, name: str) -> str:
        return "\n".join(tail(self.folder / f"{name}.log", 400))

    def submit(self, name: str, environment: Mapping[str, str], *arguments: str) -> psutil.Popen:
        """`spark-submit`, in the folder where the archive is unpacked."""
        program = [str(SPARK_HOME / "bin" / "spark-submit"), *arguments]
        return self._run(name, program, {**self.environment, **environment})

    def kill_worker(self, number: int) -> list[str]:
        """SIGKILL for a worker and its executors; returns the killed command lines."""
        family = [self.workers[number], *self.workers[number].children(recursive=True)]
        killed = []
        for process in family:
            with suppress(psutil.NoSuchProcess):
                killed.append(" ".join(process.cmdline()))
                process.kill()
        psutil.wait_procs(family, timeout=20)
        return killed

    def processes(self) -> list[psutil.Process]:
        """All processes with the environment of the cluster, also orphaned ones."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("HOME") == str(self.folder):
                    found.append(process)
        return found

    def stop(self) -> None:
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.kill()
        assert wait_until(lambda: not self.processes(), 20)

    def _spawn(self, name: str, *arguments: str) -> psutil.Popen:
        program = [str(SPARK_HOME / "bin" / "spark-class"), *arguments]
        small = {"SPARK_DAEMON_MEMORY": "256m", "SPARK_DAEMON_JAVA_OPTS": OPTIONS}
        return self._run(name, program, {**self.environment, **small})

    def _run(self, name: str, program: list[str], environment: dict[str, str]) -> psutil.Popen:
        with (self.folder / f"{name}.log").open("ab") as log:
            return psutil.Popen(
                program,
                cwd=self.folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def _reports(self, name: str, text: str) -> bool:
        return wait_until(lambda: text in self.log(name), 120)


@contextmanager
def running_cluster(folder: Path) -> Iterator[Cluster]:
    """A cluster until the end of the block; all of its processes are stopped."""
    cluster = Cluster(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
