"""The original model with its data, and its quality on them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor, nn

from autoprune.pruning_search.problem.subject.splits import ValidationSplits
from autoprune.recovery.sparse_training import Sparsified
from autoprune.tasks import Data, Score, Split, Task, evaluate

EVALUATED = 500
"""Samples that are scored at a time."""


@dataclass(frozen=True, eq=False)
class ExtraQuality:
    """A quality beside the first one.

    Attributes:
        task: with its metric, named as the objective is.
        split: the selection split as this quality sees it.
    """

    task: Task
    split: Split

    def value(self, model: nn.Module, batch_size: int = EVALUATED) -> float:
        """The model's quality. Raises TrialError when an output is not finite."""
        return evaluate(model, self.split, self.task, batch_size=batch_size).value


@dataclass(frozen=True)
class OriginalQuality:
    """Quality of the original model on the selection split.

    Attributes:
        score: by the first objective.
        others: further qualities by name.
        sparsified: quality of the model after sparse training; None without that.
    """

    score: Score
    others: Mapping[str, float] = field(default_factory=dict)
    sparsified: float | None = None


@dataclass(frozen=True, eq=False)
class SearchSubject:
    """One trained model with its data.

    Attributes:
        model: the original trained model, which teaches and is the reference; never changed.
        name: readable name of the model.
        weights: SHA-256 of its weights.
        data: splits and task.
        splits: validation samples that select candidates, and those held out to rank finalists.
        example: input of one sample, ``[1, ...]``.
        calibration: a few training batches, drawn once, for BatchNorm statistics of every candidate.
        baseline: the original model's quality.
        others: further qualities that are objectives.
        sparse: what sparse training made of the model; None where there was none.
    """

    model: nn.Module
    name: str
    weights: str
    data: Data
    splits: ValidationSplits
    example: Tensor
    calibration: Sequence[tuple[Tensor, Tensor]]
    baseline: OriginalQuality
    others: tuple[ExtraQuality, ...] = ()
    sparse: Sparsified | None = None

    @property
    def qualities(self) -> dict[str, bool]:
        """Name of every objective that is no cost -> whether higher is better."""
        tasks = (self.data.task, *(quality.task for quality in self.others))
        return {task.metric: task.higher_is_better for task in tasks}
