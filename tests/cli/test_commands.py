"""Commands that are printed are read back by a shell as they were meant, whatever is in them."""

from __future__ import annotations

import shlex
import subprocess
import tomllib
from html import unescape
from pathlib import Path

import optuna
import pytest
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.config.commands import (
    autoprune_command,
    command_line,
    flag,
    is_plain,
    storage_words,
)
from autoprune.review.report.report import report_html
from autoprune.review.words import study_text
from autoprune.tasks import digits_resnet
from autoprune.tasks.checkpoints.weights import save_weights
from autoprune.utils.printable import code_span

HOSTILE = [
    "q;touch X $(id)/a b.db",
    'it\'s `id` "$HOME" \\ !! *',
    "two\nlines\ttab \x1b]0;title\x07",
    "two  spaces",
    "é中",
    "\u202ereversed",
    "",
    "-rf",
]


@pytest.mark.parametrize("word", HOSTILE, ids=repr)
def test_a_shell_reads_the_words_back(word: str) -> None:
    line = command_line("printf", "%s", word)
    assert line.isprintable()
    assert line == " ".join(line.split())
    done = subprocess.run(["bash", "-c", line], capture_output=True, check=True)
    assert done.stdout.decode() == word


def test_a_value_that_begins_with_a_dash_stays_a_value() -> None:
    assert flag("--study", "-x") == ("--study=-x",)
    assert flag("--study", "x") == ("--study", "x")
    assert autoprune_command("search", "a b.toml") == "autoprune search 'a b.toml'"


def test_a_storage_is_quoted_and_shows_no_password() -> None:
    assert storage_words("sqlite:///autoprune.db") == ()
    line = command_line(*storage_words("postgresql://me:secret@host/a b"))
    assert line == "--storage 'postgresql://me:***@host/a b'"


def test_code_in_markdown_ends_where_it_is_meant_to() -> None:
    assert code_span("front") == "`front`"
    assert code_span("a ` and `` b") == "``` a ` and `` b ```"


def test_what_a_shell_reads_as_it_stands() -> None:
    assert is_plain("resnet-18_a.py")
    assert not any(map(is_plain, ("$(id)", "a b", "a;b", "`id`", "")))


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """Storage and name of a finished study, both of which a shell would run unquoted."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "q;touch X $(id)"
    folder.mkdir()
    (folder / "my net.py").write_text("from autoprune.tasks import digits_resnet as net\n")
    return f"sqlite:///{folder.name}/a b.db", "one `id` $(touch X)"


def test_all_printed_commands_are_quoted(hostile: tuple[str, str], tmp_path: Path) -> None:
    storage, name = hostile
    model = "q;touch X $(id)/my net.py:net"
    done = CliRunner().invoke(
        app,
        [
            *(
                "search",
                "--model",
                model,
                "--data",
                "digits",
                "--train-epochs",
                "1",
                "--storage",
                storage,
                "--study",
                name,
            ),
            *("--finetune-steps", "2", "--no-latency", "--calibration-batches", "1", "--quiet"),
            *("--budget", "flops=50%,trials=1"),
        ],
    )
    assert done.exit_code == 0, done.output
    printed = [line.strip() for line in done.stdout.partition("Next:")[2].strip().splitlines()]
    place = ["--storage", storage, "--study", name]
    assert [shlex.split(line)[1:] for line in printed] == [
        ["dashboard", "--storage", storage],
        ["report", *place, "-o", "report.html"],
        ["export", "--best", *place, "--model", model, "-o", "out/"],
    ]
    study = optuna.load_study(study_name=name, storage=storage)
    note = study_text(study, storage, [])
    for command in (["pick", "7", *place], ["export", "--picked", *place, "--model", model, "-o", "picked/"]):
        assert code_span(shlex.join(["autoprune", *command])) in note
    shown = unescape(report_html(study, storage))
    assert shlex.join(["autoprune", "export", "--best", *place, "--model", model, "-o", "best/"]) in shown
    refused = CliRunner().invoke(app, ["export", *place])
    assert refused.exit_code == 2
    assert f"add --model {shlex.quote(model)}, or --trust" in refused.stderr
    assert not (tmp_path / "X").exists()


def test_init_prints_a_command_for_any_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save_weights(digits_resnet(), tmp_path / "w.safetensors")
    done = CliRunner().invoke(
        app, ["init", "--data", "digits", "--weights", "w.safetensors", "-o", "my $(id).toml"]
    )
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[-1] == "  autoprune search 'my $(id).toml'"
    assert tomllib.loads((tmp_path / "my $(id).toml").read_text())["data"] == "digits"
