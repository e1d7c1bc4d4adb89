"""Which values the columns of a table may have: declared ones, and those of the store file."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from conf.settings import Settings
from conf.stores import Stores
from quality.facts import Mask, declared_types
from streaming.lake.domains import Domain, Values
from streaming.lake.tables import (
    BRONZE_DETECTIONS,
    QUARANTINE_DETECTIONS,
    SILVER_DETECTIONS,
    Table,
)
from streaming.validation.checks import in_range, one_of


def domain_texts(domains: Mapping[tuple[str, ...], Domain], topics: Sequence[str]) -> Iterator[str]:
    """What values columns may have, for people: one text for all columns of the same domain."""
    alike: dict[str, list[str]] = defaultdict(list)
    for columns, domain in domains.items():
        alike[_domain_text(columns, domain)].append(" and ".join(columns))
    if topics:
        alike[one_of(topics)].append("topic")
    for text, names in alike.items():
        yield f"{', '.join(names)}: {text}"


def _domain_text(columns: Sequence[str], domain: Domain) -> str:
    if len(columns) > 1:
        return "a pair of the store file"
    if isinstance(domain, Values):
        return one_of(domain.known)
    return in_range(domain.low, domain.high)


def outside_domains(
    domains: Mapping[tuple[str, ...], Domain], topics: Sequence[str], rows: pa.Table
) -> dict[str, Mask]:
    """Columns, joined by a slash -> the rows whose value is in no domain."""
    masks: dict[str, Mask] = {}
    for columns, domain in domains.items():
        if set(columns) <= set(rows.column_names):
            masks["/".join(columns)] = _outside(domain, [rows[c] for c in columns])
    if topics and "topic" in rows.column_names:
        masks["topic"] = _outside(Values(tuple(topics)), [rows["topic"]])
    return masks


def _outside(domain: Domain, columns: Sequence[pa.ChunkedArray]) -> Mask:
    """True for a value that is not in the domain; null is in every one."""
    if isinstance(domain, Values):
        texts = [c.cast(pa.string()) for c in columns]
        value = pc.binary_join_element_wise(*texts, "/") if len(texts) > 1 else texts[0]
        known = pc.is_in(value, pa.array(domain.known, pa.string()))
        return pc.and_(pc.is_valid(value), pc.invert(known))
    value = columns[0].cast(pa.float64())
    inside = pc.greater_equal(value, domain.low)
    if domain.high is not None:
        inside = pc.and_(inside, pc.less_equal(value, domain.high))
    return pc.invert(inside)  # NaN is inside of nothing


def domains_of(table: Table, stores: Stores) -> dict[tuple[str, ...], Domain]:
    """Columns -> the values that they, joined by a slash, may have: declared, and of the stores."""
    columns = declared_types(table)
    domains: dict[tuple[str, ...], Domain] = {(c,): d for c, d in table.domains.items()}
    if {"branch_id", "camera_id"} <= columns.keys():
        cameras = (f"{b.branch_id}/{c.camera_id}" for b in stores.branches for c in b.cameras)
        domains["branch_id", "camera_id"] = Values(tuple(cameras))
    elif "branch_id" in columns:
        domains["branch_id",] = Values(tuple(b.branch_id for b in stores.branches))
    return domains


def topics_of(table: Table, settings: Settings) -> tuple[str, ...]:
    """The topics that the table has messages of; of the other tables none."""
    if "topic" not in declared_types(table):
        return ()
    if table in (BRONZE_DETECTIONS, SILVER_DETECTIONS, QUARANTINE_DETECTIONS):
        return (settings.kafka.detections, settings.pulsar.detections)
    return settings.kafka.order_topics
