import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest
import torch
from optuna.trial import TrialState
from torch import nn

from autoprune import review
from autoprune.api import run_search
from autoprune.cost import Call, Meter, Profile, Runtime, Setting
from autoprune.cost.latency.profile import load_profile, profiled
from autoprune.errors import ConfigError, StudyError, TrialError
from autoprune.pruning_search import Problem, continue_on_device, create_study, run
from autoprune.pruning_search.persistence.device_change import TIMED_AGAIN
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.latency import StudyTimer, latency_step_widths, profile_path
from autoprune.pruning_search.problem.latency_profile import ensure_profile
from autoprune.pruning_search.problem.width_grid import StepGrid
from autoprune.pruning_search.proposals.budget_levels import LEVELS
from autoprune.pruning_search.proposals.sensitivity import sensitivity
from autoprune.pruning_search.proposals.spaces import make_space
from autoprune.pruning_search.proposals.warm_start import warm_starts
from autoprune.review import Listener
from autoprune.study.front import measured_on
from autoprune.tasks import Data

Make = Callable[..., Problem]


class Paper(Runtime):
    """A device on paper: a millisecond for each thousand parameters, times a factor."""

    name = "paper"

    def __init__(self, device: str = "one", factor: float = 1.0, broken: bool = False) -> None:
        self.version, self._factor, self._broken = device, factor, broken
        self.timed = 0

    def prepare(self, model: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Call:
        if self._broken and self.timed:
            raise TrialError("paper has no operator aten.conv2d")
        self.timed += 1
        seconds = self._factor * sum(p.numel() for p in model.parameters()) * 1e-6
        return lambda: seconds


class Watcher(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def on_paper(problem: Problem, runtime: Paper) -> Problem:
    """The problem with latencies of a device on paper."""
    inputs = (problem.data.example(1),)
    meter = Meter(problem.model, inputs, Setting(runtime, threads=1, max_seconds=0.01), warmup=0.0)
    latency = meter.measure(problem.model).reference_seconds
    return dataclasses.replace(
        problem, meter=meter, budget_model=dataclasses.replace(problem.budget_model, original_latency=latency)
    )


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Profiles of devices on paper are no one else's."""
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def make_paper(make_problem: Make) -> Make:
    def make(runtime: Paper, **settings: Any) -> Problem:
        # Without a meter of its own the problem has no latency to set a limit on.
        given = {"budget": ("latency=50%", "trials=4"), "latency_seconds": 0.01, "finetune_steps": 1}
        return on_paper(make_problem(**given | settings, latency=True), runtime)

    return make


def searched(problem: Problem, folder: Path, listener: Listener | None = None) -> optuna.Study:
    study = create_study(problem)
    problem = continue_on_device(problem, study, listener or Watcher())
    run(problem, study, WeightStore(folder), listener or Watcher())
    return study


def test_a_shape_is_timed_once_in_a_study(make_paper: Make) -> None:
    runtime = Paper()
    problem = make_paper(runtime)
    study = create_study(problem)
    widths = {name: max(1, width // 2) for name, width in problem.structure.widths.items()}
    best = problem.pruning.plan(widths)
    others = dataclasses.replace(
        best,
        keep={
            name: tuple(range(problem.structure.widths[name] - len(units), problem.structure.widths[name]))
            for name, units in best.keep.items()
        },
    )
    assert others.keep != best.keep
    first, second, third = (study.ask() for _ in range(3))
    before = runtime.timed
    one = StudyTimer(study, first, problem.meter)(problem.pruning.cut(best))
    two = StudyTimer(study, second, problem.meter)(problem.pruning.cut(others))
    assert runtime.timed == before + 1
    assert one == two
    assert second.user_attrs["timing"]["measured_in"] == first.number
    narrower = problem.pruning.plan({**widths, "hidden": 1})
    StudyTimer(study, third, problem.meter)(problem.pruning.cut(narrower))
    assert runtime.timed == before + 2
    assert "measured_in" not in third.user_attrs["timing"]


def test_a_trial_records_how_it_was_timed(make_paper: Make, tmp_path: Path) -> None:
    problem = make_paper(Paper())
    study = searched(problem, tmp_path)
    original = sum(p.numel() for p in problem.model.parameters())
    for trial in study.trials:
        if trial.state is TrialState.COMPLETE:
            timing, recorded = trial.user_attrs["timing"], trial.user_attrs
            assert timing["ms"] == pytest.approx(recorded["parameters"] * 1e-3)
            assert timing["original_ms"] == pytest.approx(original * 1e-3)
            assert (
                timing["ratio"]
                == recorded["latency_ratio"]
                == pytest.approx(recorded["parameters"] / original)
            )
            assert timing["low"] <= timing["ratio"] <= timing["high"]
            assert (timing["drift"], timing["repeats"] >= 3) == (0.0, True)
            assert timing["device"] == problem.meter.fingerprint.key
            assert trial.values[-1] == recorded["latency_ms"]
    assert study.user_attrs["autoprune"]["device"]["runtime_version"] == "one"


def test_the_budget_holds_for_the_measured_value(make_paper: Make, tmp_path: Path) -> None:
    study = searched(make_paper(Paper(), budget=("latency=60%", "trials=8")), tmp_path)
    states = {state: [t for t in study.trials if t.state is state] for state in TrialState}
    assert all(t.user_attrs["latency_high"] <= 0.6 for t in states[TrialState.COMPLETE])
    over = [t for t in states[TrialState.PRUNED] if "latency" in t.user_attrs["reason"]]
    assert over, "some plan within no other limit is over this one"
    assert all(t.user_attrs["timing"]["high"] > 0.6 for t in over)


def test_another_device_measures_again_and_the_front_is_its_own(make_paper: Make, tmp_path: Path) -> None:
    first = searched(make_paper(Paper("one"), budget=("latency=90%", "trials=5")), tmp_path)
    front = review.front(first)
    assert len(front) >= 2
    watcher = Watcher()
    other = make_paper(Paper("two", factor=3.0), budget=("latency=90%", "trials=5"))
    study = searched(other, tmp_path, watcher)
    assert any("measured elsewhere (runtime_version one, here two)" in note for note in watcher.notes)
    again = [trial for trial in study.trials if trial.user_attrs["origin"] == TIMED_AGAIN]
    assert [t.user_attrs["duplicate_of"] for t in again] == sorted(front["trial"])
    assert {t.user_attrs["timing"]["device"] for t in again} == {other.meter.fingerprint.key}
    moved = review.front(study)
    assert set(moved["trial"]) <= {t.number for t in again} | {t.number for t in study.trials[5:]}
    assert moved["latency_ms"].min() == pytest.approx(3 * front["latency_ms"].min())
    assert set(moved["accuracy"]) >= set(front["accuracy"])
    assert study.user_attrs["autoprune"]["baseline"]["latency_ms"] == pytest.approx(
        other.budget_model.original_latency * 1e3
    )
    # The weights of plans that were timed again are those of the first trial.
    kept = {int(file.name.split("-")[1].split(".")[0]) for file in tmp_path.glob("trial-*")}
    assert kept >= {t.user_attrs["duplicate_of"] for t in again if t.number in set(moved["trial"])}


def test_the_same_device_keeps_what_is_known(make_paper: Make, tmp_path: Path) -> None:
    runtime = Paper()
    searched(make_paper(runtime), tmp_path)
    watcher = Watcher()
    count = runtime.timed
    problem = make_paper(runtime)
    study = create_study(problem)
    slower = dataclasses.replace(
        problem, budget_model=dataclasses.replace(problem.budget_model, original_latency=1.0)
    )
    settled = continue_on_device(slower, study, watcher)
    assert watcher.notes == []
    assert settled.budget_model.original_latency == pytest.approx(problem.budget_model.original_latency)
    assert runtime.timed == count + 1  # the original model, before the study is opened


def test_without_a_latency_budget_rows_of_another_device_lose_theirs(
    make_paper: Make, tmp_path: Path
) -> None:
    searched(make_paper(Paper("one"), budget=("flops=50%", "trials=3")), tmp_path)
    problem = make_paper(Paper("two"), budget=("flops=50%", "trials=6"))
    study = searched(problem, tmp_path)
    here = {t.number for t in study.trials if measured_on(t) == problem.meter.fingerprint.key}
    front = review.front(study).set_index("trial")
    assert set(front.index[front["latency_ms"].notna()]) == set(front.index) & here
    assert front["latency_ms"].isna().any()


def test_a_candidate_that_the_runtime_cannot_run_fails_alone(make_paper: Make, tmp_path: Path) -> None:
    study = searched(make_paper(Paper(broken=True), budget=("latency=100%", "trials=3")), tmp_path)
    failed = [t for t in study.trials if t.state is TrialState.FAIL]
    assert [trial.user_attrs["origin"] for trial in study.trials if trial not in failed][:1] == ["original"]
    assert len(failed) == 2
    assert "aten.conv2d" in failed[0].user_attrs["reason"]


RUNTIMES = [
    "eager",
    pytest.param(
        "onnxruntime",
        marks=pytest.mark.skipif(not importlib.util.find_spec("onnxruntime"), reason="needs the extra onnx"),
    ),
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(not importlib.util.find_spec("openvino"), reason="needs the extra openvino"),
    ),
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")),
]


@pytest.mark.parametrize("runtime", RUNTIMES)
def test_latency_budgets_on_real_runtimes(make_problem: Make, tmp_path: Path, runtime: str) -> None:
    problem = make_problem(
        runtime=runtime,
        latency=True,
        latency_seconds=0.05,
        latency_batch=8,
        threads=1,
        finetune_steps=1,
        budget=("latency=95%", "trials=2"),
    )
    study = searched(problem, tmp_path)
    limit = problem.budget_model.limits["latency"]
    assert limit == pytest.approx(0.95 * problem.budget_model.original_latency)
    assert problem.meter.fingerprint.inputs.startswith("8x1x8x8")
    ended = [t for t in study.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    assert len(ended) == 2
    for trial in ended:
        within = trial.user_attrs["timing"]["high"] <= 0.95
        assert (trial.state is TrialState.COMPLETE) == within


def test_a_runtime_that_is_not_there_is_said_before_anything_is_trained(make_problem: Make) -> None:
    with pytest.raises(ConfigError, match=r"unknown runtime 'tvm': use eager, compile, onnxruntime"):
        make_problem(runtime="tvm", latency=True)
    with pytest.raises(ConfigError, match="times no bfloat16"):
        make_problem(runtime="onnxruntime", latency_dtype="bfloat16", latency=True)


def test_other_settings_are_told_before_a_profile_is_measured(
    make_problem: Make, tiny: nn.Module, digits: Data
) -> None:
    limits = {"budget": ("latency=90%", "trials=1"), "latency": True, "study": "one"}
    known = make_problem(**limits, profile=False)
    create_study(known)
    config = known.config.model_copy(update={"profile": True, "seed": 1})
    watcher = Watcher()
    with pytest.raises(StudyError, match="seed was 0 and is 1"):
        run_search(config, watcher, model=tiny, data=digits)
    assert not any("measured first" in note for note in watcher.notes)


def profiled_on_paper(problem: Problem) -> Problem:
    """The problem with a profile of its device and the latency_steps that it gives."""
    latency_steps = dict(profiled(problem.model, problem.structure, problem.meter))
    profile = Profile(problem.meter.fingerprint, problem.budget_model.original_latency, latency_steps)
    return dataclasses.replace(
        problem,
        budget_model=dataclasses.replace(
            problem.budget_model,
            profile=profile,
            latency_steps=latency_step_widths(problem.pruning, profile),
        ),
    )


def test_with_a_profile_plans_are_proposed_that_meet_the_limit(make_paper: Make, tmp_path: Path) -> None:
    problem = profiled_on_paper(make_paper(Paper(), budget=("latency=60%", "trials=12")))
    assert problem.budget_model.predictor is not None
    study = searched(problem, tmp_path)
    ended = [t for t in study.trials if t.state in (TrialState.COMPLETE, TrialState.PRUNED)]
    within = [t for t in ended if t.state is TrialState.COMPLETE]
    # Without it, the original model and most of the first warm starts are over.
    assert len(within) >= 0.75 * len(ended)
    assert max(t.user_attrs["latency_ratio"] for t in within) > 0.4


def test_a_limit_on_latency_has_the_device_profiled_first(make_paper: Make) -> None:
    watcher = Watcher()
    problem = ensure_profile(make_paper(Paper(), budget=("latency=60%", "trials=2")), watcher)
    assert any("measured first" in note for note in watcher.notes)
    assert problem.budget_model.predictor is not None
    assert problem.budget_model.latency_steps
    assert ensure_profile(problem, Watcher()) is problem
    for settings in ({"budget": ("flops=60%", "trials=2")}, {"profile": False}):
        without = make_paper(Paper(), **settings)
        assert ensure_profile(without, Watcher()) is without


def test_a_profile_that_was_stopped_goes_on(make_paper: Make) -> None:
    class Stopped(Listener):
        def progress(self, share: float, text: str = "") -> None:
            raise KeyboardInterrupt

    problem = make_paper(Paper("four"), budget=("latency=60%", "trials=2"))
    with pytest.raises(KeyboardInterrupt):
        ensure_profile(problem, Stopped())
    file = profile_path(problem.model, problem.structure, problem.meter.fingerprint)
    (first,) = load_profile(file.with_suffix(".part")).latency_steps.items()
    profile = ensure_profile(problem, Watcher()).budget_model.profile
    assert (next(iter(profile.latency_steps.items()))) == first
    assert set(profile.latency_steps) == {group.name for group in problem.structure.groups}
    assert file.exists()
    assert not file.with_suffix(".part").exists()


def test_where_no_plan_is_predicted_to_be_fast_enough_that_is_said_and_the_narrowest_comes_first(
    make_paper: Make, tmp_path: Path
) -> None:
    problem = profiled_on_paper(make_paper(Paper(), budget=("latency=1%", "trials=2")))
    assert problem.budget_model.predictor is None
    watcher = Watcher()
    study = searched(problem, tmp_path, watcher)
    assert any("no plan is predicted to meet latency" in note for note in watcher.notes)
    first = study.trials[0]
    assert (first.user_attrs["origin"], first.state) == ("narrowest", TrialState.PRUNED)
    assert "over budget: latency" in first.user_attrs["reason"]


@pytest.mark.parametrize("space", ["sparsity", "criterion"])
def test_a_study_offers_the_widths_that_it_was_made_with(make_paper: Make, space: str) -> None:
    settings = {"budget": ("flops=90%", "trials=2"), "space": space}
    problem = make_paper(Paper(), **settings)
    latency_steps = {"conv1": (3, 7, 16), "hidden": (5, 24)}
    study = create_study(
        dataclasses.replace(
            problem, budget_model=dataclasses.replace(problem.budget_model, latency_steps=latency_steps)
        )
    )
    later = continue_on_device(problem, study, Watcher())
    assert later.budget_model.grids["conv1"] == StepGrid((3, 7, 16))
    curves = sensitivity(later, study, Watcher())
    form = make_space(later, curves)
    for start in warm_starts(later, curves, LEVELS):
        study.enqueue_trial(form.parameters(start.widths))
        widths = form.suggest(study.ask())
        assert widths["conv1"] in (3, 7, 16)
        assert widths["hidden"] in (5, 24)
        assert space != "sparsity" or widths == start.widths
