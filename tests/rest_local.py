"""A real REST catalog for tests: Iceberg's own, made to try clients on, over Postgres."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event

import httpx
import pyspark

from conf.settings import Settings
from infra.local.checks import find_java
from infra.local.jars import Bundle, fetch_jars
from infra.local.process import tail, wait_until
from tests.conftest import free_ports

# Its newest release; it speaks to clients of newer ones. The server is in two jars of test code.
ICEBERG, JETTY = "1.11.0", "12.1.5"
BUNDLE = Bundle(
    "IcebergREST",
    ICEBERG,
    20,
    f"""
    <dependency org="org.apache.iceberg" name="iceberg-open-api" rev="{ICEBERG}"
                transitive="false" conf="default->master">
      <artifact name="iceberg-open-api" type="jar" ext="jar" m:classifier="test-fixtures"/>
    </dependency>
    <dependency org="org.apache.iceberg" name="iceberg-core" rev="{ICEBERG}"
                conf="default->default">
      <artifact name="iceberg-core" type="jar" ext="jar"/>
      <artifact name="iceberg-core" type="jar" ext="jar" m:classifier="tests"/>
    </dependency>
    <dependency org="org.eclipse.jetty.ee10" name="jetty-ee10-servlet" rev="{JETTY}"
                conf="default->default"/>
    <dependency org="org.eclipse.jetty.compression" name="jetty-compression-server" rev="{JETTY}"
                conf="default->default"/>
    <dependency org="org.eclipse.jetty.compression" name="jetty-compression-gzip" rev="{JETTY}"
                conf="default->default"/>
    <dependency org="org.postgresql" name="postgresql" rev="42.7.8" conf="default->default"/>""",
    f"iceberg-open-api-{ICEBERG}-test-fixtures.jar",
)
SERVER = "org.apache.iceberg.rest.RESTCatalogServer"


@contextmanager
def rest_catalog(services: Settings, folder: Path) -> Iterator[str]:
    """Run it for the length of a block; its tables are in `folder`.

    Yields:
        Its address.
    """
    java = find_java(services.java_home).path
    jars = fetch_jars(BUNDLE, services.cache_dir, java, Event(), print)
    hadoop = sorted((Path(pyspark.__file__).parent / "jars").glob("hadoop-client-*.jar"))
    (port,) = free_ports(1)
    postgres = services.postgres
    environment = {
        "CATALOG_URI": postgres.jdbc_url,
        "CATALOG_JDBC_USER": postgres.user,
        "CATALOG_JDBC_PASSWORD": postgres.secret,
        "CATALOG_WAREHOUSE": f"file://{folder}/warehouse",
        "CATALOG_REST_PORT": str(port),
    }
    options = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
    path = ":".join([f"{jars}/*", *map(str, hadoop)])
    log = folder / "rest.log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            [java, *options, "-cp", path, SERVER], env=environment, stdout=out, stderr=out
        )
    try:
        url = f"http://127.0.0.1:{port}"
        assert wait_until(lambda: answers(url) or server.poll() is not None, 60), tail(log, 8)
        assert server.poll() is None, tail(log, 8)
        yield url
    finally:
        server.terminate()
        server.wait(20)


def answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/v1/config", timeout=5).status_code == 200
    return False
