import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from autoprune.errors import ModelError, UserError
from autoprune.structure.masks import discover_masks, restrict_masks
from autoprune.structure.masks.structure import AT_OUTPUT, NOT_A_LAYER


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3)
        self.deep = nn.Conv2d(8, 8, 3, groups=2)
        self.hidden = nn.Linear(8, 12)
        self.free = nn.Parameter(torch.ones(12, 12))
        self.head = nn.Linear(12, 5)
        self.unused = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.deep(self.stem(x)).mean((2, 3))
        return functional.log_softmax(self.head(self.hidden(x).relu() @ self.free), 1)


IMAGE = torch.zeros(1, 1, 8, 8)


def test_a_group_for_every_weight_that_fits() -> None:
    structure = discover_masks(Net(), IMAGE, "2:4")
    assert {group.name: group.uses for group in structure.groups} == {"deep": 16, "hidden": 1, "head": 1}
    assert structure.widths == {"deep": 4, "hidden": 4, "head": 4}
    assert {group.least for group in structure.groups} == {2}
    assert structure.frozen == {
        "stem": "4 does not divide its 9 inputs",
        "unused": "forward never reads it",
        "free": NOT_A_LAYER,
    }


def test_weights_kernels_and_neurons() -> None:
    weights = discover_masks(Net(), IMAGE, "weights")
    assert weights.widths == {"stem": 72, "deep": 288, "hidden": 96, "head": 60}
    kernels = discover_masks(Net(), IMAGE, "kernels")
    assert kernels.widths == {"stem": 8, "deep": 32}
    assert {group.entries for group in kernels.groups} == {9}
    neurons = discover_masks(Net(), IMAGE, "neurons")
    assert neurons.widths == {"hidden": 12}
    assert neurons.frozen["head"] == AT_OUTPUT


def test_heads_that_leave_side_by_side_keep_their_neurons() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.left, self.right = nn.Linear(4, 6), nn.Linear(6, 2), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            x = self.body(x).relu()
            return {"left": self.left(x), "right": self.right(x)}

    structure = discover_masks(Two(), torch.zeros(1, 4), "neurons")
    assert structure.widths == {"body": 6}


def test_how_often_weights_are_used() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)
    uses = {g.name: g.uses for g in discover_masks(layer, torch.zeros(1, 5, 8), "weights").groups}
    assert uses == {"self_attn.in_proj_weight": 5, "self_attn.out_proj": 5, "linear1": 5, "linear2": 5}
    lstm = discover_masks(nn.LSTM(3, 4), torch.zeros(7, 1, 3), "weights")
    assert {g.name: g.uses for g in lstm.groups} == {"weight_ih_l0": 7, "weight_hh_l0": 7}
    up = discover_masks(nn.ConvTranspose2d(3, 4, 2, stride=2), torch.zeros(1, 3, 5, 5), "kernels")
    assert [(g.width, g.uses) for g in up.groups] == [(12, 25)]


def test_limits_on_what_is_masked() -> None:
    structure = discover_masks(Net(), IMAGE, "weights")
    assert set(restrict_masks(structure, skip=["h*"]).widths) == {"stem", "deep"}
    assert set(restrict_masks(structure, only=["h*"]).widths) == {"hidden", "head"}
    ends = restrict_masks(structure, keep_ends=True)
    assert set(ends.widths) == {"deep", "hidden"}
    assert ends.frozen["stem"] == "kept: at the model's input or output"
    with pytest.raises(UserError, match="no layer matches 'conv9'"):
        restrict_masks(structure, skip=["conv9"])


def test_mistakes() -> None:
    with pytest.raises(ModelError, match="does not run on the example inputs"):
        discover_masks(Net(), torch.zeros(1, 3, 8, 8), "weights")
    with pytest.raises(ModelError, match="no weight can be masked by neurons"):
        discover_masks(nn.Conv2d(1, 2, 3), IMAGE, "neurons").require_groups()
