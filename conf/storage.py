"""Client properties of the warehouse and its catalog, and messages for their errors; no I/O.

One set of properties serves Spark (Iceberg's S3FileIO, by the AWS client for Java) and PyIceberg
(PyArrow's file system, by the AWS client for C++): each ignores the other's names.
"""

from __future__ import annotations

import re

from conf.settings import Settings

CONNECT_SECONDS = 5
REQUEST_SECONDS = 15
"""Without a byte from the S3."""
ATTEMPTS = 3
"""Of a request: an S3 that went silent is an error within a minute."""


def file_properties(settings: Settings) -> dict[str, str]:
    """What an Iceberg catalog must know to read and write files; nothing for a warehouse on a disk.

    Raises:
        SettingsError: the warehouse is on S3 and a key is missing.
    """
    s3 = settings.s3
    if settings.bucket is None:
        return {}
    java = {
        # A table that was made on a disk remains there, and is read there.
        "io-impl": "org.apache.iceberg.io.ResolvingFileIO",
        "client.region": s3.region,
        "s3.path-style-access": str(s3.path_style).lower(),
        "s3.retry.num-retries": str(ATTEMPTS - 1),
        "http-client.apache.connection-timeout-ms": str(CONNECT_SECONDS * 1000),
        "http-client.apache.socket-timeout-ms": str(REQUEST_SECONDS * 1000),
    }
    python = {
        "py-io-impl": "streaming.lake.storage.LakeFiles",
        "s3.region": s3.region,
        "s3.force-virtual-addressing": str(not s3.path_style).lower(),
        "s3.connect-timeout": str(CONNECT_SECONDS),
        "s3.request-timeout": str(REQUEST_SECONDS),
    }
    both = {
        "s3.endpoint": s3.url,
        "s3.access-key-id": s3.access,
        "s3.secret-access-key": s3.secret,
    }
    return java | python | both


def hadoop_client(settings: Settings) -> dict[str, str]:
    """What Hadoop's client of S3 must know, by the names of Hadoop.

    Raises:
        SettingsError: a key is missing.
    """
    s3 = settings.s3
    client = {
        "endpoint": s3.url,
        "endpoint.region": s3.region,
        "path.style.access": str(s3.path_style).lower(),
        "connection.ssl.enabled": str(not s3.url.startswith("http://")).lower(),
        "aws.credentials.provider": "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider",
        "access.key": s3.access,
        "secret.key": s3.secret,
        "connection.timeout": f"{REQUEST_SECONDS}s",
        "connection.establish.timeout": f"{REQUEST_SECONDS}s",  # the least that Hadoop takes
        "attempts.maximum": str(ATTEMPTS - 1),
        # Hadoop's own, around those of the client.
        "retry.limit": "1",
    }
    return {f"fs.s3a.{key}": value for key, value in client.items()}


def checkpoint_properties(settings: Settings) -> dict[str, str]:
    """How Spark writes checkpoints: a file is there whole, or not at all.

    Raises:
        SettingsError: they are on S3, and a key is missing.
    """
    manager = "spark.sql.streaming.checkpointFileManagerClass"
    if settings.streams.checkpoints is None and not settings.spark.master.startswith("local"):
        return {}  # Spark's default supports HDFS, too
    if settings.streams.checkpoints is None:
        return {
            # Written aside and renamed, as by Spark's default; that one starts the programs chmod
            # and readlink ten times for each file (docs/adr/0008), this one twice.
            manager: "org.apache.spark.sql.execution.streaming.checkpointing"
            ".FileSystemBasedCheckpointFileManager",
            # Hadoop keeps a checksum beside every file of a local disk as it is.
            "spark.sql.streaming.checkpoint.fileChecksum.enabled": "false",
        }
    return {
        **{f"spark.hadoop.{key}": value for key, value in hadoop_client(settings).items()},
        # An S3 cannot rename; a file appears once its upload is over.
        manager: "org.apache.spark.internal.io.cloud.AbortableStreamBasedCheckpointFileManager",
    }


def delta_options(settings: Settings) -> dict[str, str]:
    """What delta-rs must know to read and write files; nothing for a warehouse on a disk.

    Raises:
        SettingsError: the warehouse is on S3 and a key is missing.
    """
    s3 = settings.s3
    if settings.bucket is None:
        return {}
    return {
        "AWS_ENDPOINT_URL": s3.url,
        "AWS_REGION": s3.region,
        "AWS_ACCESS_KEY_ID": s3.access,
        "AWS_SECRET_ACCESS_KEY": s3.secret,
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": str(not s3.path_style).lower(),
        "AWS_ALLOW_HTTP": str(s3.url.startswith("http://")).lower(),
        "connect_timeout": f"{CONNECT_SECONDS}s",
        # Of a whole request, so longer than the silence that others bear.
        "timeout": "20s",
        "retry_timeout": "35s",
    }


def rest_properties(settings: Settings) -> dict[str, str]:
    """What a client must know of a REST catalog, which may itself name the S3 and its keys."""
    conf = settings.catalog
    secrets = {"token": conf.token, "credential": conf.credential}
    given = {name: value.get_secret_value() for name, value in secrets.items() if value}
    place = {"warehouse": conf.warehouse} if conf.warehouse else {}
    return {"uri": str(conf.uri), **place, **given}


def complaint(settings: Settings, error: OSError) -> str:
    """One sentence for an error of PyArrow's S3 client, with the setting to change."""
    reported, s3, bucket = " ".join(str(error).split()), settings.s3, settings.bucket
    region = re.search(r"(?:expecting|located in) '([\w-]+)'", reported)
    if region:
        return (
            f"The bucket {bucket} at {s3.url} is in the region {region[1]}, and requests are "
            f"signed for {s3.region}: set STORELAKE_S3__REGION={region[1]}."
        )
    for mark, sentence in _MEANINGS.items():
        if mark in reported:
            return f"The S3 at {s3.url} {sentence}"
    reason = reported.rpartition("operation: ")[2]
    return f"The S3 at {s3.url} does not give the bucket {bucket}: {reason.rstrip('.')}."


_KEYS = "STORELAKE_S3__ACCESS_KEY and STORELAKE_S3__SECRET_KEY"
_MEANINGS = {
    "INVALID_ACCESS_KEY_ID": f"does not know the access key: set {_KEYS} to a pair of its own.",
    "SIGNATURE_DOES_NOT_MATCH": "refuses the secret key, which does not belong to the access key: "
    f"set {_KEYS} to one pair.",
    "ACCESS_DENIED": "does not allow these keys to use the bucket: give them its policy, or set "
    f"{_KEYS} to others.",
    "curlCode": "does not answer: check that it runs (`storelake status`), and "
    "STORELAKE_S3__ENDPOINT with its http:// or https://.",
    "PermanentRedirect": "states that the bucket is elsewhere: set STORELAKE_S3__REGION, and "
    "STORELAKE_S3__ENDPOINT, to those of the bucket.",
    "HTTP status 503": "is too busy or not ready (503): try again in a while.",
    "SLOW_DOWN": "is too busy (503): try again in a while.",
}
