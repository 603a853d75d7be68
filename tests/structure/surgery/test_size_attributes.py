import torch
from attention_nets import EmbedDimTwice, Grouped, Separate, Wrapped
from torch import nn

from autoprune.structure import Extent, Structure, discover
from autoprune.structure.groups import Group
from autoprune.structure.surgery.size_attributes import likeliest, readings, reread, set_numbers

X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
STREAM, HEADS, HIDDEN = (Extent(0, pair) for pair in ((("stem", 1),), (("attn.qkv", 4),), (("mlp", 1),)))


class Part(nn.Module):
    pass


class Sizes(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.attn, self.mlp = Part(), Part()
        self.attn.num_heads, self.attn.head_dim, self.attn.embed_dim, self.attn.inner_dim = 4, 4, 16, 16
        self.attn.window_size, self.attn.shift, self.attn.hidden_features = 16, 16, 24
        self.attn.use_bias, self.attn.scale = True, 0.5
        self.embed_dim, self.mlp_dim = 16, 24


def structure() -> Structure:
    return Structure(
        groups=(
            Group("stem", "channels", 16, ()),
            Group("attn.qkv", "heads", 4, ()),
            Group("mlp", "channels", 24, ()),
        ),
        frozen={},
        operations=(),
        tensors={
            "stem.weight": (STREAM, Extent(6)),
            "attn.qkv.weight": (HEADS, STREAM),
            "mlp.up.weight": (HIDDEN, STREAM),
        },
        parameters=frozenset(),
    )


def test_names_and_values_give_the_readings() -> None:
    found = readings(Sizes(), structure())
    heads = Extent(0, (("attn.qkv", 1),))
    assert found == {
        ("attn", "num_heads"): (heads, None),
        ("attn", "embed_dim"): (STREAM, HEADS, None),
        ("attn", "inner_dim"): (HEADS, STREAM, None),
        ("", "embed_dim"): (STREAM, HEADS, None),
        ("", "mlp_dim"): (HIDDEN, None),
    }
    assert likeliest(found)["attn", "inner_dim"] == HEADS


def test_groups_at_fault_are_read_in_another_way() -> None:
    found = readings(Sizes(), structure())
    numbers = likeliest(found)
    following = reread(found, numbers, ["attn.qkv"], following=True)
    assert following["attn", "embed_dim"] == following["", "embed_dim"] == HEADS
    fixed = reread(found, numbers, ["attn.qkv"], following=False)
    assert fixed["attn", "inner_dim"] == STREAM
    assert ("attn", "num_heads") not in fixed
    assert fixed["", "mlp_dim"] == HIDDEN


def test_attributes_are_set_where_they_are() -> None:
    model = Sizes()
    widths = {"stem": 12, "attn.qkv": 3, "mlp": 20}
    found = Structure(
        **{**vars(structure()), "numbers": likeliest(readings(model, structure()))}  # type: ignore[arg-type]
    )
    del model.attn.inner_dim
    set_numbers(model, found, widths)
    assert (model.embed_dim, model.mlp_dim, model.attn.embed_dim, model.attn.num_heads) == (12, 20, 12, 3)
    assert (model.attn.window_size, model.attn.shift, model.attn.head_dim) == (16, 16, 4)


def test_the_proof_decides_what_one_attribute_means() -> None:
    torch.manual_seed(0)
    numbers = discover(Wrapped(EmbedDimTwice()), X).numbers
    assert numbers["inner", "embed_dim"] == Extent(0, (("inner.q", 4),))
    numbers = discover(Wrapped(Separate()), X).numbers
    assert numbers["inner", "all_head_size"] == Extent(0, (("inner.query", 4),))
    assert ("inner", "attention_head_size") not in numbers
    numbers = discover(Wrapped(Grouped(), 32), X).numbers
    assert numbers["inner", "num_heads"] == Extent(0, (("inner.q_proj", 2),))
    assert numbers["inner", "num_kv_heads"] == Extent(0, (("inner.q_proj", 1),))
