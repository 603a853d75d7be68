"""The commands on studies: search, review and export."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.frame import DEFAULT_STORAGE, Debug, Formats, Storage, StudyName, app, errors, use_threads
from autoprune.config import Config, load_config
from autoprune.options import examples, with_settings

if TYPE_CHECKING:
    import optuna


@app.command(
    epilog=examples(
        "search --budget flops=50%",
        "search --model net.py:model --weights w.pt --data net.py:data --budget latency=2ms",
        "search study.toml --budget trials=200",
    )
)
@with_settings()
def search(
    file: Annotated[Path | None, typer.Argument(help="Study file (TOML); flags override it.")] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress, only the result.")] = False,
    debug: Debug = False,
    **settings: Any,
) -> None:
    """Search the best trade-offs; the same command continues a search that was stopped."""
    with errors(debug):
        _search(load_config(file, settings), quiet)


def _search(config: Config, quiet: bool) -> None:
    from rich.console import Console

    from autoprune.api import run_search
    from autoprune.review import Listener, LiveView, stages_table

    use_threads(config)
    try:
        with Listener() if quiet else LiveView() as view:
            result = run_search(config, view)
    except KeyboardInterrupt:
        typer.echo("\nstopped; nothing finished is lost: the same command goes on from here", err=True)
        raise typer.Exit(130) from None
    _require_result(result.optuna)
    _print_front(result.optuna)
    Console().print(stages_table(result.optuna))
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
    for line in review.health_lines(study):
        console.print(line, highlight=False, markup=False)


def _print_next(study: optuna.Study, storage: str) -> None:
    where = "" if storage == DEFAULT_STORAGE else f" --storage {storage}"
    name = f" --study {study.study_name}"
    typer.echo(
        f"Next:\n  autoprune dashboard{where}\n  autoprune report{where}{name} -o report.html\n"
        f"  autoprune export --best{where}{name} -o out/"
    )


@app.command(epilog=examples("front", "front --csv > front.csv", "front --study resnet --json"))
def front(
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    csv: Annotated[bool, typer.Option("--csv", help="Comma-separated values.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON list of objects.")] = False,
    debug: Debug = False,
) -> None:
    """Print the Pareto front of a study."""
    with errors(debug):
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


@app.command(epilog=examples("dashboard", "dashboard --storage postgresql://me@host/studies --port 0"))
def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.")] = 8080,
    debug: Debug = False,
) -> None:
    """Review studies in Optuna Dashboard."""
    with errors(debug):
        from autoprune.review import serve

        serve(storage, host=host, port=port)


@app.command(epilog=examples("report", "report --study resnet -o resnet.html"))
def report(
    to: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    debug: Debug = False,
) -> None:
    """Write the front, pictures and export commands into one HTML file that opens anywhere."""
    with errors(debug):
        from autoprune import review

        review.write_report(review.open_study(storage, study), storage, to)
        typer.echo(f"wrote {to}")


@app.command(epilog=examples("pick 7 12", "pick --remove 7", "pick"))
def pick(
    trials: Annotated[list[int] | None, typer.Argument(metavar="TRIAL...", help="Numbers of trials.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Take the mark away.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    debug: Debug = False,
) -> None:
    """Mark trials for `export --picked`, as #export in a trial's note in the dashboard does; list them."""
    with errors(debug):
        from autoprune import review

        opened = review.open_study(storage, study)
        if trials:
            (review.unpick if remove else review.pick)(opened, trials)
            review.publish(opened, storage)
        chosen = review.picked(opened)
        typer.echo(f"picked in {opened.study_name}: {', '.join(map(str, chosen)) or 'none'}")


@app.command(
    epilog=examples(
        "export --best -o out/",
        "export --trial 7 --format onnx --quantize int8 -o out/",
        "export --picked -o picked/",
    )
)
def export(
    best: Annotated[bool, typer.Option("--best", help="The best trial within the budget (default).")] = False,
    trial: Annotated[int | None, typer.Option(help="Another trial, by its number.")] = None,
    picked: Annotated[bool, typer.Option("--picked", help="All trials marked for export.")] = False,
    all_front: Annotated[bool, typer.Option("--all-front", help="All trials of the front.")] = False,
    to: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("out"),
    formats: Formats = None,
    finetune: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Fine-tune it before: 5epochs or 500steps.")
    ] = None,
    quantize: Annotated[
        str | None, typer.Option(metavar="int8", help="int8: also an ONNX file in eight-bit integers.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    debug: Debug = False,
) -> None:
    """Write a trial's pruned model, load every file back in a fresh process, compare and time it."""
    with errors(debug):
        from autoprune.api import open_search
        from autoprune.review import LiveView

        chosen, named = _chosen_way(best, trial, picked, all_front), _quantized(formats, quantize)
        try:
            with LiveView() as view:
                result = open_search(storage, study, view)
                folders = result.folders(chosen, to)
                written = {
                    number: result.export(number, named, folder, finetune=finetune, listener=view)
                    for number, folder in folders.items()
                }
        except KeyboardInterrupt:
            typer.echo("\nstopped; the same command goes on from here", err=True)
            raise typer.Exit(130) from None
        for number, items in written.items():
            for item in items:
                typer.echo(str(item))
            typer.echo(f"trial {number} of {result.optuna.study_name} is in {folders[number]}")


def _chosen_way(best: bool, trial: int | None, picked: bool, all_front: bool) -> int | str:
    """Which trials to export: a number, or one of the words. Raises UserError for several of them."""
    from autoprune.errors import UserError

    given = {"best": best, "picked": picked, "front": all_front}
    words = [word for word, is_given in given.items() if is_given]
    if len(words) + (trial is not None) > 1:
        raise UserError("give one of --best, --trial N, --picked and --all-front")
    return trial if trial is not None else (words or ["best"])[0]


def _quantized(formats: list[str] | None, quantize: str | None) -> list[str] | None:
    """The formats with the quantized one, if that is asked for."""
    from autoprune.errors import UserError
    from autoprune.export import default_formats

    if quantize is None:
        return formats or None
    if quantize != "int8":
        raise UserError(f"cannot quantize to {quantize!r}: use int8")
    return [*(formats or default_formats()), quantize]
