"""Lost replies behind the proxy of `make verify-faults`: real servers have done what was asked."""

from __future__ import annotations

from contextlib import closing
from uuid import uuid4

import psycopg
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

from conf.kafka import producer_config
from conf.settings import Settings
from quality.order_observer import end_offsets
from verification.faults.proxy import TcpProxy
from verification.faults.tampering import LostCommit, LostProduce, ResetInCopy

STAGE = "CREATE TABLE IF NOT EXISTS staged (id int)"
COPY = 'COPY "staged" FROM STDIN'
COUNT = "SELECT count(*) FROM staged"


def copy_behind(proxy: TcpProxy, settings: Settings, rows: int) -> None:
    """Copy rows in a transaction, by a connection through the proxy."""
    dsn = f"{settings.owner_dsn} port={proxy.port}"
    with psycopg.connect(dsn) as connection, connection.cursor().copy(COPY) as copy:
        for number in range(rows):
            copy.write_row((number,))


@pytest.mark.parametrize(
    ("tamper", "stored"), [(LostCommit(), 3), (ResetInCopy(), 0)], ids=["lost commit", "reset"]
)
def test_a_client_learns_nothing_of_what_postgres_did(
    services: Settings, tamper: LostCommit | ResetInCopy, stored: int
) -> None:
    with psycopg.connect(services.owner_dsn, autocommit=True) as direct:
        direct.execute(STAGE)
        with closing(TcpProxy(services.postgres.port)) as proxy, proxy.tampering(tamper):
            with pytest.raises(psycopg.OperationalError):
                copy_behind(proxy, services, 3)
            found = direct.execute(COUNT).fetchone()
            direct.execute("DROP TABLE staged")
    assert tamper.fired == ["staged"]
    assert found == (stored,)


def test_a_record_whose_acknowledgement_is_lost_is_in_kafka_once(services: Settings) -> None:
    topic = f"lost-{uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": services.kafka.bootstrap})
    admin.create_topics([NewTopic(topic, 1, 1)])[topic].result(20)
    tamper, errors = LostProduce([topic]), list[object]()
    with closing(TcpProxy(services.kafka.port, announced=True)) as proxy, proxy.tampering(tamper):
        address = {"bootstrap_servers": f"127.0.0.1:{proxy.port}"}
        producer = Producer(producer_config(services.kafka.model_copy(update=address), "admin"))
        producer.produce(topic, b"one", on_delivery=lambda error, _: errors.append(error))
        assert producer.flush(30) == 0
    assert tamper.fired == [topic]
    assert errors == [None]
    assert end_offsets(services, [topic]) == {(topic, 0): 1}
