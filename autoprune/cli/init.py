"""The commands for getting started: init and schema."""

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
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
    debug: Debug = False,
    **settings: Any,
) -> None:
    """Inspect your model and write a study file for it, with comments."""
    with errors(debug):
        from autoprune.errors import UserError
        from autoprune.review import LiveView
        from autoprune.workflows.init import begin

        if to.exists() and not force:
            raise UserError(f"{to} already exists: give --force to replace it, or another file with -o")
        config = load_config(None, settings)
        with LiveView() as view:
            draft = begin(config, inputs or (), view)
        write_text(to, draft.text(to))
        echo(_next_step(draft, to))


def _next_step(draft: Beginning, file: Path) -> str:
    """The next command, which runs as it is once the file names data."""
    lead = "next:"
    if draft.lacks_data:
        lead = f"add your data{' and weights' if draft.lacks_weights else ''} to it, then run:"
    elif draft.lacks_weights:
        lead = "it names no trained weights: add them, or train the model first:"
    return f"wrote {file}; {lead}\n  {draft.command(file)}"


@app.command(cls=Command, epilog=examples("schema -o study.schema.json"))
def schema(
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to write; default: standard output.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Print the JSON schema of study files, for editors."""
    with errors(debug):
        from autoprune.config.schema import schema_text

        if to is None:
            echo(schema_text(), end="")
        else:
            write_text(to, schema_text())
            echo(f"wrote {to}")
