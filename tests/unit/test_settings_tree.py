"""The settings tree: which source wins, and what stops the program."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict
from pydantic import ValidationError
from sqlalchemy.engine import make_url

from cli.context import read_settings
from conf.settings import PLACEHOLDERS, PostgresSettings, SettingsError, load_settings
from conf.settings.renamed import rename_tree

PASSWORD = "STORELAKE_POSTGRES__WRITER_PASSWORD"


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No variable of the product, and no .env nearby."""
    for name in [n for n in os.environ if n.startswith("STORELAKE_") or n == "JAVA_HOME"]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def set_(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def test_without_any_source_the_defaults_are_those_of_one_machine() -> None:
    settings = load_settings()
    assert settings.profile == "local"
    assert settings.kafka.bootstrap == "127.0.0.1:19092"


def test_a_profile_is_over_the_defaults(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_PROFILE", "test")
    assert load_settings().kafka.port == 29092


def test_the_environment_is_over_the_profile(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_PROFILE", "test")
    set_.setenv("STORELAKE_KAFKA__PORT", "39092")
    kafka = load_settings().kafka
    assert (kafka.port, kafka.controller_port) == (39092, 29093)


def test_the_dot_env_file_is_over_generated_secrets(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secrets.env").write_text(f"{PASSWORD}=generated-one\n")
    assert load_settings().postgres.secret == "generated-one"
    (tmp_path / ".env").write_text(f"{PASSWORD}=written-one\n")
    assert load_settings().postgres.secret == "written-one"


def test_the_dot_env_file_may_choose_the_profile_and_the_state_folder(tmp_path: Path) -> None:
    (tmp_path / "sandbox").mkdir()
    (tmp_path / "sandbox" / "secrets.env").write_text(f"{PASSWORD}=generated-one\n")
    (tmp_path / ".env").write_text("STORELAKE_PROFILE=test\nSTORELAKE_VAR_DIR=sandbox\n")
    settings = load_settings()
    assert (settings.profile, settings.kafka.port) == ("test", 29092)
    assert settings.postgres.secret == "generated-one"


@pytest.mark.requirement("D1")
@pytest.mark.parametrize(
    ("broken", "line"),
    [
        ("STORELAKE_KAFKA__PORT 39092", 2),
        ("STORELAKE_KAFKA__PORT", 2),
        ("STORELAKE_LOG_LEVEL='INFO\n# and more", 2),
        ("\n=39092", 3),
    ],
)
def test_a_line_of_the_dot_env_file_that_is_no_variable_is_named(
    tmp_path: Path, broken: str, line: int
) -> None:
    (tmp_path / ".env").write_text(f"# ours\n{broken}\n")
    with pytest.raises(SettingsError, match=rf"^\.env, line {line} is not NAME=VALUE: mend it"):
        load_settings()


def test_a_dot_env_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"STORELAKE_LOG_LEVEL=\xff\xfe")
    with pytest.raises(SettingsError, match=r"^\.env cannot be read \(it is no UTF-8 text\)"):
        load_settings()


def test_a_dot_env_that_is_a_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    with pytest.raises(SettingsError, match=r"^\.env cannot be read \(Is a directory\)"):
        load_settings()


def test_a_secrets_file_that_was_damaged_is_named(tmp_path: Path) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "secrets.env").write_text("half a li")
    with pytest.raises(SettingsError, match=r"var/secrets\.env, line 1 is not NAME=VALUE"):
        load_settings()


def test_a_list_that_is_no_json_is_named_with_an_example(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_STREAMS__DETECTIONS_FROM", "kafka")
    with pytest.raises(SettingsError, match=r"streams.*written as JSON, such as '\[\"kafka\"\]'"):
        load_settings()


def test_generated_secrets_are_looked_for_where_the_state_is(
    set_: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "secrets.env").write_text(f"{PASSWORD}=generated-one\n")
    set_.setenv("STORELAKE_VAR_DIR", str(tmp_path / "elsewhere"))
    assert load_settings().postgres.secret == "generated-one"


def test_a_profile_that_a_command_is_given_holds_for_what_it_starts_too(
    set_: pytest.MonkeyPatch,
) -> None:
    set_.setenv("STORELAKE_PROFILE", "local")  # and back, after this test
    settings = read_settings("full")
    assert settings.profile == os.environ["STORELAKE_PROFILE"] == "full"
    assert settings.wants_minio
    assert settings.wants_pulsar
    assert read_settings().profile == "full"


def test_an_unknown_profile_is_rejected_with_the_known_ones(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_PROFILE", "prod")
    with pytest.raises(SettingsError, match=r"'prod' is unknown; known: .*local.*test"):
        load_settings()


@pytest.mark.parametrize("password", [*sorted(PLACEHOLDERS - {""}), "ChangeMe"])
def test_a_placeholder_is_no_password(set_: pytest.MonkeyPatch, password: str) -> None:
    set_.setenv(PASSWORD, password)
    with pytest.raises(SettingsError, match=r"postgres\.writer_password: .* is a placeholder"):
        load_settings()


def test_a_missing_password_names_its_variable() -> None:
    with pytest.raises(SettingsError, match=PASSWORD):
        _ = load_settings().postgres.dsn


def test_the_password_is_in_no_repr(set_: pytest.MonkeyPatch) -> None:
    set_.setenv(PASSWORD, "hunter-2-hunter-2")
    settings = load_settings()
    assert "hunter-2" in settings.postgres.dsn
    assert "hunter-2" not in repr(settings)
    assert "hunter-2" not in settings.postgres.jdbc_url


@pytest.mark.parametrize("password", ["two words", "it's", "back\\slash", "50%@home:/"])
def test_any_password_reaches_the_server_as_it_is(password: str) -> None:
    postgres = PostgresSettings(writer_password=password)  # type: ignore[arg-type]
    assert conninfo_to_dict(postgres.dsn)["password"] == password
    assert make_url(postgres.sqlalchemy_url).password == password


def test_a_value_that_does_not_fit_is_named_with_its_path(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_STREAMS__MAX_ROWS_PER_BATCH", "0")
    with pytest.raises(SettingsError, match=r"streams\.max_rows_per_batch"):
        load_settings()


@pytest.mark.parametrize("branch", ["KAFKA", "GATEWAY", "POSTGRES", "CONSOLE"])
@pytest.mark.parametrize("port", ["-5", "70000"])
def test_a_port_that_tcp_does_not_have_is_refused(
    set_: pytest.MonkeyPatch, branch: str, port: str
) -> None:
    set_.setenv(f"STORELAKE_{branch}__PORT", port)
    with pytest.raises(SettingsError, match=rf"{branch.lower()}\.port"):
        load_settings()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("STREAMS__WATERMARK", "-PT5M"),
        ("STREAMS__LEDGER_KEEP", "-P7D"),
        ("RETENTION__DETECTIONS", "-P3D"),
        ("GATEWAY__ACK_TIMEOUT_SECONDS", "nan"),
        ("GATEWAY__ACK_TIMEOUT_SECONDS", "inf"),
        ("GATEWAY__ACK_TIMEOUT_SECONDS", "-5"),
    ],
)
def test_a_time_that_is_none_is_refused(
    set_: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    set_.setenv(f"STORELAKE_{variable}", value)
    with pytest.raises(SettingsError, match=variable.lower().replace("__", r"\.")):
        load_settings()


def test_a_misspelt_variable_of_a_branch_is_refused(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_KAFKA__PROT", "1")
    with pytest.raises(SettingsError, match=r"kafka\.prot"):
        load_settings()


OLD_NAMES = [
    ("STORELAKE_KEEPER__STOP_SECONDS", "STORELAKE_SUPERVISOR__STOP_SECONDS"),
    ("STORELAKE_STREAMS__SETTLE_SECONDS", "STORELAKE_STREAMS__INTERVAL_SECONDS"),
    ("STORELAKE_STREAMS__COPY_SECONDS", "STORELAKE_STREAMS__REPLICATE_SECONDS"),
]


@pytest.mark.parametrize(("former", "name"), OLD_NAMES)
def test_a_former_name_works_and_its_warning_has_the_new_name(
    set_: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, former: str, name: str
) -> None:
    set_.setenv(former, "7")
    branch, setting = name.removeprefix("STORELAKE_").lower().split("__")
    assert getattr(getattr(load_settings(), branch), setting) == 7
    (warning,) = caplog.messages
    assert warning.startswith(f"{former} is now {name}:")


def test_a_former_name_inside_of_json_works(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_KEEPER", '{"stop_seconds": 7}')
    set_.setenv("STORELAKE_STREAMS", '{"settle_seconds": 8}')
    settings = load_settings()
    assert (settings.supervisor.stop_seconds, settings.streams.interval_seconds) == (7, 8)


def test_a_former_name_has_the_priority_of_its_source(
    set_: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    former, name = OLD_NAMES[1]
    (tmp_path / ".env").write_text(f"{name}=7\n")
    set_.setenv(former, "8")
    assert load_settings().streams.interval_seconds == 8
    set_.setenv(name, "9")
    assert load_settings().streams.interval_seconds == 9


def test_former_names_in_a_profile_are_renamed() -> None:
    profile = {"keeper": {"stop_seconds": 1}, "streams": {"copy_seconds": 2, "retries": 3}}
    assert rename_tree(profile) == {
        "supervisor": {"stop_seconds": 1},
        "streams": {"replicate_seconds": 2, "retries": 3},
    }


def test_an_existing_cluster_replaces_the_local_broker(set_: pytest.MonkeyPatch) -> None:
    set_.setenv("STORELAKE_KAFKA__BOOTSTRAP_SERVERS", "a:1,b:2")
    assert load_settings().kafka.bootstrap == "a:1,b:2"


def test_what_a_caller_names_wins_over_everything(set_: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_.setenv("STORELAKE_VAR_DIR", "elsewhere")
    assert load_settings(var_dir=tmp_path).var_dir == tmp_path


def test_settings_cannot_be_changed() -> None:
    settings = load_settings()
    with pytest.raises(ValidationError, match="frozen"):
        settings.kafka.port = 1  # type: ignore[misc]


def test_rejected_messages_are_no_input_of_order_streams() -> None:
    kafka = load_settings().kafka
    assert kafka.order_dlq not in kafka.order_topics
    assert set(kafka.order_topics) < set(kafka.all_topics)
