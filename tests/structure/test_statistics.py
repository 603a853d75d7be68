"""Statistics over units, written by hand: they are cut, and run over the units that stay."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.structure import Plan, apply, discover

X = torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0))
Norm = Callable[[Tensor], Tensor]


class Normed(nn.Module):
    """A norm between two layers."""

    def __init__(self, norm: Norm) -> None:
        super().__init__()
        self.norm, self.first, self.second = norm, nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(self.norm(self.first(x)))


def centred(h: Tensor) -> Tensor:
    variance, mean = torch.var_mean(h, -1, keepdim=True)
    return (h - mean) / variance.sqrt()


def cast(h: Tensor) -> Tensor:
    wide = h.to(torch.float32)
    return (wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + 1e-6)).to(h.dtype)


def response(h: Tensor) -> Tensor:
    """Global response normalisation (Woo et al., 2023), over the middle axis and then the units."""
    norm = h.norm(dim=1, keepdim=True)
    return h * (norm / (norm.mean(-1, keepdim=True) + 1e-6)) + h


def without_gradient(h: Tensor) -> Tensor:
    with torch.no_grad():
        turn = torch.arange(h.shape[1]).float().cos()[:, None]
    with torch.autocast("cpu", enabled=False):
        return functional.normalize(h * turn, dim=-1)


NORMS: dict[str, Norm] = {
    "root mean square": lambda h: h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + 1e-5),
    "cast to float32": cast,
    "centred": centred,
    "unbiased=False": lambda h: (h - h.mean(-1, keepdim=True)) / h.var(-1, keepdim=True, unbiased=False),
    "L2": lambda h: functional.normalize(h, dim=-1),
    "L2 times the root of the width": lambda h: functional.normalize(h, dim=-1) * h.shape[-1] ** 0.5,
    "sum over the width": lambda h: h * torch.rsqrt((h * h).sum(-1, keepdim=True) / h.shape[-1] + 1e-5),
    "global response": response,
    "attention by mean and maximum": lambda h: (
        h * torch.sigmoid(h.mean(-1, keepdim=True) + h.max(-1, keepdim=True)[0])
    ),
    "under contexts": without_gradient,
    "without weights": lambda h: functional.layer_norm(h, h.shape[-1:]),
}


@pytest.mark.parametrize("norm", NORMS.values(), ids=NORMS)
def test_norms_by_hand_run_over_the_units_that_stay(norm: Norm) -> None:
    torch.manual_seed(0)
    model = Normed(norm).eval()
    structure = discover(model, X)
    assert structure.widths == {"first": 16}
    kept = [0, 3, 4, 9, 15]
    pruned = apply(model, Plan.of(structure, {"first": tuple(kept)}), structure)
    hidden = model.first(X)[..., kept]
    expected = functional.linear(norm(hidden), model.second.weight[:, kept], model.second.bias)
    assert torch.allclose(pruned(X), expected, atol=1e-6)


class Towers(nn.Module):
    """Two embeddings that meet in a product."""

    def __init__(self, meet: Callable[[Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        self.meet, self.first, self.second = meet, nn.Linear(6, 16), nn.Linear(6, 16)

    def forward(self, x: Tensor) -> Tensor:
        return self.meet(self.first(x), self.second(x))


MEETINGS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "dot": lambda a, b: (a * b).sum(-1),
    "cosine": lambda a, b: functional.cosine_similarity(a, b, dim=-1),
    "cosine by hand": lambda a, b: (a * b).sum(-1) / (a.norm(dim=-1) * b.norm(dim=-1)),
}


@pytest.mark.parametrize("meet", MEETINGS.values(), ids=MEETINGS)
def test_embeddings_that_meet_in_a_sum_are_cut_together(meet: Callable[[Tensor, Tensor], Tensor]) -> None:
    torch.manual_seed(0)
    model = Towers(meet).eval()
    structure = discover(model, X)
    assert structure.widths == {"first": 16}
    kept = [1, 2, 8, 11]
    pruned = apply(model, Plan.of(structure, {"first": tuple(kept)}), structure)
    expected = meet(model.first(X)[..., kept], model.second(X)[..., kept])
    assert torch.allclose(pruned(X), expected, atol=1e-6)


@pytest.mark.parametrize(
    "norm",
    [
        lambda h: h * h.argmax(-1, keepdim=True),
        lambda h: h * h.max(-1, keepdim=True)[1],
        lambda h: h * h.prod(-1, keepdim=True),
        lambda h: h.cumsum(-1),
    ],
    ids=["position of the maximum", "second result of max", "product", "running sum"],
)
def test_what_means_something_else_over_fewer_units_stays(norm: Norm) -> None:
    structure = discover(Normed(norm).eval(), X)
    assert structure.widths == {}
    assert "combined over the axis of the units" in structure.frozen["first"]


def test_a_statistic_that_is_read_as_tokens_holds_them() -> None:
    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.tokens, self.second = nn.Linear(6, 16), nn.Linear(4, 5), nn.Linear(16, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.first(x)
            return self.second(hidden).mean(1).sum(-1, keepdim=True) * self.tokens(hidden.mean(-1))

    structure = discover(Mixed().eval(), X)
    assert structure.widths == {"first": 16, "second": 3}
    assert structure.frozen["tokens"] == "reaches the model's output"
