"""Weights of the trials on the front, kept beside the study."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial
from torch import nn

from autoprune.documents import read_text
from autoprune.errors import DiskError, ModelError, PlanError
from autoprune.files import replace_file, sweep, why_not_written
from autoprune.review.artifacts import study_folder, trial_file
from autoprune.review.states import DUPLICATE_OF
from autoprune.search.handover import UNCUT_FILE
from autoprune.structure.plans import AnyPlan, read_plan
from autoprune.tasks import load_weights, save_weights


@dataclass(frozen=True)
class WeightStore:
    """A folder with ``trial-N.safetensors`` and ``trial-N.plan.json`` for each trial worth keeping."""

    folder: Path

    @classmethod
    def beside(cls, storage: str, study: str) -> WeightStore:
        """``autoprune_artifacts/<study>`` beside an SQLite file, else in the working folder."""
        return cls(study_folder(storage, study))

    def save(self, number: int, model: nn.Module, plan: AnyPlan) -> None:
        """Write one trial, each file whole or not at all. Raises DiskError when one cannot be written."""
        save_weights(model, self._weights(number))
        file = self._plan(number)
        try:
            replace_file(file, plan.to_json())
        except OSError as error:
            raise DiskError(f"cannot write {file} {why_not_written(error)}") from error

    def save_uncut(self, model: nn.Module) -> None:
        """Write the uncut model for workers that cannot make it themselves. Raises DiskError."""
        if not (self.folder / UNCUT_FILE).is_file():
            save_weights(model, self.folder / UNCUT_FILE)

    def load(self, number: int, pruned: nn.Module) -> bool:
        """Read a trial's weights into a model of its widths; false when they are not there."""
        if not self._weights(number).is_file():
            return False
        try:
            load_weights(pruned, self._weights(number))
        except ModelError:
            # Damaged by something outside our reach: the caller makes the weights again.
            return False
        return True

    def plan(self, number: int) -> AnyPlan | None:
        """The plan of one trial; None when its file is not there, or damaged: it can be made again."""
        file = self._plan(number)
        try:
            return read_plan(read_text(file, "plan", PlanError)) if file.is_file() else None
        except PlanError:
            return None

    def prune(self, kept: Iterable[FrozenTrial], over: Collection[int]) -> None:
        """Delete the files of the trials with the numbers `over`, but for those that are kept."""
        sweep(self.folder)
        wanted = {trial.user_attrs.get(DUPLICATE_OF, trial.number) for trial in kept}
        for file in self.folder.glob("trial-*.*"):
            number = file.name.removeprefix("trial-").split(".")[0]
            if number.isdigit() and int(number) in over and int(number) not in wanted:
                file.unlink(missing_ok=True)

    def _weights(self, number: int) -> Path:
        return trial_file(self.folder, number, ".safetensors")

    def _plan(self, number: int) -> Path:
        return trial_file(self.folder, number, ".plan.json")
