"""Every kind of model either works or is refused in one line that names what to do."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, fx, nn
from torch.nn.utils import parametrizations, prune, weight_norm

import autoprune
from autoprune.errors import ModelError, PlanError
from autoprune.structure.propagation.propagate import _RULES, Propagation

X = torch.randn(2, 7)


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(7, 16), nn.ReLU(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def masked() -> nn.Module:
    model = net()
    prune.l1_unstructured(model[2], "weight", 0.5)
    model(X).sum().backward()
    return model


def fake_quantised() -> nn.Module:
    model = net().train()
    model.qconfig = torch.ao.quantization.get_default_qat_qconfig("fbgemm")  # type: ignore[assignment]
    prepared: nn.Module = torch.ao.quantization.prepare_qat(model)
    return prepared


def quantised() -> nn.Module:
    made: nn.Module = torch.ao.quantization.quantize_dynamic(net(), {nn.Linear})
    return made


def old_norm() -> nn.Module:
    model = net()
    weight_norm(model[0])
    return model


def exported() -> nn.Module:
    return torch.export.export(net(), (X,)).module()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (masked, r"'2'.*prune\.remove\(model\.get_submodule\('2'\), 'weight'\)"),
        (fake_quantised, "'0'.*prune the float model first"),
        (quantised, "'0' holds quantised weights"),
        (old_norm, r"'0'.*remove_weight_norm\(model\.get_submodule\('0'\)"),
        (exported, "torch.export"),
        (lambda: torch.jit.script(net()), "TorchScript"),
    ],
)
def test_what_cannot_be_pruned_is_named_with_its_remedy(make: Callable[[], nn.Module], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        autoprune.discover(make(), X)
    with pytest.raises(ModelError, match=words):
        autoprune.prune(make(), X)


def test_a_removed_mask_and_hooks_are_no_hindrance() -> None:
    model = masked()
    prune.remove(model.get_submodule("2"), "weight")  # type: ignore[no-untyped-call]
    model.get_submodule("0").register_forward_hook(lambda _, __, result: result * 2)
    assert autoprune.discover(model, X).widths == {"0": 16, "2": 8}


def test_a_computed_weight_is_frozen_with_what_makes_it_plain() -> None:
    model = net()
    parametrizations.spectral_norm(model[0])
    structure = autoprune.discover(model, X)
    assert structure.widths == {"2": 8}
    assert "remove_parametrizations(model.get_submodule('0'), 'weight')" in str(dict(structure.frozen))


def test_a_rule_that_raises_freezes_what_it_reads_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    def joins_and_fails(state: Propagation, node: fx.Node) -> Tensor:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        labels = state.labels(source)
        state.space.join(labels, labels.narrow(-1, 0, 1))
        state.axis("first.weight", 1, "in")
        raise IndexError("out of range")

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner, self.first, self.last = net(), nn.Linear(3, 12), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.first(self.inner(x)).sin())  # type: ignore[no-any-return]

    monkeypatch.setitem(_RULES, "sin", joins_and_fails)
    structure = autoprune.discover(Net(), X)
    assert structure.widths == {"inner.0": 16, "inner.2": 8, "inner.4": 3}
    assert "the rule of sin" in structure.frozen["first"]
    assert "test_admission.py" in structure.frozen["first"]
    assert "IndexError" in structure.frozen["first"]


class Pair(nn.Module):
    def __init__(self, combine: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(7, 16), nn.Linear(7, 16), nn.Linear(16, 3)
        self.combine = combine

    def forward(self, x: Tensor) -> Tensor:
        return self.c(self.combine(self.a(x), self.b(x)))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "combine",
    [
        torch.max,
        torch.min,
        lambda a, b: a * torch.aminmax(b, dim=0, keepdim=True).max,
        lambda a, b: a + b * torch.full((), 2.0).pow(torch.full((), 3.0)),
        lambda a, b: torch.cat([a, b[:0]]) + b,
        lambda a, b: a + torch.std_mean(b, 0, keepdim=True)[1],
        torch.complex,
    ],
)
def test_overloads_scalars_and_empty_tensors(combine: Callable[[Tensor, Tensor], Tensor]) -> None:
    real = (lambda a, b: combine(a, b).abs()) if combine is torch.complex else combine
    assert autoprune.discover(Pair(real), X).widths == {"a": 16}


class Spectral(nn.Module):
    """A Fourier neural operator."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.out = nn.Linear(2, 16), nn.Linear(24, 2)
        self.kernel = nn.Parameter(torch.randn(16, 24, 4, dtype=torch.cfloat))

    def forward(self, x: Tensor) -> Tensor:
        modes = torch.fft.rfft(self.lift(x).permute(0, 2, 1))[..., :4]
        mixed = torch.einsum("bix,iox->box", modes, self.kernel)
        return self.out(torch.fft.irfft(mixed, n=x.shape[1]).permute(0, 2, 1))  # type: ignore[no-any-return]


def test_complex_weights_are_cut() -> None:
    model, x = Spectral(), torch.randn(1, 16, 2)
    assert autoprune.discover(model, x).widths == {"lift": 16, "kernel": 24}
    pruned = autoprune.prune(model, x, 0.5)
    assert pruned.kernel.shape == (8, 12, 4)
    assert pruned(x).shape == model(x).shape


class Explicit(nn.Module):
    """Insists on bfloat16, so that no other type can stand in."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(7, 16, dtype=torch.bfloat16), nn.Linear(16, 3)
        self.fixed = False

    def forward(self, x: Tensor) -> Tensor:
        y = self.a(x.to(torch.bfloat16))
        if y.dtype != torch.bfloat16:
            raise TypeError("bfloat16 is required")
        y = y.relu() * torch.arange(y.shape[-1]) if self.fixed else y.relu()
        return self.b(y.float())  # type: ignore[no-any-return]


def test_a_model_that_needs_its_own_type_is_proved_in_it() -> None:
    model = Explicit()
    assert autoprune.discover(model, X).widths == {"a": 16}
    model.fixed = True
    assert not autoprune.discover(model, X).groups
    with pytest.raises(PlanError, match="nothing in Explicit can be cut"):
        autoprune.prune(model, X)
