"""What runs a model when its latency is measured, by name."""

from __future__ import annotations

from collections.abc import Callable

from autoprune.config.references import PROGRAM, Program, parse_runtime
from autoprune.config.references import Runtime as RuntimeName
from autoprune.config.user_code import Permit
from autoprune.cost.latency.runtimes.base import DTYPES, Call, Runtime
from autoprune.cost.latency.runtimes.command import CommandRuntime
from autoprune.cost.latency.runtimes.compiled import CompiledRuntime
from autoprune.cost.latency.runtimes.cuda import CudaRuntime
from autoprune.cost.latency.runtimes.eager import EagerRuntime
from autoprune.cost.latency.runtimes.onnx_runtime import OnnxRuntime
from autoprune.cost.latency.runtimes.open_vino import OpenVinoRuntime
from autoprune.errors import ConfigError
from autoprune.utils.suggest import did_you_mean

RUNTIMES: dict[str, Callable[[], Runtime]] = {
    "eager": EagerRuntime,
    "compile": CompiledRuntime,
    "onnxruntime": OnnxRuntime,
    "openvino": OpenVinoRuntime,
    "cuda": CudaRuntime,
}


def runtime_by_name(name: str) -> Runtime:
    """The runtime of that name, or the program behind ``command:``.

    Raises ConfigError when there is none or this machine lacks what it runs on, MissingExtraError when its
    packages are not installed.
    """
    reference = parse_runtime(name)
    return named_runtime(reference, Permit.naming(reference))


def named_runtime(reference: RuntimeName, permit: Permit) -> Runtime:
    """The runtime that a setting names, as :func:`runtime_by_name`; TrustError where it may not run."""
    if isinstance(reference, Program):
        return CommandRuntime(reference, permit)
    check_runtime(str(reference))
    return RUNTIMES[str(reference)]()


def check_runtime(name: str) -> None:
    """Raise ConfigError for a name that no runtime has."""
    if not isinstance(parse_runtime(name), Program) and name not in RUNTIMES:
        hint = did_you_mean(name, RUNTIMES, ":")
        raise ConfigError(
            f"unknown runtime {name!r}{hint} use {', '.join(RUNTIMES)} or '{PROGRAM}PROGRAM ARGUMENTS'"
        )


__all__ = [
    "DTYPES",
    "RUNTIMES",
    "Call",
    "CommandRuntime",
    "CompiledRuntime",
    "CudaRuntime",
    "EagerRuntime",
    "OnnxRuntime",
    "OpenVinoRuntime",
    "Runtime",
    "check_runtime",
    "named_runtime",
    "runtime_by_name",
]
