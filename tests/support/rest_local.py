"""A real REST catalog for tests: Iceberg's own, made to try clients on, over Postgres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import pyspark
from py4j.java_gateway import JavaGateway

from conf.settings import Settings
from infra.local.checks import find_java
from infra.local.jars import Bundle, fetch_jars
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


@contextmanager
def rest_catalog(services: Settings, folder: Path) -> Iterator[str]:
    """Run it until the end of the block, on loopback; its tables are in `folder`.

    Its own main function listens on every address, so this one builds the server in the same way.

    Yields:
        Its address.
    """
    java = find_java(services.java_home).path
    jars = fetch_jars(BUNDLE, services.cache_dir, java, Event(), print)
    of_spark = Path(pyspark.__file__).parent / "jars"
    (port,) = free_ports(1)
    postgres = services.postgres
    properties = {
        "catalog-impl": "org.apache.iceberg.jdbc.JdbcCatalog",
        "uri": postgres.jdbc_url,
        "jdbc.user": postgres.login,
        "jdbc.password": postgres.secret,
        "jdbc.schema-version": "V1",
        "warehouse": f"file://{folder}/warehouse",
    }
    path = ":".join([f"{jars}/*", *map(str, sorted(of_spark.glob("hadoop-client-*.jar")))])
    with (folder / "rest.log").open("w") as out:
        gateway = JavaGateway.launch_gateway(
            jarpath=str(next(of_spark.glob("py4j-*.jar"))),
            classpath=path,
            javaopts=["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"],
            java_path=str(java),
            redirect_stdout=out,
            redirect_stderr=out,
            die_on_exit=True,
        )
        try:
            server = _serve(gateway.jvm, properties, port)
            yield f"http://127.0.0.1:{port}"
            server.stop()
        finally:
            gateway.shutdown()


def _serve(jvm: Any, properties: Mapping[str, str], port: int) -> Any:
    options = jvm.java.util.HashMap()
    for name, value in properties.items():
        options.put(name, value)
    iceberg, jetty = jvm.org.apache.iceberg, jvm.org.eclipse.jetty
    configuration = jvm.org.apache.hadoop.conf.Configuration()
    catalog = iceberg.CatalogUtil.buildIcebergCatalog("rest_backend", options, configuration)
    servlet = iceberg.rest.RESTCatalogServlet(iceberg.rest.RESTCatalogAdapter(catalog))
    context = jetty.ee10.servlet.ServletContextHandler(0)  # without sessions
    context.addServlet(jetty.ee10.servlet.ServletHolder(servlet), "/*")
    server = jetty.server.Server(jvm.java.net.InetSocketAddress("127.0.0.1", port))
    server.setHandler(context)
    server.start()
    return server
