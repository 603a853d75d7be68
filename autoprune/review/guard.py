"""Which requests the dashboard answers: those from its own pages, to an address that it serves.

Another site's page can make a browser send requests to any address, and with a name that resolves here (DNS
rebinding) read the answers too. Such requests are recognised by their headers `Host` and `Origin`.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING

from optuna.artifacts.exceptions import ArtifactNotFound

from autoprune.review.publish import ArtifactFolder
from autoprune.storages.address import is_loopback

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

_HOST = re.compile(r"(?P<name>\[[0-9a-f:.]+\]|[\w.-]+)(:(?P<port>\d{1,5}))?", re.IGNORECASE | re.ASCII)
_ARTIFACT = re.compile(r"/artifacts/\d+/(\d+/)?(?P<name>[0-9a-fA-F-]+)/?", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")
_HTTP_PORT = 80
_ALWAYS = [("X-Content-Type-Options", "nosniff"), ("X-Frame-Options", "SAMEORIGIN")]
_OF_FILES = [
    ("Content-Security-Policy", "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:")
]
"""A file may be a page with scripts, which would run with the dashboard's origin."""
_WITHOUT_FILES = ("/dashboard", "/static/", "/api/", "/csv/")
"""Begins of paths that lead to no file of a trial, however the dashboard reads the rest of them.

It drops slashes at the end and bytes that are not UTF-8, and takes the digits of all scripts for digits.
"""
_TEXT = "text/plain; charset=utf-8"
_DROPPED = ("access-control-allow-origin",)


@dataclass(frozen=True)
class Names:
    """The names under which the dashboard answers.

    Attributes:
        names: host names and addresses, in lower case.
        any_address: whether any numeric address is accepted: DNS cannot rebind an address.
        port: the port that it listens on.
    """

    names: frozenset[str]
    any_address: bool
    port: int

    @classmethod
    def of(cls, host: str, port: int) -> Names:
        """The names of the address that the user asked to listen on.

        The loopback address has three names. The address of all interfaces accepts any address, and the names
        of this machine.
        """
        asked = host.lower().strip("[]")
        if is_loopback(asked):
            return cls(frozenset({asked, *_LOOPBACK}), False, port)
        if _is_unspecified(asked):
            own = {socket.gethostname().lower(), socket.getfqdn().lower()}
            return cls(frozenset({*own, *_LOOPBACK}), True, port)
        return cls(frozenset({asked, *_addresses(asked)}), False, port)

    def include(self, host: str) -> bool:
        """Whether a header `Host` is one of them, with the port."""
        read = _HOST.fullmatch(host)
        if read is None or int(read["port"] or _HTTP_PORT) != self.port:
            return False
        name = read["name"].lower().strip("[]").rstrip(".")
        return name in self.names or (self.any_address and _is_address(name))


def guarded(app: WSGIApplication, names: Names, store: ArtifactFolder) -> WSGIApplication:
    """The application, restricted to requests from its own pages; files are served in a sandbox."""

    def answer(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        refused = _why_refused(environ, names)
        if refused:
            return _say("403 Forbidden", refused, start_response)
        path = environ.get("PATH_INFO", "")
        file = _ARTIFACT.fullmatch(path)
        if (
            file is not None
            and environ["REQUEST_METHOD"] in ("GET", "HEAD")
            and not _is_there(store, file["name"])
        ):
            return _say("404 Not Found", "There is no such file in the artifact folder.", start_response)
        may_be_file = not path.startswith(_WITHOUT_FILES)
        return app(environ, _with_headers(start_response, may_be_file=may_be_file))

    return answer


def _why_refused(environ: WSGIEnvironment, names: Names) -> str:
    """Why the request is rejected; empty if it is not."""
    host = environ.get("HTTP_HOST", "")
    if not names.include(host):
        return (
            "The dashboard does not answer under this name: open the address that it printed, or start it "
            "with --host and --port set to the name and port that you use."
        )
    origin = environ.get("HTTP_ORIGIN")
    if origin is not None and origin.lower() != f"http://{host}".lower():
        return "The dashboard answers only its own pages: this request comes from another site."
    return ""


def _is_there(store: ArtifactFolder, name: str) -> bool:
    try:
        store.open_reader(name).close()
    except ArtifactNotFound:
        return False
    return True


def _say(status: str, text: str, start_response: StartResponse) -> Iterable[bytes]:
    content = f"{text}\n".encode()
    headers = [("Content-Type", _TEXT), ("Content-Length", str(len(content))), *_ALWAYS]
    start_response(status, headers)
    return [content]


def _with_headers(start_response: StartResponse, *, may_be_file: bool) -> StartResponse:
    def start(status: str, headers: list[tuple[str, str]], *error: object) -> Callable[[bytes], object]:
        kept = [(name, value) for name, value in headers if name.lower() not in _DROPPED]
        if may_be_file:
            kept = [*map(_as_no_script, kept), *_OF_FILES]
        return start_response(status, [*kept, *_ALWAYS], *error)  # type: ignore[arg-type]

    return start


def _as_no_script(header: tuple[str, str]) -> tuple[str, str]:
    """A header, but text for a type of scripts: a page of the dashboard could load the file as one."""
    name, value = header
    is_script = name.lower() == "content-type" and "script" in value.lower()
    return (name, _TEXT) if is_script else header


def _addresses(host: str) -> set[str]:
    """The addresses that a name resolves to on this machine."""
    try:
        return {str(entry[4][0]).lower() for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return set()


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


def _is_unspecified(host: str) -> bool:
    return not host or (_is_address(host) and ip_address(host).is_unspecified)
