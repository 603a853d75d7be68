from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import pytest
import safetensors.torch
import torch

from autoprune.api import Study
from autoprune.errors import ConfigError
from autoprune.pruning_search.finish.gradual import units_by_round
from autoprune.review import Listener
from autoprune.tasks import evaluate, weights_hash

Make = Callable[..., Study]


class Stopping(Listener):
    """Stops in the second round."""

    def __init__(self) -> None:
        self.phases: list[str] = []

    def phase(self, name: str, detail: str = "") -> None:
        self.phases.append(detail)
        if detail.startswith("round 2"):
            raise KeyboardInterrupt


@pytest.fixture
def study(make_study: Make) -> Study:
    return make_study(budget=("flops=30%", "trials=2"), finetune_steps=2)


def test_rounds_cut_ever_less_and_end_at_the_plan(study: Study) -> None:
    problem = study.problem
    plan = problem.pruning.plan(study.best().user_attrs["widths"])
    ranking = next(iter(problem.pruning.rankings.values()))
    rounds = list(units_by_round(problem.structure, plan, ranking, 4))
    full = problem.structure.widths
    assert {name: rounds[-1][name] for name in plan.keep} == dict(plan.keep)
    for earlier, later in pairwise(rounds):
        assert all(set(later[name]) <= set(units) for name, units in earlier.items())
    gone = [sum(full.values()) - sum(map(len, keep.values())) for keep in rounds]
    steps = [gone[0], *(later - earlier for earlier, later in pairwise(gone))]
    assert steps == sorted(steps, reverse=True)
    # Those that are spared longest are the most important ones of those that go.
    name = max(plan.keep, key=lambda group: full[group] - len(plan.keep[group]))
    extra = set(rounds[0][name]) - set(plan.keep[name])
    lost = set(range(full[name])) - set(rounds[0][name])
    scores = ranking.scores[name]
    assert not extra or min(scores[list(extra)]) >= max(scores[list(lost)])


def test_a_model_that_is_cut_in_rounds_is_the_plans_and_goes_on_where_it_was_stopped(
    study: Study, tmp_path: Path
) -> None:
    before = weights_hash(study.problem.model)
    stopping = Stopping()
    with pytest.raises(KeyboardInterrupt):
        study.export(to=tmp_path / "a", formats=["state"], finetune="45steps", gradual=3, listener=stopping)
    assert "round 1 of 3, 15 steps" in stopping.phases
    (exported,) = study.export(to=tmp_path / "a", formats=["state"], finetune="45steps", gradual=3)
    card = (tmp_path / "a" / "README.md").read_text()
    assert "cut again in 3 rounds of 45 steps" in card
    assert weights_hash(study.problem.model) == before
    stored = safetensors.torch.load_file(exported.path)
    trial = study.model()
    assert {n: v.shape for n, v in trial.state_dict().items()} == {n: v.shape for n, v in stored.items()}
    trial.load_state_dict(stored)
    problem = study.problem
    quality = evaluate(trial, problem.splits.selection, problem.data.task).value
    assert f"to {quality:.4f}" in card
    assert quality > 0.5
    assert all(bool(torch.isfinite(value).all()) for value in stored.values())


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"gradual": 3}, "give --finetune"),
        ({"gradual": 1, "finetune": "10steps"}, "give 2 to 100 rounds"),
        ({"gradual": 20, "finetune": "10steps"}, "too few for 20 rounds"),
    ],
)
def test_rounds_that_cannot_be(
    study: Study, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        study.export(to=tmp_path, formats=["state"], **settings)
