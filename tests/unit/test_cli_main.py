"""The command line as a whole: usage errors, help, output that cannot be written, how fast it starts."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nexus_cli import errors
from nexus_cli.commands import TABLE, command_named
from nexus_cli.errors import CommandError
from nexus_cli.exit_codes import MEANINGS, ExitCode
from nexus_cli.screen import columns, json_text, report, visible
from stub_api import WS, Shell, page, shell, summary

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def sh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Shell]:
    with shell(monkeypatch, tmp_path, capsys) as ready:
        yield ready


class TestUsage:
    @pytest.mark.parametrize(
        ("argv", "said"),
        [
            (["lss"], 'Unknown command "lss". Did you mean "ls"?'),
            (["ls", "--al"], "Unknown option"),
            (["show"], "NAME"),
            (["create", "web", "--cpu", "many"], "--cpu"),
            (["token", "new"], "LABEL"),
            (["ls", "--url", "ftp://x"], "ftp://x"),
        ],
    )
    def test_wrong_usage(self, sh: Shell, argv: list[str], said: str) -> None:
        outcome = sh(*argv)
        assert (outcome.code, outcome.out) == (2, "")
        assert outcome.err.startswith("error: ")
        assert said in outcome.err
        assert "fix: " in outcome.err
        assert sh.api.asked == []

    def test_help_is_pointed_to(self, sh: Shell) -> None:
        assert "See `nexus token new --help`." in sh("token", "new").err
        assert "See `nexus --help`." in sh("lss").err

    def test_in_json(self, sh: Shell) -> None:
        outcome = sh("show", "--json")
        assert outcome.code == 2
        assert json.loads(outcome.err).keys() == {"error", "message", "details", "request_id"}

    def test_a_remote_commands_json_is_not_ours(self, sh: Shell) -> None:
        assert sh("ssh", "--wrong", "--", "--json").err.startswith("error: ")

    def test_a_command_is_found_in_its_tokens(self) -> None:
        assert command_named(["token", "new", "x"]) == "token new"
        assert command_named(["ls", "--all"]) == "ls"
        assert command_named([]) == ""


class TestHelp:
    def test_every_command_is_listed(self, sh: Shell) -> None:
        out = sh("--help").out
        for command in TABLE:
            assert command.name.split()[0] in out
        assert sh().out == out

    @pytest.mark.parametrize("name", [command.name for command in TABLE])
    def test_every_command_has_help(self, sh: Shell, name: str) -> None:
        outcome = sh(*name.split(), "--help")
        assert outcome.code == 0
        assert f"Usage: nexus {name}" in outcome.out

    def test_version(self, sh: Shell) -> None:
        assert re.fullmatch(r"\d+\.\d+\.\d+\S*\n", sh("--version").out)

    def test_no_command_takes_a_token(self, sh: Shell) -> None:
        for command in TABLE:
            assert not re.search(r"--token\b(?!-file)", sh(*command.name.split(), "--help").out)


def test_the_schema_is_that_of_the_reference(sh: Shell) -> None:
    outcome = sh("schema")
    assert outcome.out == (ROOT / "docs" / "reference" / "config.schema.json").read_text()
    assert json.loads(outcome.out)["$schema"].startswith("https://json-schema.org/")
    assert sh.api.asked == []


class TestScreen:
    def test_control_characters_are_shown(self) -> None:
        assert visible("a\x1b[2J\r\n\x9b\u202eb") == r"a\x1b[2J\r\n\x9b\u202eb"
        assert visible("Grüße 日本 ✓") == "Grüße 日本 ✓"
        assert visible("\udc80") == r"\udc80"

    def test_json_stays_json(self) -> None:
        value = {"a": "\x1b\x7f\x9b\u202e\U000e0041ü\n", "b": [1, None]}
        text = json_text(value)
        assert json.loads(text) == value
        assert all(char.isprintable() or char == "\n" for char in text)
        assert "ü" in text

    def test_server_strings_in_every_place(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary("w\x1b[2J", owner="a\x9b\n")))
        assert all(char.isprintable() or char == "\n" for char in sh("ls").out)
        assert all(char.isprintable() or char == "\n" for char in sh("ls", "--json").out)

    def test_markup_is_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        columns(("[bold]A",), [("[red]x[/red] :smile:",)])
        assert capsys.readouterr().out.splitlines() == ["[bold]A", "[red]x[/red] :smile:"]

    def test_an_error_of_several_lines(self, capsys: pytest.CaptureFixture[str]) -> None:
        report(CommandError("what\nmore", why="why\nagain"), as_json=False)
        assert capsys.readouterr().err.splitlines() == [
            "error: what",
            "  more",
            "  why: why",
            "       again",
            "  fix: Try again.",
            "  (internal_error)",
        ]

    def test_an_error_without_words(self, capsys: pytest.CaptureFixture[str]) -> None:
        report(CommandError(""), as_json=False)
        assert capsys.readouterr().err.startswith("error: ")


class TestErrors:
    def test_codes_are_unique_and_fixes_are_not_empty(self) -> None:
        classes = [one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, CommandError)]
        own = [one for one in classes if one.__name__ not in ("CannotServe", "Refused")]  # these carry others' codes
        assert len({one.code for one in own}) == len(own)
        assert all(one.remedy.endswith((".", "?")) for one in own)

    def test_every_exit_code_has_a_meaning(self) -> None:
        assert set(MEANINGS) == set(ExitCode)

    def test_the_envelope_has_all_three_sentences(self) -> None:
        assert CommandError("what", why="Why.", fix="Fix?").envelope()["message"] == "what. Why. Fix?"


def nexus(*argv: str, **environ: str) -> list[str]:
    """The command in a process of its own, and what it is to know."""
    return ["env", *(f"{key}={value}" for key, value in environ.items()), sys.executable, "-m", "nexus_cli.main", *argv]


class TestProcess:
    def test_a_reader_that_goes_away(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(*[summary(f"w{number}") for number in range(5000)]))
        with subprocess.Popen(
            nexus("ls"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ}
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.readline()
            process.stdout.close()
            assert process.stderr.read() == b""
            assert process.wait() == 1

    def test_output_without_utf8(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary("日本")))
        done = subprocess.run(nexus("ls", PYTHONIOENCODING="ascii"), capture_output=True, text=True, check=True)
        assert r"\u65e5" in done.stdout

    def test_a_client_does_not_import_the_server(self, sh: Shell) -> None:
        sh.api.on("GET", "/workspaces", page(summary("web", WS)))
        code = "import sys; from nexus_cli.main import main; main(['ls']); sys.stderr.write(' '.join(sys.modules))"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.count("web") == 1
        loaded = {name.partition(".")[0] for name in done.stderr.split()}
        slow = {
            "nexus_core",
            "nexus_http",
            "nexus_sqlite",
            "msgspec",
            "httpx",
            "asyncio",
            "litestar",
            "pylxd",
            "structlog",
        }
        assert not loaded & slow
