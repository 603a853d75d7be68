from collections.abc import Callable
from types import SimpleNamespace

import optuna
import pytest
import torch

from autoprune.errors import ConfigError
from autoprune.pruning_search import Problem, create_study, run, trial_model
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.criterion_choice import MOST_CLASSES, classes_of_groups
from autoprune.pruning_search.proposals.allocator import Curve
from autoprune.pruning_search.proposals.budget_levels import LEVELS
from autoprune.pruning_search.proposals.spaces import CriterionSpace
from autoprune.pruning_search.proposals.warm_start import warm_starts
from autoprune.review import Listener
from autoprune.study.attributes import MIXTURE
from autoprune.study.explanation import SHIFT

Make = Callable[..., Problem]
Curves = Callable[[Problem], dict[str, Curve]]
MIX = ("taylor", "fpgm")


def structure(names: list[str], kinds: dict[str, str] | None = None, blocks: tuple[str, ...] = ()) -> object:
    groups = [SimpleNamespace(name=name, kind=(kinds or {}).get(name, "channels")) for name in names]
    return SimpleNamespace(groups=groups, blocks=frozenset(blocks))


def test_one_criterion_leaves_nothing_to_choose(make_problem: Make) -> None:
    assert make_problem().mixing is None
    assert make_problem(mix=("l2",)).mixing is None


@pytest.mark.parametrize("by", ["trial", "class", "weights"])
def test_what_is_suggested_decides_which_units_stay(make_problem: Make, by: str) -> None:
    problem = make_problem(mix=MIX, mix_by=by)
    assert tuple(problem.pruning.rankings)[:3] == ("l2", *MIX)
    mixing = problem.mixing
    assert mixing is not None
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    widths = {name: width // 2 for name, width in problem.structure.widths.items()}
    plans = {problem.pruning.plan(widths, mixing.suggest(study.ask())).hash for _ in range(12)}
    assert len(plans) >= 3
    for name in ("l2", *MIX):
        study.enqueue_trial(mixing.parameters(name))
        plan = problem.pruning.plan(widths, mixing.suggest(study.ask()))
        own = {g: problem.pruning.rankings[name].keep(g, width) for g, width in widths.items()}
        assert plan.keep == own


def test_weights_that_are_all_zero_count_alike(make_problem: Make) -> None:
    mixing = make_problem(mix=MIX, mix_by="weights").mixing
    assert mixing is not None
    study = optuna.create_study()
    study.enqueue_trial({f"weight of {name}": 0.0 for name in ("l2", *MIX)})
    weights = mixing.suggest(study.ask()).weights
    assert set(map(tuple, (each.values() for each in weights.values()))) == {(1.0, 1.0, 1.0)}


def test_like_groups_choose_together_and_blocks_not_at_all() -> None:
    names = [f"blocks.{i}.{part}" for i in range(4) for part in ("conv", "fc")]
    found = classes_of_groups(structure(["stem", *names, "blocks.0"], blocks=("blocks.0",)))
    assert found == {
        "blocks.*.conv": tuple(names[::2]),
        "blocks.*.fc": tuple(names[1::2]),
        "stem": ("stem",),
    }
    heads = classes_of_groups(structure(["a1", "a2"], {"a2": "heads"}))
    assert set(heads) == {"a* channels", "a* heads"}
    many = classes_of_groups(structure([*names, *map("x{}y".format, "abcdefgh")]))
    assert len(many) == MOST_CLASSES
    assert sum(map(len, many.values())) == 16
    assert len(many["others"]) == 5


def test_masks_cannot_be_mixed(make_problem: Make) -> None:
    with pytest.raises(ConfigError, match="mixed for units"):
        make_problem(granularity="weights", budget=("nonzero=30%",), mix=("l1",)).mixing  # noqa: B018


def test_a_search_records_the_choice_and_gives_the_same_model_again(make_problem: Make) -> None:
    problem = make_problem(mix=MIX, mix_by="class", budget=("flops=50%", "trials=18"), early_stopping=False)
    study = create_study(problem)
    store = WeightStore.beside(problem.config.storage, study.study_name)
    run(problem, study, store, Listener())
    trials = [t for t in study.trials if t.values and "duplicate_of" not in t.user_attrs]
    plans = [t.user_attrs["plan"] for t in trials]
    assert len(set(plans)) == len(plans)
    origins = [t.user_attrs["origin"] for t in trials]
    assert "exact by sensitivity, taylor" in origins
    assert "exact by sensitivity, fpgm" in origins
    for trial in trials:
        if trial.user_attrs["plan"] != "original":
            assert set(trial.user_attrs[MIXTURE]) == set(problem.structure.widths)
    chosen = next(t for t in trials if t.user_attrs["origin"] == "exact by sensitivity, fpgm")
    assert set(map(tuple, chosen.user_attrs[MIXTURE].values())) == {("fpgm",)}
    kept, _ = trial_model(problem, chosen, store)
    for file in store.folder.glob("trial-*"):
        file.unlink()
    again, plan = trial_model(problem, chosen, store)
    assert plan is not None
    assert plan.hash == chosen.user_attrs["plan"]
    for one, other in zip(kept.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)


def test_shifts_are_searched_where_asked_for(make_problem: Make, curves_of: Curves) -> None:
    problem = make_problem(coefficients="affine")
    curves = curves_of(problem)
    space = CriterionSpace(problem, curves)
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    space.suggest(trial)
    scales, shifts = space.coefficients(trial.params)
    assert all(0 < shift <= space.MOST_SHIFT for shift in shifts.values())
    assert all(trial.params[name] == scale for name, scale in scales.items())
    for start in warm_starts(problem, curves, LEVELS):
        given = space.parameters(start.widths)
        assert {value for name, value in given.items() if name.startswith(SHIFT)} == {0.0}
    wider = []
    for shift in (0.0, 0.5):
        ones = {"level %": 60} | dict.fromkeys(problem.structure.widths, 1.0)
        zeros = {f"{SHIFT} {name}": 0.0 for name in problem.structure.widths}
        study.enqueue_trial({**ones, **zeros, f"{SHIFT} hidden": shift})
        wider.append(space.suggest(study.ask())["hidden"])
    assert wider[0] <= wider[1]
