"""The commands on a model alone: inspect, measure and apply."""

from __future__ import annotations

from json import dumps
from pathlib import Path
from typing import Annotated, Any

import typer

from autoprune.cli.app import Debug, Formats, Inputs, StudyFile, app, errors, use_threads
from autoprune.cli.help import HelpAll, showing
from autoprune.cli.options import MODEL_SETTINGS, TRAINING_SETTINGS, examples, with_settings
from autoprune.config.settings import load_config
from autoprune.utils.console import echo

CUT_PATTERNS = ("skip", "only", "first_last", "shared", "depth")
TIMING_SETTINGS = ("latency_seconds", "runtime", "latency_dtype", "channels_last", "threads")
APPLY_SETTINGS = (
    *MODEL_SETTINGS,
    *TRAINING_SETTINGS,
    *(
        "metric",
        "granularity",
        "criterion",
        "mix",
        "budget",
        *CUT_PATTERNS,
        "min_density",
        "min_width",
        "bounds",
        "round_to",
    ),
    *("compensate", "rebuild"),
    *("finetune_steps", "optimizer", "lr", "weight_decay", "batch_size", "distill", "seed"),
    *("device", "precision", "clip", "label_smoothing", "distill_features", "augment"),
    *("calibration_batches", "latency", "latency_batch", *TIMING_SETTINGS),
)


@app.command(
    cls=showing(*MODEL_SETTINGS, "skip", "latency", "runtime"),
    epilog=examples(
        "inspect --model torchvision:resnet18",
        "inspect --model net.py:net --input 1x20x80 --no-latency",
        "inspect study.toml",
    ),
)
@with_settings(*MODEL_SETTINGS, *CUT_PATTERNS, "latency", *TIMING_SETTINGS)
def inspect(
    file: StudyFile = None,
    inputs: Inputs = None,
    json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
    debug: Debug = False,
    help_all: HelpAll = False,
    **settings: Any,
) -> None:
    """List what can be pruned, what each group costs, and why the rest stays."""
    with errors(debug):
        from autoprune import review
        from autoprune.utils.console import PlainConsole
        from autoprune.workflows.inspect import inspect

        view = review.LiveView()
        config = load_config(file, settings, view.note)
        use_threads(config)
        with view:
            inspection = inspect(config, inputs or (), view).as_dict()
        if json:
            echo(dumps(inspection, indent=2))
        else:
            PlainConsole().print(review.groups_table(inspection))


@app.command(
    cls=showing(*MODEL_SETTINGS, "latency_batch", "runtime", "threads"),
    epilog=examples(
        "measure --model timm:resnet18 --runtime onnxruntime -o steps.svg",
        "measure study.toml --threads 1",
    ),
)
@with_settings(*MODEL_SETTINGS, *CUT_PATTERNS, "latency_batch", *TIMING_SETTINGS)
def measure(
    file: StudyFile = None,
    inputs: Inputs = None,
    picture: Annotated[
        Path | None, typer.Option("--output", "-o", help="Draw the curves to this .svg or .png file.")
    ] = None,
    again: Annotated[bool, typer.Option("--again", help="Measure again what is already cached.")] = False,
    json: Annotated[bool, typer.Option("--json", help="A JSON object.")] = False,
    debug: Debug = False,
    help_all: HelpAll = False,
    **settings: Any,
) -> None:
    """Measure latency against the width of each group on this device."""
    with errors(debug):
        from autoprune import review
        from autoprune.utils.console import PlainConsole
        from autoprune.workflows.measure import measure

        view = review.LiveView()
        config = load_config(file, settings, view.note)
        use_threads(config)
        if picture is not None:
            review.check_drawing(picture)  # before minutes of measuring
        with view:
            result = measure(config, inputs or (), view, again=again)
        if picture is not None:
            review.draw_latency_steps(result.name, result.profile, result.offered, picture)
        if json:
            echo(dumps(result.as_dict(), indent=2))
            return
        PlainConsole().print(
            review.profile_table(result.name, result.profile, result.offered, result.accuracy)
        )
        echo(f"{'read from' if result.known else 'saved to'} {result.file}")


@app.command(
    "apply",
    cls=showing(*MODEL_SETTINGS, "criterion", "budget"),
    epilog=examples(
        "apply --model torchvision:resnet18 --sparsity 0.5 -o out/",
        "apply --data digits --weights w.pt --threshold 0.8 --scope global",
        "apply --data digits --criterion criterion.json --budget flops=35%",
    ),
)
@with_settings(*APPLY_SETTINGS)
def apply_(
    plan: Annotated[Path | None, typer.Option(help="Prune to the plan.json of an export.")] = None,
    sparsity: Annotated[float | None, typer.Option(help="Remove (or mask) this share of the units.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Remove units whose score is below this multiple of the mean.")
    ] = None,
    scope: Annotated[
        str, typer.Option(help="local: within each group; global: across the whole model.")
    ] = "local",
    validate: Annotated[
        bool, typer.Option("--validate", help="Measure quality and latency before and after.")
    ] = False,
    inputs: Inputs = None,
    to: Annotated[Path, typer.Option("--output", "-o", help="Folder to write to.")] = Path("out"),
    formats: Formats = None,
    debug: Debug = False,
    help_all: HelpAll = False,
    **settings: Any,
) -> None:
    """Prune or mask a model once, without a search, and export it."""
    with errors(debug):
        from autoprune import review
        from autoprune.export.card import cost_rows
        from autoprune.utils.console import PlainConsole
        from autoprune.workflows.apply import Request, apply_cut, cut_of

        config = load_config(None, settings)
        cut = cut_of(config, plan, sparsity, threshold, scope)
        request = Request(cut, tuple(inputs or ()), validate, to, tuple(formats) if formats else None)
        with review.LiveView() as view:
            applied = apply_cut(config, request, view)
        PlainConsole().print(review.comparison_table(cost_rows(applied.card)))
        for item in applied.exported:
            echo(str(item))
