"""Latency of a model, measured against a reference on the machine at hand."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

from torch import nn

from autoprune.cost.latency.conditions import eval_mode, torch_threads
from autoprune.cost.latency.cpu_affinity import pinned
from autoprune.cost.latency.device_fingerprint import DeviceFingerprint, fingerprint_of
from autoprune.cost.latency.runtimes import Call
from autoprune.cost.latency.setting import Inputs, Setting
from autoprune.cost.latency.timing import Comparison, compare_calls
from autoprune.cost.latency.timing_lock import timing_lock
from autoprune.errors import AutopruneError, ConfigError, ModelError, TrialError
from autoprune.structure.graph.error_site import first_line
from autoprune.structure.wrappers import unwrapped


@dataclass(frozen=True)
class Latency(Comparison):
    """A measured latency. The ratio carries over to another hour on the same device; seconds do less so.

    With one thread on the CPU, seconds are without those in which other programs had the core.

    Attributes:
        fingerprint: where and how it was measured.
    """

    fingerprint: DeviceFingerprint


class Meter:
    """Times models against one reference, which is made ready for its runtime once.

    Args:
        reference: the model that the others are compared with.
        inputs: positional arguments of all models.
        setting: what runs the models.
        tolerance: relative half-width of the ratio's 95 % interval at which measuring stops.
        warmup: seconds that each model runs before it is timed.
        cuts: the candidates are cut copies of the reference and matter for their shapes alone, so that a
            runtime may reuse what it has made of the reference.

    Raises ConfigError for a number out of range.
    """

    def __init__(
        self,
        reference: nn.Module,
        inputs: Inputs,
        setting: Setting | None = None,
        *,
        tolerance: float = 0.02,
        warmup: float = 0.1,
        cuts: bool = False,
    ) -> None:
        self.reference = unwrapped(reference)
        self.inputs = inputs
        self.setting = setting or Setting()
        if not (tolerance > 0 and self.setting.max_seconds > 0 and warmup >= 0):
            raise ConfigError("a latency needs tolerance > 0, max_seconds > 0 and warmup >= 0: correct them")
        self._tolerance, self._warmup = tolerance, warmup
        self._cuts = cuts
        self._ready: tuple[int, Call, Callable[[nn.Module], Call]] | None = None

    @cached_property
    def fingerprint(self) -> DeviceFingerprint:
        """Where and how the models are timed."""
        return fingerprint_of(self.setting, self.reference, self.setting.given(self.inputs))

    def measure(self, candidate: nn.Module) -> Latency:
        """Time a model and the reference in alternation within one window, alone on this machine.

        Neither model is changed. Meanwhile this process stays on fixed cores where the system allows it.
        Raises TrialError if a model does not run, the clock does not, or another process keeps the timing
        lock.
        """
        candidate, threads = unwrapped(candidate), self.setting.thread_count
        with ExitStack() as stack:
            stack.enter_context(timing_lock())
            stack.enter_context(torch_threads(threads))
            stack.enter_context(pinned(threads))
            stack.enter_context(eval_mode((candidate, self.reference)))
            # The reference may be broken where every candidate is: then its name is in the message.
            reference, prepare = self._made_ready(threads)
            call = (
                reference if candidate is self.reference else self._checked(prepare, candidate, "candidate")
            )
            comparison = compare_calls(
                call,
                reference,
                tolerance=self._tolerance,
                max_seconds=self.setting.max_seconds,
                warmup=self._warmup,
                stopwatch=self.setting.stopwatch(self.inputs),
            )
        return Latency(**vars(comparison), fingerprint=self.fingerprint)

    def reference_seconds(self) -> float:
        """Seconds of the reference by itself. Raises ModelError when it cannot be timed."""
        try:
            return self.measure(self.reference).reference_seconds
        except TrialError as error:
            raise ModelError(f"the original model cannot be timed: {error}") from error

    def _made_ready(self, threads: int) -> tuple[Call, Callable[[nn.Module], Call]]:
        """The reference's call, and what prepares candidates; again where torch has other threads since."""
        if self._ready is None or self._ready[0] != threads:
            reference = self._checked(self._prepare, self.reference, "reference")
            prepare = self._prepare_cuts() if self._cuts else self._prepare
            self._ready = threads, reference, prepare
        return self._ready[1:]

    def _prepare(self, model: nn.Module) -> Call:
        return self.setting.runtime.prepare(*self.setting.form(model, self.inputs))

    def _prepare_cuts(self) -> Callable[[nn.Module], Call]:
        prepare = self.setting.runtime.for_cuts(*self.setting.form(self.reference, self.inputs))
        return lambda cut: prepare(self.setting.form(cut, self.inputs)[0])

    def _checked(self, prepare: Callable[[nn.Module], Call], model: nn.Module, which: str) -> Call:
        try:
            call = prepare(model)
            call()
        except AutopruneError:
            raise
        except Exception as error:
            raise TrialError(
                f"the {which} does not run with {self.setting.runtime.name} on the example inputs: "
                f"{first_line(error)}"
            ) from error
        return call
