"""Weights of the trials on the front, kept beside the study."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import FrozenTrial
from torch import nn

from autoprune.errors import ModelError
from autoprune.review.storage import folder_beside
from autoprune.structure.plans import AnyPlan, read_plan
from autoprune.tasks import load_weights, save_weights


@dataclass(frozen=True)
class WeightStore:
    """A folder with ``trial-N.safetensors`` and ``trial-N.plan.json`` for each trial worth keeping."""

    folder: Path

    @classmethod
    def beside(cls, storage: str, study: str) -> WeightStore:
        """``autoprune_artifacts/<study>`` beside an SQLite file, else in the working folder."""
        return cls(folder_beside(storage) / study)

    def save(self, number: int, model: nn.Module, plan: AnyPlan) -> None:
        """Write one trial; each file appears whole or not at all."""
        save_weights(model, self._weights(number))
        plan_file = self._plan(number)
        partial = plan_file.with_suffix(".partial")
        partial.write_text(plan.to_json())
        partial.replace(plan_file)

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
        """The plan of one trial; None when its file is not there."""
        file = self._plan(number)
        return read_plan(file.read_text()) if file.is_file() else None

    def prune(self, kept: Iterable[FrozenTrial]) -> None:
        """Delete the files of all trials but these."""
        wanted = {trial.user_attrs.get("duplicate_of", trial.number) for trial in kept}
        for file in self.folder.glob("trial-*.*"):
            number = file.name.removeprefix("trial-").split(".")[0]
            if number.isdigit() and int(number) not in wanted:
                file.unlink(missing_ok=True)

    def _weights(self, number: int) -> Path:
        return self.folder / f"trial-{number}.safetensors"

    def _plan(self, number: int) -> Path:
        return self.folder / f"trial-{number}.plan.json"
