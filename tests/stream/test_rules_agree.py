"""The result of a rule in the stream must agree with that of its expectation on the table.

Rows of the silver tables are generated, good ones and ones broken in every column, and converted to
messages. Every rule of the streams must then reject the same messages as its expectations do, and
must reject some and accept some.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql.pandas.types import from_arrow_schema, to_arrow_schema

from conf.contracts.fields import contract_fields
from conf.contracts.order_event import RETURNED, STATUS_CHANGED, TILLS, ItemV3, OrderV3
from conf.settings import CONF_DIR
from conf.stores import load_stores
from quality.suite import RowSuite, name_of
from quality.suites.row_rules import detection_suites, order_suites
from streaming.lake.tables import SILVER_DETECTIONS, SILVER_ORDERS, Table
from streaming.transforms.order_message import Item, Order, OrderEvent, order_message
from streaming.transforms.silver_detections import (
    Detection,
    DetectionEvent,
    Image,
    RuntimeFields,
    frame_message,
)
from streaming.validation.batch import ParsedBatch, failed
from streaming.validation.detection_rules import detection_rules
from streaming.validation.order_rules import order_rules
from streaming.validation.parsing import Parsed
from streaming.validation.rules import AnyRule, Rule
from tests.support.builders import event_id

# isort: split

import great_expectations as gx  # after `quality`, which keeps it quiet

pytestmark = pytest.mark.requirement("Q1")

Row = dict[str, Any]
SKEW = timedelta(minutes=10)
SETTINGS: Any = SimpleNamespace(streams=SimpleNamespace(max_future_skew=SKEW))
STORES = load_stores(CONF_DIR / "stores" / "demo.toml")
CAMERAS = [(b.branch_id, c.camera_id) for b in STORES.branches for c in b.cameras]
ORDER_RULES = order_rules([b.branch_id for b in STORES.branches], SKEW)
DETECTION_RULES = detection_rules(CAMERAS, SKEW)

NOON = datetime(2024, 5, 1, 12, 0, 0, 123456, tzinfo=timezone.utc)
CENT = Decimal("0.01")
MOST = Decimal("9999999.99")
TICK = timedelta(microseconds=1)
TIMES = [
    *(None, NOON, NOON + TICK, NOON - TICK, NOON + SKEW, NOON + SKEW + TICK),
    *(datetime(2000, 1, 1, tzinfo=timezone.utc), datetime(2000, 1, 1, tzinfo=timezone.utc) - TICK),
    *(datetime(1582, 10, 14, tzinfo=timezone.utc), datetime(1969, 12, 31, tzinfo=timezone.utc)),
    datetime(9999, 12, 30, tzinfo=timezone.utc),
]
MONEY = [None, Decimal(0), CENT, -CENT, MOST, MOST + CENT, Decimal("9999999999.99")]
SHARES = [
    None,
    math.nan,
    math.inf,
    -math.inf,
    0.0,
    -0.0,
    1.0,
    0.3,
    0.5,
    -1e-300,
    1.0000000000000002,
]


def texts(longest: int) -> list[str | None]:
    return [None, "", " ", "x", "x" * longest, "x" * (longest + 1), "\U0001f600" * longest, "a\nb"]


def line(**changes: Any) -> Row:
    whole = dict.fromkeys(field.name for field in contract_fields(ItemV3))
    whole |= {"product_id": "P-1", "name": "MILK", "category": "DAIRY", "quantity": Decimal(2)}
    return whole | {"unit_price": Decimal("1.25")} | changes


def whole(number: int | None) -> Decimal | None:
    return None if number is None else Decimal(number)


ORDER_VALUES: dict[str, list[Any]] = {
    "event_id": [*texts(64), event_id("a"), event_id("a").upper(), event_id("a") + "\n", "-" * 36],
    "event_type": [None, "", "order.updated", "order.cancelled", STATUS_CHANGED, "Order.created"],
    "event_time": TIMES,
    "created_at": TIMES,
    "timestamp": [NOON, NOON - timedelta(days=1)],
    "source": texts(64),
    "order_id": texts(64),
    "customer_id": texts(64),
    "branch_id": [None, "", "B02", "b01", "B01 ", "B99"],
    "status": [None, "", "pending", "cancelled", "Pending", "lost"],
    "payment_method": [None, "", "online", "card"],
    "channel": [None, "", "web", "Web", "phone"],
    "currency": [None, "", "EUR", "eur", "EURO", "EUR\n", "\u00c9UR"],
    "total_price": [*MONEY, Decimal("2.49"), Decimal("2.51"), Decimal("2.48"), Decimal("2.52")],
    "items": [
        *(None, [], [line()] * 10_000, [line()] * 10_001, [None], [line(), None]),
        *([line(), line(product_id=text)] for text in texts(64)),
        *([line(name=text), line()] for text in texts(256)),
        *([line(category=text)] for text in texts(128)),
        *(
            [line(), line(quantity=n)]
            for n in map(whole, (None, 0, 1, -1, 100_000, 100_001, 2**31 - 1))
        ),
        *([line(unit_price=price), line()] for price in MONEY),
    ],
}
HUGE, FINE = Decimal(10**13), Decimal("0.0001")
AMOUNTS = [None, Decimal(0), CENT, -CENT, FINE, HUGE, -HUGE]


def paid(*amounts: Decimal | None, method: str | None = "card") -> list[Row]:
    return [{"method": method, "amount": amount} for amount in amounts]


def discount(amount: Decimal | None, reason: str | None = "10 %") -> Row:
    return {"amount": amount, "reason": reason}


TILL_VALUES: dict[str, list[Any]] = {
    **ORDER_VALUES,
    "event_type": [*ORDER_VALUES["event_type"], RETURNED],
    "payment_method": [None, "", "online", "card", "mixed", "barter"],
    "channel": [None, "", "phone", "marketplace", "store"],
    "currency": [None, "", "EUR", "JPY", "KWD", "CLF", "eur", "XAU"],
    "total_price": [*AMOUNTS, Decimal("2.49"), Decimal("2.51"), Decimal("2.48"), Decimal("2.52")],
    "fulfilment_branch_id": texts(64),
    "original_order_id": texts(64),
    **dict.fromkeys(("tax_total", "shipping", "tip", "rounding"), AMOUNTS),
    "tax_included": [None, True, False],
    "discounts": [None, [], *([discount(a)] for a in AMOUNTS)]
    + [[discount(Decimal(0), text)] for text in texts(128)],
    "payments": [
        *(None, [], paid(Decimal("2.50")), paid(Decimal("1.25"), Decimal("1.25"))),
        *(paid(amount) for amount in AMOUNTS),
        *(paid(Decimal("2.50"), method=method) for method in (None, "", "barter", "gift_card")),
        paid(*[Decimal("0.02")] * 125),
    ],
    "items": [
        *ORDER_VALUES["items"],
        *([line(quantity=n)] for n in (Decimal("0.5"), FINE, Decimal(10**7), -Decimal(2))),
        *(
            [line(), line(**{name: a})]
            for name in ("list_price", "discount", "tax")
            for a in AMOUNTS
        ),
        *([line(unit=text)] for text in texts(16)),
        *([line(discount_reason=text)] for text in texts(128)),
        *([line(kind=kind)] for kind in (None, "", "gift", "present")),
    ],
}
FRAME_VALUES: dict[str, list[Any]] = {
    "event_id": ORDER_VALUES["event_id"],
    "branch_id": [None, "", "B02", "b01", "B01/"],
    "camera_id": [None, "", "B02-entrance", "B01-till", "/B01-entrance"],
    "run_id": texts(64),
    "frame_index": [None, 0, -1, 2**62],
    "captured_at": TIMES,
    "image_width": [None, 0, -1, 1, 2**31 - 1],
    "image_height": [None, 0, -1, 1],
    "detector": [None, "", "hog"],
    "model": [None, "", "none"],
}
OBJECT_VALUES: dict[str, list[Any]] = {
    "track_id": texts(64),
    "class": texts(64),
    "confidence": SHARES,
    **dict.fromkeys(("x1", "y1", "x2", "y2"), SHARES),
}


REFUND = {
    "event_type": RETURNED,
    "items": [line(quantity=Decimal(-2))],
    "total_price": Decimal("-2.50"),
}


def silver_order(position: int, **changes: Any) -> Row:
    """A good version of an order; the count follows the lines, a change has no order."""
    row = {
        **dict.fromkeys(field.name for field in contract_fields(OrderV3)),
        "schema_version": 2,
        "event_id": event_id("a"),
        "event_type": "order.created",
        "event_time": NOON,
        "order_id": "O-1",
        "customer_id": "C-1",
        "branch_id": "B01",
        "status": "completed",
        "payment_method": "cash",
        "channel": "in_store",
        "currency": "USD",
        "total_price": Decimal("2.50"),
        "created_at": NOON,
        "items": [line()],
        "source": "pos-B01",
        "timestamp": NOON,
        "topic": "order-created",
        "partition": 0,
        "position": f"{position:020d}",
        **changes,
    }
    if row["event_type"] == STATUS_CHANGED:
        kept = ("order_id", "branch_id", "status")
        row |= dict.fromkeys(f.name for f in contract_fields(OrderV3) if f.name not in kept)
    methods = {payment["method"] for payment in row["payments"] or ()} - {None}
    if methods:
        row["payment_method"] = "mixed" if len(methods) > 1 else methods.pop()
    return row | {"item_count": None if row["items"] is None else len(row["items"])}


def silver_frame(position: int, objects: Sequence[Row], **changes: Any) -> list[Row]:
    """The objects of a frame, good except for the changes."""
    frame = {
        "event_id": event_id("a"),
        "branch_id": "B01",
        "camera_id": "B01-entrance",
        "run_id": "run",
        "frame_index": 7,
        "captured_at": NOON,
        "image_width": 768,
        "image_height": 576,
        "detector": "motion",
        "model": "mog2",
        "tracker": "bytetrack",
        "topic": "detections",
        "partition": 0,
        "position": f"{position:020d}",
        **changes,
    }
    seen = {"track_id": "1", "class": "person", "confidence": 0.9}
    box = {"x1": 0.4, "y1": 0.4, "x2": 0.6, "y2": 0.8}
    return [{**frame, **seen, **box, **found} for found in objects]


def variations(values: dict[str, list[Any]], chance: random.Random, count: int) -> Iterator[Row]:
    """Every value of every column alone, then several together."""
    yield {}
    yield from ({name: value} for name, pool in values.items() for value in pool)
    for _ in range(count):
        names = chance.sample(sorted(values), k=min(chance.randrange(1, 4), len(values)))
        yield {name: chance.choice(values[name][:10]) for name in names}


def orders(seed: int) -> list[Row]:
    chance = random.Random(seed)
    found = list(variations(ORDER_VALUES, chance, 150))
    found += [{"schema_version": TILLS} | v for v in variations(TILL_VALUES, chance, 150)]
    found += [{"event_type": RETURNED}, {"event_type": RETURNED, "schema_version": TILLS}]
    found += [REFUND | {"schema_version": version} for version in (2, TILLS)]
    changes = [{**v, "event_type": STATUS_CHANGED} for v in chance.sample(found, 40)]
    changes += [{"event_type": STATUS_CHANGED, "status": s} for s in ORDER_VALUES["status"]]
    return [silver_order(n, **values) for n, values in enumerate([*found, *changes])]


def frames(seed: int) -> list[Row]:
    chance = random.Random(seed)
    seen = [
        *(({}, [objects]) for objects in variations(OBJECT_VALUES, chance, 100)),
        *((frame, [{}]) for frame in variations(FRAME_VALUES, chance, 50)),
        *(
            (frame, [{}, *variations({"y1": [0.9, 0.1]}, chance, 1)])
            for frame in ({}, {"model": None})
        ),
    ]
    return [row for n, (frame, found) in enumerate(seen) for row in silver_frame(n, found, **frame)]


def wire_time(moment: datetime | None) -> str | None:
    return moment and moment.replace(tzinfo=None).isoformat() + "Z"


def wire_amount(amount: Decimal | None) -> msgspec.Raw:
    return msgspec.Raw(b"null" if amount is None else str(amount).encode())


def order_event(row: Row) -> OrderEvent:
    """The event that becomes this row."""
    change = row["event_type"] == STATUS_CHANGED
    fields = {f.name: row[f.name] for f in contract_fields(OrderV3) if f.name != "items"}
    if row["schema_version"] < TILLS and fields["channel"] == "in_store":
        fields["channel"] = "store"
    lines = row["items"]
    order = Order(
        **fields
        | {
            "total_price": wire_amount(row["total_price"]),
            "status": None if change else row["status"],
            "created_at": wire_time(row["created_at"]),
        },
        items=lines and [i and wire_item(i) for i in lines],
        new_status=row["status"] if change else None,
        old_status="pending",
    )
    event = {name: row[name] for name in ("event_id", "event_type", "source", "schema_version")}
    return OrderEvent(**event, event_time=wire_time(row["event_time"]), order=order)


def wire_item(item: Row) -> Item:
    amounts = {name: wire_amount(item[name]) for name in ("quantity", "unit_price")}
    return Item(**(item | amounts))


def frame_event(rows: Sequence[Row]) -> DetectionEvent:
    """The event that becomes these rows."""
    row = rows[0]
    names = ("event_id", "branch_id", "camera_id", "run_id", "frame_index")
    return DetectionEvent(
        **{name: row[name] for name in names},
        captured_at=wire_time(row["captured_at"]),
        schema_version=1,
        image=Image(row["image_width"], row["image_height"]),
        runtime=RuntimeFields(row["detector"], row["model"]),
        detections=[
            Detection(
                seen["track_id"],
                seen["class"],
                seen["confidence"],
                [seen[side] for side in ("x1", "y1", "x2", "y2")],
            )
            for seen in rows
        ],
    )


def validated_by_stream(
    positions: Sequence[str], rules: tuple[AnyRule, ...], message: ParsedBatch
) -> dict[str, set[str]]:
    """Rule -> positions of the messages that the stream rejects."""
    broken: dict[str, set[str]] = {rule.id: set() for rule in rules}
    verdicts = failed({rule.id: rule.good(message) for rule in rules})
    for position, ids in zip(positions, verdicts.to_pylist(), strict=True):
        for rule in ids:
            broken[rule].add(position)
    return broken


def parsed(events: list[Any]) -> Parsed[Any]:
    """Events as the result of a parse without faults."""
    fine = np.ones(len(events), bool)
    return Parsed(events, fine, fine)


def arrived(moments: list[datetime]) -> pa.Table:
    """The columns of the messages that rules read."""
    keys = pa.nulls(len(moments), pa.binary())
    return pa.table({"key": keys, "timestamp": pa.array(moments, pa.timestamp("us", "UTC"))})


def validated(suite: RowSuite, rows: Any, **result_format: Any) -> Iterator[tuple[str, Row]]:
    """Name of each expectation -> result of Great Expectations, on pandas or on Spark."""
    context = gx.get_context(mode="ephemeral")
    engine = "spark" if isinstance(rows, DataFrame) else "pandas"
    asset = getattr(context.data_sources, f"add_{engine}")("rows").add_dataframe_asset("rows")
    batch = asset.add_batch_definition_whole_dataframe("rows").get_batch({"dataframe": rows})
    gx_suite = gx.ExpectationSuite("rows", expectations=list(suite.expectations))
    for one in batch.validate(gx_suite, result_format=result_format).results:
        assert "unexpected_count" in one.result, one.exception_info
        assert one.success == (one.result["unexpected_count"] == 0)
        yield name_of(one.expectation_config), one.result


@dataclass(frozen=True)
class Case:
    """A table, validated.

    Attributes:
        positions: of all its messages.
        by_stream: rule -> positions of the messages that the stream rejects for it.
        by_pandas: rule -> positions of the rows that its expectations find unexpected.
        counts_on_pandas: expectation -> number of unexpected rows.
        counts_on_spark: the same, by the other engine.
    """

    positions: set[str]
    by_stream: dict[str, set[str]]
    by_pandas: dict[str, set[str]]
    counts_on_pandas: dict[str, int]
    counts_on_spark: dict[str, int]


def arrow(spark: SparkSession, table: Table, rows: list[Row]) -> pa.Table:
    schema = to_arrow_schema(spark.createDataFrame([], table.columns).schema)
    return pa.Table.from_pylist(rows, schema=schema)


def rule_of(name: str) -> str:
    """The id of the rule, from the name of one of its expectations."""
    return name.partition(".")[0]


def batched(suite: RowSuite, rows: pa.Table) -> DataFrame:
    """The rows shaped by Spark, in batches in Python workers."""
    shape = suite.shape

    def each(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            yield from shape(pa.Table.from_batches([batch])).to_batches()

    schema = from_arrow_schema(shape(rows.schema.empty_table()).schema)
    return SparkSession.active().createDataFrame(rows).mapInArrow(each, schema).cache()


def validate_case(
    by_stream: dict[str, set[str]], rows: pa.Table, suites: Sequence[RowSuite]
) -> Case:
    by_pandas, on_pandas, on_spark = dict[str, set[str]](), dict[str, int](), dict[str, int]()
    complete = {"result_format": "COMPLETE", "unexpected_index_column_names": ["position"]}
    for suite in suites:
        parts = [suite.shape(rows.slice(start, 100)) for start in range(0, len(rows), 100)]
        for name, result in validated(suite, pa.concat_tables(parts).to_pandas(), **complete):
            found = {i["position"] for i in result.get("unexpected_index_list") or ()}
            by_pandas.setdefault(rule_of(name), set()).update(found)
            on_pandas[name] = result["unexpected_count"]
        for name, result in validated(suite, batched(suite, rows), result_format="BASIC"):
            on_spark[name] = result["unexpected_count"]
    positions = set(rows["position"].to_pylist())
    return Case(positions, by_stream, by_pandas, on_pandas, on_spark)


@pytest.fixture(scope="module")
def order_case(spark: SparkSession) -> Case:
    rows = orders(seed=6)
    message = order_message(
        arrived([row["timestamp"] for row in rows]), parsed([order_event(row) for row in rows])
    )
    by_stream = validated_by_stream([row["position"] for row in rows], ORDER_RULES, message)
    suites = order_suites(SETTINGS, STORES)
    return validate_case(by_stream, arrow(spark, SILVER_ORDERS, rows), suites)


@pytest.fixture(scope="module")
def detection_case(spark: SparkSession) -> Case:
    rows = frames(seed=6)
    by_frame: dict[str, list[Row]] = {}
    for row in rows:
        by_frame.setdefault(row["position"], []).append(row)
    events = [frame_event(seen) for seen in by_frame.values()]
    message = frame_message(arrived([NOON] * len(events)), parsed(events))
    by_stream = validated_by_stream(list(by_frame), DETECTION_RULES, message)
    suites = detection_suites(SETTINGS, STORES)
    return validate_case(by_stream, arrow(spark, SILVER_DETECTIONS, rows), suites)


def in_table(rules: tuple[AnyRule, ...]) -> list[str]:
    return [rule.id for rule in rules if isinstance(rule, Rule)]


def agree(case: Case, rule: str) -> None:
    assert case.by_stream[rule], "no generated row breaks it: give its columns worse values"
    assert case.positions - case.by_stream[rule], "no generated row is good"
    assert case.by_pandas[rule] == case.by_stream[rule]
    of_rule = {n: count for n, count in case.counts_on_pandas.items() if rule_of(n) == rule}
    assert {n: case.counts_on_spark[n] for n in of_rule} == of_rule


@pytest.mark.parametrize("rule", in_table(ORDER_RULES))
def test_an_order_rule_rejects_what_its_expectation_finds(order_case: Case, rule: str) -> None:
    agree(order_case, rule)


@pytest.mark.parametrize("rule", in_table(DETECTION_RULES))
def test_a_detection_rule_rejects_what_its_expectation_finds(
    detection_case: Case, rule: str
) -> None:
    agree(detection_case, rule)


def test_no_expectation_has_another_source_than_a_rule(
    order_case: Case, detection_case: Case
) -> None:
    assert order_case.by_pandas.keys() == set(in_table(ORDER_RULES))
    assert detection_case.by_pandas.keys() == set(in_table(DETECTION_RULES))


@pytest.mark.parametrize("rule", [*ORDER_RULES, *DETECTION_RULES], ids=lambda r: r.id)
def test_a_rule_without_an_expectation_has_a_reason(rule: AnyRule) -> None:
    assert isinstance(rule, Rule) or rule.not_checkable_because.endswith(".")
    assert rule.description.endswith(".")
