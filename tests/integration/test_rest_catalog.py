"""The lake behind a REST catalog: a real one for what works, a stub for what it refuses."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from pydantic import SecretStr

from conf.settings import Settings
from streaming.lake.iceberg.catalog import open_catalog
from streaming.lake.iceberg.lake import IcebergLake
from streaming.lake.storage import StorageError
from streaming.lake.tables import SILVER_ORDERS
from tests.conftest import free_ports
from tests.stream.sandbox import Sandbox, empty_tables
from tests.support.builders import order_event
from tests.support.rest_local import rest_catalog
from tests.support.spark_local import end_spark

pytestmark = [pytest.mark.timeout(900), pytest.mark.requirement("L1")]


def at(settings: Settings, uri: str, token: str | None = None) -> Settings:
    given = {"type": "rest", "uri": uri, "token": SecretStr(token) if token else None}
    return settings.model_copy(update={"catalog": settings.catalog.model_copy(update=given)})


@pytest.fixture
def behind_rest(services: Settings, tmp_path: Path) -> Iterator[Settings]:
    empty_tables(services)
    streams = services.streams.model_copy(update={"source": "memory", "trigger_seconds": 0.1})
    own = services.model_copy(update={"var_dir": tmp_path / "sandbox", "streams": streams})
    end_spark()
    with rest_catalog(services, tmp_path) as uri:
        yield at(own, uri)
    end_spark()


def test_streams_write_through_a_rest_catalog_and_its_tables_lie_where_it_reports(
    behind_rest: Settings, tmp_path: Path
) -> None:
    sandbox = Sandbox(behind_rest)
    sandbox.send_order(*(order_event(order_id=f"O-{n}") for n in range(10)))
    sandbox.run("order_event_processor")

    rows = sandbox.lake("silver.orders")
    assert sorted(row["order_id"] for row in rows) == sorted(f"O-{n}" for n in range(10))
    with closing(open_catalog(behind_rest)) as catalog:
        silver = catalog.load_table("silver.orders")
        assert silver.location().startswith(f"file://{tmp_path}/warehouse/")
        assert (
            IcebergLake(behind_rest, catalog).append(SILVER_ORDERS, silver.scan().to_arrow(), 7)
            == 0
        )
    assert sandbox.lake("silver.orders") == rows


def test_a_rest_catalog_that_is_away_is_one_sentence(services: Settings) -> None:
    (port,) = free_ports(1)
    with pytest.raises(StorageError, match=r"REST catalog at .* does not answer .*CATALOG__URI"):
        open_catalog(at(services, f"http://127.0.0.1:{port}"))


class _Refusing(BaseHTTPRequestHandler):
    """A catalog that rejects every client, with the error of the REST specification."""

    def do_GET(self) -> None:
        body = b'{"error": {"message": "who is this", "type": "NotAuthorized", "code": 401}}'
        self.send_response(401)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_a_rest_catalog_that_refuses_the_token_is_one_sentence(services: Settings) -> None:
    server = HTTPServer(("127.0.0.1", 0), _Refusing)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        uri = f"http://127.0.0.1:{server.server_port}"
        with pytest.raises(StorageError, match=r"refuses us .*who is this.*CATALOG__TOKEN"):
            open_catalog(at(services, uri, token="stale"))
    finally:
        server.shutdown()
        server.server_close()
