"""Private parts of libraries that the product uses: an upgrade that changes one fails here.

Each case names the module of the product that depends on it. The versions are bounded in
pyproject.toml; raise a bound only together with these cases.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.io.pyarrow import (
    PyArrowFileIO,
    _dataframe_to_data_files,
    _pyarrow_to_schema_without_ids,
)
from pyiceberg.table import Table, Transaction
from pyiceberg.table.update import ValidatableTableRequirement
from pyiceberg.table.update.snapshot import _OverwriteFiles
from pyspark import SparkContext, daemon
from pyspark.sql import SparkSession
from pyspark.sql.datasource_internal import _SimpleStreamReaderWrapper
from pyspark.sql.streaming import StreamingQueryManager, python_streaming_source_runner
from pyspark.sql.streaming.listener import JStreamingQueryListener, StreamingQueryListener

from streaming.lake.iceberg.commits import LakeTransaction
from streaming.sources.readers import LogStreamReader

SIGNATURES: dict[str, tuple[Callable[..., Any], str]] = {
    # streaming/lake/iceberg/catalog.py: each metadata file is parsed once.
    "SqlCatalog._convert_orm_to_iceberg": (SqlCatalog._convert_orm_to_iceberg, "self, orm_table"),
    # streaming/lake/iceberg/commits.py: a conflict ends the transaction.
    "Transaction._rebuild_snapshot_updates": (Transaction._rebuild_snapshot_updates, "self"),
    "ValidatableTableRequirement.validate": (
        ValidatableTableRequirement.validate,
        "self, base_metadata",
    ),
    # streaming/lake/iceberg/replace_files.py: one snapshot per upsert, and the operation `replace`.
    "_OverwriteFiles": (
        _OverwriteFiles,
        "operation, transaction, io, commit_uuid, snapshot_properties, branch",
    ),
    "_OverwriteFiles._manifests": (_OverwriteFiles._manifests, "self"),
    "_OverwriteFiles._summary": (_OverwriteFiles._summary, "self, snapshot_properties"),
    # streaming/lake/iceberg/files.py and streaming/lake/protocol.py
    "_dataframe_to_data_files": (
        _dataframe_to_data_files,
        "table_metadata, df, io, write_uuid, counter",
    ),
    "_pyarrow_to_schema_without_ids": (
        _pyarrow_to_schema_without_ids,
        "schema, downcast_ns_timestamp_to_us, format_version",
    ),
    # streaming/lake/storage.py: one S3 client for all tables.
    "PyArrowFileIO._initialize_s3_fs": (PyArrowFileIO._initialize_s3_fs, "self, netloc"),
    # streaming/runtime/launch.py: no password on the command line of the JVM.
    "SparkContext._ensure_initialized": (
        SparkContext._ensure_initialized,
        "instance, gateway, conf",
    ),
    # streaming/runtime/worker_daemon.py
    "pyspark.daemon.manager": (daemon.manager, ""),
}
ATTRIBUTES: dict[str, tuple[object, tuple[str, ...]]] = {
    # streaming/lake/iceberg/commits.py
    "Transaction": (Transaction, ("_table", "_updates", "_requirements")),
    # streaming/lake/iceberg/replace_files.py
    "_OverwriteFiles": (
        _OverwriteFiles,
        (
            *("_added_data_files", "_deleted_data_files", "_io", "_parent_snapshot_id"),
            *("_snapshot_id", "_transaction"),
        ),
    ),
    # streaming/runtime/listener.py
    "SparkContext": (SparkContext, ("_jvm",)),
}


@pytest.mark.parametrize("name", SIGNATURES)
def test_a_private_function_takes_what_we_pass(name: str) -> None:
    function, expected = SIGNATURES[name]
    assert ", ".join(inspect.signature(function).parameters) == expected


@pytest.mark.parametrize("name", ATTRIBUTES)
def test_a_private_attribute_exists(name: str) -> None:
    owner, attributes = ATTRIBUTES[name]
    assert isinstance(owner, type)
    annotated = {key for base in owner.__mro__ for key in inspect.get_annotations(base)}
    assert set(attributes) <= annotated | set(dir(owner))


def test_a_stream_reader_is_what_spark_takes_rows_from_directly() -> None:
    """streaming/sources/readers.py inherits from the wrapper and implements all of it."""
    needed = {"initialOffset", "latestOffset", "commit", "partitions", "getCache"}
    public = {name for name in vars(_SimpleStreamReaderWrapper) if not name.startswith("_")}
    assert needed <= public
    assert public - {"add_result_to_cache"} <= set(vars(LogStreamReader))
    assert "self.add_result_to_cache" in inspect.getsource(_SimpleStreamReaderWrapper.latestOffset)
    runner = inspect.getsource(python_streaming_source_runner)
    assert "add_result_to_cache" not in runner


def test_a_session_has_the_gateway_to_its_jvm() -> None:
    """streaming/runtime/jvm.py is the only module that uses it."""
    code = inspect.getsource(SparkSession.__init__)
    assert "self._jvm =" in code
    assert "self._jsc =" in code


def test_spark_registers_the_listener_of_the_jvm() -> None:
    """streaming/runtime/listener.py replaces `_jlistener` to take progress events as JSON."""
    assert isinstance(StreamingQueryListener._jlistener, property)
    assert "listener._jlistener" in inspect.getsource(StreamingQueryManager.addListener)
    for event in ("onQueryStarted", "onQueryProgress", "onQueryIdle", "onQueryTerminated"):
        assert callable(getattr(JStreamingQueryListener, event))


def test_a_transaction_commits_through_its_table() -> None:
    """streaming/lake/iceberg/commits.py relies on the rebuild that follows a conflict."""
    assert "_rebuild_snapshot_updates" in inspect.getsource(Transaction.commit_transaction)
    assert callable(Table.refresh)
    assert issubclass(LakeTransaction, Transaction)
