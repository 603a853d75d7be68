"""Whatever is given in Python is understood, or named in one line together with what is accepted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import autoprune
from autoprune.errors import ArgumentError, BudgetError, ConfigError, StudyError, UserError
from autoprune.tasks import TensorSplit, classification
from autoprune.workflows.search_arguments import settings_of

NET = nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))
SPLIT = (torch.randn(64, 20, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2)
DATA = {"train": SPLIT, "validation": SPLIT, "test": SPLIT}
LOADER: DataLoader[Any] = DataLoader(TensorDataset(*SPLIT), 8)
X = torch.randn(1, 20)
QUICK: dict[str, Any] = {"trials": 2, "latency": False, "finetune_steps": 1, "calibration_batches": 1}


@pytest.fixture(scope="module")
def structure() -> autoprune.Structure:
    return autoprune.discover(NET, X)


def search(model: Any = NET, data: Any = DATA, **given: Any) -> autoprune.Study:
    return autoprune.search(model, data, **given)


SEARCHES: dict[str, tuple[Callable[[], object], str]] = {
    "a list of loaders": (
        lambda: search(NET, [LOADER, LOADER]),
        r"data is a list \(DataLoader, DataLoader\): ",
    ),
    "a tuple of loaders": (lambda: search(NET, (LOADER, LOADER)), r"give a mapping \{'train': \.\.\., "),
    "a loader": (lambda: search(NET, LOADER), "data is a DataLoader: give a mapping"),
    "a folder": (lambda: search(NET, Path("photos")), "data is a PosixPath: .+'imagefolder:photos'"),
    "a function of data": (lambda: search(NET, lambda: DATA), "data is a function: .+; call it first"),
    "a function of a model": (
        lambda: search(lambda: NET),
        "model is a function: give a torch.nn.Module, or a ",
    ),
    "a class": (lambda: search(nn.Linear), "model is the class Linear: .+; call it first"),
    "a state dict": (lambda: search(NET.state_dict()), "model is an OrderedDict: give a torch.nn.Module"),
    "a fraction": (
        lambda: search(budget=0.5),
        r"budget is a float \(0\.5\): give a string such as 'latency=50%'",
    ),
    "fractions": (
        lambda: search(budget=[0.5]),
        r"a part of budget is a float \(0\.5\): give a string such as",
    ),
    "a list": (lambda: search(budget={"flops": [1]}), r"budget\['flops'\] is a list \(int\): give a string"),
    "trials as a text": (lambda: search(trials="10"), "trials is the string '10': give a whole number"),
    "half a trial": (lambda: search(trials=1.5), r"trials is a float \(1\.5\): give a whole number"),
    "true trials": (lambda: search(trials=True), r"trials is a bool \(True\): give a whole number"),
    "a storage": (lambda: search(storage=3), r"storage is an int \(3\): give a file or a storage URL"),
    "a name": (lambda: search(name=3), r"name is an int \(3\): give a string"),
    "two names": (lambda: search(name="a", study="b"), "name and study are the same: give one of them"),
    "a listener": (
        lambda: search(listener=print),
        "listener is a function: give an autoprune.Listener",
    ),
    "a callback": (lambda: search(callbacks=print), "callbacks is a function: give a list of functions"),
    "no callback": (
        lambda: search(callbacks=["tell"]),
        "a part of callbacks is the string 'tell': give a function",
    ),
}


@pytest.mark.parametrize("mistake", SEARCHES)
def test_a_search_names_what_it_does_not_understand(mistake: str) -> None:
    call, message = SEARCHES[mistake]
    with pytest.raises(TypeError, match=f"^.*{message}") as caught:
        call()
    assert isinstance(caught.value, UserError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"model": NET}, "no data for the model: give --data"),
        ({"model": "torchvision:resnet18"}, "no data for torchvision:resnet18: give --data"),
        ({"data": DATA}, "no model for the data"),
        ({"model": NET, "data": DATA, "lr": "0.1"}, r"lr = '0\.1': input should be a valid number"),
        (
            {"model": NET, "data": DATA, "criterion": len},
            "criterion is a function: give its name as a string",
        ),
        ({"model": NET, "data": DATA, "skip": {"0": 1}}, "use a string or a list of strings"),
    ],
)
def test_nothing_stands_in_for_what_is_missing_or_wrong(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        autoprune.search(**given)


def test_without_model_and_data_the_embedded_ones_are_searched() -> None:
    config = settings_of(None, None, (), None, None, None, {})
    assert (config.model, config.data) == (None, "digits")
    assert settings_of(NET, DATA, (), None, None, None, {}).data is None


def test_a_budget_may_be_a_mapping_and_paths_are_texts() -> None:
    budget = {"latency": 0.5, "flops": 3e8, "size": "4MB", "time": "30m"}
    config = settings_of(
        NET, "digits", budget, np.int64(7), Path("a.db"), "b", {"skip": "0", "weights": Path("w.pt")}
    )
    assert config.budget == ("latency=50%", "flops=300000000", "size=4MB", "time=30m", "trials=7")
    assert (config.storage, config.study, config.skip, config.weights) == ("a.db", "b", ("0",), "w.pt")
    with pytest.raises(BudgetError, match="there is no cost 'latancy', did you mean latency"):
        settings_of(NET, "digits", {"latancy": 0.5}, None, None, None, {})
    with pytest.raises(BudgetError, match="it has no unit"):
        settings_of(NET, "digits", {"latency": 2}, None, None, None, {})


CALLS: dict[str, tuple[Callable[[Any], object], str]] = {
    "a shape": (
        lambda _: autoprune.discover(NET, (1, 20)),
        r"example_inputs is a tuple \(int, int\): give a ",
    ),
    "no inputs": (lambda _: autoprune.discover(NET, None), "example_inputs is None: give a tensor"),
    "a name": (
        lambda _: autoprune.discover("resnet18", X),
        "model is the string 'resnet18': give a torch.nn.M",
    ),
    "a word": (
        lambda _: autoprune.discover(NET, X, depth="yes"),
        "depth is the string 'yes': give True or False",
    ),
    "a percentage": (
        lambda _: autoprune.prune(NET, X, "50%"),
        "sparsity is the string '50%': give a number from",
    ),
    "half of a group": (
        lambda _: autoprune.prune(NET, X, {"0": "half"}),
        r"sparsity\['0'\] is the string 'half'",
    ),
    "the structure": (lambda s: autoprune.prune(s, X, 0.5), "model is a Structure: give a torch.nn.Module"),
    "the model": (lambda _: autoprune.prune(NET, X, structure=NET), "structure is a Sequential: give what"),
    "a loader": (lambda _: autoprune.prune(NET, X, data=LOADER), "data is a DataLoader: give a mapping"),
    "a function": (
        lambda _: autoprune.prune(NET, X, criterion=len),
        "criterion is a function: give its name",
    ),
    "a threshold": (
        lambda _: autoprune.prune(NET, X, threshold="1"),
        "threshold is the string '1': give a number",
    ),
    "a pattern": (
        lambda _: autoprune.mask(NET, X, granularity=(2, 4)),
        r"granularity is a tuple \(int, int\)",
    ),
    "another structure": (
        lambda s: autoprune.mask(NET, X, structure=s),
        "structure is a Structure: give what",
    ),
    "a masked shape": (lambda _: autoprune.mask(NET, (1, 20)), r"example_inputs is a tuple \(int, int\)"),
    "swapped": (lambda s: autoprune.apply(NET, s, s), "plan is a Structure: give an autoprune.Plan"),
    "a restricted model": (lambda _: autoprune.restrict(NET), "structure is a Sequential: give what"),
    "globs": (lambda s: autoprune.restrict(s, skip=0), r"skip is an int \(0\): give a list of globs"),
    "a folded structure": (lambda s: autoprune.fold(s), "model is a Structure: give a torch.nn.Module"),
    "no name": (
        lambda _: autoprune.register_criterion(len),
        "the name of a criterion is a function: give a string",
    ),
    "no criterion": (
        lambda _: autoprune.register_criterion("own")("l2"),
        "criterion 'own' is the string 'l2'",
    ),
    "tensors": (
        lambda _: autoprune.Data("mine", SPLIT, SPLIT, SPLIT, classification(2)),
        r"train is a tuple \(Tensor, Tensor\): give a TensorSplit",
    ),
    "a task": (
        lambda _: autoprune.Data("mine", *[TensorSplit(*SPLIT)] * 3, "classification"),
        "task is the string 'classification': give an autoprune.tasks.Task",
    ),
}


@pytest.mark.parametrize("mistake", CALLS)
def test_a_function_names_what_it_does_not_understand(structure: autoprune.Structure, mistake: str) -> None:
    call, message = CALLS[mistake]
    with pytest.raises(ArgumentError, match=f"^{message}") as caught:
        call(structure)
    assert isinstance(caught.value, TypeError)
    assert "\n" not in str(caught.value)


def test_what_is_plainly_meant_is_taken(structure: autoprune.Structure) -> None:
    assert autoprune.discover(NET, {"input": X}).widths == structure.widths
    assert autoprune.restrict(structure, skip="0").groups == ()
    pruned = autoprune.prune(NET, X, np.float32(0.5), criterion="taylor", data=DATA)
    assert pruned[0].out_features == 4


def test_a_study_takes_its_trials_by_number_word_or_themselves(tmp_path: Path) -> None:
    storage = tmp_path / "a.db"
    study = search(budget={"flops": 0.8}, storage=storage, name="a", **QUICK)
    best = study.best()
    numbers = study.front()["trial"]
    for trial in (best, best.number, "best", numbers[numbers == best.number].iloc[0]):
        assert study.model(trial)[0].out_features == study.model()[0].out_features
    for wrong in (1.5, None, [1]):
        with pytest.raises(ArgumentError, match=r"^trial is .+: give 'best', a number or a trial"):
            study.model(wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^formats is an int \(3\)"):
        study.export("best", 3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^to is an int \(3\): give the folder"):
        study.export(to=3)  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^gradual is the string '3'"):
        study.export(finetune="1epochs", gradual="3")  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^to is None"):
        study.folders("best", None)  # type: ignore[arg-type]
    (tmp_path / "all").mkdir()
    (tmp_path / "all" / f"trial-{best.number}").symlink_to(tmp_path)
    with pytest.raises(UserError, match=f"trial-{best.number} is a link: remove it"):
        study.folders("front", tmp_path / "all")
    assert [item.format for item in study.export("best", "state", to=tmp_path / "out")] == ["state"]

    again = search(budget={"flops": 0.8, "time": "90s"}, storage=storage, name="a", **QUICK | {"trials": 3})
    assert len([trial for trial in again.optuna.trials if trial.values]) >= 3
    with pytest.raises(StudyError, match=r"the budget was \['flops=80%'\] and is \['flops=70%'\]"):
        search(budget="flops=70%", storage=storage, name="a", **QUICK)
