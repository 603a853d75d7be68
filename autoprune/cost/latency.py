"""Latency of a model, measured against a reference on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from autoprune.cost.fingerprint import DeviceFingerprint, current_device
from autoprune.cost.lock import timing_lock
from autoprune.cost.runtimes import Runtime, eval_mode, runtime_by_name, torch_threads
from autoprune.cost.timing import Comparison, compare_calls
from autoprune.errors import AutopruneError, ConfigError, TrialError


@dataclass(frozen=True)
class Latency:
    """A measured latency. The ratio carries over to another hour on the same device; seconds do less so.

    Attributes:
        seconds: median seconds a call of the candidate.
        reference_seconds: median seconds a call of the reference, in the same window.
        ratio: ``seconds / reference_seconds``.
        ratio_low: lower bound of the ratio's 95 % confidence interval.
        ratio_high: upper bound.
        repeats: pairs of samples in the window.
        converged: the interval is narrow enough and the reference held its speed during the window.
        fingerprint: where and how it was measured.
        drift: relative change of the reference from the window's first half to its second.
    """

    seconds: float
    reference_seconds: float
    ratio: float
    ratio_low: float
    ratio_high: float
    repeats: int
    converged: bool
    fingerprint: DeviceFingerprint
    drift: float = 0.0


def measure_latency(
    candidate: nn.Module,
    reference: nn.Module,
    inputs: tuple[Tensor, ...],
    *,
    runtime: str | Runtime = "eager",
    threads: int | None = None,
    tolerance: float = 0.02,
    max_seconds: float = 2.0,
    warmup: float = 0.1,
) -> Latency:
    """Time two models in alternation within one window, alone on this machine.

    Args:
        candidate: the model whose latency is wanted.
        reference: the model it is compared with, on the same device.
        inputs: positional arguments of both models.
        runtime: name of a runtime, or one of the caller's own.
        threads: threads within an operator; default is what torch uses now.
        tolerance: relative half-width of the ratio's 95 % interval at which measuring stops.
        max_seconds: cap on one window; a window in which the reference drifts is repeated once.
        warmup: seconds that each model runs before it is timed.

    Neither model is changed. Raises ConfigError for an unknown runtime or a setting out of range, TrialError
    if a model does not run, the clock does not, or another process keeps the timing lock.
    """
    count = torch.get_num_threads() if threads is None else threads
    _check_settings(count, tolerance, max_seconds, warmup)
    runner = runtime_by_name(runtime) if isinstance(runtime, str) else runtime
    with timing_lock(), torch_threads(count), eval_mode((candidate, reference)):
        comparison = compare_calls(
            _prepared(runner, candidate, inputs, "candidate"),
            _prepared(runner, reference, inputs, "reference"),
            tolerance=tolerance,
            max_seconds=max_seconds,
            warmup=warmup,
        )
    device = next((tensor.device for tensor in inputs if tensor.device.type != "cpu"), None)
    return _latency(comparison, current_device(runner.name, count, device))


def _check_settings(threads: int, tolerance: float, max_seconds: float, warmup: float) -> None:
    if threads < 1:
        raise ConfigError(f"threads is {threads}: give 1 or more")
    if not (tolerance > 0 and max_seconds > 0 and warmup >= 0):
        raise ConfigError("a latency needs tolerance > 0, max_seconds > 0 and warmup >= 0: correct them")


def _prepared(
    runtime: Runtime, model: nn.Module, inputs: tuple[Tensor, ...], which: str
) -> Callable[[], None]:
    try:
        call = runtime.prepare(model, inputs)
        call()
    except AutopruneError:
        raise
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrialError(
            f"the {which} does not run with {runtime.name} on the example inputs: {reason}"
        ) from error
    return call


def _latency(comparison: Comparison, fingerprint: DeviceFingerprint) -> Latency:
    interval = comparison.interval
    return Latency(
        seconds=comparison.seconds,
        reference_seconds=comparison.reference_seconds,
        ratio=interval.ratio,
        ratio_low=interval.low,
        ratio_high=interval.high,
        repeats=comparison.pairs,
        converged=comparison.converged,
        fingerprint=fingerprint,
        drift=comparison.drift,
    )
