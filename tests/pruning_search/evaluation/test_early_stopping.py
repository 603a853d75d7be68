import math
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
import torch
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState
from torch import nn

from autoprune.errors import StudyError
from autoprune.pruning_search import Problem, create_study, run, trial_model
from autoprune.pruning_search.evaluation import early_stopping as stages
from autoprune.pruning_search.evaluation.early_stopping import (
    EarlyStopping,
    SeenCandidate,
    Stopped,
    early_stopping_for,
    place,
)
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.recovery import Recipe
from autoprune.review import Listener, health_lines, predictors, stage_seconds, summary
from autoprune.review.table import counts_text
from autoprune.study.front import feasible_trials, front_trials
from autoprune.study.origins import SUGGESTED

Make = Callable[..., Problem]


def test_the_place_of_a_point_is_its_rank_and_then_its_hypervolume() -> None:
    seen = np.array([[0.0, 1.0], [0.5, 0.5], [1.0, 0.0], [0.9, 0.9]])
    first = place(seen, (0.1, 0.4))
    assert (first.rank, first.promoted) == (0, True)
    assert first.ahead == 0
    crowded = place(seen, (0.52, 0.49))
    assert crowded.rank == 0
    assert crowded.ahead == 3
    last = place(seen, (0.95, 0.95))
    assert (last.rank, last.ahead, last.promoted) == (2, 4, False)


def test_the_first_candidate_of_all_is_promoted() -> None:
    assert place(np.empty((0, 2)), (0.3, 0.4)).promoted


def known(loss: float, cost: float, **estimates: float) -> SeenCandidate:
    return SeenCandidate((cost,), loss, True, estimates)


def made(problem: Problem, seen: list[SeenCandidate], **settings: Any) -> EarlyStopping:
    return EarlyStopping(problem, seen, frozenset(settings.get("off", ())), settings.get("exempt", ""))


def seen_candidates() -> list[SeenCandidate]:
    """Losses are minus accuracies: recovery gains between 0.05 and 0.1 over either estimate."""
    return [
        known(-0.97 - 0.001 * i, 100 + i, proxy=-0.90 - 0.001 * i, checkpoint=-0.92 - 0.001 * i)
        for i in range(12)
    ]


class Constant(nn.Module):
    """Gives the right class of a share of the digits only."""

    def __init__(self, share: float, targets: torch.Tensor) -> None:
        super().__init__()
        right = torch.arange(len(targets)) < share * len(targets)
        self.answers = torch.where(right, targets, (targets + 1) % 10)
        self.position = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        chosen = self.answers[self.position : self.position + len(x)]
        self.position += len(x)
        return nn.functional.one_hot(chosen, 10).float()


def model_of(problem: Problem, share: float) -> Constant:
    ((_, targets),) = problem.splits.selection.batches(len(problem.splits.selection))
    return Constant(share, targets)


def test_a_poor_and_dear_candidate_is_given_up_by_its_proxy_with_a_dominated_forecast(
    make_problem: Make,
) -> None:
    problem = make_problem()
    stages_run = made(problem, seen_candidates()).start((150.0,))
    with pytest.raises(Stopped) as stopped:
        stages_run.proxy(model_of(problem, 0.3))
    stop = stopped.value.stop
    assert stop.stage == "proxy"
    assert "12 of 12 candidates are ahead" in stop.reason
    assert stop.expected == pytest.approx(0.97)
    assert stages_run.stages["proxy"]["decision"] == "stopped"
    assert stages_run.stages["proxy"]["samples"] == 359


@pytest.mark.parametrize(
    ("share", "cost", "settings", "decision"),
    [
        (0.99, 105.0, {}, "promoted"),
        (0.3, 50.0, {}, "promoted"),
        (0.3, 150.0, {"off": ("proxy",)}, "does not predict"),
        (0.3, 150.0, {"exempt": "a warm start"}, "a warm start"),
    ],
)
def test_the_others_go_on(
    make_problem: Make, share: float, cost: float, settings: Mapping[str, Any], decision: str
) -> None:
    problem = make_problem()
    stages_run = made(problem, seen_candidates(), **settings).start((cost,))
    stages_run.proxy(model_of(problem, share))
    assert decision in stages_run.stages["proxy"]["decision"]


