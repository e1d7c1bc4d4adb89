"""One order through the gateway of a deployment."""

from __future__ import annotations

import uuid
from datetime import datetime, timezone

import httpx

from conf.errors import StorelakeError
from conf.settings import Settings
from tests.support.builders import order_event


def send_order(settings: Settings, branch_id: str = "B01") -> str:
    """Post one order of now, with the key of the deployment; returns its order_id.

    Raises:
        StorelakeError: the gateway rejects it.
    """
    now = datetime.now(timezone.utc).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    number = str(uuid.uuid4())
    order = order_event(
        order_id=number, event_id=number, branch_id=branch_id, created_at=now, event_time=now
    )
    url = f"{settings.gateway.url}/api/kafka/events/order-created"
    headers = settings.gateway.authorization
    answer = httpx.post(url, json=order, headers=headers, trust_env=False)
    if answer.is_error:
        raise StorelakeError(f"the gateway rejects an order: {answer.status_code} {answer.text}")
    return number
