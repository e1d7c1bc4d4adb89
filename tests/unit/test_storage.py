"""The storage of the lake: settings of its clients, meaning of its errors, time-outs."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable
from pydantic import SecretStr
from pyiceberg.io import load_file_io

from conf.settings import CatalogSettings, S3Settings, Settings, SettingsError, load_settings
from conf.storage import ATTEMPTS, complaint, delta_options, file_properties, hadoop_client
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.storage import StorageError
from streaming.runtime.session import launch_conf, session_conf
from tests.conftest import free_ports

pytestmark = pytest.mark.requirement("L1")

KEYS = {"access_key": SecretStr("who"), "secret_key": SecretStr("secret-of-the-key")}


def sandbox(
    settings: Settings, catalog: dict[str, object], s3: dict[str, object] | None = None
) -> Settings:
    """Settings as they are after reading: checked as a whole."""
    update = {
        "catalog": CatalogSettings(**{"name": "lake", **catalog}),
        "s3": S3Settings(**{**KEYS, **(s3 or {})}),
        "postgres": settings.postgres.model_copy(
            update={"writer_password": SecretStr("pass-of-it")}
        ),
    }
    return settings.model_copy(update=update)


def test_who_only_reads_has_keys_of_its_own_where_there_are_some(settings: Settings) -> None:
    shared = sandbox(settings, {"warehouse": "s3://shop/lake"})
    assert shared.acting_as("reader").s3.access == shared.s3.access
    reader = {"reader_access_key": "of-a-reader", "reader_secret_key": "key-of-a-reader"}
    own = sandbox(settings, {"warehouse": "s3://shop/lake"}, reader).acting_as("reader")
    assert file_properties(own)["s3.secret-access-key"] == "key-of-a-reader"
    with pytest.raises(ValueError, match="are a pair"):
        S3Settings(reader_access_key="half")  # type: ignore[arg-type]


AWS = {"endpoint": "https://s3.eu-west-1.amazonaws.com", "region": "eu-west-1", "path_style": False}


def test_spark_and_pyiceberg_are_given_the_same_s3(settings: Settings) -> None:
    on_aws = sandbox(settings, {"warehouse": "s3://shop/lake"}, AWS)
    properties = file_properties(on_aws)
    assert properties["s3.endpoint"] == AWS["endpoint"]
    assert properties["client.region"] == properties["s3.region"] == "eu-west-1"
    assert (properties["s3.path-style-access"], properties["s3.force-virtual-addressing"]) == (
        "false",
        "true",
    )
    assert (properties["s3.access-key-id"], properties["s3.secret-access-key"]) == (
        "who",
        "secret-of-the-key",
    )
    spark = session_conf(on_aws)
    assert {
        f"spark.sql.catalog.lake.{key}": properties[key] for key in properties
    }.items() <= spark.items()
    assert spark["spark.sql.catalog.lake.warehouse"] == "s3://shop/lake"


def test_all_who_write_to_one_s3_share_its_connections(settings: Settings) -> None:
    properties = file_properties(sandbox(settings, {"warehouse": "s3://shop/lake"}))
    first, second = (
        load_file_io(properties).fs_by_scheme("s3", name) for name in ("shop", "attic")
    )
    assert first is second
    assert first.region == "us-east-1"


@pytest.fixture
def silent() -> Iterator[int]:
    """The port of a server that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        yield server.getsockname()[1]


@pytest.mark.timeout(60)
def test_an_s3_that_went_silent_is_an_error_within_a_minute(
    settings: Settings, silent: int
) -> None:
    on_s3 = sandbox(settings, {"warehouse": "s3://shop/lake"}, {"port": silent})
    properties = file_properties(on_s3)
    # PyArrow waits a second more for each attempt, and longer between them.
    assert ATTEMPTS * (int(properties["s3.request-timeout"]) + 2) < 60
    quickly = {**properties, "s3.request-timeout": "1", "s3.connect-timeout": "1"}
    store = load_file_io(quickly).fs_by_scheme("s3", "shop")
    with pytest.raises(OSError, match="Timeout was reached"):
        store.get_file_info("shop/lake")

    delta = delta_options(on_s3)
    within = [int(delta[name].removesuffix("s")) for name in ("retry_timeout", "timeout")]
    assert sum(within) < 60
    slow = {**delta, "timeout": "1s", "retry_timeout": "2s"}
    with pytest.raises(OSError, match=r"after [12] retries"):
        DeltaTable("s3://shop/lake", storage_options=slow)


def test_spark_bears_a_silent_s3_no_longer_than_python_does(settings: Settings) -> None:
    on_s3 = sandbox(settings, {"warehouse": "s3://shop/lake"})
    iceberg, hadoop = file_properties(on_s3), hadoop_client(on_s3)
    tries = int(iceberg["s3.retry.num-retries"]) + 1
    assert tries * int(iceberg["http-client.apache.socket-timeout-ms"]) < 60_000
    tries = int(hadoop["fs.s3a.attempts.maximum"]) * int(hadoop["fs.s3a.retry.limit"])
    assert tries * int(hadoop["fs.s3a.connection.timeout"].removesuffix("s")) < 60


