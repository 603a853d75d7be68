from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from autoprune import review
from autoprune.api import Study
from autoprune.criteria.mixture import SPARSIFIED
from autoprune.errors import ConfigError
from autoprune.pruning_search import Problem, create_study, run, trial_model
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.learned_criterion import learn
from autoprune.review import Listener
from autoprune.study.attributes import MIXTURE
from autoprune.tasks import weights_hash

Make = Callable[..., Problem]


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))


def test_the_search_begins_with_the_sparse_model_and_its_scores(make_problem: Make, tiny: nn.Module) -> None:
    problem = make_problem(sparsify="hard-concrete", sparsify_epochs=2, budget=("flops=50%", "trials=3"))
    assert next(iter(problem.pruning.rankings)) == SPARSIFIED
    assert problem.subject.weights == weights_hash(tiny)
    assert problem.pruning.origin.model is not problem.model
    assert (
        weights_hash(problem.model) == problem.subject.weights != weights_hash(problem.pruning.origin.model)
    )
    assert problem.subject.baseline.sparsified is not None
    study = create_study(problem)
    store = WeightStore.beside(problem.config.storage, study.study_name)
    run(problem, study, store, Listener())
    trials = [trial for trial in study.trials if trial.values]
    assert review.explain(study, trials[0].number).groups[0].criteria == {"hard-concrete training": 1.0}
    assert "sparse training (hard-concrete): accuracy" in review.headline(review.summary(study))
    trial = trials[0]
    model, plan = trial_model(problem, trial, store)
    assert plan is not None
    kept = problem.pruning.rankings[SPARSIFIED].keep("conv1", trial.user_attrs["widths"]["conv1"])
    assert plan.keep.get("conv1", kept) == kept
    assert learn(problem, study, trial).bases == ("l2",)
    assert Study(study, problem).criterion(trial.number).bases == ("l2",)
    assert not torch.equal(next(model.parameters()), torch.zeros(1))
    again = make_problem(sparsify="hard-concrete", sparsify_epochs=2, budget=("flops=50%", "trials=4"))
    assert (
        create_study(again).user_attrs["autoprune"]["sparsified_quality"]
        == problem.subject.baseline.sparsified
    )


def test_a_criterion_that_is_named_ranks_the_sparse_model(make_problem: Make) -> None:
    problem = make_problem(sparsify="l1", sparsify_epochs=1, criterion="taylor", mix=("l2",))
    assert next(iter(problem.pruning.rankings)) == "taylor"
    assert SPARSIFIED not in problem.pruning.rankings
    mixed = make_problem(sparsify="l1", sparsify_epochs=1, mix=("taylor",), budget=("flops=50%", "trials=2"))
    assert mixed.mixing is not None
    assert mixed.mixing.criteria == (SPARSIFIED, "taylor")
    study = create_study(mixed)
    run(mixed, study, WeightStore.beside(mixed.config.storage, study.study_name), Listener())
    trial = next(trial for trial in study.trials if trial.values and MIXTURE in trial.user_attrs)
    assert set(learn(mixed, study, trial).bases) <= {"l1", "taylor"}


def test_masks_are_not_trained_sparsely(make_problem: Make) -> None:
    with pytest.raises(ConfigError, match="sparse training is for units"):
        make_problem(sparsify="l1", granularity="weights", budget=("nonzero=30%",))
