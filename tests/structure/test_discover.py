import copy

import pytest
import torch
from small_nets import (
    BakedView,
    Concatenating,
    Inverted,
    Normalised,
    PaddedShortcut,
    Residual,
    Shared,
    Shuffled,
    Transposed,
)
from torch import nn

from autoprune.errors import ModelError
from autoprune.structure import Plan, Structure, apply, discover
from autoprune.structure.verification.verify import difference, half_plan

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


def widths(model: nn.Module, image: torch.Tensor = IMAGE) -> dict[str, int]:
    return discover(model, image).widths


def worst(model: nn.Module, structure: Structure, seed: int) -> float:
    double = copy.deepcopy(model).double().eval()
    plans = [half_plan(structure, [group], seed) for group in structure.groups]
    return max(difference(double, structure, plan, (IMAGE.double(),)) for plan in plans)


def parts(structure: Structure, name: str) -> set[tuple[str, int, str]]:
    return {(s.parameter, s.axis, s.role) for s in structure.group(name).slices}


def test_a_residual_stream_is_one_group_and_its_branch_another() -> None:
    structure = discover(Residual(), IMAGE)
    assert structure.widths == {"stem": 8, "conv1": 6}
    assert parts(structure, "stem") == {
        ("stem.weight", 0, "out"),
        ("stem.bias", 0, "pass"),
        ("conv1.weight", 1, "in"),
        ("conv2.weight", 0, "out"),
        ("conv2.bias", 0, "pass"),
        ("head.weight", 1, "in"),
    }
    assert {"bn1.running_mean", "bn1.running_var", "bn1.weight", "bn1.bias"} <= {
        s.parameter for s in structure.group("conv1").slices
    }
    assert structure.frozen == {"head": "reaches the model's output"}


def test_concatenated_layers_are_cut_apart_and_a_flattened_unit_has_all_its_positions() -> None:
    structure = discover(Concatenating(), IMAGE)
    assert structure.widths == {"left": 4, "right": 6, "mix": 8}
    right = {s.parameter: s.index for s in structure.group("right").slices if s.role != "out"}
    assert right["mix.weight"][:, 0].tolist() == list(range(4, 10))
    flat = next(s for s in structure.group("mix").slices if s.parameter == "head.weight")
    assert flat.index.shape == (8, 4)
    assert flat.index[1].tolist() == [4, 5, 6, 7]


def test_depthwise_grouped_and_squeeze_and_excite() -> None:
    structure = discover(Inverted(), IMAGE)
    # Four groups read four positions each, so a unit of `expand` and its two followers are tied to
    # the same position of every group.
    assert structure.widths == {"expand": 2, "squeeze": 4, "grouped": 3}
    pruned = apply(Inverted(), half_plan(structure, structure.groups), structure)
    assert (pruned.depthwise.groups, pruned.depthwise.in_channels, pruned.depthwise.out_channels) == (4, 4, 8)
    assert (pruned.grouped.groups, pruned.grouped.in_channels, pruned.grouped.out_channels) == (4, 8, 4)


def test_zero_padded_channels_stay_and_the_others_follow_the_shortcut() -> None:
    structure = discover(PaddedShortcut(), IMAGE)
    assert structure.widths == {"stem": 8}
    assert structure.frozen["conv"] == "padded with constants"
    followed = next(s for s in structure.group("stem").slices if s.parameter == "conv.weight" and s.axis == 0)
    assert followed.index[:, 0].tolist() == list(range(4, 12))


def test_only_the_group_with_a_baked_shape_is_frozen() -> None:
    structure = discover(BakedView(), IMAGE)
    assert structure.widths == {"first": 8}
    assert structure.frozen["second"].startswith("a shape is baked into forward")
    assert structure.tensors["second.weight"][0].at(structure.widths) == 4
    assert structure.tensors["head.weight"][1].at({"first": 3}) == 256


def test_a_module_used_twice_is_cut_once() -> None:
    structure = discover(Shared(), IMAGE)
    assert structure.widths == {"stem": 8}
    assert ("twice.weight", 0, "out") in parts(structure, "stem")
    assert ("twice.weight", 1, "in") in parts(structure, "stem")


def test_split_and_shuffled_channels_leave_in_step() -> None:
    structure = discover(Shuffled(), IMAGE)
    assert structure.widths["inner"] == 12
    assert structure.widths["mix"] == 10
    assert structure.widths["stem"] == 8
    unit = next(s for s in structure.group("stem").slices if s.parameter == "stem.weight")
    assert unit.index[3].tolist() == [3, 11]


def test_transposed_convolution_prelu_and_instance_norm() -> None:
    structure = discover(Transposed(), IMAGE)
    assert structure.widths == {"down": 8, "up": 6}


def test_normalisation_over_units_is_allowed_but_not_called_exact() -> None:
    structure = discover(Normalised(), IMAGE)
    assert structure.widths == {"conv": 4, "fc": 8}
    assert [group.exact for group in structure.groups] == [False, False]
    pruned = apply(Normalised(), half_plan(structure, structure.groups), structure)
    assert pruned(IMAGE).shape == (2, 5)
    assert pruned.layer.normalized_shape == (4,)
    assert pruned.group.num_channels == 6


@pytest.mark.parametrize(
    "build", [Residual, Concatenating, Inverted, PaddedShortcut, BakedView, Shared, Shuffled, Transposed]
)
@pytest.mark.parametrize("seed", [1, 2])
def test_every_group_equals_the_zeroed_model(build: type[nn.Module], seed: int) -> None:
    torch.manual_seed(seed)
    model = build()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    assert worst(model, discover(model, IMAGE), seed) < 1e-9


def test_a_wrong_cut_does_not_pass_the_proof() -> None:
    model = Residual().double().eval()
    structure = discover(Residual(), IMAGE)
    plan = Plan({"stem": (0, 1, 2, 3)})
    assert difference(model, structure, plan, (IMAGE.double(),)) < 1e-9
    part = next(s for s in structure.group("stem").slices if s.parameter == "head.weight")
    part.index[:] = part.index[::-1].copy()
    assert difference(model, structure, plan, (IMAGE.double(),)) > 1e-3


def test_the_callers_model_is_left_as_it_was() -> None:
    model = Residual().train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    structure = discover(model, IMAGE)
    apply(model, half_plan(structure, structure.groups), structure)
    assert model.training
    assert not model.bn1.training
    assert model.bn1.num_features == 6
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_a_model_without_anything_to_cut_says_why() -> None:
    structure = discover(nn.Sequential(nn.Flatten(), nn.Linear(192, 5)), IMAGE)
    assert structure.groups == ()
    assert structure.frozen == {"1": "reaches the model's output"}


def test_inputs_that_do_not_fit_are_one_line() -> None:
    with pytest.raises(
        ModelError, match=r"Residual does not run on inputs of shape \(2, 4, 8, 8\)"
    ) as caught:
        discover(Residual(), torch.zeros(2, 4, 8, 8))
    assert "\n" not in str(caught.value)


def test_control_flow_on_values_is_named() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(4, 4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.fc(x) if x.sum() > 0 else x

    with pytest.raises(ModelError, match=r"torch.export cannot follow Branching"):
        discover(Branching(), torch.ones(2, 4))


def test_lazy_modules_must_have_run() -> None:
    with pytest.raises(ModelError, match="lazy"):
        discover(nn.Sequential(nn.LazyLinear(4)), torch.ones(2, 4))
