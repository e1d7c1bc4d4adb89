"""Is the warehouse there? Asked before anything is started that needs it."""

from __future__ import annotations

from urllib.parse import urlsplit

from pyarrow import fs
from pyiceberg.io.pyarrow import PyArrowFileIO

from conf.errors import StorelakeError
from conf.settings import Settings
from conf.storage import complaint, file_properties


class StorageError(StorelakeError):
    """The warehouse cannot be used; the message is one sentence with the setting to mend."""


def check_storage(settings: Settings) -> None:
    """Ask an S3 for the warehouse, by the client that will write to it; a disk is not asked.

    Two requests of some milliseconds. The listing comes first: an S3 that refuses it says why,
    which it does not when it is asked for the bucket alone.

    Raises:
        StorageError: a wrong key, region, endpoint or bucket, or no S3 that answers.
        SettingsError: a key is missing.
    """
    bucket = settings.bucket
    if bucket is None:
        return
    path = bucket + urlsplit(settings.warehouse).path.rstrip("/")
    try:
        store = PyArrowFileIO(file_properties(settings)).fs_by_scheme("s3", bucket)
        store.get_file_info(fs.FileSelector(path, allow_not_found=True))
        found = store.get_file_info(bucket)
    except OSError as error:
        raise StorageError(complaint(settings, error)) from error
    if found.type == fs.FileType.NotFound:
        raise StorageError(
            f"The S3 at {settings.s3.url} has no bucket {bucket}: `storelake up` makes it, or "
            "name another one in STORELAKE_CATALOG__WAREHOUSE."
        )
