"""Spark for transforms, rules and sources."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from pyspark.sql import SparkSession

from conf.settings import CONF_DIR
from conf.stores import Stores, load_stores
from tests.support.spark_local import end_spark, start_spark


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """One session for all tests here; whoever needs other launch options calls `end_spark`."""
    yield start_spark()
    end_spark()


@pytest.fixture(scope="session")
def stores() -> Stores:
    """The chain of the demo: B01, B02, B03."""
    return load_stores(CONF_DIR / "stores" / "demo.toml")
