"""The commands for several processes and machines: worker and serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from autoprune.cli.app import DEFAULT_STORAGE, Debug, StudyName, Trust, app, errors
from autoprune.cli.help import Command, HelpAll
from autoprune.cli.options import RECORDED_SETTINGS, examples, with_settings
from autoprune.utils.console import echo
from autoprune.utils.printable import printable
from autoprune.utils.signals import exit_code

if TYPE_CHECKING:
    from autoprune.review import Listener

STOPPED = "stopped; the current trial is requeued: any worker, or autoprune search, continues from here"
SharedStorage = Annotated[
    str,
    typer.Option(
        envvar="AUTOPRUNE_STORAGE",
        help="The study's storage. The environment variable keeps its password out of process lists.",
    ),
]


@app.command(
    cls=Command,
    epilog=examples(
        "worker --storage postgresql://me@host/studies --study resnet",
        "worker --storage grpc://node1:13000 --study resnet --weights w.pt",
    ),
)
@with_settings(*RECORDED_SETTINGS, "device")
def worker(
    storage: SharedStorage = DEFAULT_STORAGE,
    study: StudyName = None,
    threads: Annotated[
        int | None, typer.Option(min=1, help="CPU threads; default: PyTorch's choice.")
    ] = None,
    name: Annotated[str | None, typer.Option(hidden=True, help="Name of the worker.")] = None,
    trust: Trust = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print only errors.")] = False,
    debug: Debug = False,
    help_all: HelpAll = False,
    **settings: Any,
) -> None:
    """Join a search that was started elsewhere, until its budget is spent; any number can run at once."""
    with errors(debug):
        from autoprune.engines.parent import end_with_parent
        from autoprune.pruning_search.worker import WorkRequest, work_on

        end_with_parent()
        _use_threads(threads)
        try:
            with _view(quiet) as view:
                worked = work_on(WorkRequest(storage, study, settings, trust, name), view)
        except KeyboardInterrupt as stop:
            echo(f"\n{STOPPED}", err=True)
            raise typer.Exit(exit_code(stop)) from None
        echo(f"the search of {printable(worked.study_name)} is finished, or has no plan left to try")


@app.command(
    cls=Command,
    epilog=examples(
        "serve --storage postgresql://me@host/studies",
        "serve --storage studies.db --host 10.0.0.5 --port 13000",
    ),
)
def serve(
    storage: SharedStorage = DEFAULT_STORAGE,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 picks a free one.")] = 13000,
    debug: Debug = False,
) -> None:
    """Serve a storage to workers over gRPC; they need neither its password nor a database connection."""
    with errors(debug):
        import optuna

        from autoprune.storages.serving import serve_storage

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with serve_storage(storage, host, port) as served:
            echo(served.address)
            for line in (*served.warnings, "Ctrl-C stops the server."):
                echo(line, err=True)
            try:
                served.wait()
            except KeyboardInterrupt:
                echo("", err=True)


def _use_threads(threads: int | None) -> None:
    if threads is not None:
        import torch

        torch.set_num_threads(threads)


def _view(quiet: bool) -> Listener:
    from autoprune.review import Listener, LiveView

    return Listener() if quiet else LiveView()