def test_nothing_is_given_up_before_enough_is_known(make_problem: Make) -> None:
    problem = make_problem()
    stages_run = made(problem, seen_candidates()[:9]).start((150.0,))
    stages_run.proxy(model_of(problem, 0.3))
    assert stages_run.stages["proxy"]["decision"] == "too little is known yet"


def test_inside_fine_tuning_only_the_hopeless_are_given_up(make_problem: Make) -> None:
    problem = make_problem()
    early_stopping = made(problem, seen_candidates())
    with pytest.raises(Stopped) as stopped:
        early_stopping.start((150.0,)).checkpoint(model_of(problem, 0.8))
    assert stopped.value.stop.expected == pytest.approx(0.85, abs=0.005)
    # Recovery has gained 0.05 from a checkpoint before: with the noise of 359 samples, that may be enough.
    hopeful = early_stopping.start((150.0,))
    hopeful.checkpoint(model_of(problem, 0.92))
    assert hopeful.stages["checkpoint"]["decision"] == "promoted"


def test_the_checkpoint_is_after_a_third_of_the_steps_and_not_in_a_short_recovery(make_problem: Make) -> None:
    problem = make_problem()
    stages_run = made(problem, []).start((1.0,))
    assert stages_run.on_step(nn.Identity(), 29) is None
    check = stages_run.on_step(model_of(problem, 0.5), 31)
    assert check is not None
    for step in range(1, 11):
        check(step, 0.0)
    assert "checkpoint" not in stages_run.stages
    check(11, 0.0)
    assert stages_run.stages["checkpoint"]["samples"] == 359


def test_samples_of_a_proxy_grow_where_its_case_is_not_clear(
    make_problem: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stages, "FIRST_SAMPLES", 64)
    monkeypatch.setattr(stages, "BATCH", 32)
    problem = make_problem()
    samples = {}
    for share in (0.3, 0.895):
        stages_run = made(problem, seen_candidates()).start((112.0,))
        model = model_of(problem, 1.0)
        order = torch.randperm(359, generator=torch.Generator().manual_seed(0))
        model.answers[order[: round((1 - share) * 359)]] += 1
        model.answers %= 10
        with suppress(Stopped):
            stages_run.proxy(model)
        samples[share] = stages_run.stages["proxy"]["samples"]
    assert samples[0.3] == 64
    assert samples[0.895] > 64


def searched(problem: Problem, folder: Path) -> optuna.Study:
    study = create_study(problem, InMemoryStorage())
    run(problem, study, WeightStore(folder), Listener())
    return study


@pytest.fixture
def few_first_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stages, "FIRST_TRIALS", 3)


