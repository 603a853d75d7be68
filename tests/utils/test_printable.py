import io
import json
import logging
import warnings
from collections.abc import Iterator

import optuna
import pytest
from rich.table import Table
from rich.text import Text
from typer.testing import CliRunner

from autoprune.cli import app
from autoprune.cli.app import errors
from autoprune.errors import StudyError
from autoprune.export.card import markdown_table, plain_rows
from autoprune.study.notes import is_marked, unmarked
from autoprune.utils.console import PlainConsole, cell, echo, show_others_plainly
from autoprune.utils.printable import code_cell, code_span, html_text, markdown_text, one_line, printable

EVIL = "\x1b]0;OWNED\x07\x1b[2J\x1b[31m[bold red]rich[/nope]\x1b]8;;http://evil\x07\n\u202eerror: x\x9b1m"
SHOWN = r"\x1b]0;OWNED\x07\x1b[2J\x1b[31m[bold red]rich[/nope]\x1b]8;;http://evil\x07\n\u202eerror: x\x9b1m"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("plain", "plain"),
        ("größe 中文 ±", "größe 中文 ±"),
        ("👩\u200d🔬 a\u200cb", "👩\u200d🔬 a\u200cb"),
        ("a\tb\r\n", r"a\tb\r\n"),
        ("\u2028\u200e\u2066\ufeff\ud800", r"\u2028\u200e\u2066\ufeff\ud800"),
        (EVIL, SHOWN),
    ],
)
def test_what_is_not_seen_is_written_out(text: str, expected: str) -> None:
    assert printable(text) == expected


def test_lines_stay_where_they_are_wanted() -> None:
    assert printable("a\n\x1b", keep="\n") == "a\n\\x1b"
    assert one_line(" a\n b\x1b ") == r"a b\x1b"


def shown(*parts: object) -> str:
    file = io.StringIO()
    console = PlainConsole(file=file, width=200)
    for part in parts:
        console.print(part)
    return file.getvalue()


def test_the_terminal_obeys_nothing_that_is_shown() -> None:
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    assert "\x1b" not in shown(EVIL, Text(EVIL), table)
    assert shown(cell(EVIL)) == SHOWN + "\n"
    assert shown("[bold]x[/bold] :smile:") == "[bold]x[/bold] :smile:\n"


def test_lines_that_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    echo(f"wrote {EVIL}")
    echo(EVIL, err=True)
    captured = capsys.readouterr()
    assert "\x1b" not in captured.out + captured.err and "\u202e" not in captured.out
    assert captured.out.startswith(r"wrote \x1b]0;OWNED")


@pytest.mark.parametrize("debug", [False, True])
@pytest.mark.parametrize("kind", [StudyError, ValueError])
def test_errors_of_any_kind(kind: type[Exception], debug: bool, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(BaseException) as caught, errors(debug):
        raise kind(EVIL)
    assert type(caught.value).__name__ == "Exit"
    told = capsys.readouterr().err
    assert "\x1b" not in told and "\u202e" not in told
    assert debug or (told.startswith("error: ") and told.count("\n") == 1)


@pytest.fixture
def others() -> Iterator[None]:
    kept = warnings.formatwarning, logging.getLogRecordFactory()
    show_others_plainly()
    yield
    warnings.formatwarning = kept[0]
    logging.setLogRecordFactory(kept[1])


def test_logs_and_warnings_of_libraries(others: None, caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("some.library").warning("study %s", EVIL)
    assert "\x1b" not in caplog.messages[0]
    assert "\x1b" not in warnings.formatwarning(UserWarning(EVIL), UserWarning, "x.py", 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digits_resnet", "digits_resnet"),
        ("a | b", r"a \| b"),
        ("[x](javascript:alert(1))", r"\[x\](javascript:alert(1))"),
        ("![x](http://evil/p.png)", r"!\[x\](http://evil/p.png)"),
        ("<img src=x>&lt;", r"\<img src=x\>&amp;lt;"),
        ("*a* _b_ `c` ~d~ $e$", r"\*a\* \_b\_ \`c\` \~d\~ \$e\$"),
        ("a\n# b", r"a\\n&#35; b"),
        ("#export", "&#35;export"),
    ],
)
def test_text_as_markdown(text: str, expected: str) -> None:
    assert markdown_text(text) == expected


def test_code_as_markdown() -> None:
    assert code_span("conv1") == "`conv1`"
    assert code_span("a`b``c|") == "``` a`b``c| ```"
    assert code_cell("a`b``c|") == r"``` a`b``c\| ```"
    assert markdown_table(*plain_rows([("a", "b")]), plain_rows([("x|y", "<b>")])).endswith(
        r"| x\|y | \<b\> |"
    )


def test_no_name_of_a_study_marks_a_trial() -> None:
    for text in (markdown_text("#export"), code_span("autoprune export --study 'a #export'")):
        assert not is_marked(text)
        assert unmarked(f"{text} #export").strip() == text


def test_html() -> None:
    assert html_text('"><img src=x>\x1b') == "&quot;&gt;&lt;img src=x&gt;\\x1b"


@pytest.fixture
def handed_over(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A study in which every text is one that a terminal would obey."""
    url = f"sqlite:///{tmp_path_factory.mktemp('given') / 'study.db'}"
    study = optuna.create_study(study_name=EVIL, storage=url, directions=["maximize", "minimize"])
    baseline = {"quality": 0.9, "flops": 100, "parameters": 10, "size": 40}
    record = {
        **{"config": {"data": EVIL, "criterion": EVIL}, "model": EVIL, "weights": "0", "metric": EVIL},
        **{"higher_is_better": True, "samples": 3, "baseline": baseline, "groups": {EVIL: 8}},
        "limits": {EVIL: 5.0},
    }
    study.set_user_attr("autoprune", record)
    costs = {"flops": 50, "flops_ratio": 0.5, "parameters": 5, "size": 20, "quality": 0.8}
    texts = {"origin": EVIL, "plan": EVIL, "widths": {EVIL: 4}, "seconds": {EVIL: 2.0}, "reason": EVIL}
    study.add_trial(optuna.trial.create_trial(values=[0.8, 50.0], user_attrs={**costs, **texts}))
    study.add_trial(
        optuna.trial.create_trial(values=[0.7, 40.0], user_attrs={**costs, "widths": {EVIL: EVIL}})
    )
    return url


@pytest.mark.parametrize(
    "command",
    [
        ["front"],
        ["front", "--csv"],
        ["front", "--json"],
        ["explain"],
        ["explain", "--json"],
        ["pick"],
        ["pick", "0"],
    ],
    ids=" ".join,
)
def test_no_command_shows_a_studys_texts_as_they_are(handed_over: str, command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--storage", handed_over])
    assert result.exit_code == 0, result.output
    assert not any(char in result.output for char in "\x1b\x07\x9b\u202e")
    if "--json" in command:
        assert "OWNED" in result.stdout and json.loads(result.stdout)


def test_an_error_about_such_a_study(handed_over: str) -> None:
    result = CliRunner().invoke(app, ["explain", "--trial", "9", "--storage", handed_over])
    assert result.exit_code == 2 and "\x1b" not in result.output
    result = CliRunner().invoke(app, ["front", "--study", EVIL + "x", "--storage", handed_over])
    assert result.exit_code == 2 and "\x1b" not in result.output
