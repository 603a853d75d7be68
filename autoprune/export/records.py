"""Inputs and results of an export."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from autoprune.cost import Latency
from autoprune.structure.plans import AnyPlan
from autoprune.utils.quantities import human_seconds


@dataclass(frozen=True, eq=False)
class ExportCandidate:
    """The model to export and the model it was pruned from.

    Attributes:
        model: the pruned model; it is not modified.
        plan: the pruning plan; for the original model, one that keeps everything.
        base: the original model.
        spec: string from which :func:`autoprune.tasks.load_model` builds `base`; None if there is none.
        classes: number of outputs that `spec` is built for; None for its default.
        example: inputs ``[samples, ...]``; real samples make the comparisons meaningful.
        calibration: batches of inputs, for formats that measure ranges.
        quality: scores a model on validation data; None without such data.
        metric: name of that score.
        criterion: JSON of the criterion that the search learned; empty if there is none.
    """

    model: nn.Module
    plan: AnyPlan
    base: nn.Module
    spec: str | None
    classes: int | None
    example: Tensor
    calibration: Sequence[Tensor] = ()
    quality: Callable[[nn.Module], float] | None = None
    metric: str = ""
    criterion: str = ""


@dataclass(frozen=True)
class Numbers:
    """Quality and costs of one model.

    Attributes:
        quality: metric on the validation split, if measured.
        flops: for one sample.
        parameters: number of parameters.
        size: bytes; for a masked model, of its compressed weights.
        test: metric on the test split, if measured.
        latency_ms: milliseconds, if measured.
        latency_ratio: share of the original model's latency.
        latency_low: lower end of the ratio's 95 % interval.
        latency_high: its upper end.
        nonzero: parameters that are not masked, for a masked model.
        effective_multiply_adds: FLOPs without the multiplications by masked weights.
        others: additional qualities on the validation split, by name.
    """

    flops: float
    parameters: float
    size: float
    quality: float | None = None
    test: float | None = None
    latency_ms: float | None = None
    latency_ratio: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    nonzero: float | None = None
    effective_multiply_adds: float | None = None
    others: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Card:
    """The contents of a model card.

    Attributes:
        title: readable name of the original model.
        metric: name of the quality metric.
        data: name of the data.
        before: the original model.
        after: the pruned model.
        widths: group -> units before and after.
        study: name of the study.
        trial: number of the trial.
        weights: SHA-256 of the original model's weights.
        device: the device of the latency measurement.
        granularity: what was masked, empty if units were removed.
        finetuned: how it was trained after the search; empty if it was not.
        sparsified: sparse training before pruning, and the quality after it; empty without it.
    """

    title: str
    metric: str
    data: str
    before: Numbers
    after: Numbers
    widths: Mapping[str, tuple[int, int]]
    study: str = ""
    trial: int | None = None
    weights: str = ""
    device: str = ""
    granularity: str = ""
    finetuned: str = ""
    sparsified: str = ""


@dataclass(frozen=True)
class Exported:
    """One format that was written, loaded and found equal.

    Attributes:
        format: its name.
        path: the file that it is loaded from.
        max_difference: largest absolute difference between its outputs and the pruned model's.
        note: how it was compared, and which batch sizes it accepts.
        latency: of the file in its runtime, against the original in the same format; None if not measured.
    """

    format: str
    path: Path
    max_difference: float
    note: str
    latency: Latency | None = None

    def __str__(self) -> str:
        timed = "" if self.latency is None else f"; {latency_text(self.latency)}"
        return f"{self.path}: largest difference {self.max_difference:.2g} ({self.note}){timed}"


def latency_text(latency: Latency) -> str:
    """Milliseconds, the runtime, and the share of the original model's with its 95 % interval."""
    where = f"{latency.fingerprint.runtime} {latency.fingerprint.runtime_version}".strip()
    return (
        f"{human_seconds(latency.seconds)} in {where}, {latency.ratio:.1%} of the original model's "
        f"(95 % interval {latency.ratio_low:.1%} to {latency.ratio_high:.1%})"
    )
