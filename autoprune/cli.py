"""The commands: parse, call the Python API, print."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.errors import AutopruneError

if TYPE_CHECKING:
    import optuna

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Search per-layer sparsity for a trained PyTorch model, review the front, export the best.",
)

DEFAULT_STORAGE = "sqlite:///autoprune.db"
Storage = Annotated[str, typer.Option(help="Optuna storage URL.")]
StudyName = Annotated[str | None, typer.Option("--study", help="Name of the study; default: the latest.")]
Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


@contextmanager
def _errors(debug: bool) -> Iterator[None]:
    """Turn errors into one line on stderr and an exit code: 2 for the user's mistakes, 1 for ours."""
    try:
        yield
    except AutopruneError as error:
        if debug:
            raise
        _complain(str(error))
        raise typer.Exit(error.exit_code) from None
    except (typer.Exit, typer.Abort, KeyboardInterrupt):
        raise
    except Exception as error:
        if debug:
            raise
        text = str(error).strip().splitlines()
        _complain(f"unexpected {type(error).__name__}: {text[0] if text else ''} (--debug shows where)")
        raise typer.Exit(1) from None


def _complain(text: str) -> None:
    typer.echo(f"error: {' '.join(text.split())}", err=True)


@app.command()
def search(
    file: Annotated[Path | None, typer.Argument(help="Study file (TOML); flags override it.")] = None,
    model: Annotated[
        str | None,
        typer.Option(help="torchvision:NAME, timm:NAME, package.module:factory or path/file.py:factory."),
    ] = None,
    weights: Annotated[str | None, typer.Option(help="A .safetensors or .pt state dict.")] = None,
    data: Annotated[
        str | None,
        typer.Option(
            help="digits, fashion-mnist[:ROOT], mnist[:ROOT], cifar10[:ROOT], imagefolder:ROOT or a factory."
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(help="WHAT=HOW-MUCH, repeated: flops=50%, latency=2ms, time=30m, trials=200."),
    ] = None,
    storage: Annotated[
        str | None, typer.Option(help=f"Optuna storage URL; default {DEFAULT_STORAGE}.")
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Name of the study; one of that name is continued.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="auto, gp, tpe, nsga2, nsga3 or random.")] = None,
    criterion: Annotated[
        str | None, typer.Option(help="What ranks units: l1, l2, taylor, random or your own.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    finetune_steps: Annotated[int | None, typer.Option(help="Recovery steps of each candidate.")] = None,
    optimizer: Annotated[str | None, typer.Option(help="sgd or adamw.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate of recovery.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay of recovery.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a recovery step.")] = None,
    distill: Annotated[
        float | None, typer.Option(help="Weight of the uncut model's outputs, 0 to 1.")
    ] = None,
    label_smoothing: Annotated[float | None, typer.Option(help="Label smoothing of recovery.")] = None,
    train_epochs: Annotated[
        int | None, typer.Option(help="Train a baseline when there are no weights.")
    ] = None,
    train_lr: Annotated[float | None, typer.Option(help="Peak learning rate of that training.")] = None,
    train_batch_size: Annotated[int | None, typer.Option(help="Samples a step of that training.")] = None,
    calibration_batches: Annotated[
        int | None, typer.Option(help="Batches for criteria and BatchNorm.")
    ] = None,
    min_density: Annotated[
        float | None, typer.Option(help="Smallest share of units kept in a group.")
    ] = None,
    latency: Annotated[bool | None, typer.Option(help="Measure latency.")] = None,
    latency_batch: Annotated[int | None, typer.Option(help="Samples in the timed batch.")] = None,
    latency_seconds: Annotated[float | None, typer.Option(help="Most seconds a timing takes.")] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
    debug: Debug = False,
) -> None:
    """Search the best trade-offs; the same command continues a search that was stopped."""
    flags = {key: value for key, value in locals().items() if key not in ("file", "quiet", "debug")}
    flags["budget"] = tuple(budget) if budget else None
    with _errors(debug):
        from autoprune.config import load_config

        _search(load_config(file, flags), quiet)


def _search(config: Any, quiet: bool) -> None:
    import torch

    from autoprune.api import run_search
    from autoprune.review import Listener, LiveView

    if config.threads:
        torch.set_num_threads(config.threads)
    try:
        with Listener() if quiet else LiveView() as view:
            result = run_search(config, view)
    except KeyboardInterrupt:
        typer.echo("\nstopped; nothing finished is lost: the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    _require_result(result.optuna)
    _print_front(result.optuna)
    _print_next(result.optuna, config.storage)


def _require_result(study: optuna.Study) -> None:
    """Raise TrialError, with the reason of the last failure, when no trial was within the budget."""
    from autoprune.errors import TrialError
    from autoprune.review import summary

    if summary(study).best is None:
        reasons = [
            t.user_attrs["reason"] for t in study.get_trials(deepcopy=False) if "reason" in t.user_attrs
        ]
        raise TrialError(
            f"no trial gave a model within the budget; the last one: {(reasons or ['none ran'])[-1]}"
        )


def _print_front(study: optuna.Study) -> None:
    from rich.console import Console

    from autoprune import review

    console, summary = Console(), review.summary(study)
    console.print(review.headline(summary), highlight=False, markup=False)
    console.print(review.front_table(review.front(study), summary, width=console.width))


def _print_next(study: optuna.Study, storage: str) -> None:
    where = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    name = f" --study {study.study_name}"
    typer.echo(f"Next:\n  autoprune dashboard{where}\n  autoprune export --best{where}{name} -o out/")


@app.command()
def front(
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON list of objects.")] = False,
    debug: Debug = False,
) -> None:
    """Print the Pareto front of a study."""
    with _errors(debug):
        from autoprune import review
        from autoprune.errors import UserError

        if csv and json:
            raise UserError("give --csv or --json, not both")
        opened = review.open_study(storage, study)
        if csv:
            typer.echo(review.to_csv(review.front(opened)), nl=False)
        elif json:
            typer.echo(review.to_json(review.front(opened)), nl=False)
        else:
            _print_front(opened)


@app.command()
def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    debug: Debug = False,
) -> None:
    """Review studies in Optuna Dashboard."""
    with _errors(debug):
        from autoprune.review import serve

        serve(storage, host=host, port=port)


@app.command()
def export(
    best: Annotated[bool, typer.Option("--best", help="The best trial within the budget (default).")] = False,
    trial: Annotated[int | None, typer.Option(help="Another trial, by its number.")] = None,
    to: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("out"),
    formats: Annotated[
        list[str] | None,
        typer.Option("--format", help="state, pt2 or onnx, repeated; default: all installed."),
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    debug: Debug = False,
) -> None:
    """Write a trial's pruned model, load every file back in a fresh process and compare."""
    with _errors(debug):
        from autoprune.api import open_search
        from autoprune.errors import UserError
        from autoprune.review import Listener

        if best and trial is not None:
            raise UserError("give --best or --trial N, not both")
        result = open_search(storage, study, Listener())
        chosen = result.best().number if trial is None else trial
        for item in result.export(chosen, formats or None, to):
            typer.echo(str(item))
        typer.echo(f"trial {chosen} of {result.optuna.study_name} is in {to}")


def main() -> None:
    """Entry point of the ``autoprune`` command."""
    # A reference such as mypackage.module:factory means the working folder too, as with python -m.
    sys.path.append(str(Path.cwd()))
    app()


if __name__ == "__main__":
    main()
