"""The commands on recorded studies: review and export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.app import (
    DEFAULT_STORAGE,
    Debug,
    Formats,
    Storage,
    StudyName,
    Trust,
    app,
    errors,
    print_front,
)
from autoprune.cli.help import Command, HelpAll
from autoprune.cli.options import RECORDED_SETTINGS, examples, with_settings
from autoprune.utils.console import echo
from autoprune.utils.printable import printable
from autoprune.utils.signals import exit_code


@app.command(cls=Command, epilog=examples("front", "front --csv > front.csv", "front --study resnet --json"))
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
            echo(review.to_csv(review.front(opened)), end="")
        elif json:
            echo(review.to_json(review.front(opened)), end="")
        else:
            print_front(opened)


@app.command(
    cls=Command, epilog=examples("dashboard", "dashboard --storage postgresql://me@host/studies --port 0")
)
def dashboard(
    storage: Storage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 picks a free one.")] = 8080,
    debug: Debug = False,
) -> None:
    """Review studies in Optuna Dashboard."""
    with errors(debug):
        from autoprune.review import serve

        serve(storage, host=host, port=port)


@app.command(cls=Command, epilog=examples("report", "report --study resnet -o resnet.html"))
def report(
    to: Annotated[Path, typer.Option("--output", "-o", help="File to write.")] = Path("report.html"),
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    debug: Debug = False,
) -> None:
    """Write the front, figures and export commands to one HTML file."""
    with errors(debug):
        from autoprune import review

        review.write_report(review.open_study(storage, study), storage, to)
        echo(f"wrote {to}")


@app.command(
    cls=Command,
    epilog=examples("explain", "explain --study resnet --trial 7 --json", "explain -o explained.html"),
)
def explain(
    trial: Annotated[int | None, typer.Option(help="Number of a trial; default: the best.")] = None,
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
    to: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the table and its figures to an HTML file.")
    ] = None,
    debug: Debug = False,
) -> None:
    """Show what a search learned about each group: sensitivity, coefficients, criteria and importance."""
    with errors(debug):
        from json import dumps

        from autoprune import review
        from autoprune.utils.console import PlainConsole

        opened = review.open_study(storage, study)
        explanation = review.explain(opened, trial)
        if to is not None:
            review.write_explanation(opened, explanation, to)
        if json:
            echo(dumps(explanation.as_dict(), indent=2))
        else:
            PlainConsole().print(review.explanation_table(explanation))
            if to is not None:
                echo(f"wrote {to}")


@app.command(cls=Command, epilog=examples("pick 7 12", "pick --remove 7", "pick"))
def pick(
    trials: Annotated[list[int] | None, typer.Argument(metavar="TRIAL...", help="Trial numbers.")] = None,
    remove: Annotated[bool, typer.Option("--remove", help="Remove the mark.")] = False,
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    debug: Debug = False,
) -> None:
    """Mark trials for `export --picked`, or list the marked ones."""
    with errors(debug):
        from autoprune import review

        opened = review.open_study(storage, study)
        if trials:
            (review.unpick if remove else review.pick)(opened, trials)
            review.publish(opened, storage)
        chosen = review.picked(opened)
        echo(f"picked in {printable(opened.study_name)}: {', '.join(map(str, chosen)) or 'none'}")


@app.command(
    cls=Command,
    epilog=examples(
        "export --best -o out/",
        "export --trial 7 --format onnx --quantize int8 -o out/",
        "export --picked -o picked/",
        "export --best --finetune 10epochs --gradual 4 -o out/",
    ),
)
@with_settings(*RECORDED_SETTINGS)
def export(
    best: Annotated[bool, typer.Option("--best", help="The best trial within the budget (default).")] = False,
    trial: Annotated[int | None, typer.Option(help="Number of another trial.")] = None,
    picked: Annotated[bool, typer.Option("--picked", help="All trials marked for export.")] = False,
    all_front: Annotated[bool, typer.Option("--all-front", help="All trials on the front.")] = False,
    to: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("out"),
    formats: Formats = None,
    finetune: Annotated[
        str | None, typer.Option(metavar="LENGTH", help="Fine-tune it first: 5epochs or 500steps.")
    ] = None,
    gradual: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="With --finetune: prune to the plan again in N rounds with training in between."
        ),
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Prune to the plan again and refit layer by layer, ignoring the trial's weights.",
        ),
    ] = False,
    quantize: Annotated[
        str | None, typer.Option(metavar="int8", help="int8: also write an int8 ONNX file.")
    ] = None,
    storage: Storage = DEFAULT_STORAGE,
    study: StudyName = None,
    trust: Trust = False,
    debug: Debug = False,
    help_all: HelpAll = False,
    **settings: Any,
) -> None:
    """Write a trial's pruned model; load, compare and time every file."""
    with errors(debug):
        from autoprune import review
        from autoprune.api import open_study

        chosen, named = _chosen_way(best, trial, picked, all_front), _quantized(formats, quantize)
        # Check this before the model is built and perhaps trained.
        review.chosen_trials(review.open_study(storage, study), chosen)
        try:
            with review.LiveView() as view:
                result = open_study(storage, study, listener=view, trust=trust, **settings)
                folders = result.folders(chosen, to)
                written = {
                    number: result.export(
                        number,
                        named,
                        folder,
                        finetune=finetune,
                        gradual=gradual,
                        rebuild=rebuild,
                        listener=view,
                    )
                    for number, folder in folders.items()
                }
        except KeyboardInterrupt as stop:
            echo("\nstopped; run the same command to resume", err=True)
            raise typer.Exit(exit_code(stop)) from None
        for number, items in written.items():
            for item in items:
                echo(str(item))
            echo(f"trial {number} of {printable(result.optuna.study_name)} is in {folders[number]}")


def _chosen_way(best: bool, trial: int | None, picked: bool, all_front: bool) -> int | str:
    """Which trials to export: a number, or one of the words. Raises UserError if several are given."""
    from autoprune.errors import UserError

    given = {"best": best, "picked": picked, "front": all_front}
    words = [word for word, is_given in given.items() if is_given]
    if len(words) + (trial is not None) > 1:
        raise UserError("give one of --best, --trial N, --picked and --all-front")
    return trial if trial is not None else (words or ["best"])[0]


def _quantized(formats: list[str] | None, quantize: str | None) -> list[str] | None:
    """The formats, with int8 if it is requested."""
    from autoprune.errors import UserError
    from autoprune.export import default_formats

    if quantize is None:
        return formats or None
    if quantize != "int8":
        raise UserError(f"cannot quantize to {quantize!r}: use int8")
    return [*(formats or default_formats()), quantize]
