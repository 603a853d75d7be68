"""Heads and head widths of attention spelled in every usual way, and gated layers."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from attention_nets import (
    Cross,
    EmbedDimTwice,
    FusedQkv,
    GeGlu,
    Grouped,
    RelativeBias,
    Separate,
    SwiGlu,
    Wrapped,
)
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.structure import Plan, Structure, apply, discover
from autoprune.structure.verification.verify import difference, half_plan

GENERATOR = torch.Generator().manual_seed(0)
X = torch.randn(2, 5, 6, generator=GENERATOR)
OTHER = torch.randn(2, 7, 6, generator=GENERATOR)

Build = Callable[[], nn.Module]
NETS: dict[str, tuple[Build, Any, dict[str, tuple[str, int]]]] = {
    "fused": (lambda: Wrapped(FusedQkv()), X, {"inner.qkv": ("heads", 4)}),
    "separate": (lambda: Wrapped(Separate()), X, {"inner.query": ("heads", 4)}),
    "einsum": (lambda: Wrapped(EmbedDimTwice()), X, {"inner.q": ("heads", 4)}),
    "table": (lambda: Wrapped(RelativeBias()), X, {"inner.to_qkv": ("heads", 4)}),
    "grouped": (lambda: Wrapped(Grouped(), 32), X, {"inner.q_proj": ("heads", 4)}),
    "grouped_repeated": (lambda: Wrapped(Grouped(repeat=True), 32), X, {"inner.q_proj": ("heads", 4)}),
    "swiglu": (lambda: Wrapped(SwiGlu()), X, {"inner.gate": ("channels", 24)}),
    "geglu": (lambda: Wrapped(GeGlu()), X, {"inner.both": ("channels", 24)}),
    "geglu_sliced": (lambda: Wrapped(GeGlu(by_slices=True)), X, {"inner.both": ("channels", 24)}),
    "multihead": (
        lambda: Wrapped(nn.MultiheadAttention(16, 4, batch_first=True)),
        X,
        {"inner": ("heads", 4)},
    ),
    "multihead_extras": (
        lambda: Wrapped(nn.MultiheadAttention(16, 4, bias=False, add_zero_attn=True, add_bias_kv=True)),
        X,
        {"inner": ("heads", 4)},
    ),
    "multihead_unbatched": (lambda: Wrapped(nn.MultiheadAttention(16, 4)), X[0], {"inner": ("heads", 4)}),
    "cross": (Cross, (X, X.flip(1)), {"attention": ("heads", 4), "right": ("channels", 16)}),
    "cross_widths": (
        lambda: Cross(kdim=12, vdim=10, batch_first=True),
        (X, OTHER),
        {"attention": ("heads", 4), "right": ("channels", 12), "third": ("channels", 10)},
    ),
}


def build(name: str) -> tuple[nn.Module, Any]:
    torch.manual_seed(0)
    return NETS[name][0](), NETS[name][1]


def call(model: nn.Module, inputs: Any) -> Tensor:
    return model(*inputs) if isinstance(inputs, tuple) else model(inputs)


def double(inputs: Any) -> Any:
    return tuple(part.double() for part in inputs) if isinstance(inputs, tuple) else inputs.double()


def worst(model: nn.Module, structure: Structure, inputs: Any) -> float:
    model = copy.deepcopy(model).double().eval()
    plans = [half_plan(structure, [group], 3) for group in structure.groups]
    return max(difference(model, structure, plan, double(inputs), noise=True) for plan in plans)


@pytest.mark.parametrize("name", NETS)
def test_heads_and_hidden_units_are_found_and_cut_exactly(name: str) -> None:
    model, inputs = build(name)
    structure = discover(model, inputs)
    found = {group.name: (group.kind, group.width) for group in structure.groups}
    assert NETS[name][2].items() <= found.items()
    assert set(structure.frozen) == {"head"}
    assert worst(model, structure, inputs) < 1e-9


@pytest.mark.parametrize("name", NETS)
def test_half_of_everything_runs_and_learns(name: str) -> None:
    model, inputs = build(name)
    structure = discover(model, inputs)
    plan = half_plan(structure, structure.groups)
    pruned = apply(model, plan, structure).train()
    call(pruned, inputs).sum().backward()
    assert all(p.grad is not None and p.grad.shape == p.shape for p in pruned.parameters() if p.numel() > 1)
    again = apply(build(name)[0], plan, structure)
    again.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(call(again.eval(), inputs), call(pruned.eval(), inputs))


@pytest.mark.parametrize(
    "name", ["separate", "einsum", "table", "multihead", "multihead_extras", "multihead_unbatched", "cross"]
)
def test_the_width_of_all_heads_is_cut_exactly(name: str) -> None:
    model, inputs = build(name)
    structure = discover(model, inputs, attention="width")
    widths = [group for group in structure.groups if group.kind == "head width"]
    assert [(group.width, group.contracted) for group in widths] == [(4, True)]
    assert worst(model, structure, inputs) < 1e-9
    pruned = apply(model, half_plan(structure, structure.groups), structure).train()
    call(pruned, inputs).sum().backward()


def test_where_the_width_is_fixed_heads_stay_the_units() -> None:
    # Rotary embeddings and a normalisation within each head tie all of its elements.
    for name in ("grouped", "fused"):
        model, inputs = build(name)
        assert "heads" in {group.kind for group in discover(model, inputs, attention="width").groups}


def test_a_scale_computed_from_the_width_freezes_it() -> None:
    class Plain(FusedQkv):
        def forward(self, x: Tensor) -> Tensor:
            parts = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
            return self.proj(functional.scaled_dot_product_attention(*parts).transpose(1, 2).flatten(2))

    model = Wrapped(Plain())
    assert "inner.qkv" in discover(model, X).widths
    structure = discover(model, X, attention="width")
    assert structure.frozen["inner.qkv"].endswith("it may scale scores by the width of a head")


def test_query_heads_leave_with_the_head_that_they_share() -> None:
    model, inputs = build("grouped")
    structure = discover(model, inputs)
    index = {part.parameter: part.index for part in structure.group("inner.q_proj").slices}
    assert index["inner.q_proj.weight"][1].tolist() == list(range(8, 16))
    assert index["inner.k_proj.weight"][1].tolist() == list(range(4, 8))
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert (pruned.inner.num_heads, pruned.inner.num_kv_heads) == (4, 2)


def test_an_attribute_that_names_the_input_follows_the_heads_where_they_need_it() -> None:
    model, inputs = build("einsum")
    structure = discover(model, inputs)
    pruned = apply(model, autoprune.Plan({"inner.q": (0, 2, 3)}), structure)
    assert (pruned.inner.heads, pruned.inner.embed_dim) == (3, 12)
    assert (model.inner.heads, model.inner.embed_dim) == (4, 16)


def test_heads_with_a_baked_shape_are_frozen_with_the_reason() -> None:
    class Baked(FusedQkv):
        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).reshape(*x.shape[:2], 3, 4, 4).permute(2, 0, 3, 1, 4).unbind(0)
            x = functional.scaled_dot_product_attention(q, k, v)
            return self.proj(x.transpose(1, 2).flatten(2))

    structure = discover(Wrapped(Baked()), X)
    assert structure.widths == {"stem": 16}
    assert "baked into forward" in structure.frozen["inner.qkv"]


def test_a_mask_given_by_the_caller_for_every_head_freezes_them() -> None:
    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.attention = nn.Linear(6, 16), nn.MultiheadAttention(16, 4, batch_first=True)
            self.head = nn.Linear(16, 3)

        def forward(self, x: Tensor, mask: Tensor) -> Tensor:
            x = self.stem(x)
            return self.head(self.attention(x, x, x, attn_mask=mask)[0])

    per_head, for_all = torch.zeros(8, 5, 5), torch.zeros(5, 5)
    assert "attention" in discover(Masked(), (X, for_all)).widths
    structure = discover(Masked(), (X, per_head))
    assert "mask" in structure.frozen["attention"]


def test_averaged_weights_that_are_returned_are_averaged_over_the_heads_that_stay() -> None:
    class Returning(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.attention(x, x, x)

    model = Returning().eval()
    structure = discover(model, X)
    assert [(group.kind, group.width) for group in structure.groups] == [("heads", 2)]
    pruned = apply(model, Plan.of(structure, {structure.groups[0].name: (1,)}), structure)
    separate = model.attention(X, X, X, average_attn_weights=False)[1]
    assert torch.allclose(pruned(X)[1], separate[:, 1], atol=1e-6)


def test_a_single_head_loses_width_as_a_plain_product_does() -> None:
    class SelfAttention(nn.Module):
        """Of a convolutional network (Zhang et al., 2019)."""

        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Conv2d(3, 8, 1)
            self.f, self.g, self.h = nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 6, 1)
            self.out, self.head = nn.Conv2d(6, 8, 1), nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            scores = torch.bmm(self.f(x).flatten(2).transpose(1, 2), self.g(x).flatten(2))
            mixed = torch.bmm(self.h(x).flatten(2), scores.softmax(-1).transpose(1, 2))
            return self.head((x + self.out(mixed.unflatten(2, x.shape[2:]))).mean((2, 3)))

    torch.manual_seed(0)
    model, image = SelfAttention(), torch.randn(2, 3, 4, 4)
    structure = discover(model, image)
    assert structure.widths == {"stem": 8, "f": 4, "h": 6}
    assert worst(model, structure, image) < 1e-9


def test_parameters_multiplied_without_a_layer() -> None:
    class Bare(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem = nn.Linear(6, 16)
            self.into = nn.Parameter(torch.randn(16, 4, 4))
            self.back = nn.Parameter(torch.randn(4, 4, 16))
            self.up, self.down = nn.Parameter(torch.randn(16, 12)), nn.Parameter(torch.randn(12, 3))

        def forward(self, x: Tensor) -> Tensor:
            x = self.stem(x)
            q = torch.einsum("bnd,dhk->bnhk", x, self.into)
            weights = torch.einsum("bnhk,bmhk->bhnm", q, q).softmax(-1)
            x = x + torch.einsum("bnhk,hkd->bnd", torch.einsum("bhnm,bmhk->bnhk", weights, q), self.back)
            return torch.relu(x @ self.up) @ self.down

    torch.manual_seed(0)
    model = Bare()
    structure = discover(model, X)
    assert sorted((group.kind, group.width) for group in structure.groups) == [
        ("channels", 12),
        ("channels", 16),
        ("heads", 4),
    ]
    assert worst(model, structure, X) < 1e-9


def test_prune_end_to_end() -> None:
    model, inputs = build("multihead")
    pruned = autoprune.prune(model, inputs, 0.5)
    assert pruned.inner.in_proj_weight.shape == (24, 8)
    assert call(pruned, inputs).shape == (2, 5, 3)
    twice = autoprune.prune(pruned, inputs, 0.5)
    assert twice.inner.in_proj_weight.shape == (12, 4)
    assert set(twice.state_dict()) == set(model.state_dict())
