"""A quality in words: a metric, and the noise on the inputs under which it is taken."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from autoprune.config.references import Code, Named, OwnObject, Quality
from autoprune.config.user_code import Permit, load_object
from autoprune.errors import DataError
from autoprune.tasks.corruption import CorruptedSplit, Corruption, parse_corruption
from autoprune.tasks.data import Split
from autoprune.tasks.datasets.in_memory import held
from autoprune.tasks.task import Task


@dataclass(frozen=True)
class Objective:
    """A metric, on samples as they are or on noisy ones.

    Attributes:
        metric: see :meth:`autoprune.tasks.task.Task.measured_by`; empty for the task's own.
        corruption: the noise; None for none.
        code: what makes the metric, where that is no name.
        permit: what may run.
    """

    metric: str
    corruption: Corruption | None = None
    code: Code | OwnObject | None = field(default=None, compare=False)
    permit: Permit = field(default=Permit(), compare=False)

    def task(self, task: Task) -> Task:
        """The task judged by this quality, under its name.

        Raises DataError for another task's metric, and TrustError for code that may not run.
        """
        judged = task
        if self.code is not None:
            make = load_object(self.code, self.permit, "metric", DataError)
            judged = task.measured_by(make, name=self.code.attribute)
        elif self.metric:
            judged = task.measured_by(self.metric)
        if self.corruption is None:
            return judged
        return replace(judged, metric=f"{judged.metric}@{self.corruption}")

    def split(self, split: Split, seed: int) -> Split:
        """The samples with the noise, which is the same whenever they are read.

        Samples that are too many for memory have the same noise in batches of the same size.
        """
        return split if self.corruption is None else held(CorruptedSplit(split, self.corruption, seed))


def objective_of(quality: Quality | None, permit: Permit) -> Objective:
    """The quality that a setting names, the task's own for None; metrics are looked up by the task.

    Raises DataError for noise that cannot be read.
    """
    if quality is None:
        return Objective("")
    metric = quality.metric
    code = None if isinstance(metric, Named | None) else metric
    corruption = None if quality.noise is None else parse_corruption(quality.noise)
    return Objective("" if metric is None else str(metric), corruption, code, permit)
