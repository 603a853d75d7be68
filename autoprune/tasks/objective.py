"""A quality in words: a metric, and the noise on the inputs under which it is taken."""

from __future__ import annotations

from dataclasses import dataclass, replace

from autoprune.tasks.corruption import CorruptedSplit, Corruption, parse_corruption
from autoprune.tasks.data import Split
from autoprune.tasks.memory import held
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Objective:
    """A metric, on samples as they are or on noisy ones.

    Attributes:
        metric: see :meth:`autoprune.tasks.task.Task.measured_by`; empty for the task's own.
        corruption: the noise; None for none.
    """

    metric: str
    corruption: Corruption | None = None

    def task(self, task: Task) -> Task:
        """The task judged by this quality, under its name. Raises DataError for another task's metric."""
        judged = task.measured_by(self.metric) if self.metric else task
        if self.corruption is None:
            return judged
        return replace(judged, metric=f"{judged.metric}@{self.corruption}")

    def split(self, split: Split, seed: int) -> Split:
        """The samples with the noise, which is the same whenever they are read.

        Samples that are too many for memory have the same noise in batches of the same size.
        """
        return split if self.corruption is None else held(CorruptedSplit(split, self.corruption, seed))


def parse_objective(text: str) -> Objective:
    """``f1``, ``accuracy@gaussian:0.1`` or ``path/file.py:Metric@salt-and-pepper:0.05``.

    Raises DataError for noise that cannot be read; metrics are looked up by the task.
    """
    metric, at, noise = text.rpartition("@")
    return Objective(metric, parse_corruption(noise)) if at else Objective(text)
