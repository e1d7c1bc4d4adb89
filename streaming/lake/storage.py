"""Files of a lake on S3: PyIceberg's access to them, and a check that they can be reached."""

from __future__ import annotations

import logging
from functools import lru_cache
from urllib.parse import urlsplit

from pyarrow import fs
from pyiceberg.io.pyarrow import PyArrowFileIO

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.storage import ATTEMPTS, complaint, file_properties

# It would log `LakeFiles` at each load of a table.
logging.getLogger("pyiceberg.io").setLevel(logging.WARNING)


@lru_cache(maxsize=16)
def _client(properties: frozenset[tuple[str, str]]) -> fs.S3FileSystem:
    """One client for equal properties: it keeps its connections."""
    known = dict(properties)
    return fs.S3FileSystem(
        endpoint_override=known.get("s3.endpoint"),
        region=known.get("s3.region"),
        access_key=known.get("s3.access-key-id"),
        secret_key=known.get("s3.secret-access-key"),
        session_token=known.get("s3.session-token"),
        force_virtual_addressing=known.get("s3.force-virtual-addressing") == "true",
        connect_timeout=float(known["s3.connect-timeout"]),
        request_timeout=float(known["s3.request-timeout"]),
        # PyArrow's own patience ends at the first 503.
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        # A small file is one request, not the three of a large one.
        allow_delayed_open=True,
    )


class LakeFiles(PyArrowFileIO):
    """PyIceberg's access to files; named by `file_properties`.

    PyIceberg makes a client whenever it loads a table, and writes each file as if it were large.
    """

    def _initialize_s3_fs(self, netloc: str | None) -> fs.FileSystem:  # noqa: ARG002 (its signature)
        given = {k: v for k, v in self.properties.items() if k.startswith("s3.")}
        return _client(frozenset(given.items()))


class StorageError(StorelakeError):
    """The warehouse cannot be used; the message names the setting to change."""


def check_storage(settings: Settings) -> None:
    """Check access to a warehouse on S3, by the client that will write to it.

    Two requests of some milliseconds. The listing comes first: where S3 denies it, the error states
    the reason, which an error of the bucket request does not.

    Raises:
        StorageError: a wrong key, region, endpoint or bucket, or no S3 that answers.
        SettingsError: a key is missing.
    """
    bucket = settings.bucket
    if bucket is None:
        return
    path = bucket + urlsplit(settings.warehouse).path.rstrip("/")
    try:
        store = LakeFiles(file_properties(settings)).fs_by_scheme("s3", bucket)
        store.get_file_info(fs.FileSelector(path, allow_not_found=True))
        found = store.get_file_info(bucket)
    except OSError as error:
        raise StorageError(complaint(settings, error)) from error
    if found.type == fs.FileType.NotFound:
        raise StorageError(
            f"The S3 at {settings.s3.url} has no bucket {bucket}: `storelake up` makes it, or "
            "name another one in STORELAKE_CATALOG__WAREHOUSE."
        )
