"""The search command: progress for people or for programs, then the front."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.app import Debug, StudyFile, app, errors, print_front, use_threads
from autoprune.cli.help import HelpAll, showing
from autoprune.cli.options import MODEL_SETTINGS, examples, with_settings
from autoprune.config.commands import autoprune_command, flag, storage_words
from autoprune.config.settings import Config, load_config
from autoprune.utils.console import echo
from autoprune.utils.signals import exit_code

if TYPE_CHECKING:
    import optuna

    from autoprune.review import JsonLines, Listener

STOPPED = "stopped; all finished trials are saved: run the same command to resume"


@app.command(
    cls=showing(*MODEL_SETTINGS, "budget", "storage", "study", "criterion", "runtime"),
    epilog=examples(
        "search --budget flops=50%",
        "search --model net.py:net --weights w.pt --data net.py:data",
        "search study.toml --budget latency=2ms --budget time=30m",
    ),
)
@with_settings()
def search(
    file: StudyFile = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only the result.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line with stage times for every trial.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object a line, for programs.")] = False,
    debug: Debug = False,
    help_all: HelpAll = False,
    **settings: Any,
) -> None:
    """Search for the best trade-offs; the same command resumes a stopped search."""
    from autoprune.errors import UserError

    events = _events() if json else None
    with errors(debug, None if events is None else events.error):
        if quiet + verbose + json > 1:
            raise UserError("give one of --quiet, --verbose and --json")
        view = events or _view(quiet, verbose)
        config = load_config(file, settings, view.note)
        use_threads(config)
        if events is not None:
            _for_programs(config, events)
        else:
            _for_people(config, view)


def _view(quiet: bool, verbose: bool) -> Listener:
    from autoprune.review import Listener, LiveView

    return Listener() if quiet else LiveView(verbose=verbose)


def _events() -> JsonLines:
    from autoprune.review import JsonLines

    return JsonLines(sys.stdout)


def _for_programs(config: Config, events: JsonLines) -> None:
    study = _run(config, events, lambda code: events.error(STOPPED, code))
    _require_result(study)
    events.finished(study, config.storage)


def _for_people(config: Config, view: Listener) -> None:
    from autoprune.review import stages_table
    from autoprune.utils.console import PlainConsole

    study = _run(config, view, lambda code: None)
    _require_result(study)
    print_front(study)
    PlainConsole().print(stages_table(study))
    _print_next(study, config.storage)


def _run(config: Config, view: Listener, stopped: Callable[[int], None]) -> optuna.Study:
    """Search while the view is shown; after Ctrl-C, call `stopped` with the exit code and end the command."""
    from autoprune.api import run_search

    try:
        with view:
            return run_search(config, view).optuna
    except KeyboardInterrupt as stop:
        stopped(exit_code(stop))
        echo(f"\n{STOPPED}", err=True)
        raise typer.Exit(exit_code(stop)) from None


def _require_result(study: optuna.Study) -> None:
    """Raise TrialError when no trial was within the budget."""
    from autoprune.errors import TrialError
    from autoprune.review import summary, why_none

    if summary(study).best is None:
        raise TrialError(f"no trial gave a model within the budget; {why_none(study)}")


def _print_next(study: optuna.Study, storage: str) -> None:
    from autoprune.review import study_record
    from autoprune.study.trust import code_words

    where, code = storage_words(storage), code_words(study_record(study)["config"])
    name = (*where, *flag("--study", study.study_name))
    commands = (
        autoprune_command("dashboard", *where),
        autoprune_command("report", *name, "-o", "report.html"),
        autoprune_command("export", "--best", *name, *code, "-o", "out/"),
    )
    echo("\n  ".join(("Next:", *commands)))
