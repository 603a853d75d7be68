"""The engine that the settings name."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from autoprune.config.settings import Config
from autoprune.engines.base import Engine
from autoprune.engines.local import LocalEngine
from autoprune.engines.ray import RayEngine, connected
from autoprune.errors import ConfigError


@contextmanager
def engine_ready(config: Config) -> Iterator[None]:
    """Keep ready what the settings' engine needs: found missing before a search is prepared, not after.

    Raises:
        ConfigError: an address that no engine asked for, a cluster that does not answer, or a storage that
            its nodes cannot reach.
        MissingExtraError: without Ray where it is asked for.
    """
    if config.engine == "ray":
        with connected(config.address, config.storage):
            yield
    elif config.address is not None:
        raise ConfigError(f"address {config.address} is of a Ray cluster: add --engine ray")
    else:
        yield


def make_engine(config: Config, study: str, logs: Path, note: Callable[[str], None]) -> Engine:
    """The engine of the settings for a study; `note` reports where workers run."""
    if config.engine == "ray":
        return RayEngine(config, study, logs, note)
    return LocalEngine(config, study, logs)
