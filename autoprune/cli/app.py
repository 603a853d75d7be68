"""What all commands share: the application, flags, and error reporting."""

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
    epilog="Exit codes: 0 success; 1 failure (nothing within the budget, a file that differs, a bug); "
    "2 incorrect input, explained on the last line; 130 stopped by Ctrl-C, 143 by SIGTERM.",
)


def _show_version(requested: bool) -> None:
    if requested:
        echo(f"autoprune {version('autoprune')}")
        raise typer.Exit


@app.callback()
def common(
    shown: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_show_version),
    ] = False,
) -> None:
    """Flags before a command."""


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
        help="state, python, pt2, onnx, int8, openvino, executorch or torchscript; repeatable; "
        "default: state, pt2 and onnx.",
        autocompletion=one_of(FORMATS),
    ),
]
Trust = Annotated[bool, typer.Option("--trust", help="Run the code and programs that the study names.")]
Inputs = Annotated[
    list[str] | None,
    typer.Option("--input", metavar="SHAPE", help="Shape of an input, such as 1x3x224x224; repeatable."),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def errors(debug: bool, report: Callable[[str, int], None] | None = None) -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code: 2 for the user's mistakes, 1 for ours.

    `report` is called with both as well.
    """
    try:
        yield
    except (typer.Exit, typer.Abort):
        raise
    except KeyboardInterrupt as stop:
        echo("\nstopped; no partial results are left: run the same command to start again", err=True)
        raise typer.Exit(exit_code(stop)) from None
    except Exception as error:
        if isinstance(error, BrokenPipeError) and is_unread():
            raise  # ends the command silently
        code = error.exit_code if isinstance(error, AutopruneError) else 1
        line = _one_line(error)
        if report is not None:
            with suppress(OSError):  # the output may be what failed
                report(line, code)
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
            f"cannot use {error.filename}: {error.strerror}: choose another path, or change its permissions"
        )
    text = str(error).strip().splitlines()
    return one_line(f"unexpected {type(error).__name__}: {text[0] if text else ''} (--debug shows where)")


def complain(text: str) -> None:
    """Print one line on stderr."""
    echo(f"error: {one_line(text)}", err=True)


def write_text(file: Path, text: str) -> None:
    """Write a file atomically. Raises UserError if it cannot be written."""
    try:
        replace_file(file, text)
    except OSError as error:
        raise UserError(f"cannot write {file} ({error.strerror}): choose another file with -o") from error


def use_threads(config: Config) -> None:
    """Set PyTorch's number of threads if the settings give one."""
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)


def print_front(study: optuna.Study) -> None:
    """Print the front of a study, and how reliable it is."""
    from autoprune import review
    from autoprune.utils.console import PlainConsole

    console, summary = PlainConsole(), review.summary(study)
    console.print(review.headline(summary))
    console.print(review.front_table(review.front(study), summary, width=console.width))
    for line in review.health_lines(study):
        console.print(line)
