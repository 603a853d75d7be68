from __future__ import annotations

from pathlib import Path

import optuna
import pytest
from handmade_study import create, tell

from autoprune.review import health_lines
from autoprune.study.attributes import UNTRAINED
from autoprune.study.diagnostics import FEW_CANDIDATES

FEW = "give the search more time or trials"


@pytest.fixture
def study(tmp_path: Path) -> optuna.Study:
    return create(optuna.storages.InMemoryStorage())


def test_a_front_that_rests_on_few_candidates_says_so(study: optuna.Study) -> None:
    assert not health_lines(study)
    tell(study, 1.0, 0.97, origin="original", plan="original")
    tell(study, 0.3, 0.9, plan="preview", more={UNTRAINED: True})
    tell(study, 0.9, state=optuna.trial.TrialState.PRUNED, reason="over budget")
    assert not health_lines(study)
    tell(study, 0.5, 0.95, plan="a")
    assert health_lines(study) == [f"the front is based on only 1 trained candidate: {FEW}"]
    for number in range(FEW_CANDIDATES - 2):
        tell(study, 0.4, 0.94, plan=f"b{number}")
    assert health_lines(study) == [
        f"the front is based on only {FEW_CANDIDATES - 1} trained candidates: {FEW}"
    ]
    tell(study, 0.4, 0.94, plan="c")
    assert not health_lines(study)
