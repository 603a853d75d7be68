"""Waiting for a server that is away: a search outlives a restart of its database."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import BaseStorage
from optuna.trial import TrialState
from typing_extensions import override

from autoprune.errors import StudyError
from autoprune.storages.through import Result, ThroughStorage
from autoprune.storages.trouble import is_outage
from autoprune.utils.quantities import human_seconds

PATIENCE_SECONDS = 1800.0
"""How long one call waits for the server to come back."""
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 10.0

Note = Callable[[str], None]


class PatientStorage(ThroughStorage):
    """A storage behind a connection; every call that finds the server away is made again until it is back.

    A call whose answer alone was lost is made twice. That can leave a trial that runs nowhere, which is
    found as trials of dead workers are; a trial reported twice with the same outcome counts as reported.
    """

    def __init__(
        self, storage: BaseStorage, shown: str, note: Note, patience: float = PATIENCE_SECONDS
    ) -> None:
        super().__init__(storage)
        self._shown, self._note, self._patience = shown, note, patience

    @override
    def _call(self, call: Callable[[], Result]) -> Result:
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

        return self._call(call)


def _equal(stored: Sequence[float] | None, reported: Sequence[float] | None) -> bool:
    return list(stored or ()) == list(reported or ())
