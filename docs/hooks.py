"""What the pages take from the code when they are built: the commands and the settings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from autoprune.cli import app
from autoprune.cli.help import plain
from autoprune.config.settings import Config

DOCS = Path(__file__).parent.resolve()
LINK = re.compile(r"\[([^\]]+)\]\((\.\./[^)#]+)\)")
COMMANDS, SETTINGS = "<!-- commands -->", "<!-- settings -->"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for each page: fill in what is made from code, and fix links that leave the pages."""
    folder = (DOCS / page.file.src_uri).parent
    markdown = LINK.sub(lambda link: inside(link, folder), markdown)
    for mark, make in {COMMANDS: commands, SETTINGS: settings}.items():
        if mark in markdown:
            markdown = markdown.replace(mark, "\n".join(make()))
    return markdown


def inside(link: re.Match[str], folder: Path) -> str:
    """The link; one to a file of the repository that is no page becomes that file's path."""
    target = (folder / link[2]).resolve()
    if target.is_relative_to(DOCS):
        return link[0]
    return f"{link[1]} (`{target.relative_to(DOCS.parent)}` in the repository)"


def commands() -> Iterator[str]:
    """Every command: what it does, its examples, its own flags, and the settings that it takes."""
    group = typer.main.get_command(app)
    context = typer.Context(group, info_name="autoprune")
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        inner = typer.Context(command, info_name=name, parent=context)
        examples = str(command.epilog).splitlines()[1:]
        yield from (f"## {name}", "", str(command.help), "", "```console")
        yield from (f"$ {line.strip()}" for line in examples)
        yield from ("```", "", "| flag | |", "|---|---|")
        taken = []
        for parameter in command.params:
            record = parameter.get_help_record(inner)
            if record is None:
                continue
            if parameter.rich_help_panel is not None:
                taken.append(f"`--{str(parameter.name).replace('_', '-')}`")
                continue
            yield f"| `{_cell(plain(record[0]))}` | {_cell(record[1])} |"
        if len(taken) == len(Config.model_fields):
            yield from ("", "And every [setting](settings.md).")
        elif taken:
            yield from ("", f"And these [settings](settings.md): {', '.join(taken)}.")
        yield ""


def settings() -> Iterator[str]:
    """Every setting, by panel, with its default."""
    panel = ""
    for name, field in Config.model_fields.items():
        extra = field.json_schema_extra
        assert isinstance(extra, dict)
        if extra["panel"] != panel:
            panel = str(extra["panel"])
            yield from ("", f"## {panel}", "", "| flag and key | default | |", "|---|---|---|")
        yield f"| `{name.replace('_', '-')}` | {_default(field.default)} | {_cell(str(field.description))} |"


def _default(value: object) -> str:
    if value is None or value == ():
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _cell(text: str) -> str:
    """In one line, and within its cell."""
    return " ".join(text.split()).replace("|", "\\|")
