"""Which secrets are refused outside a machine of one's own."""

from __future__ import annotations

import secrets

import pytest

from conf.settings import SettingsError, load_settings
from conf.settings.weak_secrets import weakness

USERS = frozenset({"storelake_writer", "olga.petrova-shop"})


@pytest.mark.parametrize(
    ("secret", "fault"),
    [
        ("", "empty"),
        ("   ", "empty"),
        *((text, "example") for text in ("changeme", "Password", "minioadmin", "storelake")),
        *(
            (text, "example")
            for text in ("CHANGE_ME_PLEASE"[:9], "your-secret-here", "s e c r e t")
        ),
        *(
            (text, "example")
            for text in ("password123456!", "postgres-postgres", "my-real-secret-42")
        ),
        ("<set-your-password>", "example"),
        ("kR8v-2Qz!", "shorter"),
        ("olga.petrova-shop", "name of its user"),
        ("Storelake_Writer", "name of its user"),
        ("1234567890123", "number"),
        ("zzzzyyyyzzzzyyyy", "repeats"),
        ("correct horse battery", ""),
        ("mustard-of-the-pass", ""),
        ("31415926535897932384626", ""),
        ("AKIAIOSFODNN7EXAMPLE", "example"),
    ],
)
def test_what_can_be_guessed_is_refused(secret: str, fault: str) -> None:
    found = weakness(secret, USERS)
    assert fault in found
    assert bool(found) == bool(fault)


def test_what_compose_and_up_generate_is_good() -> None:
    for _ in range(200):
        assert not weakness(secrets.token_urlsafe(24))
        assert not weakness(secrets.token_hex(24))
        assert not weakness(secrets.token_hex(8), is_name=True)


WEAK = {
    "STORELAKE_POSTGRES__WRITER_PASSWORD": "storelake-2024",
    "STORELAKE_CONSOLE__PASSWORD": "storelake_console",
    "STORELAKE_S3__ACCESS_KEY": "minioadmin",
    "STORELAKE_CATALOG__TOKEN": "your-token",
}


@pytest.mark.parametrize("variable", WEAK)
def test_the_variable_is_named_and_the_secret_is_not(
    variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORELAKE_PROFILE", "compose")
    monkeypatch.setenv(variable, WEAK[variable])
    with pytest.raises(SettingsError, match=rf"^{variable} is ") as refused:
        load_settings()
    assert WEAK[variable] not in str(refused.value)


def test_a_machine_of_ones_own_takes_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORELAKE_PROFILE", "local")
    for variable, secret in WEAK.items():
        monkeypatch.setenv(variable, secret)
    load_settings()
