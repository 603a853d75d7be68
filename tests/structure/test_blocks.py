import copy
import math
import random
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torchvision
from fvcore.nn import FlopCountAnalysis
from fvcore.nn.jit_handles import get_shape
from torch import Tensor, nn
from torch.nn import functional

from autoprune.cost import CostModel, Costs
from autoprune.errors import PlanError
from autoprune.structure import Plan, Structure, apply, discover, restrict
from autoprune.structure.verification.verify import difference
from autoprune.workflows.prune import prune

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
TOKENS = torch.randn(1, 6, 16, generator=torch.Generator().manual_seed(0))


class EncoderBlock(nn.Module):
    """Two branches one after the other, the second one scaled; a mask may be given."""

    def __init__(self) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.norm2 = nn.LayerNorm(16)
        self.hidden = nn.Linear(16, 24)
        self.out = nn.Linear(24, 16)
        self.scale = nn.Parameter(torch.full((16,), 1e-6))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        y = self.norm1(x)
        x = x + self.attention(y, y, y, attn_mask=mask, need_weights=False)[0]
        return x + self.scale * self.out(functional.gelu(self.hidden(self.norm2(x))))


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Linear(16, 16)
        self.blocks = nn.ModuleList(EncoderBlock() for _ in range(3))
        self.norm = nn.LayerNorm(16)
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        mask = torch.zeros(x.shape[1], x.shape[1], dtype=x.dtype)
        for block in self.blocks:
            x = block(mask=mask, x=x)
        return self.head(self.norm(x).mean(1))


CASES: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "resnet18": (torchvision.models.resnet18, IMAGE),
    "mobilenet_v2": (torchvision.models.mobilenet_v2, IMAGE),
    "encoder": (Encoder, TOKENS),
}
BLOCKS = {
    "resnet18": ["layer1.0", "layer1.1", "layer2.1", "layer3.1", "layer4.1"],
    "mobilenet_v2": [f"features.{i}" for i in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)],
    "encoder": ["blocks.0", "blocks.1", "blocks.2"],
}
Case = tuple[str, nn.Module, Structure, Tensor]


@pytest.fixture(scope="module", params=CASES)
def case(request: pytest.FixtureRequest) -> Case:
    build, example = CASES[request.param]
    torch.manual_seed(0)
    model = build().eval()
    return request.param, model, discover(model, example, depth=True), example


def blocks(structure: Structure) -> list[str]:
    return [group.name for group in structure.groups if group.kind == "block"]


