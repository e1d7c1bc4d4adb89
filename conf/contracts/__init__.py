"""The contracts of events and public tables.

`order_event.py` defines order events. `order_event.vN.json` is the JSON Schema of its version N,
and `*.odcs.yaml` describes topics and tables in the Open Data Contract Standard; both are generated
by `python -m tools.docs`. `detection_event.v1.json` is written by hand.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from conf.errors import ContractError

FOLDER = Path(__file__).parent
_EVENT_FILE = re.compile(r"(?P<event>\w+)\.v(?P<version>\d+)\.json")

Schema = Mapping[str, Any]


def event_version(file: str) -> tuple[str, int] | None:
    """`order_event.v2.json` -> ("order_event", 2); None for other files."""
    match = _EVENT_FILE.fullmatch(file)
    return (match["event"], int(match["version"])) if match else None


def read_event_schema(text: str, name: str) -> Schema:
    """A JSON Schema with decimals: to a float, 0.01 has no multiples.

    Raises:
        ContractError: the text is no JSON Schema of an object.
    """
    try:
        schema = json.loads(text, parse_float=Decimal)
    except ValueError as error:
        raise ContractError(f"{name} is no JSON: {error}.") from None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ContractError(f"{name} is no contract: it is not the JSON Schema of an object.")
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        place = ".".join(str(part) for part in error.absolute_path) or "its top"
        raise ContractError(f"{name} is no JSON Schema: {error.message} at {place}.") from None
    return schema


def event_schemas(event: str) -> dict[int, Schema]:
    """Every version of the contract of an event, the oldest first."""
    files = {v[1]: f for f in FOLDER.iterdir() if (v := event_version(f.name)) and v[0] == event}
    return {
        number: read_event_schema(files[number].read_text(encoding="utf-8"), files[number].name)
        for number in sorted(files)
    }
