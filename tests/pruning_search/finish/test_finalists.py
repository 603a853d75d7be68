from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

import autoprune
from autoprune.config.settings import load_config
from autoprune.errors import ConfigError
from autoprune.pruning_search import Problem, create_study
from autoprune.pruning_search.finish.finalists import near_front
from autoprune.pruning_search.problem.subject.splits import divide
from autoprune.review import gap, health_lines, summary
from autoprune.study.estimates import Estimate, corrected
from autoprune.study.front import front_trials, guided_front
from autoprune.tasks import Data, LoaderSplit, TensorSplit, classification

Make = Callable[..., Problem]


def data_of(samples: int) -> Data:
    targets = torch.arange(samples) % 4
    inputs = torch.arange(float(samples)).unsqueeze(1)
    split = TensorSplit(inputs, targets)
    return Data("made", split, split, split, classification(4))


def test_large_validation_data_is_divided_into_disjoint_parts_with_all_classes() -> None:
    parts = divide(data_of(2000), load_config(None, {}))
    assert parts.holdout is not None
    ((guiding, classes),) = parts.selection.batches(5000)
    ((ranking, _),) = parts.holdout.batches(5000)
    assert (len(guiding), len(ranking)) == (1400, 600)
    assert len(set(guiding.flatten().tolist()) | set(ranking.flatten().tolist())) == 2000
    assert torch.bincount(classes).tolist() == [350] * 4
    again = divide(data_of(2000), load_config(None, {}))
    ((same, _),) = again.selection.batches(5000)
    assert torch.equal(guiding, same)


def test_small_validation_data_guides_as_a_whole() -> None:
    parts = divide(data_of(600), load_config(None, {}))
    assert parts.holdout is None
    assert len(parts.selection) == 600
    assert parts.note == "600 validation samples are too few to divide: all of them guide the search"
    assert divide(data_of(600), load_config(None, {"holdout_share": 0.25})).holdout is not None
    assert divide(data_of(5000), load_config(None, {"holdout_share": 0.0})).note == ""


def test_data_that_cannot_be_divided_guides_as_a_whole() -> None:
    data = data_of(2000)
    dataset = torch.utils.data.TensorDataset(data.validation.inputs, data.validation.targets)  # type: ignore[attr-defined]
    shuffling = LoaderSplit(torch.utils.data.DataLoader(dataset, batch_size=50, shuffle=True))
    streaming = Data("made", data.train, shuffling, data.test, data.task)
    assert "streams or shuffles" in divide(streaming, load_config(None, {})).note
    with pytest.raises(ConfigError, match="cannot be divided"):
        divide(streaming, load_config(None, {"holdout_share": 0.5}))


def test_a_share_that_leaves_nothing() -> None:
    with pytest.raises(ConfigError, match="leaves a part empty"):
        divide(data_of(4), load_config(None, {"holdout_share": 0.1}))


def test_finalists_are_ranked_on_samples_that_guided_nothing(
    tiny: nn.Module, digits: Data, tmp_path: Path
) -> None:
    study = autoprune.search(
        tiny,
        digits,
        budget="flops=50%",
        trials=10,
        storage=f"sqlite:///{tmp_path}/study.db",
        finetune_steps=10,
        latency=False,
        holdout_share=0.5,
    )
    ranking = study.optuna.user_attrs["ranking"]
    finalists = {str(trial.number) for trial in near_front(study.optuna)}
    assert set(ranking) == finalists | {"baseline"}
    front = study.front()
    assert set(map(str, front["trial"])) <= finalists
    for row in front.to_dict(orient="records"):
        estimate = ranking[str(row["trial"])]
        assert row["accuracy"] == estimate["quality"]
        assert estimate["low"] <= row["accuracy"] <= estimate["high"]
        assert (row["accuracy_low"], row["accuracy_high"]) == (estimate["low"], estimate["high"])
        assert row["guiding_accuracy"] == study.optuna.trials[row["trial"]].values[0]
    assert front["test_accuracy"].notna().all()
    assert summary(study.optuna).baseline.quality == ranking["baseline"]["quality"]
    best = study.best()
    assert ranking[str(best.number)]["quality"] == front["accuracy"].max()

    alone = study.optuna.user_attrs["ranking_samples_alone"]
    assert alone["baseline"] == ranking["baseline"]
    found = gap(study.optuna)
    assert found is not None
    differences = [
        study.optuna.trials[int(number)].values[0] - estimate["quality"]
        for number, estimate in alone.items()
        if number != "baseline"
    ]
    level = [sum(part[number]["quality"] for number in finalists) for part in (alone, ranking)]
    assert level[0] == pytest.approx(level[1])
    assert found.mean == pytest.approx(sum(differences) / len(differences))
    assert found.finalists == len(differences)
    assert "the selection split overestimates" in health_lines(study.optuna)[0]

    # A search that goes on finds a better trial: until the end, its guiding samples decide.
    trial = study.optuna.ask()
    for name, value in best.user_attrs.items():
        trial.set_user_attr(name, "another" if name == "plan" else value)
    study.optuna.tell(trial, [1.0, 1.0])
    assert [t.number for t in front_trials(study.optuna)] == [t.number for t in guided_front(study.optuna)]


def test_near_the_front_is_what_chance_may_keep_off_it(make_problem: Make) -> None:
    study = create_study(make_problem())
    for quality, cost in [(0.90, 100.0), (0.895, 110.0), (0.88, 120.0), (0.95, 200.0)]:
        trial = study.ask()
        trial.set_user_attr("quality_error", 0.01)
        trial.set_user_attr("plan", f"{cost}")
        study.tell(trial, [quality, cost])
    assert [trial.number for trial in guided_front(study)] == [0, 3]
    assert [trial.number for trial in near_front(study)] == [0, 1, 3]


def test_finalists_differ_as_on_all_samples_at_the_level_of_those_that_chose_nothing() -> None:
    unchosen = {"baseline": Estimate(0.95), "1": Estimate(0.90, 0.01, 0.88, 0.92), "2": Estimate(0.92)}
    found = corrected(unchosen, {"1": 0.94, "2": 0.93}, share=0.7)
    assert found["baseline"] == Estimate(0.95)
    pooled = 0.7 * (0.94 - 0.93) + 0.3 * (0.90 - 0.92)
    assert found["1"].quality - found["2"].quality == pytest.approx(pooled)
    assert (found["1"].quality + found["2"].quality) / 2 == pytest.approx(0.91)
    assert found["1"].high - found["1"].low == pytest.approx(0.04)
