"""Storages over gRPC: many workers share a few connections to the database, and need no password of it."""

from __future__ import annotations

import importlib.util
import warnings
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from typing import TYPE_CHECKING

import optuna
from optuna.storages import BaseStorage, GrpcStorageProxy

from autoprune.errors import MissingExtraError, StudyError, UserError
from autoprune.storages.address import Address
from autoprune.storages.optuna_private import add_storage_service
from autoprune.storages.shared_reads import SharedReads

if TYPE_CHECKING:
    import grpc

WAIT_SECONDS = 10.0
"""For the server to answer when the storage is opened."""
_THREADS = 32
"""Calls that a server answers at once; each may hold a connection to the database."""
_OPTIONS = [
    ("grpc.max_receive_message_length", -1),
    # Else a second server on the same port would get half of the calls.
    ("grpc.so_reuseport", 0),
]


def open_proxy(address: Address) -> BaseStorage:
    """The storage behind a server. Raises StudyError when none answers, MissingExtraError without gRPC."""
    _require_grpc()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = GrpcStorageProxy(host=address.host, port=address.port)
    try:
        storage.wait_server_ready(timeout=WAIT_SECONDS)
    except ConnectionError:
        storage.close()
        raise StudyError(
            f"no server answers at {address.shown}: start autoprune serve there, or check the address"
        ) from None
    return storage


def start_server(storage: BaseStorage, host: str, port: int) -> tuple[grpc.Server, int]:
    """A running server in front of a storage, and its port; 0 takes any free one. ``stop`` ends it.

    Readings of the trials of a study that are asked for together are one: with a hundred workers the server
    would do nothing else.

    Raises UserError when the address cannot be listened on, MissingExtraError without gRPC.
    """
    _require_grpc()
    import grpc

    server = grpc.server(ThreadPoolExecutor(_THREADS), options=_OPTIONS)
    reads = cache(lambda study: SharedReads(partial(storage.get_all_trials, study, deepcopy=False)))
    add_storage_service(server, storage, lambda study: reads(study)())
    place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        port = server.add_insecure_port(place)
    except RuntimeError:
        raise UserError(f"cannot listen on {place}: pass another --port or --host") from None
    server.start()
    return server, port


def _require_grpc() -> None:
    for module, package in (("grpc", "grpcio"), ("google.protobuf", "protobuf")):
        try:
            found = importlib.util.find_spec(module) is not None
        except ModuleNotFoundError:
            found = False
        if not found:
            raise MissingExtraError(package, "grpc")
