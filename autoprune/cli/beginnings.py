"""The commands that help to begin: init and schema."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.frame import Debug, Inputs, app, errors, write_text
from autoprune.cli.help import Command, showing
from autoprune.config import load_config
from autoprune.options import examples, with_settings


@app.command(
    cls=showing("model", "weights", "data"),
    epilog=examples(
        "init --model timm:resnet18 --weights w.pt --data imagefolder:photos",
        "init --model net.py:model --input 1x3x64x64 -o small.toml",
    ),
)
@with_settings("model", "weights", "data")
def init(
    inputs: Inputs = None,
    to: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("study.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    debug: Debug = False,
    **settings: Any,
) -> None:
    """Inspect your model and write a study file for it, with comments."""
    with errors(debug):
        from autoprune.beginning import begin
        from autoprune.errors import UserError
        from autoprune.review import LiveView

        if to.exists() and not force:
            raise UserError(f"{to} is there already: give --force to replace it, or another file with -o")
        config = load_config(None, settings)
        with LiveView() as view:
            text = begin(config, inputs or (), view).text()
        write_text(to, text)
        typer.echo(f"wrote {to}; next:\n  autoprune search {to}")


@app.command(cls=Command, epilog=examples("schema -o study.schema.json"))
def schema(
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Give the JSON schema of study files, for editors."""
    with errors(debug):
        from autoprune.schema import schema_text

        if to is None:
            typer.echo(schema_text(), nl=False)
        else:
            write_text(to, schema_text())
            typer.echo(f"wrote {to}")
