from collections.abc import Callable, Sequence

import numpy as np
import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial

from autoprune.pruning_search import Problem, create_study
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.front_gaps import FrontPoint, blend, widest_gaps
from autoprune.pruning_search.proposals.spaces.base import LEVEL
from autoprune.pruning_search.run import run
from autoprune.review import Listener
from autoprune.study.origins import GAP, SAMPLER

Make = Callable[..., Problem]
SPACE = {
    LEVEL: IntDistribution(30, 100, step=5),
    "scale": FloatDistribution(0.5, 2.0, log=True),
    "shift": FloatDistribution(0.0, 0.5),
    "width": IntDistribution(4, 16, step=4),
    "criterion": CategoricalDistribution(("l2", "taylor")),
}


def trial_of(*values: float | str) -> FrozenTrial:
    parameters = dict(zip(SPACE, values, strict=True))
    return create_trial(params=parameters, distributions=SPACE, value=0.0)


LOW, HIGH = trial_of(30, 0.5, 0.0, 4, "l2"), trial_of(80, 2.0, 0.4, 16, "taylor")


def gaps(points: Sequence[FrontPoint]) -> list[tuple[float, float]]:
    """Where they are, widest first."""
    return [(cheap.share, dear.share) for cheap, dear in widest_gaps(points)]


def test_the_widest_gap_is_the_largest_ratio_of_costs_between_neighbours_on_the_front() -> None:
    points = [
        FrontPoint(share, loss, LOW) for share, loss in ((0.3, 0.33), (0.5, 0.32), (0.7, 0.31), (1.0, 0.3))
    ]
    beaten = FrontPoint(1.1, 0.4, LOW)
    assert gaps([*points[1:], beaten]) == [(0.7, 1.0), (0.5, 0.7)]
    assert gaps([FrontPoint(0.2, 0.33, LOW), *points[1:], beaten]) == [(0.2, 0.5), (0.7, 1.0), (0.5, 0.7)]
    assert gaps(points[:1]) == []
    assert gaps([*points[:1], FrontPoint(0.9, 0.6, LOW)]) == []


def test_a_gap_counts_less_the_more_was_tried_in_it() -> None:
    ends = [FrontPoint(0.1, 0.5, LOW), FrontPoint(0.6, 0.3, LOW), FrontPoint(1.0, 0.15, LOW)]
    poor = [FrontPoint(share, 0.9, LOW) for share in (0.4, 0.5)]
    assert [gaps(points)[0] for points in (ends, ends + poor)] == [(0.1, 0.6), (0.6, 1.0)]


def test_a_gap_counts_less_where_more_quality_is_lost() -> None:
    def front(*losses: float) -> list[FrontPoint]:
        return [FrontPoint(share, loss, LOW) for share, loss in zip((0.3, 0.6, 1.0), losses, strict=True)]

    # The first gap is the wider one, 2 times against 1.67, and the second one between better plans.
    assert gaps(front(0.9, 0.2, 0.1))[0] == (0.6, 1.0)
    assert gaps(front(0.9, 0.8, 0.1))[0] == (0.3, 0.6)


def test_blended_parameters_lie_between_those_of_the_parents_and_are_allowed() -> None:
    random = np.random.default_rng(0)
    children = [blend(LOW, HIGH, random) for _ in range(50)]
    for name, distribution in SPACE.items():
        values = [child[name] for child in children]
        assert all(distribution._contains(distribution.to_internal_repr(value)) for value in values)
    assert {child[LEVEL] for child in children} == {55}
    assert {child["criterion"] for child in children} == {"l2", "taylor"}
    assert {child["width"] for child in children} == {4, 8, 12, 16}
    assert len({child["scale"] for child in children}) == len(children)
    for end in (LOW, HIGH):
        for same in (blend(end, end, random) for _ in range(50)):
            assert 0.5 <= same["scale"] <= 2.0
    # Between inverse coefficients the middle is 1.
    assert np.median([child["scale"] for child in children]) == pytest.approx(1.0, rel=0.25)


@pytest.mark.parametrize("space", ["criterion", "sparsity"])
def test_after_the_warm_starts_suggestions_go_to_gaps_and_to_the_sampler_in_turn(
    make_problem: Make, space: str
) -> None:
    problem = make_problem(
        space=space, sampler="random", budget=("flops=50%", "trials=26"), early_stopping=False
    )
    study = create_study(problem)
    run(problem, study, WeightStore.beside(problem.config.storage, study.study_name), Listener())
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    suggested = [t for t in trials if t.user_attrs["origin"] in (SAMPLER, GAP)]
    origins = [t.user_attrs["origin"] for t in suggested]
    assert min(origins.count(GAP), origins.count(SAMPLER)) >= 3
    assert all(t.user_attrs["flops_ratio"] <= 0.5 for t in suggested)


def test_no_gap_is_given_a_plan_that_is_known(make_problem: Make) -> None:
    problem = make_problem(
        only=("conv1", "bn1"), sampler="random", budget=("flops=95%", "trials=40"), early_stopping=False
    )
    study = create_study(problem)
    run(problem, study, WeightStore.beside(problem.config.storage, study.study_name), Listener())
    trials = study.get_trials(deepcopy=False)
    widths = {trial.user_attrs["widths"]["conv1"] for trial in trials}
    known = {trial.user_attrs["origin"] for trial in trials if "duplicate_of" in trial.user_attrs}
    assert len(widths) >= 8
    assert known == {SAMPLER}


def test_without_gaps_all_suggestions_are_the_samplers(make_problem: Make) -> None:
    problem = make_problem(sampler="random", budget=("flops=50%", "trials=20"), gaps=False)
    study = create_study(problem)
    run(problem, study, WeightStore.beside(problem.config.storage, study.study_name), Listener())
    assert GAP not in {t.user_attrs["origin"] for t in study.get_trials(deepcopy=False)}
