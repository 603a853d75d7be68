from __future__ import annotations

import sys
from pathlib import Path

import optuna
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.api import Study
from autoprune.loggers import MLflow, TensorBoard

SETTINGS = {"finetune_steps": 2, "latency": False, "train_epochs": 0}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 2))


def loaders() -> dict[str, DataLoader[tuple[torch.Tensor, torch.Tensor]]]:
    inputs = torch.randn(96, 6, generator=torch.Generator().manual_seed(1))
    split = TensorDataset(inputs, (inputs[:, 0] > 0).long())
    return {part: DataLoader(split, batch_size=32) for part in ("train", "validation", "test")}


def search(folder: Path, *callbacks: object, trials: int = 3) -> Study:
    return autoprune.search(
        network(),
        loaders(),
        budget=["flops=80%"],
        trials=trials,
        storage=f"sqlite:///{folder}/study.db",
        callbacks=callbacks,
        **SETTINGS,
    )


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return search(tmp_path_factory.mktemp("search"))


def test_callbacks_are_called_with_each_trial_in_order(tmp_path: Path) -> None:
    seen: list[tuple[str, int, bool]] = []

    def first(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seen.append(("first", trial.number, trial.state.is_finished()))

    def second(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        seen.append(("second", trial.number, study.trials[trial.number].state.is_finished()))

    found = search(tmp_path, first, second)
    ended = [trial for trial in found.optuna.trials if trial.state.is_finished()]
    told = [trial.number for trial in ended if "duplicate_of" not in trial.user_attrs]
    assert seen == [(name, number, True) for number in told for name in ("first", "second")]


def test_what_a_callback_raises_ends_the_search_and_loses_nothing(tmp_path: Path) -> None:
    def stop(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        search(tmp_path, stop)
    (name,) = optuna.get_all_study_names(f"sqlite:///{tmp_path}/study.db")
    recorded = optuna.load_study(study_name=name, storage=f"sqlite:///{tmp_path}/study.db")
    assert [trial.state.is_finished() for trial in recorded.trials if trial.values] == [True]


def test_tensorboard_gets_a_step_for_each_trial(tmp_path: Path) -> None:
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = search(tmp_path, TensorBoard(tmp_path / "runs"))
    events = accumulators.EventAccumulator(str(tmp_path / "runs"))
    events.Reload()
    qualities = {event.step: event.value for event in events.Scalars("trial/accuracy")}
    scored = {t.number: t.values[0] for t in found.optuna.trials if "quality" in t.user_attrs}
    assert qualities == pytest.approx(scored)
    assert {"trial/flops_ratio", "front/size", "best/accuracy", "seconds/cut"} <= set(
        events.Tags()["scalars"]
    )


def test_without_tensorboard_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(autoprune.errors.MissingExtraError, match=r"pip install 'autoprune\[tensorboard\]'"):
        TensorBoard(tmp_path)
    assert "autoprune.loggers" in sys.modules


def test_mlflow_gets_a_run_for_each_trial(tmp_path: Path) -> None:
    mlflow = pytest.importorskip("mlflow")
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    found = search(tmp_path, MLflow(uri), trials=2)
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(found.optuna.study_name)
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    ended = [trial for trial in found.optuna.trials if trial.state.is_finished()]
    logged = [trial for trial in ended if "duplicate_of" not in trial.user_attrs]
    assert set(runs) == {f"trial {trial.number}" for trial in logged}
    for trial in logged:
        run = runs[f"trial {trial.number}"]
        assert run.info.status == "FINISHED"
        assert len(run.data.params) == len(trial.params)
        assert run.data.tags["origin"] == trial.user_attrs["origin"]
        if "quality" in trial.user_attrs:
            assert run.data.metrics["trial/accuracy"] == trial.values[0]
            assert run.data.metrics["trial/flops"] == trial.values[1]


def test_a_notebook_shows_the_front_and_its_pictures(study: Study) -> None:
    page = study._repr_html_()
    assert study.optuna.study_name in page
    assert page.count("<tr") == 1 + 1 + sum(study.front()["origin"] != "original")
    figures = study.plot()
    assert {"front-flops", "widths", "stages"} <= set(figures)
    assert figures["front-flops"].to_plotly_json()["data"]
    assert figures["front-flops"].layout.title.text.startswith("Front: accuracy")


def test_names_are_shown_as_text_in_a_notebook(tmp_path: Path) -> None:
    found = autoprune.search(
        network(),
        loaders(),
        budget=["flops=80%"],
        trials=1,
        name="<b>x</b>",
        storage=f"sqlite:///{tmp_path}/s.db",
        **SETTINGS,
    )
    assert "<b>x</b>" not in found._repr_html_()
    assert "&lt;b&gt;x&lt;/b&gt;" in found._repr_html_()
