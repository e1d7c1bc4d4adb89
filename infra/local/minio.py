"""MinIO on this machine: an S3 with one folder as its disk, on loopback."""

from __future__ import annotations

from pathlib import Path

from conf.settings import S3Settings
from infra.local.go import build_minio
from infra.local.service import Service

# 503 until it has loaded its buckets and keys, and has checked its disk.
HEALTH = "/minio/health/cluster"


class MinioService(Service[S3Settings]):
    """The object store; state below `<var>/minio`."""

    name = "minio"
    branch = "s3"
    ports = (("port", "MinIO"),)
    elsewhere = "endpoint"
    clients_use = "url"

    def launch(self) -> None:
        """Build the program the first time, then start it."""
        program = build_minio(self.settings.cache_dir, self.cancel, self.report)
        (self.folder / "data").mkdir(parents=True, exist_ok=True)
        self.report("minio: starting")
        self.daemon.spawn(self.command(program), cwd=self.folder, environment=self.environment())

    def command(self, program: Path) -> list[str]:
        """The command line of the server."""
        address = f"{self.conf.host}:{self.conf.port}"
        return [str(program), "server", "--quiet", "--address", address, str(self.folder / "data")]

    def environment(self) -> dict[str, str]:
        """All its variables, the keys among them: a command line could be read by everybody.

        A region makes it refuse signatures for another one, as AWS does.
        """
        return {
            "HOME": str(self.folder),
            "MINIO_ROOT_USER": self.conf.access,
            "MINIO_ROOT_PASSWORD": self.conf.secret,
            "MINIO_SITE_REGION": self.conf.region,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",
            "MINIO_SCANNER_SPEED": "slowest",
        }

    def serves(self) -> bool:
        """Whether it is past its start; somebody else's S3 may refuse an unsigned request."""
        import httpx  # noqa: PLC0415 - slow, and few deployments have an S3

        try:
            response = httpx.get(self.conf.url + ("" if self.external else HEALTH), timeout=2.0)
        except httpx.HTTPError:
            return False
        return response.status_code < httpx.codes.INTERNAL_SERVER_ERROR
