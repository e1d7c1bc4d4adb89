"""A real S3 for tests."""

from __future__ import annotations

from conf.settings import Settings
from infra.local.minio import MinioService
from infra.local.passwords import with_secrets
from infra.local.process import wait_until
from infra.local.provision import ensure_bucket
from tests.conftest import free_ports


def start_minio(settings: Settings, warehouse: str) -> MinioService:
    """MinIO on a free port, with the bucket of the warehouse and keys of its own."""
    (port,) = free_ports(1)
    catalog = settings.catalog.model_copy(update={"warehouse": warehouse})
    s3 = settings.s3.model_copy(update={"port": port, "region": "eu-central-1"})
    service = MinioService(with_secrets(settings.model_copy(update={"catalog": catalog, "s3": s3})))
    service.start()
    assert wait_until(service.ready, 60), service.last_lines()
    assert ensure_bucket(service.settings)
    return service


def through(settings: Settings, endpoint: str) -> Settings:
    """The same S3 by another address."""
    return settings.model_copy(update={"s3": settings.s3.model_copy(update={"endpoint": endpoint})})
