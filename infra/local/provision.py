"""What the services of a deployment must have: topics, the bucket of the warehouse, tables."""

# ruff: noqa: PLC0415 - pyarrow is loaded only where a warehouse is on S3
from __future__ import annotations

from concurrent.futures import Future

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]

from conf.kafka import Rejections, client_config, open_client
from conf.settings import KafkaSettings, Settings
from conf.storage import CONNECT_SECONDS, complaint
from infra.errors import ServiceError
from infra.local.kafka import SILENT
from infra.local.kafka_access import ensure_access
from infra.local.pulsar import ensure_pulsar_topic
from infra.local.tool import Report
from infra.postgres.migrate import migrate


def provision(settings: Settings, report: Report = lambda _: None) -> None:
    """Make what the services must have, where it is missing: topics, bucket, tables of Postgres.

    Raises:
        ServiceError: one does not answer, or refuses.
    """
    report("topics, tables and bucket")
    ensure_topics(settings.kafka)
    if settings.wants_pulsar:
        ensure_pulsar_topic(settings.pulsar)
    ensure_bucket(settings)
    migrate(settings)


def ensure_topics(conf: KafkaSettings) -> list[str]:
    """Create the topics that are missing, leaving the others as they are.

    The local broker also gets its users and their rights.

    Returns:
        The names that were created.

    Raises:
        ServiceError: the cluster does not answer, or refuses.
    """
    rejections = Rejections()
    client = open_client(
        AdminClient, client_config(conf, "admin", {"error_cb": rejections}), logger=SILENT
    )
    try:
        present = client.list_topics(timeout=10).topics
        ours = conf.bootstrap_servers is None and conf.username is None
        if ours and conf.protocol != "plaintext":  # one password is not all of them
            ensure_access(client, conf)
        missing = [name for name in conf.all_topics if name not in present]
        if not missing:
            return []
        # -1 is the cluster's own replication factor: 1 on ours, whatever suits on another one.
        wanted = [NewTopic(name, conf.partitions, replication_factor=-1) for name in missing]
        for future in client.create_topics(wanted, operation_timeout=20).values():
            _await_created(future)
    except KafkaException as error:
        reason = rejections.explain(error.args[0], client)
        raise ServiceError(
            f"Kafka at {conf.bootstrap} did not give the topics ({reason}): check that it "
            "runs and that its access rules allow creating topics."
        ) from error
    return missing


def _await_created(future: Future[None]) -> None:
    try:
        future.result(timeout=30)
    except KafkaException as error:
        # Another process was quicker, which is as good.
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            raise


def ensure_bucket(settings: Settings) -> bool:
    """Create the bucket of a warehouse on S3 where it is missing.

    Returns:
        Whether it was created.

    Raises:
        ServiceError: the S3 does not answer or refuses, or the bucket may not be made.
    """
    from pyarrow import fs

    bucket, conf = settings.bucket, settings.s3
    if bucket is None:
        return False
    store = fs.S3FileSystem(
        endpoint_override=conf.url,
        region=conf.region,
        access_key=conf.access,
        secret_key=conf.secret,
        force_virtual_addressing=not conf.path_style,
        connect_timeout=CONNECT_SECONDS,
        allow_bucket_creation=conf.create_bucket,
    )
    try:
        # An S3 that refuses a listing states why; asked for the bucket alone, it does not.
        store.get_file_info(fs.FileSelector(bucket, allow_not_found=True))
        if store.get_file_info(bucket).type == fs.FileType.Directory:
            return False
        if not conf.create_bucket:
            raise ServiceError(
                f"The S3 at {conf.url} has no bucket {bucket}, and STORELAKE_S3__CREATE_BUCKET is "
                "false: make it there, or name another one in STORELAKE_CATALOG__WAREHOUSE."
            )
        store.create_dir(bucket)
    except OSError as error:
        raise ServiceError(complaint(settings, error)) from error
    return True
