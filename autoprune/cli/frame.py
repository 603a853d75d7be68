"""What all commands share: the application, flags, and how errors are told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from autoprune.config import Config
from autoprune.errors import AutopruneError

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search per-layer sparsity for a trained PyTorch model, review the front, export the best.",
    epilog="Exit codes: 0 done; 1 something failed (nothing within the budget, a file that differs, a bug); "
    "2 a mistake in what was given, named on the last line; 130 stopped by Ctrl-C.",
)

DEFAULT_STORAGE: str = Config.model_fields["storage"].default
Storage = Annotated[str, typer.Option(help="Optuna storage URL.")]
StudyName = Annotated[str | None, typer.Option("--study", help="Name of the study; default: the latest.")]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="NAME",
        help="state, python, pt2, onnx, int8 or openvino, repeated; default: state, pt2 and onnx.",
    ),
]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def errors(debug: bool) -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code: 2 for the user's mistakes, 1 for ours."""
    try:
        yield
    except AutopruneError as error:
        if debug:
            raise
        complain(str(error))
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.Abort, KeyboardInterrupt):
        raise
    except Exception as error:
        if debug:
            raise
        text = str(error).strip().splitlines()
        complain(f"unexpected {type(error).__name__}: {text[0] if text else ''} (--debug shows where)")
        raise typer.Exit(1) from None


def complain(text: str) -> None:
    """Print one line on stderr."""
    typer.echo(f"error: {' '.join(text.split())}", err=True)


def use_threads(config: Config) -> None:
    """Let PyTorch use as many threads as the settings say, if they do."""
    if config.threads:
        import torch

        torch.set_num_threads(config.threads)
