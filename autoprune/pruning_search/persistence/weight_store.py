"""Weights of the trials on the front, kept beside the study."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial
from torch import nn

from autoprune.errors import DiskError, ModelError
from autoprune.pruning_search.persistence.compatibility import ORIGINAL_FILE
from autoprune.structure.plans import AnyPlan
from autoprune.study.artifacts import PLAN_ENDING, kept_plan, study_folder, trial_file
from autoprune.study.attributes import DUPLICATE_OF
from autoprune.tasks import load_weights, save_weights
from autoprune.utils.atomic_files import sweep, why_not_written
from autoprune.utils.contained import ContainedFolder


@dataclass(frozen=True)
class WeightStore:
    """A folder with ``trial-N.safetensors`` and ``trial-N.plan.json`` for each trial worth keeping."""

    folder: Path

    @classmethod
    def beside(cls, storage: str, study: str) -> WeightStore:
        """``autoprune_artifacts/<study>`` beside an SQLite file, else in the working folder.

        Raises:
            StudyError: one of the two is a link: others may have made it, and it may lead anywhere.
        """
        folder = study_folder(storage, study)
        folder.check()
        return cls(folder.path)

    def save(self, number: int, model: nn.Module, plan: AnyPlan) -> None:
        """Write one trial, each file whole or not at all. Raises DiskError when one cannot be written."""
        save_weights(model, self._weights(number))
        name = trial_file(number, PLAN_ENDING)
        try:
            self._files.replace(name, plan.to_json().encode())
        except OSError as error:
            raise DiskError(f"cannot write {self.folder / name} {why_not_written(error)}") from error

    def save_original(self, model: nn.Module) -> None:
        """Write the original model for workers that cannot make it themselves. Raises DiskError."""
        if not self._files.has(ORIGINAL_FILE):
            save_weights(model, self.folder / ORIGINAL_FILE)

    def load(self, number: int, pruned: nn.Module) -> bool:
        """Read a trial's weights into a model of its widths; false when they are not there.

        A link to other weights is as good as none.
        """
        if not self._files.has(self._weights(number).name):
            return False
        try:
            load_weights(pruned, self._weights(number))
        except ModelError:
            # Damaged by something outside our reach: the caller makes the weights again.
            return False
        return True

    def plan(self, number: int) -> AnyPlan | None:
        """The plan of one trial; None when its file is not there, or damaged: it can be made again."""
        return kept_plan(self._files, number)

    def prune(self, kept: Iterable[FrozenTrial], over: Collection[int]) -> None:
        """Delete the files of the trials with the numbers `over`, but for those that are kept."""
        sweep(self.folder)
        numbers = {trial.user_attrs.get(DUPLICATE_OF, trial.number) for trial in kept}
        for file in self.folder.glob("trial-*.*"):
            number = file.name.removeprefix("trial-").split(".")[0]
            if number.isdigit() and int(number) in over and int(number) not in numbers:
                file.unlink(missing_ok=True)

    def _weights(self, number: int) -> Path:
        return self.folder / trial_file(number, ".safetensors")

    @property
    def _files(self) -> ContainedFolder:
        return ContainedFolder(self.folder.parent, (self.folder.name,))
