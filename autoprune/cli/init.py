"""The commands that help to begin: init and schema."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.app import Debug, Inputs, app, errors, write_text
from autoprune.cli.help import Command, showing
from autoprune.cli.options import MODEL_SETTINGS, examples, with_settings
from autoprune.config.settings import load_config
from autoprune.utils.console import echo

if TYPE_CHECKING:
    from autoprune.workflows.init import Beginning


@app.command(
    cls=showing("model", "weights", "data"),
    epilog=examples(
        "init --model timm:resnet18 --weights w.pt --data imagefolder:photos",
        "init --model net.py:model --input 1x3x64x64 -o small.toml",
    ),
)
@with_settings(*MODEL_SETTINGS)
def init(
    inputs: Inputs = None,
    to: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("study.toml"),
    force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
    debug: Debug = False,
    **settings: Any,
) -> None:
    """Inspect your model and write a study file for it, with comments."""
    with errors(debug):
        from autoprune.errors import UserError
        from autoprune.review import LiveView
        from autoprune.workflows.init import begin

        if to.exists() and not force:
            raise UserError(f"{to} is there already: give --force to replace it, or another file with -o")
        config = load_config(None, settings)
        with LiveView() as view:
            made = begin(config, inputs or (), view)
        write_text(to, made.text(to))
        echo(_next_step(made, to))


def _next_step(made: Beginning, file: Path) -> str:
    """The command that goes on, which runs as it stands once the file names data."""
    lead = "next:"
    if made.lacks_data:
        lead = f"write your data{' and weights' if made.lacks_weights else ''} into it, then:"
    elif made.lacks_weights:
        lead = "it names no trained weights: write them into it, or have the model trained first:"
    return f"wrote {file}; {lead}\n  {made.command(file)}"


@app.command(cls=Command, epilog=examples("schema -o study.schema.json"))
def schema(
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Give the JSON schema of study files, for editors."""
    with errors(debug):
        from autoprune.config.schema import schema_text

        if to is None:
            echo(schema_text(), end="")
        else:
            write_text(to, schema_text())
            echo(f"wrote {to}")