def test_only_a_lake_on_s3_loads_the_client_of_aws(settings: Settings) -> None:
    disk, s3 = sandbox(settings, {}), sandbox(settings, {"warehouse": "s3://shop/lake"})
    assert file_properties(disk) == {}
    assert "aws-bundle" not in launch_conf(disk)["spark.jars.packages"]
    assert "aws-bundle" in launch_conf(s3)["spark.jars.packages"]


def test_what_spark_submit_is_given_holds_no_key(settings: Settings) -> None:
    given = launch_conf(sandbox(settings, {"warehouse": "s3://shop/lake"}))
    assert "secret-of-the-key" not in str(given)


def test_spark_gets_a_rest_catalog_without_our_database(settings: Settings) -> None:
    rest = {"type": "rest", "uri": "https://catalog.example", "token": SecretStr("let-me-in")}
    spark = session_conf(sandbox(settings, {**rest, "warehouse": "shops"}))
    properties = {
        key.rpartition("lake.")[2]: v for key, v in spark.items() if "catalog.lake." in key
    }
    assert properties == {
        "type": "rest",
        "uri": "https://catalog.example",
        "token": "let-me-in",
        "warehouse": "shops",
        "cache-enabled": "false",
    }


@pytest.mark.parametrize(
    ("catalog", "message"),
    [
        ({"warehouse": "/data/lake"}, "neither file:///FOLDER nor s3://BUCKET/PREFIX"),
        ({"warehouse": "s3a://shop/lake"}, "neither file:///FOLDER nor s3://BUCKET/PREFIX"),
        ({"type": "rest"}, "needs a uri"),
        ({"uri": "http://catalog.example"}, "needs a uri"),
    ],
)
def test_an_invalid_place_is_refused_when_settings_are_read(
    catalog: dict[str, str], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        load_settings(catalog=catalog)


def test_a_placeholder_is_no_key() -> None:
    with pytest.raises(SettingsError, match=r"s3\.secret_key: .* is a placeholder"):
        load_settings(s3={"secret_key": "changeme"})


# Messages of AWS through PyArrow 22; the first one is MinIO's, too (tests/integration/test_s3.py).
WRONG_REGION = (
    "When listing objects under key 'lake/' in bucket 'shop': AWS Error UNKNOWN (HTTP status 400) "
    "during ListObjectsV2 operation: Unable to parse ExceptionName: AuthorizationHeaderMalformed "
    "Message: The authorization header is malformed; the region 'us-east-1' is wrong; expecting "
    "'eu-west-1' (Request ID: 1)"
)
REDIRECT = (
    "When listing objects under key '' in bucket 'shop': AWS Error UNKNOWN (HTTP status 301) "
    "during ListObjectsV2 operation: Unable to parse ExceptionName: PermanentRedirect Message: The "
    "bucket you are attempting to access must be addressed using the specified endpoint."
)
DENIED = "AWS Error ACCESS_DENIED during ListObjectsV2 operation: Access Denied"
STRANGE = "AWS Error INTERNAL_FAILURE during ListObjectsV2 operation: We encountered a comet."


@pytest.mark.parametrize(
    ("reported", "meant"),
    [
        (
            WRONG_REGION,
            "region eu-west-1, and requests are signed for us-east-1: set STORELAKE_S3__",
        ),
        (REDIRECT, "the bucket is elsewhere: set STORELAKE_S3__REGION"),
        (DENIED, "does not allow these keys"),
        (STRANGE, "does not give the bucket shop: We encountered a comet."),
    ],
)
def test_an_error_of_s3_is_one_sentence_with_the_setting_to_change(
    settings: Settings, reported: str, meant: str
) -> None:
    sentence = complaint(sandbox(settings, {"warehouse": "s3://shop/lake"}), OSError(reported))
    assert meant in sentence
    assert sentence.endswith(".")
    assert "Request ID" not in sentence


def test_a_catalog_whose_postgres_is_away_is_one_sentence(settings: Settings) -> None:
    (port,) = free_ports(1)
    own = sandbox(settings, {})
    postgres = own.postgres.model_copy(update={"port": port})
    with pytest.raises(StorageError, match=rf"catalog in Postgres at .*:{port} does not answer"):
        open_catalog(own.model_copy(update={"postgres": postgres}))


def test_streams_retry_through_an_outage_of_a_minute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STORELAKE_PROFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    limits = load_settings().streams
    pauses = [
        min(limits.retry_base_seconds * 2**n, limits.retry_max_seconds)
        for n in range(limits.retries)
    ]
    assert sum(pauses) >= 60
