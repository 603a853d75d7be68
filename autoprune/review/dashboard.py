"""Optuna Dashboard over the storage of a study."""

from __future__ import annotations

import errno
import io
import sys
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any, TextIO, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from autoprune.errors import StudyError, UserError
from autoprune.review.guard import Names, guarded
from autoprune.review.publish import artifact_store, publish
from autoprune.storages import open_storage
from autoprune.storages.address import is_loopback
from autoprune.study.open import studies_in
from autoprune.utils.console import echo
from autoprune.utils.printable import one_line, printable

if TYPE_CHECKING:
    import optuna


class _Server(ThreadingMixIn, WSGIServer):
    """Answers each request in a daemon thread."""

    daemon_threads = True


class _Handler(WSGIRequestHandler):
    """Prints no line per request, and escapes control characters in error messages."""

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        pass

    def get_stderr(self) -> TextIO:
        """The stream for errors."""
        return cast("TextIO", _Printable())


class _Printable(io.TextIOBase):
    """Standard error with control characters escaped."""

    def write(self, text: str) -> int:
        return sys.stderr.write(printable(text, keep="\n"))


def serve(storage_url: str, *, host: str = "127.0.0.1", port: int = 8080) -> None:
    """Serve Optuna Dashboard until Ctrl-C, after printing its address to standard output.

    The notes, figures and files of autoprune's studies are updated first.

    Port 0 picks any free port. The dashboard has no login: anyone who can reach the port can change
    and delete studies. It answers only requests from its own pages, under the names of
    :class:`autoprune.review.guard.Names`.

    Raises:
        StudyError: the storage is missing or cannot be used.
        UserError: the address cannot be listened on.
    """
    storage = open_storage(storage_url, must_exist=True)
    store = artifact_store(storage_url)
    try:
        with _listen(host, port) as server:
            for study in studies_in(storage):
                _publish(study, storage_url)
            # Imported here because it imports scikit-learn, which takes long.
            import optuna_dashboard

            app = optuna_dashboard.wsgi(storage, artifact_store=store)
            server.set_app(guarded(app, Names.of(host, server.server_port), store))
            _announce(host, server.server_port)
            server.serve_forever()
    except KeyboardInterrupt:
        echo(err=True)


def _publish(study: optuna.Study, storage_url: str) -> None:
    """Publish a study; report one that cannot be read and continue."""
    try:
        publish(study, storage_url)
    except StudyError as error:
        echo(one_line(f"study {study.study_name} is shown without updates: {error}"), err=True)


def _announce(host: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{port}/dashboard/"
    echo(url)
    if not is_loopback(host):
        echo("Anyone who can reach this address can change and delete studies.", err=True)
    echo("Ctrl-C stops the dashboard.", err=True)


def _listen(host: str, port: int) -> WSGIServer:
    if not 0 <= port <= 65535:
        raise UserError(f"there is no port {port}: pass --port with a number up to 65535")
    try:
        return _Server((host, port), _Handler)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"port {port} is in use: pass --port with another number") from None
        if error.errno == errno.EACCES:
            raise UserError(f"port {port} is not allowed: pass --port with a number above 1023") from None
        raise UserError(f"cannot listen on {host}: {error.strerror}: pass another --host") from None
