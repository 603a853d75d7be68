from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from scipy.stats import kendalltau
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from autoprune.errors import ConfigError
from autoprune.recovery import Recipe, finetune, recalibrate
from autoprune.recovery.sparse_training import METHODS, Sparsified, sparsify
from autoprune.recovery.sparse_training.gates import HardConcrete
from autoprune.recovery.sparse_training.lasso import GroupLasso, Growing, L1Penalty, Slimming
from autoprune.recovery.sparse_training.shared import OpposedUses
from autoprune.structure import Plan, Structure, apply, discover
from autoprune.tasks import Data, TensorSplit, classification, evaluate, load_data, weights_hash

STEPS = 40


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 12, 3, padding=1)
        self.bn1 = nn.BatchNorm2d(12)
        self.conv2 = nn.Conv2d(12, 16, 3, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(16)
        self.hidden = nn.Linear(16, 20)
        self.head = nn.Linear(20, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = self.bn1(self.conv1(images)).relu()
        x = self.bn2(self.conv2(x)).relu().mean((2, 3))
        logits: Tensor = self.head(self.hidden(x).relu())
        return logits


class Twice(nn.Module):
    """One hidden layer that is used for both halves of the input, whose first use is turned round."""

    def __init__(self, turned: bool) -> None:
        super().__init__()
        self.inner = nn.Linear(4, 6)
        self.head = nn.Linear(6, 2)
        self.turned = turned

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.inner(x).relu(), self.inner(x).relu()
        logits: Tensor = self.head(second - first if self.turned else second + first)
        return logits


@pytest.fixture(scope="session")
def digits() -> Data:
    return load_data("digits")


@pytest.fixture(scope="session")
def trained(digits: Data) -> nn.Module:
    torch.manual_seed(0)
    net = Net()
    finetune(net, digits, Recipe(steps=300, lr=0.1, batch_size=64, schedule="onecycle"), seed=0)
    return net.eval()


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path))


def structure_of(net: nn.Module) -> Structure:
    return discover(net, torch.zeros(1, 1, 8, 8))


def two_halves(turned: bool) -> tuple[Twice, Structure, Data]:
    torch.manual_seed(0)
    net = Twice(turned)
    split = TensorSplit(torch.randn(64, 4), torch.randint(0, 2, (64,)))
    return net, discover(net, torch.zeros(1, 4)), Data("made", split, split, split, classification(2))


@pytest.mark.parametrize("method", [L1Penalty, GroupLasso, Slimming, Growing])
def test_what_nothing_defends_loses_the_strength(trained: nn.Module, method: type[L1Penalty]) -> None:
    net = copy.deepcopy(trained)
    structure = structure_of(net)
    before = {name: value.detach().clone() for name, value in net.named_parameters()}
    penalty = method(net, structure, 0.3, STEPS)
    assert sum(penalty.share(step) for step in range(1, STEPS + 1)) == pytest.approx(1)
    for step in range(1, STEPS + 1):
        penalty.updated(step)
    now = dict(net.named_parameters())
    weight = "bn1.weight" if method is Slimming else "conv1.weight"
    ratio = float(now[weight].detach().abs().mean() / before[weight].abs().mean())
    assert 0.5 < ratio < 0.85
    changed = {name for name, value in now.items() if not torch.equal(value, before[name])}
    if method is Slimming:
        assert changed == {"bn1.weight", "bn2.weight"}
    else:
        assert {"conv1.weight", "conv2.weight", "hidden.weight", "head.weight"} <= changed
        assert "head.bias" not in changed


def test_one_step_of_each_is_its_formula(trained: nn.Module) -> None:
    share = (1 + math.cos(math.pi * 2.5 / STEPS)) / STEPS
    structure = structure_of(trained)
    before = {name: value.detach().clone() for name, value in trained.named_parameters()}

    def after(method: type[L1Penalty]) -> dict[str, Tensor]:
        net = copy.deepcopy(trained)
        method(net, structure, 0.3, STEPS).updated(3)
        return {name: value.detach() for name, value in net.named_parameters()}

    def thresholded(weight: Tensor, mean: float) -> list[float]:
        lost = 0.3 * share * mean
        return [math.copysign(max(0.0, abs(w) - lost), w) for w in weight.flatten().tolist()]

    weight = before["conv2.weight"]
    found = after(L1Penalty)["conv2.weight"].flatten().tolist()
    assert found == pytest.approx(thresholded(weight, float(weight.abs().mean())), abs=1e-7)
    scales = torch.cat([before["bn1.weight"], before["bn2.weight"]])
    found = after(Slimming)["bn2.weight"].tolist()
    assert found == pytest.approx(thresholded(before["bn2.weight"], float(scales.abs().mean())), abs=1e-7)
    kept = 1 - 2 * 0.3 * 2.5 / STEPS**2
    torch.testing.assert_close(after(Growing)["conv1.weight"], kept * before["conv1.weight"])
    # A unit of conv1 lies in conv1 and conv2; each counts relative to its mean over the units.
    squares = [before["conv1.weight"].flatten(1).square().sum(1), weight.square().sum((0, 2, 3))]
    norms = (squares[0] / squares[0].mean() + squares[1] / squares[1].mean()).sqrt()
    left = (1 - 0.3 * share * norms.mean() / norms).clamp_min(0)
    found_bias = after(GroupLasso)["bn1.bias"]
    torch.testing.assert_close(found_bias, left * before["bn1.bias"])


