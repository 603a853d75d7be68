"""What is checked of a model and its data before a search begins, and what the user is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from optuna.trial import TrialState
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import Metric

import autoprune
from autoprune.errors import DataError, ModelError
from autoprune.review import Listener
from autoprune.tasks import evaluate

Pair = tuple[Tensor, Tensor]


class Sometimes(Metric):
    """1, and NaN while it is told to be, as a correlation with a constant is."""

    higher_is_better = True
    undefined = False

    def update(self, outputs: Tensor, targets: Tensor) -> None:
        pass

    def compute(self) -> Tensor:
        return torch.tensor(float("nan") if self.undefined else 1.0)


class Spoiling(Listener):
    """Leaves the first trial without a metric."""

    def trial_started(self, number: int, *rest: Any) -> None:
        Sometimes.undefined = number == 0


class Notes(Listener):
    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


class Once(DataLoader[Any]):
    """Read once, it is at its end for good."""

    is_read = False

    def __iter__(self) -> Any:
        if self.is_read:
            return iter(())
        self.is_read = True
        return super().__iter__()


class Wrapped(nn.Module):
    def __init__(self, forward: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.net, self.how = network(), forward

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.net, x)


def network(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    normed = [nn.BatchNorm1d(12)] if norm else []
    return nn.Sequential(nn.Linear(6, 12), *normed, nn.ReLU(), nn.Linear(12, 3))


def pair(count: int = 65) -> Pair:
    inputs = torch.randn(count, 6, generator=torch.Generator().manual_seed(0))
    return inputs, inputs[:, :3].argmax(1)


def search(
    model: nn.Module, folder: Path, *, listener: Listener | None = None, trials: int = 1, **data: Any
) -> Any:
    return autoprune.search(
        model,
        {"train": pair(), "validation": pair(40), "test": pair(40)} | data,
        budget="flops=70%",
        trials=trials,
        storage=f"sqlite:///{folder}/study.db",
        latency=False,
        finetune_steps=3,
        calibration_batches=1,
        preview="never",
        listener=listener or Listener(),
    )


@pytest.mark.parametrize("shuffle", [False, True])
def test_a_last_batch_of_one_sample_is_no_matter_to_batchnorm(tmp_path: Path, shuffle: bool) -> None:
    loader = DataLoader(TensorDataset(*pair(65)), 32, shuffle=shuffle)
    study = search(network(norm=True), tmp_path, train=loader, validation=loader, test=loader)
    trials = [trial for trial in study.optuna.trials if trial.state.is_finished()]
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert len(study.front()) > 0


def test_batches_of_one_sample_that_batchnorm_refuses_are_told_before_the_search(tmp_path: Path) -> None:
    loader = DataLoader(TensorDataset(*pair(9)), 1)
    with pytest.raises(DataError, match="BatchNorm cannot train on one sample, give larger batches"):
        search(network(norm=True), tmp_path, train=loader)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("split", ["train", "validation", "test"])
@pytest.mark.parametrize(
    "make", [lambda samples: Once(samples, 8), lambda samples: DataLoader(samples, 64, drop_last=True)]
)
def test_a_loader_without_batches_is_told_before_the_search(tmp_path: Path, split: str, make: Any) -> None:
    with pytest.raises(DataError, match=rf"{split} yields no batch: its loader must restart"):
        search(network(), tmp_path, **{split: make(TensorDataset(*pair(20)))})
    assert not list(tmp_path.iterdir())


def test_a_test_set_is_tried_before_the_search(tmp_path: Path) -> None:
    inputs, targets = pair(20)
    targets[2] = 7
    with pytest.raises(DataError, match=r"a target is 7 \(test, sample 2\)"):
        search(network(), tmp_path, test=TensorDataset(inputs, targets))


def test_a_metric_of_the_original_that_is_no_number_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sometimes, "undefined", True)
    with pytest.raises(DataError, match="the metric Sometimes of the original is nan"):
        search(network(), tmp_path, metric=Sometimes)
    assert not list(tmp_path.iterdir())


def test_a_metric_of_a_candidate_that_is_no_number_costs_its_trial(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Sometimes, "undefined", False)
    study = search(network(), tmp_path, metric=Sometimes, listener=Spoiling(), trials=2)
    first, second = study.optuna.trials[:2]
    assert (first.state, second.state) == (TrialState.FAIL, TrialState.COMPLETE)
    assert first.user_attrs["reason"].startswith("the metric Sometimes became nan")


@pytest.mark.parametrize(
    ("split", "at", "value", "message"),
    [
        ("train", 5, float("nan"), r"the inputs hold nan \(train, sample 5\)"),
        ("validation", 7, float("inf"), r"the inputs hold inf \(validation, sample 7\)"),
        ("test", 9, float("nan"), r"the inputs hold nan \(test, sample 9\)"),
    ],
)
def test_a_sample_that_is_not_finite_is_named(
    tmp_path: Path, split: str, at: int, value: float, message: str
) -> None:
    inputs, targets = pair(40)
    inputs[at, 2] = value
    with pytest.raises(DataError, match=message):
        search(network(), tmp_path, **{split: (inputs, targets)})


def test_a_model_may_cope_with_what_is_not_finite(tmp_path: Path) -> None:
    inputs, targets = pair()
    inputs[3, 1] = float("nan")
    filled = Wrapped(lambda net, x: net(x.nan_to_num()))
    assert search(filled, tmp_path, train=(inputs, targets)) is not None


@pytest.mark.parametrize("split", ["validation", "test"])
def test_a_target_beyond_the_classes_is_named(tmp_path: Path, split: str) -> None:
    inputs, targets = pair(40)
    targets[4] = 7
    with pytest.raises(DataError, match=rf"a target is 7 \({split}, sample 4\)"):
        search(network(), tmp_path, **{split: (inputs, targets)})


def test_a_target_below_zero_asks_for_no_more_classes(tmp_path: Path) -> None:
    inputs, targets = pair(40)
    targets[4] = -1
    with pytest.raises(DataError, match=r"a target is -1 \(validation, sample 4\), but classes count from 0"):
        search(network(), tmp_path, validation=(inputs, targets))


def test_a_model_without_parameters_has_nothing_to_cut(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing in Sequential can be cut"):
        search(nn.Sequential(nn.Flatten(), nn.Softmax(1)), tmp_path, classes=6)


def test_weights_that_are_not_finite_are_named(tmp_path: Path) -> None:
    model = network()
    model[0].bias.data[2] = float("nan")  # type: ignore[index, operator]
    with pytest.raises(ModelError, match=r"its 0\.bias holds nan"):
        search(model, tmp_path)


def fails_in_training(net: nn.Module, x: Tensor) -> Tensor:
    if net.training:
        raise KeyError("not here")
    return net(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: network().requires_grad_(False), "no parameter of the model requires a gradient"),
        (lambda: Wrapped(fails_in_training), "KeyError: 'not here' .it takes them in eval mode"),
        (lambda: Wrapped(lambda net, x: net(x).detach()), "no gradient passes the model"),
    ],
)
def test_a_model_that_cannot_be_trained_is_told_before_the_search(
    tmp_path: Path, make: Callable[[], nn.Module], message: str
) -> None:
    with pytest.raises((DataError, ModelError), match=message) as caught:
        search(make(), tmp_path)
    assert "finetune_steps to 0" in str(caught.value)


def test_a_model_without_values_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"0\.weight of the model is on the meta device"):
        search(network().to("meta"), tmp_path)


def test_a_forward_that_changes_its_inputs_does_not_change_the_data(tmp_path: Path) -> None:
    parts = {name: pair(40) for name in ("train", "validation", "test")}
    before = {name: inputs.clone() for name, (inputs, _) in parts.items()}
    notes = Notes()
    changing = search(Wrapped(lambda net, x: net(x.mul_(1.1))), tmp_path, listener=notes, **parts)
    assert all(torch.equal(before[name], inputs) for name, (inputs, _) in parts.items())
    assert not [note for note in notes.notes if "two passes" in note]
    (tmp_path / "plain").mkdir()
    plain = search(Wrapped(lambda net, x: net(x * 1.1)), tmp_path / "plain", **parts)
    assert changing.front().equals(plain.front())


def test_a_forward_that_is_random_is_told_once_and_scored_alike(tmp_path: Path) -> None:
    notes = Notes()
    random = Wrapped(lambda net, x: net(nn.functional.dropout(x, 0.5, training=True)))
    study = search(random, tmp_path, listener=notes)
    (told,) = [note for note in notes.notes if "two passes of the original" in note]
    assert "its forward is random or keeps a state" in told
    trial = study.best()
    assert study.problem.data.task.metric == "accuracy"
    again = evaluate(study.model(trial.number), study.problem.splits.selection, study.problem.data.task)
    assert again.value == trial.values[0]
