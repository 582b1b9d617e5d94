"""Help and usage errors of the commands."""

import json
import sys

import pytest
from typer.testing import CliRunner

from smelt.cli import app, main

COMMANDS = [[], ["local"], ["local", "start"], ["show"], ["watch"], ["submit"], ["list"], ["init"], ["worker"]]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_has_a_short_option(command: list[str]) -> None:
    short, long = (CliRunner().invoke(app, [*command, option]) for option in ("-h", "--help"))
    assert short.exit_code == 0
    assert short.output == long.output


@pytest.mark.parametrize("command", ["watch", "show", "cancel", "retry", "delete"])
def test_id_argument_has_the_same_name_in_every_command(command: str) -> None:
    usage = CliRunner().invoke(app, [command, "--help"]).output
    assert f"{command} [OPTIONS] {{ID}}" in usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["watch", "--json", "17"], "valid UUID"),
        (["watch", "--json"], "Missing"),
        (["list", "--json", "--count", "0"], "greater than or equal to 1"),
        (["submit", "--json", "missing.ogg"], "does not exist"),
        (["submit", "--json", "--nonsense"], "No such option"),
    ],
)
def test_usage_errors_with_json_are_one_line_of_json(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smelt", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    printed = capsys.readouterr()
    line = json.loads(printed.out)
    assert (line["event"], line["code"]) == ("error", "usage")
    assert message in line["message"]
    assert printed.err == ""


def test_usage_errors_without_json_print_the_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["smelt", "watch"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "Usage: " in capsys.readouterr().err
