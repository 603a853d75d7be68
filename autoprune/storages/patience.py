"""Waiting for a server that is away: a search outlives a restart of its database."""

from __future__ import annotations

import time
from collections.abc import Callable, Container, Sequence
from typing import Any, TypeVar

from optuna.distributions import BaseDistribution
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.study._frozen import FrozenStudy
from optuna.study._study_direction import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from autoprune.errors import StudyError
from autoprune.storages.trouble import is_outage
from autoprune.units import human_seconds

PATIENCE_SECONDS = 1800.0
"""How long one call waits for the server to come back."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

Result = TypeVar("Result")
Note = Callable[[str], None]


class PatientStorage(BaseStorage):
    """A storage behind a connection; every call that finds the server away is made again until it is back.

    A call whose answer alone was lost is made twice. That can leave a trial that runs nowhere, which is
    found as trials of dead workers are; a trial that was told again with the same outcome counts as told.
    """

    def __init__(
        self, storage: BaseStorage, shown: str, note: Note, patience: float = PATIENCE_SECONDS
    ) -> None:
        self._storage, self._shown, self._note, self._patience = storage, shown, note, patience

    def _patiently(self, call: Callable[[], Result]) -> Result:
        """The result of a call, sooner or later. Raises StudyError when patience has run out."""
        began, pause = time.monotonic(), _FIRST_PAUSE
        while True:
            try:
                result = call()
            except Exception as error:
                if not is_outage(error):
                    raise
                if time.monotonic() - began > self._patience:
                    raise StudyError(
                        f"the storage {self._shown} did not answer for {human_seconds(self._patience)}: "
                        "start it, then run the same command again"
                    ) from None
                if pause == _FIRST_PAUSE:
                    self._note(f"the storage {self._shown} does not answer: waiting for it")
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            else:
                if pause != _FIRST_PAUSE:
                    self._note(f"the storage {self._shown} answers again")
                return result

    @override
    def create_new_study(self, directions: Sequence[StudyDirection], study_name: str | None = None) -> int:
        return self._patiently(lambda: self._storage.create_new_study(directions, study_name))

    @override
    def delete_study(self, study_id: int) -> None:
        self._patiently(lambda: self._storage.delete_study(study_id))

    @override
    def set_study_user_attr(self, study_id: int, key: str, value: Any) -> None:
        self._patiently(lambda: self._storage.set_study_user_attr(study_id, key, value))

    @override
    def set_study_system_attr(self, study_id: int, key: str, value: Any) -> None:
        self._patiently(lambda: self._storage.set_study_system_attr(study_id, key, value))

    @override
    def get_study_id_from_name(self, study_name: str) -> int:
        return self._patiently(lambda: self._storage.get_study_id_from_name(study_name))

    @override
    def get_study_name_from_id(self, study_id: int) -> str:
        return self._patiently(lambda: self._storage.get_study_name_from_id(study_id))

    @override
    def get_study_directions(self, study_id: int) -> list[StudyDirection]:
        return self._patiently(lambda: self._storage.get_study_directions(study_id))

    @override
    def get_study_user_attrs(self, study_id: int) -> dict[str, Any]:
        return self._patiently(lambda: self._storage.get_study_user_attrs(study_id))

    @override
    def get_study_system_attrs(self, study_id: int) -> dict[str, Any]:
        return self._patiently(lambda: self._storage.get_study_system_attrs(study_id))

    @override
    def get_all_studies(self) -> list[FrozenStudy]:
        return self._patiently(self._storage.get_all_studies)

    @override
    def create_new_trial(self, study_id: int, template_trial: FrozenTrial | None = None) -> int:
        return self._patiently(lambda: self._storage.create_new_trial(study_id, template_trial))

    @override
    def set_trial_param(
        self, trial_id: int, param_name: str, param_value_internal: float, distribution: BaseDistribution
    ) -> None:
        self._patiently(
            lambda: self._storage.set_trial_param(trial_id, param_name, param_value_internal, distribution)
        )

    @override
    def get_trial_id_from_study_id_trial_number(self, study_id: int, trial_number: int) -> int:
        return self._patiently(
            lambda: self._storage.get_trial_id_from_study_id_trial_number(study_id, trial_number)
        )

    def set_trial_state_values(
        self, trial_id: int, state: TrialState, values: Sequence[float] | None = None
    ) -> bool:
        """The same; an outcome that the server has from this call, whose answer was lost, is no error."""
        asked = 0

        def call() -> bool:
            nonlocal asked
            asked += 1
            try:
                return self._storage.set_trial_state_values(trial_id, state, values)
            except UpdateFinishedTrialError:
                # Of a first call, the same outcome is another process's: it has ended the trial.
                known = self._storage.get_trial(trial_id) if asked > 1 else None
                if known is not None and known.state is state and _equal(known.values, values):
                    return True
                raise

        return self._patiently(call)

    @override
    def set_trial_intermediate_value(self, trial_id: int, step: int, intermediate_value: float) -> None:
        self._patiently(
            lambda: self._storage.set_trial_intermediate_value(trial_id, step, intermediate_value)
        )

    @override
    def set_trial_user_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._patiently(lambda: self._storage.set_trial_user_attr(trial_id, key, value))

    @override
    def set_trial_system_attr(self, trial_id: int, key: str, value: Any) -> None:
        self._patiently(lambda: self._storage.set_trial_system_attr(trial_id, key, value))

    @override
    def get_trial(self, trial_id: int) -> FrozenTrial:
        return self._patiently(lambda: self._storage.get_trial(trial_id))

    @override
    def get_all_trials(
        self, study_id: int, deepcopy: bool = True, states: Container[TrialState] | None = None
    ) -> list[FrozenTrial]:
        return self._patiently(lambda: self._storage.get_all_trials(study_id, deepcopy, states))

    @override
    def remove_session(self) -> None:
        self._storage.remove_session()


def _equal(known: Sequence[float] | None, told: Sequence[float] | None) -> bool:
    return list(known or ()) == list(told or ())
