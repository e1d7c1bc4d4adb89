"""The command line as a whole: its help, its version, and how little it imports at the start."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from textwrap import dedent

import pytest
from typer import BadParameter
from typer.core import TyperGroup
from typer.main import get_command
from typer.testing import CliRunner

from cli.context import parse_age
from cli.main import SECTIONS, app, main

runner = CliRunner()


def paths(group: TyperGroup, *above: str) -> Iterator[tuple[str, ...]]:
    """The words of every command and group."""
    yield above
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            yield from paths(command, *above, name)
        else:
            yield (*above, name)


def commands() -> list[tuple[str, ...]]:
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    return list(paths(group))


def test_the_help_lists_commands_by_section_and_hides_the_supervisor() -> None:
    text = runner.invoke(app, ["--help"]).output
    assert re.findall(r"^(\w+):$", text, re.MULTILINE) == ["Options", *SECTIONS]
    assert list(SECTIONS) == ["Run", "Orders", "Cameras", "Lake", "Quality", "Operate"]
    assert re.search(r"^  dlq +Rejected order messages", text, re.MULTILINE)
    assert not re.search(r"^  keep\b", text, re.MULTILINE)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_a_help_in_plain_text(words: tuple[str, ...]) -> None:
    short = runner.invoke(app, [*words, "-h"])
    assert short.exit_code == 0
    assert short.output == runner.invoke(app, [*words, "--help"]).output
    assert "╭" not in short.output


def test_the_version_is_that_of_the_package() -> None:
    result = runner.invoke(app, ["--version"])
    assert (result.exit_code, result.output) == (0, f"storelake {version('storelake')}\n")


@pytest.mark.parametrize("text", ["36501d", "999999d", "876001h"])
def test_an_age_of_more_than_a_century_is_refused(text: str) -> None:
    assert parse_age("36500d") == parse_age("876000h")
    with pytest.raises(BadParameter, match="the longest is 36500d"):
        parse_age(text)


@pytest.mark.parametrize(
    "words", ["send --rate inf --seconds 1", "infer --seconds inf", "replay FILE --speed inf"]
)
def test_an_option_is_a_finite_number(words: str) -> None:
    result = runner.invoke(app, words.split())
    assert result.exit_code == 2
    assert "is not a finite number" in result.output


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("create --all-branches --expires 0d", "the key would end at once"),
        ("rotate a1 --expires 1h --overlap 2h", "the new secret would end before the present one"),
    ],
)
def test_a_key_of_the_gateway_outlives_its_making(words: str, sentence: str) -> None:
    result = runner.invoke(app, ["keys", *words.split()])
    assert result.exit_code == 2
    assert sentence in " ".join(result.output.split())


@pytest.mark.parametrize(
    "words", ["shop pictures --count 10", "shop render --shoppers 1 --seconds 1"]
)
def test_a_file_that_cannot_be_made_is_one_sentence(
    words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("os.umask", lambda _: 0)  # of the tests' own process
    monkeypatch.setattr("sys.argv", ["storelake", *words.split(), "--out", "/proc/nowhere/out"])
    with pytest.raises(SystemExit, match="1"):
        main()
    *_, sentence = capsys.readouterr().err.splitlines()
    assert sentence == "/proc/nowhere cannot be used: No such file or directory."


def test_the_help_needs_no_large_library() -> None:
    large = {"rich", "pydantic", "httpx", "numpy", "pyarrow", "pyspark", "psycopg"}
    code = f"import sys, cli.main; sys.exit(', '.join({large} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_commands_that_only_show_load_no_data_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Answers and lists come at once: PyArrow, pandas and the like take a second of CPU."""
    monkeypatch.setenv("STORELAKE_VAR_DIR", str(tmp_path))
    monkeypatch.setenv("STORELAKE_POSTGRES__WRITER_PASSWORD", "not a placeholder")
    shown = ["ask", "ask --show conversion_by_hour", "status", "down", "logs", "dlq list"]
    large = "numpy pandas pyarrow pyiceberg pyspark sqlalchemy httpx great_expectations"
    code = f"""
        import sys
        from cli.main import main

        for line in {shown}:
            sys.argv[1:] = line.split()
            try:
                main()
            except SystemExit:
                pass
            if loaded := sys.modules.keys() & set("{large}".split()):
                sys.exit(f"{{line}} loads {{sorted(loaded)}}")
    """
    done = subprocess.run(
        [sys.executable, "-c", dedent(code)], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
