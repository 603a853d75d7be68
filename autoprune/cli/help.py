"""Help that fits a screen: without frames, and with only the most common settings.

``--help-all`` shows all settings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Annotated, Any

import typer
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from autoprune.cli.options import EXAMPLES
from autoprune.utils.console import echo

Parameter = TyperArgument | TyperOption

_ALL = "autoprune.help-all"
_KINDS = {"path": "PATH", "file": "FILE", "int": "N", "float": "X", "str": "TEXT"}
_ORDER = (
    *("init", "search", "worker", "serve", "front", "report", "dashboard", "pick", "explain", "export"),
    *("inspect", "measure", "apply", "schema"),
)
_COMMANDS, _ARGUMENTS, _OPTIONS = "Commands", "Arguments", "Options"
_COLUMN = 26
"""Maximum width of the name column; longer names get a separate line."""


class Command(TyperCommand):
    """A command whose short help shows its own flags and a selection of the settings."""

    usual: frozenset[str] = frozenset()

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Print the help."""
        chosen = [
            parameter
            for parameter in self.get_params(ctx)
            if isinstance(parameter, Parameter)
            and not parameter.hidden
            and (ctx.meta.get(_ALL) or parameter.name in self.usual or _is_own(parameter))
        ]
        _print(ctx, self.help, _panels(ctx, chosen), self.epilog)


class Commands(TyperGroup):
    """The commands, in the order in which a user needs them."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Names, unranked ones last."""
        return sorted(self.commands, key=lambda name: _ORDER.index(name) if name in _ORDER else len(_ORDER))

    def format_help(self, ctx: typer.Context, formatter: Any) -> None:  # type: ignore[override]
        """Print the help."""
        chosen = [parameter for parameter in self.get_params(ctx) if isinstance(parameter, Parameter)]
        commands = [
            (name, str(self.commands[name].help).partition("\n")[0]) for name in self.list_commands(ctx)
        ]
        _print(ctx, self.help, {_COMMANDS: commands, **_panels(ctx, chosen)}, self.epilog)


def showing(*settings: str) -> type[Command]:
    """A command whose short help shows these settings."""
    return type("Command", (Command,), {"usual": frozenset(settings)})


def _is_own(parameter: Parameter) -> bool:
    """Whether it is a flag of the command itself; settings are in panels."""
    return parameter.rich_help_panel is None


def _show_all(ctx: typer.Context, requested: bool) -> None:
    if requested:
        ctx.meta[_ALL] = True
        echo(ctx.get_help(), end="")
        raise typer.Exit


HelpAll = Annotated[
    bool,
    typer.Option(
        "--help-all", help="Show every flag and exit.", is_eager=True, expose_value=False, callback=_show_all
    ),
]


def plain(names: str) -> str:
    """Names of a parameter with the kind of its value as one word, such as ``--output PATH``."""
    names = re.sub(r" <list\[\w+\]>", "", names)
    return re.sub(r"<(\w+)>", lambda kind: _KINDS.get(kind[1], kind[0]), names)


def _panels(ctx: typer.Context, parameters: Iterable[Parameter]) -> dict[str, list[tuple[str, str]]]:
    """Heading -> names and explanations; the command's own come first."""
    panels: dict[str, list[tuple[str, str]]] = {_ARGUMENTS: [], _OPTIONS: []}
    for parameter in parameters:
        default = _ARGUMENTS if isinstance(parameter, TyperArgument) else _OPTIONS
        record = parameter.get_help_record(ctx)
        if record is not None:
            panels.setdefault(parameter.rich_help_panel or default, []).append((plain(record[0]), record[1]))
    if panels[_ARGUMENTS]:
        own = [*panels.pop(_ARGUMENTS), *panels.pop(_OPTIONS)]
        return {f"{_ARGUMENTS} and {_OPTIONS.lower()}": own, **panels}
    return {heading: rows for heading, rows in panels.items() if rows}


def _print(
    ctx: typer.Context, text: str | None, panels: dict[str, list[tuple[str, str]]], epilog: str | None
) -> None:
    console = Console(highlight=False)
    longest = {heading: max(len(name) for name, _ in rows) for heading, rows in panels.items()}
    column = min(_COLUMN, max(width for heading, width in longest.items() if heading != _COMMANDS))
    parts: list[RenderableType] = [Text(ctx.get_usage()), Text(f"\n{text or ''}")]
    for heading, rows in panels.items():
        width = longest[heading] if heading == _COMMANDS else column
        parts += [Text(f"\n{heading}", style="bold"), _rows(rows, width)]
    console.print(Group(*parts))
    if epilog:
        # Examples are not wrapped, so that they can be copied.
        console.print(Text(f"\n{epilog}"), soft_wrap=epilog.startswith(EXAMPLES))


def _rows(rows: Iterable[tuple[str, str]], column: int) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(width=column, overflow="fold", style="cyan")
    table.add_column()
    for name, explanation in rows:
        table.add_row(Text(name), Text(explanation))
    return Padding(table, (0, 0, 0, 2))
