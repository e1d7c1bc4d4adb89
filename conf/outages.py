"""Errors of libraries that mean that Postgres or Kafka cannot be reached."""

# ruff: noqa: PLC0415 - drivers are imported when a command runs
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from conf.errors import KafkaUnavailableError, StorelakeError, first_line


@contextmanager
def clear_outages() -> Iterator[None]:
    """Turn errors of connections into one sentence each.

    Raises:
        StorelakeError: Postgres or Kafka cannot be reached; the message names the settings.
    """
    from confluent_kafka import KafkaException
    from psycopg import OperationalError
    from psycopg_pool import PoolTimeout
    from sqlalchemy import exc  # of PyIceberg's catalog

    try:
        yield
    except (OperationalError, exc.OperationalError, PoolTimeout) as error:
        raise StorelakeError(
            f"Postgres cannot be reached ({first_line(getattr(error, 'orig', error))}): see "
            "`storelake status`, or check STORELAKE_POSTGRES__HOST, __PORT and __PASSWORD."
        ) from error
    except (KafkaException, KafkaUnavailableError) as error:
        raise StorelakeError(
            f"Kafka cannot be reached ({first_line(error)}): see `storelake status`, or check "
            "STORELAKE_KAFKA__BOOTSTRAP_SERVERS."
        ) from error