def test_soft_thresholds_end_at_exact_zeros_and_take_whole_units(trained: nn.Module) -> None:
    net = copy.deepcopy(trained)
    with torch.no_grad():
        for part in (net.conv1.weight[3], net.bn1.weight[3:4], net.bn1.bias[3:4], net.conv2.weight[:, 3]):
            part.mul_(0.01)
    penalty = GroupLasso(net, structure_of(net), 0.3, STEPS)
    for step in range(1, STEPS + 1):
        penalty.updated(step)
    assert not net.conv1.weight[3].any()
    assert not net.conv2.weight[:, 3].any()
    assert not net.bn1.bias[3].any()
    assert net.conv1.weight[[0, 1, 2, 4, 5]].abs().sum() > 0


def test_gates_have_the_derivative_of_the_loss(trained: nn.Module, digits: Data) -> None:
    net = copy.deepcopy(trained).double().eval()
    structure = structure_of(copy.deepcopy(trained))
    penalty = HardConcrete(net, structure, 1.0, STEPS)
    inputs, targets = next(digits.train.batches(32))
    inputs = inputs.double()
    torch.manual_seed(3)
    penalty.before(1)
    gates = {name: gate.detach().double().requires_grad_() for name, gate in penalty._drawn.items()}
    assert any(0 < float(value) < 1 for gate in gates.values() for value in gate)
    stored = {name: value.clone() for name, value in penalty._stored.items()}
    F.cross_entropy(net(inputs), targets).backward()
    pulls = penalty._pulls({name: gate.detach() for name, gate in gates.items()})
    weights = {
        name: stored[name] * penalty._factors(name, gates) if name in stored else value.detach()
        for name, value in net.named_parameters()
    }
    F.cross_entropy(functional_call(net, weights, inputs), targets).backward()
    for name, gate in gates.items():
        assert gate.grad is not None
        assert torch.allclose(pulls[name], gate.grad, atol=1e-6), name
    penalty.differentiated(1)
    assert all(torch.equal(penalty.values[name], value) for name, value in stored.items())


def test_closed_gates_are_in_the_weights_at_the_end(trained: nn.Module) -> None:
    net = copy.deepcopy(trained)
    penalty = HardConcrete(net, structure_of(net), 1.0, STEPS)
    with torch.no_grad():
        penalty._odds["conv1"][5] = -8.0
    penalty.finished()
    assert not net.conv2.weight[:, 5].any()
    assert penalty.scores()["conv1"].argmin() == 5
    other = HardConcrete(net, structure_of(net), 1.0, STEPS)
    other.restore(penalty.state())
    assert torch.equal(other.scores()["conv1"], penalty.scores()["conv1"])


def test_uses_that_pull_apart_are_told_from_those_that_agree() -> None:
    for turned in (True, False):
        net, structure, data = two_halves(turned)
        penalty = OpposedUses(net, structure, 0.5, STEPS, data, seed=0)
        before = net.inner.weight.detach().clone()
        penalty.updated(1)
        conflict = torch.cat(list(penalty.conflict.values()))
        assert float(conflict.mean()) == pytest.approx(float(turned), abs=0.05)
        assert torch.equal(net.inner.weight, before) is not turned
    with pytest.raises(ConfigError, match="no weight that can be cut is used several times"):
        plain = Net()
        OpposedUses(plain, structure_of(plain), 0.5, STEPS, load_data("digits"), seed=0)


