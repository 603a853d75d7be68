"""A study as it was at one moment: however often it is looked at, its storage is asked once."""

from __future__ import annotations

import copy
from collections.abc import Container
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState
from typing_extensions import override

from autoprune.study.attributes import UNTRAINED


class Snapshot(optuna.Study):
    """The trials and attributes that a study has when they are first looked at.

    What is written through it goes to the storage at once, and does not show here. Reading takes a round trip
    to a server, and a server that holds thousands of trials reads all of them: code that decides several
    things about one trial looks at one snapshot, which also makes the decisions fit each other.
    """

    def __init__(self, study: optuna.Study) -> None:
        # Optuna's own constructor would ask the storage who the study is.
        vars(self).update(vars(study))
        self._seen: list[FrozenTrial] = study.get_trials(deepcopy=False)
        self._attributes: dict[str, Any] | None = None

    def without_previews(self) -> Snapshot:
        """What a sampler is to see: a plan's quality without training says another thing than its quality."""
        same = copy.copy(self)
        same._seen = [trial for trial in self._seen if UNTRAINED not in trial.user_attrs]
        return same

    @override
    def _get_trials(
        self,
        deepcopy: bool = True,
        states: Container[TrialState] | None = None,
        use_cache: bool = False,
    ) -> list[FrozenTrial]:
        trials = [trial for trial in self._seen if states is None or trial.state in states]
        return copy.deepcopy(trials) if deepcopy else trials

    @property
    @override
    def user_attrs(self) -> dict[str, Any]:
        """The study's attributes; they must not be changed."""
        if self._attributes is None:
            self._attributes = super().user_attrs
        return self._attributes
