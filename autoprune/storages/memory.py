"""What a process knows of the studies in a storage, should the storage be taken away."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.storages import BaseStorage
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState

from autoprune.storages.contents import Counted
from autoprune.storages.optuna_private import trial_id_of

_NOT_KNOWN = "it was not known to the process that saved the study"
_DASHBOARD = "dashboard"


@dataclass
class KnownStudy:
    """A study as it was when it was last read or written.

    Attributes:
        name: its name.
        directions: one for each objective.
        user_attrs: its attributes.
        system_attrs: those of Optuna and its dashboard.
        trials: number -> trial.
    """

    name: str
    directions: list[StudyDirection]
    user_attrs: dict[str, Any]
    system_attrs: dict[str, Any]
    trials: dict[int, FrozenTrial] = field(default_factory=dict)

    @classmethod
    def of(cls, storage: BaseStorage, study_id: int) -> KnownStudy:
        """A study without its trials."""
        return cls(
            storage.get_study_name_from_id(study_id),
            storage.get_study_directions(study_id),
            storage.get_study_user_attrs(study_id),
            storage.get_study_system_attrs(study_id),
        )

    def learn(self, trials: Iterable[FrozenTrial]) -> None:
        """Take over trials as they are now."""
        self.trials |= {trial.number: trial for trial in trials}

    def counted(self) -> Counted:
        """How many trials are known."""
        trials = list(self.trials.values())
        return Counted(len(trials), sum(trial.state.is_finished() for trial in trials))

    def is_in(self, storage: BaseStorage) -> bool:
        """Whether a storage holds the study, with all trials that are known and as far as they are."""
        try:
            there = storage.get_all_trials(storage.get_study_id_from_name(self.name), deepcopy=False)
        except Exception:  # damaged in whatever way: it is none that could be relied on
            return False
        found = {trial.number: trial for trial in there}
        return all(
            number in found and (not known.state.is_finished() or _holds_the_same(found[number], known))
            for number, known in self.trials.items()
        )

    def write_to(self, storage: BaseStorage) -> None:
        """Write the study into a storage that has none of its name; trials keep their numbers."""
        study_id = storage.create_new_study(self.directions, self.name)
        numbers = {}
        for number in range(max(self.trials, default=-1) + 1):
            trial = self.trials.get(number) or _unknown()
            numbers[str(trial_id_of(trial))] = str(storage.create_new_trial(study_id, trial))
        for key, value in self.user_attrs.items():
            storage.set_study_user_attr(study_id, key, value)
        for key, value in self.system_attrs.items():
            storage.set_study_system_attr(study_id, _renumbered(key, numbers), value)


def _holds_the_same(one: FrozenTrial, other: FrozenTrial) -> bool:
    """Whether two finished trials are equal but for their number in the storage."""
    return all(
        getattr(one, name) == getattr(other, name)
        for name in ("state", "values", "params", "distributions", "user_attrs")
    )


def _unknown() -> FrozenTrial:
    """A trial in the place of one that was not read."""
    return optuna.trial.create_trial(state=TrialState.FAIL, user_attrs={"reason": _NOT_KNOWN})


def _renumbered(key: str, numbers: dict[str, str]) -> str:
    """The name of an attribute, into which the dashboard writes a trial's number in the storage."""
    parts = key.split(":")
    place = 2 if parts[:2] == [_DASHBOARD, "artifacts"] else 1
    if parts[0] == _DASHBOARD and len(parts) > place:
        parts[place] = numbers.get(parts[place], parts[place])
    return ":".join(parts)
