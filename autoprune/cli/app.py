"""What all commands share: the application, flags, and how errors are told."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from autoprune.cli.completion import FORMATS, one_of, study
from autoprune.cli.help import Commands
from autoprune.cli.streams import is_unread, lost_output
from autoprune.config.settings import Config
from autoprune.errors import AutopruneError, UserError
from autoprune.utils.atomic_files import replace_file
from autoprune.utils.console import echo
from autoprune.utils.printable import one_line
from autoprune.utils.signals import exit_code

if TYPE_CHECKING:
    import optuna

app = typer.Typer(
    cls=Commands,
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # messages of one line, without a frame
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search per-layer sparsity for a trained PyTorch model, review the front, export the best.",
    epilog="Exit codes: 0 done; 1 something failed (nothing within the budget, a file that differs, a bug); "
    "2 a mistake in what was given, named on the last line; 130 stopped by Ctrl-C, 143 by SIGTERM.",
)


def _show_version(wanted: bool) -> None:
    if wanted:
        echo(f"autoprune {version('autoprune')}")
        raise typer.Exit


@app.callback()
def common(
    shown: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """What goes before a command."""


DEFAULT_STORAGE: str = Config.model_fields["storage"].default
StudyFile = Annotated[Path | None, typer.Argument(help="Study file (TOML); flags override it.")]
Storage = Annotated[str, typer.Option(help="Optuna storage URL.")]
StudyName = Annotated[
    str | None,
    typer.Option("--study", help="Name of the study; default: the latest.", autocompletion=study),
]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="state, python, pt2, onnx, int8, openvino, executorch or torchscript, repeated; "
        "default: state, pt2 and onnx.",
        autocompletion=one_of(FORMATS),
    ),
]
Trust = Annotated[
    bool, typer.Option("--trust", help="Run the code and programs that the study names itself.")
]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="SHAPE", help="What the model takes, such as 1x3x224x224, repeated."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def errors(debug: bool, tell: Callable[[str, int], None] | None = None) -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code: 2 for the user's mistakes, 1 for ours.

    `tell` is given both as well.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        echo("\nstopped; nothing half-done is left: the same command begins again", err=True)
        raise typer.Exit(exit_code(stop)) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_unread():
            raise  # ends the command without a word
        code = error.exit_code if isinstance(error, AutopruneError) else 1
        line = _one_line(error)
        if tell is not None:
            with suppress(OSError):  # the output may be what failed
                tell(line, code)
        if debug:
            echo("".join(traceback.format_exception(error)), err=True, end="")
            raise typer.Exit(code) from None
        complain(line)
        raise typer.Exit(code) from None


def _one_line(error: Exception) -> str:
    if isinstance(error, AutopruneError):
        return one_line(str(error))
    if isinstance(error, OSError) and error.filename is None and (lost := lost_output()):
        return lost
    if isinstance(error, OSError) and error.filename is not None:
        return one_line(
            f"cannot use {error.filename}: {error.strerror}: choose another place, or change its permissions"
        )
    text = str(error).strip().splitlines()
    return one_line(f"unexpected {type(error).__name__}: {text[0] if text else ''} (--debug shows where)")


def complain(text: str) -> None:
    """Print one line on stderr."""
    echo(f"error: {one_line(text)}", err=True)


def write_text(file: Path, text: str) -> None:
    """Write a file whole or not at all. Raises UserError where it cannot be written."""
    try:
        replace_file(file, text)
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): choose another file with -o") from error


def use_threads(config: Config) -> None:
    """Let PyTorch use as many threads as the settings say, if they do."""
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)


def print_front(study: optuna.Study) -> None:
    """Print what the study found, and whether it can be trusted."""
    from autoprune import review
    from autoprune.utils.console import PlainConsole

    console, summary = PlainConsole(), review.summary(study)
    console.print(review.headline(summary))
    console.print(review.front_table(review.front(study), summary, width=console.width))
    for line in review.health_lines(study):
        console.print(line)
