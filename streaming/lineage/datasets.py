"""Names and facets of datasets, as the naming specification of OpenLineage has them.

Topics are `kafka://HOST:PORT` and the topic, tables of Postgres `postgres://HOST:PORT` and
`DATABASE.public.TABLE`, tables of the lake the place of their files, with the catalog's name as a
symlink. Imports openlineage, an extra: only where lineage is on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import DatasetFacet, InputDatasetFacet
from openlineage.client.generated.schema_dataset import (
    SchemaDatasetFacet,
    SchemaDatasetFacetFields,
)
from openlineage.client.generated.symlinks_dataset import Identifier, SymlinksDatasetFacet

from conf.settings import Settings
from streaming.lake.tables import TABLES
from streaming.registry import StreamEntry

POSTGRES = "postgres."
Columns = Mapping[str, Sequence[tuple[str, str]]]
"""Table of Postgres -> name and type of its columns."""

_LAKE = {table.name: table for table in TABLES}


@dataclass(frozen=True)
class DatasetId:
    """A dataset with the facets that do not change during a run."""

    namespace: str
    name: str
    facets: Mapping[str, DatasetFacet] = field(default_factory=dict)

    def as_input(self, facets: Mapping[str, InputDatasetFacet] | None = None) -> InputDataset:
        """The dataset as an input of a run, with facets of this run."""
        own = dict(self.facets)
        return InputDataset(self.namespace, self.name, facets=own, inputFacets=dict(facets or {}))

    def as_output(self) -> OutputDataset:
        """The dataset as an output of a run."""
        return OutputDataset(self.namespace, self.name, facets=dict(self.facets))


def table(settings: Settings, name: str, columns: Columns) -> DatasetId:
    """A table by its name in the lake (`silver.orders`), or in Postgres (`postgres.orders_raw`)."""
    if name.startswith(POSTGRES):
        return _serving(settings, name.removeprefix(POSTGRES), columns)
    place = urlsplit(f"{settings.warehouse.rstrip('/')}/{name.replace('.', '/')}")
    local = place.scheme == "file"
    namespace = "file" if local else f"{place.scheme}://{place.netloc}"
    link = Identifier(f"{settings.catalog.format}:{settings.catalog.name}", name, "TABLE")
    facets: dict[str, DatasetFacet] = {"symlinks": SymlinksDatasetFacet([link])}
    if name in _LAKE:
        fields = [(c.name, c.type, c.comment) for c in _LAKE[name].fields]
        facets["schema"] = _schema(fields)
    return DatasetId(namespace, place.path if local else place.path.lstrip("/"), facets)


def _serving(settings: Settings, name: str, columns: Columns) -> DatasetId:
    postgres = settings.postgres
    fields = [(column, type_, "") for column, type_ in columns.get(name, ())]
    facets = {"schema": _schema(fields)} if fields else {}
    namespace = f"postgres://{postgres.host}:{postgres.port}"
    return DatasetId(namespace, f"{postgres.database}.public.{name}", facets)


def _schema(fields: Sequence[tuple[str, str, str]]) -> SchemaDatasetFacet:
    return SchemaDatasetFacet(
        [
            SchemaDatasetFacetFields(name, type_, comment or None, number)
            for number, (name, type_, comment) in enumerate(fields, 1)
        ]
    )


def inputs(entry: StreamEntry, settings: Settings, columns: Columns) -> list[DatasetId]:
    """What a stream reads: topics, or tables of Postgres."""
    kafka = [_topic(settings, topic) for topic in entry.topics(settings)]
    tables = [table(settings, POSTGRES + name, columns) for name in entry.tables]
    return [*kafka, *_pulsar(entry, settings), *tables]


def _topic(settings: Settings, topic: str) -> DatasetId:
    first = settings.kafka.bootstrap.split(",")[0].split("://")[-1].strip()
    return DatasetId(f"kafka://{first}", topic)


def _pulsar(entry: StreamEntry, settings: Settings) -> Iterator[DatasetId]:
    if entry.reads == "detections" and "pulsar" in settings.streams.detections_from:
        address = urlsplit(settings.pulsar.url).netloc
        yield DatasetId(f"pulsar://{address}", settings.pulsar.detections)


def outputs(entry: StreamEntry, settings: Settings, columns: Columns) -> list[DatasetId]:
    """What a stream writes: tables of Postgres and of the lake, and the topic of dead letters."""
    serving = list(entry.serving)
    topics = []
    if entry.dead_letters and entry.dead_letters not in _LAKE:
        serving.append(entry.dead_letters)
        topics = [_topic(settings, settings.kafka.order_dlq)]
    lake = [one.name for one in TABLES if one.writer == entry.name]
    names = [*(POSTGRES + name for name in serving), *lake]
    return [*(table(settings, name, columns) for name in names), *topics]
