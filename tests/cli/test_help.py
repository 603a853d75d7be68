from __future__ import annotations

import os
import subprocess
import sys

import pytest
import typer
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config.settings import Config

SCREEN = 40
COMMANDS = [command.name or command.callback.__name__ for command in app.registered_commands]


def shown(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80", "TERM": "dumb"})
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_the_help_of_a_command_fits_a_screen_and_has_examples(command: str) -> None:
    lines = shown(command, "--help").splitlines()
    assert len(lines) <= SCREEN
    examples = "\n".join(lines).partition("Examples:")[2]
    assert f"autoprune {command}" in examples
    assert all(len(line.rstrip()) <= 80 for line in lines)


def test_the_help_of_all_commands_fits_a_screen() -> None:
    assert len(shown("--help").splitlines()) <= SCREEN


def test_help_all_shows_every_setting_and_help_the_usual_ones() -> None:
    short, full = shown("search", "--help"), shown("search", "--help-all")
    flags = {f"--{name.replace('_', '-')}" for name in Config.model_fields}
    assert all(flag in full for flag in flags)
    assert {"--model", "--weights", "--data", "--budget"} <= {flag for flag in flags if flag in short}
    assert "--distill-features" not in short
    assert "--help-all" in short


def test_help_all_of_one_call_is_not_remembered() -> None:
    before = shown("search", "--help")
    shown("search", "--help-all")
    assert shown("search", "--help") == before


def test_flags_that_the_short_help_leaves_out_still_work() -> None:
    result = CliRunner().invoke(app, ["search", "--lr", "-1"])
    assert result.exit_code == 2
    assert "lr = -1" in result.stderr


def test_the_help_says_which_exit_codes_there_are() -> None:
    text = " ".join(shown("--help").split())
    assert "0 success" in text
    assert "1 failure" in text
    assert "2 incorrect input" in text
    assert "130 stopped by Ctrl-C" in text


def test_the_version_is_told() -> None:
    assert shown("--version").startswith("autoprune ")


def test_help_does_not_wait_for_pytorch() -> None:
    code = (
        "import sys; from autoprune.cli import app\n"
        "try: app(['search', '--help-all'])\n"
        "except SystemExit: pass\n"
        "print('torch' in sys.modules, 'optuna' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ)
    assert done.stdout.splitlines()[-1] == "False False"


def test_every_example_names_flags_that_exist() -> None:
    group = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.commands[name]
        known = {flag for param in command.params for flag in (*param.opts, *param.secondary_opts)}
        for line in str(command.epilog).splitlines()[1:]:
            used = {word for word in line.split() if word.startswith("-")}
            assert used <= known | {"--help"}, line
