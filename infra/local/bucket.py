"""The bucket of the warehouse."""

# ruff: noqa: PLC0415 - pyarrow is loaded only where a warehouse is on S3
from __future__ import annotations

from conf.settings import Settings
from conf.storage import CONNECT_SECONDS, complaint
from infra.errors import ServiceError


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
