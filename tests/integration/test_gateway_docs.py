"""`/docs` of the gateway in a browser without the internet."""

from __future__ import annotations

from conf.settings import HttpSettings
from tests.support.browser import Visitor, chromium
from tests.support.http_attacks import serve_gateway


def test_the_documentation_renders_and_no_request_leaves_the_machine() -> None:
    with serve_gateway(HttpSettings()) as gateway, chromium() as browser:
        visitor = Visitor(browser, f"http://127.0.0.1:{gateway.operations_port}")
        page = visitor.open("/docs")
        page.get_by_text("/api/kafka/events/order-created", exact=True).first.click()
        page.get_by_text("The broker had this event before").wait_for()
    assert visitor.elsewhere == []
    assert visitor.complaints == []
