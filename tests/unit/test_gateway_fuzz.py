"""Requests made from the OpenAPI document, good and bad: never a 5xx, never a wrong event taken."""

from __future__ import annotations

from typing import Any

import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    missing_required_header,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
    use_after_free,
)

from conf.settings import GatewaySettings, load_settings
from gateway.app import create_app
from gateway.producer import MemoryPublisher
from gateway.rejections import NotJsonError
from gateway.strict_json import parse
from streaming.validation.contracts import find_faults
from tests.support.gateway_keys import TILL, MemoryKeys, bearer

# Small limits, so that the generator passes them now and then.
GATEWAY = GatewaySettings(
    operations_port=0, max_body_bytes=16_384, max_batch_bytes=32_768, max_batch_events=20
)
BROKER = MemoryPublisher()
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
    missing_required_header,
    unsupported_method,
    use_after_free,
]
schema = schemathesis.openapi.from_asgi(
    "/openapi.json", create_app(load_settings(gateway=GATEWAY), BROKER, MemoryKeys())
)


def fits_the_contract(body: bytes) -> bool:
    try:
        return not find_faults(parse(body))
    except NotJsonError:
        return False


@schema.parametrize()
@settings(max_examples=4, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_request_breaks_the_gateway_or_slips_a_wrong_event_in(case: Any) -> None:
    BROKER.down = False  # the end of an application closes it
    BROKER.messages.clear()

    response = case.call(headers=bearer(TILL))
    case.validate_response(response, checks=CHECKS)

    taken = [message for messages in BROKER.messages.values() for message in messages]
    assert all(fits_the_contract(message.value) for message in taken)
    assert response.status_code in {200, 202, 207} or not taken