@pytest.mark.parametrize("method", [method for method in METHODS if method != "shared"])
def test_sparse_training_makes_units_dispensable_and_leaves_the_model(
    trained: nn.Module, digits: Data, method: str
) -> None:
    structure = structure_of(trained)
    before = copy.deepcopy(trained.state_dict())
    # Enough steps for the loss to defend what it needs: with 60, group lasso costs 7 to 12 points.
    recipe = Recipe(steps=200, lr=0.02, batch_size=64, distill=0.5)
    found = sparsify(trained, structure, digits, recipe, method, seed=0)
    assert all(torch.equal(value, before[name]) for name, value in trained.state_dict().items())
    assert {name: len(values) for name, values in found.scores.items()} == structure.widths
    original = evaluate(trained, digits.validation, digits.task).value
    assert evaluate(found.model, digits.validation, digits.task).value > original - 0.12
    told: list[int] = []
    again = sparsify(
        trained, structure, digits, recipe, method, seed=0, on_step=lambda step, _: told.append(step)
    )
    assert told == []
    assert all(
        torch.equal(a, b) for a, b in zip(found.model.parameters(), again.model.parameters(), strict=True)
    )
    assert all(torch.equal(found.scores[name], again.scores[name]) for name in found.scores)
    if method == "slimming":
        assert found.without == ("hidden",)
    # What is small goes first: a cut by these scores costs less than one of the largest units.
    losses = []
    for largest in (True, False):
        keep = {
            name: tuple(sorted(values.argsort(descending=largest)[: max(1, 3 * len(values) // 4)].tolist()))
            for name, values in found.scores.items()
        }
        losses.append(loss_of(found, Plan.of(structure, keep), structure, digits))
    assert losses[0] < losses[1]
    assert float(torch.tensor(agreement(found, structure, digits)).mean()) > 0.3


def loss_of(found: Sparsified, plan: Plan, structure: Structure, data: Data) -> float:
    """Of the trained model, cut, with its BatchNorm statistics estimated anew."""
    cut = apply(found.model, plan, structure)
    recalibrate(cut, (inputs for inputs, _ in data.train.batches(500)))
    return evaluate(cut, data.validation, data.task).loss


def agreement(found: Sparsified, structure: Structure, data: Data) -> list[float]:
    """Kendall's tau, a group each, between scores and the loss once a unit is removed on its own."""

    def lost(group: str, unit: int) -> float:
        keep = tuple(other for other in range(structure.widths[group]) if other != unit)
        return loss_of(found, Plan.of(structure, {group: keep}), structure, data)

    return [
        float(kendalltau(values, [lost(group, unit) for unit in range(len(values))]).statistic)
        for group, values in found.scores.items()
    ]


def test_a_run_that_was_stopped_goes_on(
    trained: nn.Module, digits: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    structure, recipe = structure_of(trained), Recipe(steps=12, lr=0.02, batch_size=64)
    whole = sparsify(trained, structure, digits, recipe, "hard-concrete", seed=1)
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr("autoprune.recovery.training.checkpoint.EVERY_SECONDS", 0.0)
    monkeypatch.setattr("autoprune.recovery.training.checkpoint.MOST_SHARE", float("inf"))

    def stop(step: int, _: float) -> None:
        if step == 7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        sparsify(trained, structure, digits, recipe, "hard-concrete", seed=1, on_step=stop)
    seen: list[int] = []
    resumed = sparsify(
        trained, structure, digits, recipe, "hard-concrete", seed=1, on_step=lambda step, _: seen.append(step)
    )
    assert seen[0] == 8
    pairs = zip(whole.model.parameters(), resumed.model.parameters(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)
    assert all(torch.equal(whole.scores[name], resumed.scores[name]) for name in whole.scores)


def test_other_data_of_the_same_name_are_trained_on(trained: nn.Module, digits: Data) -> None:
    structure, recipe = structure_of(trained), Recipe(steps=2, batch_size=64)
    assert isinstance(digits.train, TensorSplit)
    turned = replace(digits, train=TensorSplit(digits.train.inputs.flip(0), digits.train.targets))
    runs = [sparsify(trained, structure, data, recipe, "l1", seed=1) for data in (digits, turned, digits)]
    first, other, again = [weights_hash(run.model) for run in runs]
    assert first == again != other


def test_what_a_method_lacks_is_an_error(digits: Data) -> None:
    net, structure, data = two_halves(turned=True)
    with pytest.raises(ConfigError, match="slimming needs BatchNorm"):
        sparsify(net, structure, data, Recipe(steps=2), "slimming", seed=0)
    untied = discover(net, torch.zeros(1, 4), shared="untie")
    with pytest.raises(ConfigError, match="leave --shared untie out"):
        sparsify(net, untied, data, Recipe(steps=2), "l1", seed=0)
