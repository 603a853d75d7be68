import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor, nn

from autoprune.config.settings import load_config
from autoprune.pruning_search import Problem, create_study, prepare, run
from autoprune.pruning_search.coordination.retry import requeue
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.learned_criterion import allocate, learn
from autoprune.pruning_search.proposals.refine import REACH, move_apart, refine
from autoprune.pruning_search.proposals.sensitivity import recorded_curves
from autoprune.pruning_search.proposals.spaces import CriterionSpace, Space, SparsitySpace, coupled_groups
from autoprune.recovery import Recipe, finetune
from autoprune.review import Listener
from autoprune.study.attributes import REFINED_FROM, SCALES
from autoprune.study.explanation import coefficients
from autoprune.study.origins import GAP, REFINED, SAMPLER
from autoprune.study.record import study_record
from autoprune.tasks import Data

Make = Callable[..., Problem]


class Alike(nn.Module):
    """Eight hidden layers of one width, which are tied in pairs where four parameters are the most."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(64, 16)
        self.layers = nn.ModuleList(nn.Linear(16, 16) for _ in range(7))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.stem(x.flatten(1)))
        for layer in self.layers:
            x = torch.relu(layer(x))
        result: Tensor = self.head(x)
        return result


@pytest.fixture(scope="module")
def alike(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    model = Alike()
    for layer in model.layers:
        nn.init.kaiming_normal_(layer.weight)
    finetune(model, digits, Recipe(steps=600, lr=0.05, batch_size=64, schedule="onecycle"), seed=0)
    return model.eval()


@pytest.fixture
def make_tied(alike: nn.Module, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    monkeypatch.setattr(coupled_groups, "MOST", 5)

    def make(**settings: object) -> Problem:
        given = {
            "budget": ("flops=60%", "trials=24"),
            "space": "criterion",
            "storage": f"sqlite:///{tmp_path}/study.db",
            "finetune_steps": 4,
            "latency": False,
            "calibration_batches": 2,
            "early_stopping": False,
        }
        return prepare(load_config(None, given | settings), Listener(), model=alike, data=digits)

    return make


def searched(problem: Problem, folder: Path) -> optuna.Study:
    run(problem, study := create_study(problem), WeightStore(folder), Listener())
    return study


def by_origin(study: optuna.Study, origin: str) -> list[optuna.trial.FrozenTrial]:
    return [trial for trial in study.get_trials() if trial.user_attrs.get("origin") == origin]


def test_departures_keep_the_mean_and_what_is_not_tied() -> None:
    scales, coupled = {"a": 1.5, "b": 0.8, "c": 1.2, "d": 0.5}, (("a", "b", "c"),)
    moved = [move_apart(scales, coupled, np.random.default_rng(seed)) for seed in range(50)]
    for found in moved:
        assert found["d"] == scales["d"]
        assert math.prod(found.values()) == pytest.approx(math.prod(scales.values()))
        assert all(1 / REACH <= found[name] / scales[name] <= REACH for name in scales)
    assert len({found["a"] for found in moved}) == len(moved)


def test_tied_groups_depart_from_each_other_near_the_front(make_tied: Make, tmp_path: Path) -> None:
    problem = make_tied()
    study = searched(problem, tmp_path)
    near = by_origin(study, REFINED)
    # The sampler also has the turns after a plan that was known.
    assert 2 <= len(near) <= len(by_origin(study, SAMPLER))
    assert by_origin(study, GAP)
    space = CriterionSpace(problem, recorded_curves(problem.budget_model, study))
    assert space.coupled
    for trial in near:
        parent = study.trials[trial.user_attrs[REFINED_FROM]]
        assert trial.user_attrs["widths"] != parent.user_attrs["widths"]
        own, other = (problem.budget_model.used(t.user_attrs["widths"]) for t in (trial, parent))
        assert 0.85 * other < own <= other + 1e-6
        for groups in space.coupled:
            assert len({trial.user_attrs[SCALES][group] for group in groups}) == len(groups)
    # The least refined come first: not always the same plan.
    assert len({trial.user_attrs[REFINED_FROM] for trial in near}) > 1


def test_what_a_refined_trial_learned_gives_its_plan(make_tied: Make, tmp_path: Path) -> None:
    problem = make_tied()
    study = searched(problem, tmp_path)
    finished = [trial for trial in by_origin(study, REFINED) if trial.state is TrialState.COMPLETE]
    assert finished
    for trial in finished:
        scales, _ = coefficients(study_record(study), trial)
        assert scales == trial.user_attrs[SCALES]
        limits = {"flops": trial.user_attrs["flops"]}
        learned = learn(problem, study, trial)
        assert (
            allocate(learned, problem.pruning, limits, problem.budget_model.grids)
            == trial.user_attrs["widths"]
        )


def test_an_interrupted_refinement_is_tried_again_as_it_was(make_tied: Make, tmp_path: Path) -> None:
    study = searched(make_tied(), tmp_path)
    trial = by_origin(study, REFINED)[0]
    again = study.ask()
    for key in ("origin", "widths", SCALES, REFINED_FROM):
        again.set_user_attr(key, trial.user_attrs[key])
    for name, distribution in trial.distributions.items():
        again._suggest(name, distribution)
    assert requeue(study, study.trials[again.number], "interrupted")
    queued = study.get_trials(states=(TrialState.WAITING,))[-1]
    for key in ("origin", "widths", SCALES, REFINED_FROM):
        assert queued.user_attrs[key] == trial.user_attrs[key]


@pytest.mark.parametrize("most", [5, 40])
def test_groups_are_refined_only_where_some_are_tied(
    make_tied: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(coupled_groups, "MOST", most)
    problem = make_tied(budget=("flops=60%", "trials=3"))
    study = searched(problem, tmp_path)
    for waiting in study.get_trials(states=(TrialState.WAITING,)):
        study.tell(study.ask().number, state=TrialState.FAIL)
        assert waiting.number < len(study.trials)
    asked = study.ask()
    asked.set_user_attr("origin", SAMPLER)
    curves = recorded_curves(problem.budget_model, study)
    spaces: Sequence[Space] = (
        CriterionSpace(problem, curves),
        SparsitySpace(problem.budget_model),
    )
    found = [refine(problem, study, space, 0) is not None for space in spaces]
    assert found == [most == 5, False]