def removing(structure: Structure, names: list[str], *, cut: float = 0.0, seed: int = 0) -> Plan:
    """Take blocks out, and half the units of a share of the exact groups."""
    generator = random.Random(seed)
    keep: dict[str, tuple[int, ...]] = dict.fromkeys(names, ())
    for group in structure.groups:
        if group.block is None and group.exact and generator.random() < cut:
            kept = generator.sample(range(group.width), max(1, group.width // 2))
            keep[group.name] = tuple(sorted(kept))
    return Plan(keep)


def attention_flops(inputs: list[Any], _: Any) -> int:
    """Scores, and scores with values."""
    query, key = get_shape(inputs[0]), get_shape(inputs[1])
    return 2 * math.prod(query) * key[-2]


def counted(model: nn.Module, example: Tensor) -> Costs:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        flops = FlopCountAnalysis(model.eval(), example)
        flops.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        flops.set_op_handle("aten::scaled_dot_product_attention", attention_flops)
        total = int(flops.total())
    tensors = [*model.parameters(), *model.buffers()]
    return Costs(
        total,
        sum(p.numel() for p in model.parameters()),
        sum(t.numel() * t.element_size() for t in tensors),
    )


def test_blocks_are_found_beside_the_other_groups(case: Case) -> None:
    name, model, structure, example = case
    assert blocks(structure) == BLOCKS[name]
    assert all(group.width == 1 and group.slices == () for group in structure.groups if group.block)
    without = discover(model, example)
    assert without.widths.items() < structure.widths.items()
    assert blocks(without) == []


def test_each_block_alone_equals_the_model_with_silent_branches(case: Case) -> None:
    _, model, structure, example = case
    double = copy.deepcopy(model).double()
    with torch.no_grad():
        for parameter in double.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    for name in blocks(structure):
        assert difference(double, structure, Plan({name: ()}), (example.double(),)) < 1e-9, name
        assert not torch.equal(
            double(example.double()), apply(double, Plan({name: ()}), structure)(example.double())
        )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_blocks_and_channels_together_are_exact_and_cost_what_is_counted(case: Case, seed: int) -> None:
    _, model, structure, example = case
    names = random.Random(seed).sample(blocks(structure), 2)
    plan = removing(structure, names, cut=0.6, seed=seed)
    double = copy.deepcopy(model).double()
    assert difference(double, structure, plan, (example.double(),)) < 1e-9
    costs = CostModel.of(structure, model)
    assert costs.costs(plan.widths(structure)) == counted(apply(model, plan, structure), example)


def test_all_blocks_at_once_train_and_load_back(case: Case) -> None:
    _, model, structure, example = case
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    plan = Plan.from_json(removing(structure, blocks(structure), cut=1.0).to_json())
    pruned = apply(model, plan, structure)
    output = pruned.train()(torch.cat([example, example + 1]))
    output.sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters())
    again = apply(model, plan, structure)
    again.load_state_dict(pruned.state_dict())
    assert torch.equal(pruned.eval()(example), again.eval()(example))
    assert set(pruned.state_dict()) < set(model.state_dict())
    assert all(torch.equal(tensor, before[key]) for key, tensor in model.state_dict().items())


def test_what_is_cut_inside_a_removed_block_makes_no_difference(case: Case) -> None:
    _, model, structure, example = case
    name = blocks(structure)[1]
    inside = [g for g in structure.groups if g.slices and g.name.startswith(f"{name}.")]
    assert inside
    plan = Plan({name: (), **{group.name: (0,) for group in inside}})
    assert plan.canonical(structure).hash == Plan({name: ()}).hash
    assert structure.canonical(plan.widths(structure)) == Plan({name: ()}).widths(structure)
    costs = CostModel.of(structure, model)
    assert costs.costs(plan.widths(structure)) == costs.costs(Plan({name: ()}).widths(structure))
    assert torch.equal(
        apply(model, plan, structure).eval()(example),
        apply(model, Plan({name: ()}), structure).eval()(example),
    )


def test_only_blocks_may_lose_their_last_unit(case: Case) -> None:
    _, model, structure, _ = case
    other = next(group.name for group in structure.groups if group.block is None)
    with pytest.raises(PlanError, match="empties"):
        apply(model, Plan({other: ()}), structure)
    with pytest.raises(PlanError, match="removes nothing"):
        apply(model, Plan({blocks(structure)[0]: (0,)}), structure)
    with pytest.raises(PlanError, match="numbers from 0 to 0"):
        apply(model, Plan({blocks(structure)[0]: (1,)}), structure)


def test_a_block_can_be_kept_by_a_pattern_and_then_costs_what_it_did(case: Case) -> None:
    _, model, structure, _ = case
    name = blocks(structure)[0]
    kept = restrict(structure, skip=[name])
    assert name not in kept.widths
    assert kept.frozen[name] == f"kept by skip={name}"
    full = CostModel.of(structure, model).costs(structure.widths)
    assert CostModel.of(kept, model).costs(kept.widths) == full


class Wrapped(nn.Module):
    """What looks like a block and is none, stages of blocks, and a block that is run three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Linear(16, 16)
        self.post = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True)
        self.pre = nn.TransformerEncoder(
            nn.TransformerEncoderLayer(16, 2, 8, batch_first=True, norm_first=True),
            2,
            enable_nested_tensor=False,
        )
        self.long = Long()
        self.signed = Signed()
        again = Added(nn.Linear(16, 16))
        self.again = nn.ModuleList([again, again])
        self.only = nn.Sequential(Added(nn.Linear(16, 16)))
        self.head = nn.Linear(16, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.signed(self.long(self.pre(self.post(self.stem(x)))))
        for block in [*self.again, self.again[0]]:
            x = block(x)
        return self.head(self.only(x).mean(1))


class Added(nn.Module):
    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        return x - self.branch(x)


class Long(nn.Module):
    """A long connection around two blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(Added(nn.Linear(16, 16)), Added(nn.Linear(16, 16)), nn.Linear(16, 16))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.body(x)


class Signed(nn.Module):
    """Behind the addition a ReLU, which changes an input that comes from no ReLU."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(16, 16)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.fc(x))


def test_stages_are_no_blocks_and_impostors_are_named() -> None:
    torch.manual_seed(0)
    model = Wrapped().eval()
    structure = discover(model, TOKENS, depth=True)
    assert blocks(structure) == [
        "pre.layers.0",
        "pre.layers.1",
        "long.body.0",
        "long.body.1",
        "again.0",
        "only.0",
    ]
    assert {name for name, reason in structure.frozen.items() if "branches are silent" in reason} == {
        "post",
        "signed",
    }


def test_a_block_that_runs_several_times_goes_from_all_its_places() -> None:
    torch.manual_seed(0)
    model = Wrapped().eval()
    structure = discover(model, TOKENS, depth=True)
    plan = Plan({"again.0": (), "pre.layers.0": ()})
    pruned = apply(model, plan, structure)
    assert not [name for name in pruned.state_dict() if name.startswith(("again", "pre.layers.0"))]
    assert difference(copy.deepcopy(model).double(), structure, plan, (TOKENS.double(),)) < 1e-9
    costs = CostModel.of(structure, model)
    assert costs.parameters(plan.widths(structure)) == sum(p.numel() for p in pruned.parameters())
    runs = 3 * 6 * 16 * 16
    alone = costs.flops(structure.widths) - costs.flops({**structure.widths, "again.0": 0})
    assert alone == runs


def test_code_around_a_removed_block_can_still_ask_for_its_settings() -> None:
    model = Wrapped().eval()
    structure = discover(model, TOKENS, depth=True)
    removed = apply(model, Plan({"pre.layers.0": ()}), structure).pre.layers[0]
    assert removed.self_attn.batch_first
    assert list(removed.parameters()) == []
    assert copy.deepcopy(removed)(TOKENS, src_mask=None) is TOKENS
    with pytest.raises(AttributeError):
        _ = removed.nothing_like_it


def test_a_one_shot_cut_takes_out_the_blocks_that_it_names() -> None:
    torch.manual_seed(0)
    model = Encoder().eval()
    structure = discover(model, TOKENS, depth=True)
    pruned = prune(model, TOKENS, {"blocks.1": 1, "blocks.0.hidden": 0.5}, structure=structure)
    assert not [name for name in pruned.state_dict() if name.startswith("blocks.1.")]
    assert pruned.blocks[0].hidden.out_features == 12
    everywhere = prune(model, TOKENS, 0.5, structure=structure)
    assert [name for name in everywhere.state_dict() if name.startswith("blocks.1.")]
    with pytest.raises(PlanError, match="a sparsity of 0 or 1"):
        prune(model, TOKENS, {"blocks.1": 0.5}, structure=structure)
