import pytest
from typer.testing import CliRunner

from autoprune.cli import app


@pytest.mark.parametrize(
    ("arguments", "last"),
    [
        (["serch"], "Error: No such command 'serch'. Did you mean 'search', 'serve'?"),
        (["search", "--budjet", "flops=50%"], "Error: No such option: --budjet (Possible options: --budget"),
        (["pick", "seven"], "Error: Invalid value for 'TRIAL...'"),
    ],
)
def test_the_last_line_says_what_is_wrong(arguments: list[str], last: str) -> None:
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 2
    assert done.stderr.splitlines()[-1].startswith(last)


def test_help_names_a_list_by_its_name_alone() -> None:
    assert "TRIAL...  " in CliRunner().invoke(app, ["pick", "--help"]).stdout
