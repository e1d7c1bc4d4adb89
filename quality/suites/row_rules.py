"""The rules that split the streams, as expectations on the rows that the streams wrote.

The rules themselves are in `streaming.validation.order_rules` and `detection_rules`. The name of an
expectation is the id of its rule; where a rule has several checks, the validated column follows
after a dot (`item_named.category`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial, reduce
from operator import and_

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation
from great_expectations.expectations.row_conditions import Column, ComparisonCondition
from great_expectations.expectations.row_conditions import Condition as RowCondition

from conf.settings import Settings
from conf.stores import Stores
from quality.shapes import line_rows, rule_rows
from quality.suite import RowSuite, expect
from streaming.lake.tables import SILVER_DETECTIONS, SILVER_ORDERS
from streaming.validation.checks import Check
from streaming.validation.detection_rules import detection_rules
from streaming.validation.order_rules import order_rules
from streaming.validation.rules import AnyRule, Condition, Rule, When

_VERSION = ("order_id", "topic", "partition", "position")
_LINE = (*_VERSION, "product_id")
_OBJECT = ("camera_id", "run_id", "frame_index", "track_id", "topic", "partition", "position")


def order_suites(settings: Settings, stores: Stores) -> tuple[RowSuite, ...]:
    """The suites of `silver.orders`: `rows`, the versions of orders, and `lines`, their lines."""
    rules = order_rules([b.branch_id for b in stores.branches], settings.streams.max_future_skew)
    of_rows, of_lines = _in_table(rules, each=False), _in_table(rules, each=True)
    rows = partial(rule_rows, rules=of_rows, keys=_VERSION)
    lines = partial(line_rows, rules=of_lines, keys=_VERSION)
    return (
        RowSuite(SILVER_ORDERS.name, _all(of_rows), _VERSION, shape=rows),
        RowSuite(SILVER_ORDERS.name, _all(of_lines), _LINE, name="lines", shape=lines),
    )


def detection_suites(settings: Settings, stores: Stores) -> tuple[RowSuite, ...]:
    """The suite of `silver.detections`; a row is an object already."""
    cameras = [(b.branch_id, c.camera_id) for b in stores.branches for c in b.cameras]
    rules = detection_rules(cameras, settings.streams.max_future_skew)
    of_rows = (*_in_table(rules, each=False), *_in_table(rules, each=True))
    rows = partial(rule_rows, rules=of_rows, keys=_OBJECT)
    return (RowSuite(SILVER_DETECTIONS.name, _all(of_rows), _OBJECT, shape=rows),)


def _all(rules: Sequence[Rule]) -> tuple[Expectation, ...]:
    return tuple(one for rule in rules for one in expectations(rule))


def expectations(rule: Rule) -> tuple[Expectation, ...]:
    """One for each check of the rule."""
    return tuple(_expectation(rule, check) for check in rule.checks)


def _in_table(rules: Sequence[AnyRule], *, each: bool) -> tuple[Rule, ...]:
    return tuple(r for r in rules if isinstance(r, Rule) and r.each == each)


def _expectation(rule: Rule, check: Check) -> Expectation:
    name = rule.id if len(rule.checks) == 1 else f"{rule.id}.{check.label}"
    expected = check.expected()
    kind: type[Expectation] = getattr(gxe, expected.kind)
    arguments = {**expected.arguments}
    text = expected.text or f"in no row: {rule.description}"
    if rule.when is not None:
        arguments["row_condition"] = _condition(rule.when)
        text += f" (where {' and '.join(map(_condition_text, rule.when.conditions))})"
    return expect(name, rule.description, kind, expected=text, **arguments)


def _condition_text(condition: Condition) -> str:
    if isinstance(condition.value, int):
        return (
            f"{condition.field} is {'below' if condition.holds else 'at least'} {condition.value}"
        )
    return f"{condition.field} is {'' if condition.holds else 'not '}{condition.value}"


def _condition(when: When) -> RowCondition:
    return reduce(and_, map(_compared, when.conditions))


def _compared(condition: Condition) -> ComparisonCondition:
    column = Column(condition.field)
    if isinstance(condition.value, int):
        below = column < condition.value
        return below if condition.holds else column >= condition.value
    return column == condition.value if condition.holds else column != condition.value