@pytest.mark.usefixtures("few_first_trials")
@pytest.mark.parametrize("sampler", ["random", "gp"])
def test_a_search_with_candidates_that_were_stopped_early(
    make_problem: Make, tmp_path: Path, sampler: str
) -> None:
    budget = ("flops=50%", "trials=22")
    problem = make_problem(budget=budget, sampler=sampler, finetune_steps=30, batch_size=32)
    study = searched(problem, tmp_path)
    stopped = [t for t in study.trials if "stopped_at" in t.user_attrs and "duplicate_of" not in t.user_attrs]
    assert stopped
    assert {trial.state for trial in stopped} == {TrialState.COMPLETE}
    full = feasible_trials(study)
    for trial in stopped:
        stage = trial.user_attrs["stopped_at"]
        assert trial.user_attrs["stages"][stage]["decision"] == "stopped"
        assert trial.user_attrs["reason"].startswith("stopped early at the")
        assert trial.user_attrs["origin"] in SUGGESTED
        assert "quality" not in trial.user_attrs
        assert any(t.values[0] >= trial.values[0] and t.values[1] <= trial.values[1] for t in full)
    assert not {t.number for t in stopped} & {t.number for t in front_trials(study)}
    counted = [t for t in study.trials if "duplicate_of" not in t.user_attrs and t not in stopped]
    assert len(counted) == 22
    assert f"{len(stopped)} stopped early" in counts_text(summary(study))
    with pytest.raises(StudyError, match="stopped early at the"):
        trial_model(problem, stopped[0], WeightStore(tmp_path))

    by_stage = {item.stage: item for item in predictors(study)}
    assert set(by_stage) == {"cost", "proxy", "checkpoint"}
    assert sum(item.stopped for item in by_stage.values()) == len(stopped)
    assert all(-1 <= item.tau <= 1 for item in by_stage.values() if item.tau is not None)
    assert any(line.startswith("Kendall tau") for line in health_lines(study))
    seconds = stage_seconds(study)
    assert sum(seconds.values()) == pytest.approx(study.user_attrs["wall_seconds"], rel=0.01)


@pytest.mark.usefixtures("few_first_trials")
def test_one_seed_gives_one_search_and_a_continued_one_knows_what_was_given_up(
    make_problem: Make, tmp_path: Path
) -> None:
    runs = []
    for number in range(2):
        budget = ("flops=50%", "trials=16")
        problem = make_problem(budget=budget, sampler="random", finetune_steps=30, batch_size=32)
        study = searched(problem, tmp_path / str(number))
        runs.append([(t.params, t.values, t.user_attrs.get("stages")) for t in study.trials])
    assert runs[0] == runs[1]
    early_stopping = early_stopping_for(problem, study)
    assert early_stopping is not None
    assert len(early_stopping.seen) == len([t for t in study.trials if "duplicate_of" not in t.user_attrs])


def test_after_four_in_a_row_one_is_scored_in_full(make_problem: Make) -> None:
    problem = make_problem()
    study = create_study(problem)
    for number in range(5):
        early_stopping = early_stopping_for(problem, study)
        assert early_stopping is not None
        assert bool(early_stopping.exempt) == (number == 4)
        trial = study.ask()
        trial.set_user_attr("stopped_at", "proxy")
        study.tell(trial, [0.5, 100.0 + number])


def test_a_stage_that_does_not_predict_is_switched_off(make_problem: Make) -> None:
    problem = make_problem()
    study = create_study(problem)
    rng = np.random.default_rng(0)
    for _ in range(20):
        trial = study.ask()
        quality = float(rng.random())
        stages = {"proxy": {"estimate": 1 - quality}, "checkpoint": {"estimate": quality**2}}
        trial.set_user_attr("stages", stages)
        study.tell(trial, [quality, 100.0])
    early_stopping = early_stopping_for(problem, study)
    assert early_stopping is not None
    assert early_stopping.off == {"proxy"}
    assert "the proxy stage does not predict the final quality: it is switched off" in health_lines(study)
    taus = {item.stage: item.tau for item in predictors(study)}
    assert taus["proxy"] == pytest.approx(-1)
    assert taus["checkpoint"] == pytest.approx(1)


@pytest.mark.parametrize("settings", [{"early_stopping": False}, {"finetune_steps": 0}])
def test_without_early_stopping(make_problem: Make, settings: Mapping[str, Any]) -> None:
    problem = make_problem(**settings)
    assert early_stopping_for(problem, create_study(problem)) is None


def test_a_recipe_of_the_settings(make_problem: Make) -> None:
    problem = make_problem(clip=1.0, distill_features=0.3, label_smoothing=0.1, finetune_steps=7)
    expected = Recipe(
        steps=7, clip=1.0, distill_features=0.3, label_smoothing=0.1, distill=0.5, precision="auto"
    )
    assert problem.recovery.recipe == expected
    assert math.isfinite(problem.recovery.recipe.lr)
