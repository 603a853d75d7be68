import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from torch.nn.utils.parametrizations import weight_norm

from autoprune.errors import ModelError
from autoprune.structure.masks import discover_masks, fold, held_zeros, masked, zeroed

Inputs = tuple[Tensor, ...]
Optimizer = Callable[[list[nn.Parameter]], torch.optim.Optimizer]


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(12, 8)
        self.head = nn.Linear(8, 12, bias=False)
        self.head.weight = self.table.weight

    def forward(self, words: Tensor) -> Tensor:
        return self.head(self.table(words))


def tokens(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3))


CASES: dict[str, tuple[Callable[[], nn.Module], Inputs]] = {
    "convolutions": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, 3), nn.ReLU(), nn.ConvTranspose2d(4, 6, 2, groups=2), nn.BatchNorm2d(6)
        ),
        (tokens(2, 2, 6, 6),),
    ),
    "linear": (lambda: nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 3)), (tokens(4, 8),)),
    "attention": (lambda: nn.TransformerEncoderLayer(8, 2, 12, batch_first=True), (tokens(2, 5, 8),)),
    "cross attention": (
        lambda: nn.MultiheadAttention(8, 2, kdim=4, vdim=4),
        (tokens(5, 2, 8), *(tokens(3, 2, 4),) * 2),
    ),
    "lstm": (lambda: nn.LSTM(4, 6, 2, bidirectional=True), (tokens(5, 2, 4),)),
    "gru cell": (lambda: nn.GRUCell(4, 6), (tokens(3, 4),)),
    "tied": (Tied, (torch.arange(12).reshape(3, 4),)),
}


def sgd(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, lr=0.05, momentum=0.9, weight_decay=0.01, nesterov=True)


def adamw(parameters: list[nn.Parameter]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)


def made(case: str) -> tuple[nn.Module, Inputs, dict[str, Tensor]]:
    torch.manual_seed(0)
    make, inputs = CASES[case]
    model = make()
    structure = discover_masks(model, inputs, "weights")
    assert structure.groups
    masks = {group.weight.name: torch.rand(group.weight.shape) > 0.5 for group in structure.groups}
    return model, inputs, masks


def output(model: nn.Module, inputs: Inputs) -> Tensor:
    result = model(*inputs)
    return result[0] if isinstance(result, tuple) else result


def train(model: nn.Module, inputs: Inputs, optimizer: Optimizer) -> None:
    model.train()
    steps = optimizer(list(model.parameters()))
    for _ in range(5):
        steps.zero_grad()
        (output(model, inputs) - 1).square().mean().backward()
        steps.step()


@pytest.mark.parametrize("optimizer", [sgd, adamw])
@pytest.mark.parametrize("case", CASES)
def test_zeros_stay_zero_while_the_rest_learns(case: str, optimizer: Optimizer) -> None:
    model, inputs, masks = made(case)
    before = copy.deepcopy(model.state_dict())
    live = masked(model, masks)
    train(live, inputs, optimizer)
    plain = fold(live)
    for name, mask in masks.items():
        weight = plain.get_parameter(name)
        assert (weight[~mask] == 0).all()
        assert not torch.signbit(weight[~mask]).any()
        assert (weight[mask] != 0).all()
        assert not torch.equal(weight[mask], before[name][mask])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("case", CASES)
def test_a_folded_model_is_plain_and_computes_the_same(case: str) -> None:
    model, inputs, masks = made(case)
    live = masked(model, masks)
    train(live, inputs, sgd)
    plain = fold(live)
    assert list(plain.state_dict()) == list(model.state_dict())
    assert [type(m) for m in plain.modules()] == [type(m) for m in model.modules()]
    assert not any(parametrize.is_parametrized(module) for module in plain.modules())
    assert torch.equal(output(live.eval(), inputs), output(plain.eval(), inputs))
    copied = copy.deepcopy(plain)
    model.load_state_dict(plain.state_dict())
    assert torch.equal(output(model.eval(), inputs), output(copied, inputs))
    train(live, inputs, sgd)


def test_sharing_survives() -> None:
    model, _, masks = made("tied")
    live = masked(model, masks)
    assert len(list(live.parameters())) == 1
    plain = fold(live)
    assert isinstance(plain, Tied)
    assert plain.head.weight is plain.table.weight


def test_folding_what_has_no_mask_is_a_copy() -> None:
    model, inputs, _ = made("linear")
    plain = fold(model)
    assert plain is not model
    assert torch.equal(output(plain, inputs), output(model, inputs))


def test_zeros_are_put_in_place_without_touching_the_model() -> None:
    model, _, masks = made("linear")
    before = copy.deepcopy(model.state_dict())
    plain = zeroed(model, masks)
    for name, mask in masks.items():
        assert torch.equal(plain.get_parameter(name), torch.where(mask, before[name], 0))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_zeros_are_held_meanwhile_in_place() -> None:
    model, inputs, masks = made("lstm")
    plain = zeroed(model, masks)
    names, kinds = list(plain.state_dict()), [type(m) for m in plain.modules()]
    parameters = dict(plain.named_parameters())
    with held_zeros(plain, tuple(masks)):
        train(plain, inputs, adamw)
    assert list(plain.state_dict()) == names
    assert [type(m) for m in plain.modules()] == kinds
    assert all(plain.get_parameter(name) is parameter for name, parameter in parameters.items())
    assert all((plain.get_parameter(name)[~mask] == 0).all() for name, mask in masks.items())
    assert output(plain, inputs).isfinite().all()


def test_a_mask_survives_state_dicts_and_copies() -> None:
    model, inputs, masks = made("linear")
    live = masked(model, masks)
    fresh = masked(model, {name: torch.ones_like(mask) for name, mask in masks.items()})
    fresh.load_state_dict(live.state_dict())
    assert torch.equal(output(fresh, inputs), output(live, inputs))
    twin = copy.deepcopy(live)
    fold(twin)
    assert torch.equal(output(twin, inputs), output(live, inputs))


def test_the_users_own_parametrizations_are_left_alone() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(weight_norm(nn.Linear(4, 4)), nn.Linear(4, 2))
    structure = discover_masks(model, torch.randn(1, 4), "weights")
    assert [group.name for group in structure.groups] == ["1"]
    live = masked(model, {"1.weight": torch.rand(2, 4) > 0.5})
    plain = fold(live)
    assert list(plain.state_dict()) == list(model.state_dict())
    weight_norm(live[1])
    with pytest.raises(ModelError, match="other parametrizations beside its mask"):
        fold(live)
