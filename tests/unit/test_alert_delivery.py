"""Alerts leave the building: a real HTTP server and a real mail server on loopback."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from datetime import datetime, timedelta, timezone
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import Envelope

from conf.settings import AlertSettings, Settings, SettingsError, load_settings
from dashboard import alert_receivers
from dashboard.alert_log import AlertLog, Notice
from dashboard.alert_receivers import DeliveryError, Mail, Receiver, Webhook, receivers
from dashboard.alert_sender import AlertSender, send_test
from dashboard.alerts import make_alert
from dashboard.board import Away, BoardView

pytestmark = pytest.mark.requirement("M2")

NOW = datetime(2024, 5, 8, 12, 20, tzinfo=timezone.utc)
TOKEN = "a-token-that-no-log-may-have"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
REDIRECT = b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
BROKEN = b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n"
FAST = {"seconds": 0.01, "pause": 0.01}


class WebServer:
    """Answers each request with the next of its answers, the last one from then on."""

    def __init__(self, *answers: bytes | None) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, Any]] = []
        self.url = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        try:
            self.url = f"http://127.0.0.1:{port}/{TOKEN}"
            yield self.url
        finally:
            server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = int(head.lower().split("content-length: ")[1].split("\r\n")[0])
        self.requests.append((head, json.loads(await reader.readexactly(length))))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        with suppress(ConnectionError, asyncio.CancelledError):
            if answer is None:  # one byte at a time, without an end
                for _ in range(1000):
                    writer.write(b"H")
                    await writer.drain()
                    await asyncio.sleep(0.05)
            else:
                writer.write(answer)
                await writer.drain()
            writer.close()


class Mailbox:
    """Every mail that a server has accepted."""

    def __init__(self) -> None:
        self.mails: list[EmailMessage] = []

    async def handle_DATA(self, _server: Any, _session: Any, envelope: Envelope) -> str:  # noqa: N802
        content = envelope.content
        assert isinstance(content, bytes)
        self.mails.append(message_from_bytes(content, policy=default))
        return "250 OK"


@contextmanager
def mail_server(box: Mailbox) -> Iterator[AlertSettings]:
    server = Controller(box, hostname="127.0.0.1", port=free_port())
    server.start()
    try:
        yield AlertSettings(
            email_to=("a@example.org", "b@example.org"),
            smtp_port=server.port,
            smtp_security="none",
        )
    finally:
        server.stop()


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def webhook_settings(url: str) -> AlertSettings:
    return AlertSettings.model_validate({"webhook_url": url, "webhook_token": TOKEN})


def notice(summary: str = "No frame.", subject: str = "B01-till", **over: Any) -> Notice:
    alert = make_alert("CameraSilent", subject, summary, branch_id="B01")
    return Notice(alert, NOW, **over)


def test_the_webhook_gets_the_format_of_alertmanager() -> None:
    server = WebServer(OK)

    async def send() -> None:
        async with server.running() as url:
            webhook = Webhook(webhook_settings(url), "http://console")
            await webhook.deliver([notice(), notice(subject="B02", ended=NOW)])

    asyncio.run(send())
    ((head, body),) = server.requests
    assert head.startswith(f"POST /{TOKEN} ")
    assert f"authorization: bearer {TOKEN}" in head.lower()
    assert (body["version"], body["status"], body["truncatedAlerts"]) == ("4", "firing", 0)
    assert body["commonLabels"] == {
        "alertname": "CameraSilent",
        "severity": "critical",
        "branch": "B01",
    }
    first, second = body["alerts"]
    assert (first["status"], first["startsAt"]) == ("firing", "2024-05-08T12:20:00.000Z")
    assert first["endsAt"] == "0001-01-01T00:00:00Z"
    assert (second["status"], second["endsAt"]) == ("resolved", "2024-05-08T12:20:00.000Z")
    assert first["fingerprint"] != second["fingerprint"]
    assert first["annotations"]["summary"] == "No frame."


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (BROKEN, "it answers 500"),
        (REDIRECT, "it answers 302: redirects are not followed"),
        (b"", "Server disconnected"),
        (b"SSH-2.0-OpenSSH_9\r\n\r\n", "illegal status line"),
        (None, "no answer within 0.3 s"),
    ],
    ids=["500", "redirect", "closed", "no http", "one byte at a time"],
)
def test_a_webhook_that_does_not_accept_is_an_error_of_one_sentence_without_its_token(
    answer: bytes | None, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_receivers, "SECONDS", 0.3)
    server = WebServer(answer)

    async def send() -> None:
        async with server.running() as url:
            await Webhook(webhook_settings(url), "http://console").deliver([notice()])

    with pytest.raises(DeliveryError, match=reason) as caught:
        asyncio.run(send())
    assert TOKEN not in str(caught.value)
    assert len(server.requests) == 1


def test_a_mail_has_what_to_do_and_no_text_of_the_data_becomes_a_header() -> None:
    box = Mailbox()
    hostile = notice(
        "No frame.\r\n\r\n.\r\nRCPT TO:<x@y>", "till\r\nBcc: all@example.org\u2028X: y"
    )
    with mail_server(box) as settings:
        asyncio.run(Mail(settings, "http://console").deliver([hostile]))
    (mail,) = box.mails
    assert mail["Subject"].startswith("[storelake] critical: CameraSilent till")
    assert (mail["Bcc"], mail["X"]) == (None, None)
    assert mail["To"] == "a@example.org, b@example.org"
    text = mail.get_content()
    assert "Check the power and network of the camera" in text
    assert "\n.\n" not in text
    assert "http://console/#alerts" in text


def test_a_long_and_a_foreign_text_arrive_whole(tmp_path: Path) -> None:
    box = Mailbox()
    with mail_server(box) as settings:
        asyncio.run(Mail(settings, "u").deliver([notice("ü" * 2000, "Kasse 1 - Süd")]))
    (mail,) = box.mails
    assert "Kasse 1 - Süd" in mail["Subject"]
    assert "ü" * 2000 in mail.get_content().replace("\n", "")


def test_a_mail_server_that_is_absent_or_without_encryption_is_an_error() -> None:
    gone = AlertSettings(email_to=("a@example.org",), smtp_port=free_port(), smtp_security="none")
    with pytest.raises(DeliveryError, match="Error connecting"):
        asyncio.run(Mail(gone, "u").deliver([notice()]))
    with mail_server(Mailbox()) as settings:
        wanted = settings.model_copy(update={"smtp_security": "starttls"})
        with pytest.raises(DeliveryError, match="STARTTLS"):
            asyncio.run(Mail(wanted, "u").deliver([notice()]))


@pytest.mark.parametrize("line", [b"", b"220 mail.example.org\r\n421 too busy\r\n", b"2"])
def test_a_mail_server_that_hangs_or_ends_is_an_error_in_time(
    line: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alert_receivers, "SECONDS", 0.3)

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.CancelledError):
            writer.write(line)
            for _n in range(1000):
                writer.write(line[:1] if len(line) == 1 else b"")
                await writer.drain()
                await asyncio.sleep(0.05)

    async def send() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        settings = AlertSettings(email_to=("a@example.org",), smtp_port=port, smtp_security="none")
        await Mail(settings, "u").deliver([notice()])

    with pytest.raises(DeliveryError):
        asyncio.run(send())


async def until(condition: Callable[[], bool], running: Awaitable[None]) -> None:
    """Run the sender until something holds; fails after ten seconds."""
    task = asyncio.ensure_future(running)

    async def hold() -> None:
        while not condition():
            assert not task.done(), task.result()
            await asyncio.sleep(0.005)

    try:
        await asyncio.wait_for(hold(), 10)
    finally:
        task.cancel()


def sender(found: list[Receiver], file: Path, view: Callable[[], BoardView]) -> AlertSender:
    names = [one.name for one in found]
    log = AlertLog(names, timedelta(0), timedelta(hours=1))
    return AlertSender(view, found, log, file, **FAST)


AWAY = BoardView(None, Away(NOW, "connection refused"))


def test_a_receiver_that_fails_is_tried_again_and_named_and_does_not_delay_the_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server, box = WebServer(BROKEN, REDIRECT, b"", OK), Mailbox()

    async def run(settings: AlertSettings) -> None:
        async with server.running() as url:
            hook = Webhook(webhook_settings(url), "u")
            both: list[Receiver] = [hook, Mail(settings, "u")]
            made = sender(both, tmp_path / "alerts.json", lambda: AWAY)
            await until(lambda: len(server.requests) == 4 and bool(box.mails), made.run())

    with mail_server(box) as settings, caplog.at_level(logging.WARNING):
        asyncio.run(run(settings))
    assert len(box.mails) == 1
    assert caplog.text.count("alerts do not reach the webhook at 127.0.0.1") == 3
    assert TOKEN not in caplog.text


def test_after_a_restart_the_end_is_sent_and_the_begin_is_not_sent_again(tmp_path: Path) -> None:
    server, file = WebServer(OK), tmp_path / "run" / "alerts.json"

    async def run() -> None:
        async with server.running() as url:
            hook = Webhook(webhook_settings(url), "u")
            await until(lambda: "sent" in _text(file), sender([hook], file, lambda: AWAY).run())
            views = iter([AWAY] * 5)
            restarted = sender([hook], file, lambda: next(views, BoardView()))
            await until(lambda: len(server.requests) == 2, restarted.run())

    asyncio.run(run())
    begin, end = (body["alerts"] for _, body in server.requests)
    assert [(a["labels"]["alertname"], a["status"]) for a in (*begin, *end)] == [
        ("DatabaseAway", "firing"),
        ("DatabaseAway", "resolved"),
    ]


@pytest.mark.parametrize("kept", ["", "[]", '{"sent": 1}', '{"sent": [{"began": "x"}]}', "{}"])
def test_a_state_file_that_cannot_be_used_stops_no_alert(tmp_path: Path, kept: str) -> None:
    server, file = WebServer(OK), tmp_path / "alerts.json"
    file.write_text(kept)

    async def run() -> None:
        async with server.running() as url:
            hook = Webhook(webhook_settings(url), "u")
            made = sender([hook], file, lambda: AWAY)
            await until(lambda: bool(server.requests), made.run())

    asyncio.run(run())


def test_a_view_that_cannot_be_read_or_a_disk_that_is_full_stops_no_alert(tmp_path: Path) -> None:
    server, views = WebServer(OK), iter([None, None])
    (tmp_path / "file").write_text("")

    def look() -> BoardView:
        if next(views, AWAY) is None:
            raise RuntimeError("once")
        return AWAY

    async def run() -> None:
        async with server.running() as url:
            hook = Webhook(webhook_settings(url), "u")
            made = sender([hook], tmp_path / "file" / "alerts.json", look)
            await until(lambda: bool(server.requests), made.run())

    asyncio.run(run())


def _text(file: Path) -> str:
    return file.read_text() if file.exists() else ""


@pytest.mark.parametrize(
    "wrong",
    [
        {"webhook_url": "file:///etc/passwd"},
        {"webhook_url": "http://"},
        {"webhook_url": "http://host:port/"},
        {"webhook_url": "http://a b/"},
        {"webhook_url": "https://x", "webhook_token": "a\r\nHost: b"},
        {"email_to": ["a@b\r\nBcc: c@d"]},
        {"email_to": ["nobody"]},
        {"smtp_security": "none", "smtp_user": "u", "smtp_password": TOKEN},
        {"smtp_user": "u"},
    ],
    ids=str,
)
def test_a_setting_that_could_not_work_or_would_leak_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(SettingsError):
        load_settings(alerts=wrong)


def test_a_short_address_of_a_webhook_is_no_weak_secret() -> None:
    assert load_settings(profile="full", alerts={"webhook_url": "http://am/"}).alerts.webhook_url
    with pytest.raises(SettingsError, match="STORELAKE_ALERTS__WEBHOOK_TOKEN"):
        load_settings(profile="full", alerts={"webhook_token": "short"})


def test_a_test_alert_reports_each_receiver(tmp_path: Path) -> None:
    with mail_server(Mailbox()) as alerts:
        hook = {"webhook_url": f"http://127.0.0.1:{free_port()}/{TOKEN}"}
        both = AlertSettings.model_validate({**alerts.model_dump(), **hook})
        settings = Settings(var_dir=tmp_path, alerts=both)
        found = dict(send_test(settings))
        assert list(found) == [one.name for one in receivers(settings)]
    assert found["mail by 127.0.0.1"] is None
    assert "connection attempts failed" in str(found["webhook at 127.0.0.1"]).lower()
    with pytest.raises(SettingsError, match="STORELAKE_ALERTS__WEBHOOK_URL"):
        send_test(Settings(var_dir=tmp_path))
