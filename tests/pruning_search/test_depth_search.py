import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
import torch
from torch import Tensor, nn

import autoprune
from autoprune.config.settings import load_config
from autoprune.criteria import Context, block_importance
from autoprune.errors import CriterionError
from autoprune.pruning_search import Problem, prepare
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.budget_levels import LEVELS
from autoprune.pruning_search.proposals.spaces import SparsitySpace
from autoprune.pruning_search.proposals.warm_start import warm_starts
from autoprune.recovery import Recipe, finetune
from autoprune.review import Listener
from autoprune.structure import apply
from autoprune.tasks import Data

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(12, 16, 3, padding=1)
        self.conv2 = nn.Conv2d(16, 12, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x + self.conv2(torch.relu(self.conv1(x))))


class DeepNet(nn.Module):
    """Four blocks, of which the last has never learned anything."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU())
        self.blocks = nn.Sequential(*(Block() for _ in range(4)))
        self.head = nn.Linear(12, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.blocks(self.stem(x)).mean((2, 3)))


@pytest.fixture(scope="module")
def deep(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    model = DeepNet()
    finetune(model, digits, Recipe(steps=60, lr=0.05, batch_size=64, schedule="onecycle"), seed=0)
    with torch.no_grad():
        model.blocks[3].conv2.weight.mul_(1e-4)
        model.blocks[3].conv2.bias.zero_()
    return model.eval()


@pytest.fixture
def make_deep(deep: nn.Module, digits: Data, tmp_path: Path) -> Make:
    def make(**settings: object) -> Problem:
        given = {
            "budget": ("flops=50%", "trials=5"),
            "storage": f"sqlite:///{tmp_path}/study.db",
            "finetune_steps": 2,
            "latency": False,
            "calibration_batches": 2,
            "depth": True,
        }
        return prepare(load_config(None, given | settings), Listener(), model=deep, data=digits)

    return make


def test_blocks_are_groups_of_zero_or_one_that_no_criterion_scores(make_deep: Make) -> None:
    problem = make_deep()
    assert problem.budget_model.blocks == {f"blocks.{i}" for i in range(4)}
    assert all(
        (problem.budget_model.narrowest[name], problem.budget_model.widest[name]) == (0, 1)
        for name in problem.budget_model.blocks
    )
    for ranking in problem.pruning.rankings.values():
        assert set(ranking.scores) == set(problem.structure.widths) - problem.budget_model.blocks
    assert make_deep(depth=False).budget_model.blocks == frozenset()


def test_the_block_that_does_nothing_matters_least(make_deep: Make) -> None:
    problem = make_deep()
    context = Context(
        problem.model, problem.structure, lambda: problem.subject.calibration, problem.data.task.loss
    )
    importance = block_importance(context)
    assert min(importance, key=lambda name: importance[name]) == "blocks.3"
    assert abs(importance["blocks.3"]) < 1e-3 < importance["blocks.0"]


def test_a_loss_that_is_not_finite_is_no_importance(make_deep: Make) -> None:
    problem = make_deep()
    context = Context(
        problem.model, problem.structure, lambda: problem.subject.calibration, problem.data.task.loss
    )
    losses = iter([0.5, float("nan"), 0.75, 1.0, 1.5])
    calls = itertools.count()

    def loss(outputs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        return torch.tensor(next(losses) if next(calls) % 2 == 0 else 0.0)

    importance = block_importance(dataclasses.replace(context, loss=loss))
    assert list(importance.values()) == [float("inf"), 0.125, 0.25, 0.5]
    broken = dataclasses.replace(context, loss=lambda outputs, targets: torch.tensor(float("inf")))
    with pytest.raises(CriterionError, match="the loss on the calibration data is not finite"):
        block_importance(broken)


def test_warm_starts_keep_all_blocks_or_leave_out_the_least_important(
    make_deep: Make, curves_of: Curves
) -> None:
    problem = make_deep()
    starts = warm_starts(problem, curves_of(problem), LEVELS)
    assert all(problem.budget_model.meets(start.widths) for start in starts)
    gone = {start.origin: [n for n in problem.budget_model.blocks if not start.widths[n]] for start in starts}
    assert gone["uniform"] == gone["global l2"] == []
    assert gone["1 block fewer"] == ["blocks.3"]
    assert len(gone["2 blocks fewer"]) == 2


def test_suggestions_take_blocks_out_and_meet_the_budget(make_deep: Make, curves_of: Curves) -> None:
    problem = make_deep()
    form = SparsitySpace(problem.budget_model)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    taken = set()
    for _ in range(30):
        widths = form.suggest(study.ask())
        assert problem.budget_model.meets(widths)
        taken |= {name for name in problem.budget_model.blocks if widths[name] == 0}
    assert taken == problem.budget_model.blocks
    for start in warm_starts(problem, curves_of(problem), LEVELS):
        study.enqueue_trial(form.parameters(start.widths))
        widths = form.suggest(study.ask())
        assert {n: widths[n] for n in problem.budget_model.blocks} == {
            n: start.widths[n] for n in problem.budget_model.blocks
        }


def test_widths_inside_a_removed_block_give_one_plan(make_deep: Make) -> None:
    problem = make_deep()
    widths = {**problem.structure.widths, "blocks.1": 0}
    narrow = {**widths, "blocks.1.conv1": 4}
    assert problem.structure.canonical(narrow) == widths
    assert problem.pruning.plan(narrow).hash == problem.pruning.plan(widths).hash
    assert problem.pruning.costs.costs(narrow) == problem.pruning.costs.costs(widths)
    pruned = apply(problem.model, problem.pruning.plan(widths), problem.structure)
    assert problem.pruning.costs.parameters(widths) == sum(p.numel() for p in pruned.parameters())


def test_a_search_over_depth_records_healthy_trials(deep: nn.Module, digits: Data, tmp_path: Path) -> None:
    study = autoprune.search(
        deep,
        digits,
        budget="flops=60%",
        trials=22,
        storage=f"sqlite:///{tmp_path}/study.db",
        finetune_steps=1,
        latency=False,
        calibration_batches=1,
        depth=True,
    )
    widths = [trial.user_attrs["widths"] for trial in study.optuna.get_trials()]
    assert any(all(each[name] for name in study.problem.budget_model.blocks) for each in widths)
    shallower = next(
        trial
        for trial in study.optuna.get_trials()
        if "plan" in trial.user_attrs and not trial.user_attrs["widths"]["blocks.3"]
    )
    pruned = study.model(shallower.number)
    assert not any(name.startswith("blocks.3") for name in pruned.state_dict())
    assert shallower.user_attrs["parameters"] == sum(p.numel() for p in pruned.parameters())


def test_blocks_may_be_all_there_is_to_search(make_deep: Make, curves_of: Curves) -> None:
    problem = make_deep(budget=("flops=70%", "trials=5"), skip=("stem.0", "blocks.*.conv1"))
    assert set(problem.structure.widths) == problem.budget_model.blocks
    form, study = (
        SparsitySpace(problem.budget_model),
        optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0)),
    )
    assert any(problem.budget_model.meets(form.suggest(study.ask())) for _ in range(10))
    fewer = [
        start for start in warm_starts(problem, curves_of(problem), LEVELS) if start.origin.endswith("fewer")
    ]
    assert fewer
    assert all(problem.budget_model.meets(start.widths) for start in fewer)
