"""A server in front of a storage, for workers that reach it as ``grpc://HOST:PORT``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from autoprune.errors import StudyError
from autoprune.storages.address import is_loopback, read_address
from autoprune.storages.open import open_storage
from autoprune.storages.proxy import start_server

_STOP_SECONDS = 1.0
OPEN_TO_ALL = "Anyone who reaches this address can read, change and delete studies: there is no password."


@dataclass(frozen=True)
class Served:
    """A server that runs.

    Attributes:
        address: what workers give as their storage.
        warnings: to be shown to the user who started it.
        wait: returns when the server ends.
    """

    address: str
    warnings: tuple[str, ...]
    wait: Callable[[], object]


@contextmanager
def serve_storage(storage: str, host: str, port: int) -> Iterator[Served]:
    """Serve the storage that a text names, until the block ends; port 0 takes a free one.

    Raises:
        StudyError: when the storage cannot be opened, or is of a kind that cannot be served.
        UserError: when the address cannot be listened on.
        MissingExtraError: without gRPC.
    """
    address = read_address(storage)
    if address.kind not in ("server", "sqlite"):
        raise StudyError(f"the storage {address.shown} cannot be served: serve a database")
    server, port = start_server(open_storage(storage, must_exist=False), host, port)
    try:
        shown = f"[{host}]" if ":" in host else host
        warnings = () if is_loopback(host) else (OPEN_TO_ALL,)
        yield Served(f"grpc://{shown}:{port}", warnings, server.wait_for_termination)
    finally:
        server.stop(_STOP_SECONDS).wait()
