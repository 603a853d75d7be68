import inspect
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations, parametrize

import autoprune
from autoprune.errors import ModelError
from autoprune.structure import Structure, apply, discover
from autoprune.structure.graph.values import ExampleInputs
from autoprune.structure.verification.reference import Reference
from autoprune.structure.verification.verify import difference, half_plan

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


class Chain(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.bn = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.head = nn.Linear(6, 5)

    def features(self, x: Tensor) -> Tensor:
        return self.second(functional.relu(self.bn(self.first(x))))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x).mean((2, 3)))


class Named(Chain):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        features = self.features(x)
        return {"logits": self.head(features.mean((2, 3))), "scale": features.mean((1, 2, 3))}


class Nested(Chain):
    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor], None]:
        features = self.features(x)
        return self.head(features.mean((2, 3))), [features], None


@dataclass
class Output:
    logits: Tensor
    hidden: Tensor | None = None


class WithDataClass(Chain):
    def forward(self, x: Tensor) -> Output:
        return Output(super().forward(x))


class TwoInputs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3)
        self.table = nn.Linear(4, 8)
        self.head = nn.Linear(8, 2)

    def forward(
        self, image: Tensor, table: Tensor, *, scale: float = 1.0, mask: Tensor | None = None
    ) -> Tensor:
        x = self.image(image).mean((2, 3)) + scale * self.table(table)
        return self.head(x if mask is None else x * mask)


class Buffers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)
        self.register_buffer("shift", torch.randn(8, 1, 1))
        self.register_buffer("scale", torch.rand(1, 8, 1, 1), persistent=False)
        self.head = nn.Linear(8, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(((self.conv(x) + self.shift) * self.scale).amax((2, 3)))


def check(model: nn.Module, inputs: ExampleInputs) -> Structure:
    torch.manual_seed(0)
    structure = discover(model.eval(), inputs)
    assert structure.groups
    for group in structure.groups:
        # Zeros do not take units out of a statistic over them.
        reference = None if group.exact else Reference.of_model(model, inputs)
        plan = half_plan(structure, [group])
        assert difference(model, structure, plan, inputs, noise=True, reference=reference) < 1e-9
    return structure


@pytest.mark.parametrize(("build", "widths"), [(Named, {"first": 8, "second": 6}), (Nested, {"first": 8})])
def test_outputs_in_dictionaries_and_tuples(build: type[nn.Module], widths: dict[str, int]) -> None:
    model = build()
    structure = check(model, IMAGE)
    # A mean over units runs over those that stay; the units themselves as an output cannot go.
    assert structure.widths == widths
    assert structure.frozen["head"] == "reaches the model's output"
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert type(pruned(IMAGE)) is type(model(IMAGE))


def test_an_output_as_a_data_class() -> None:
    model = WithDataClass()
    assert check(model, IMAGE).widths == {"first": 8, "second": 6}
    pruned = autoprune.prune(model, IMAGE)
    assert isinstance(pruned(IMAGE), Output)
    assert pruned(IMAGE).logits.shape == (2, 5)


@pytest.mark.parametrize(
    "inputs",
    [
        (IMAGE, torch.ones(2, 4)),
        {"image": IMAGE, "table": torch.ones(2, 4), "scale": 0.5},
        {"image": IMAGE, "table": torch.ones(2, 4), "mask": torch.ones(2, 1)},
    ],
    ids=["positional", "keyword", "keyword tensor"],
)
def test_several_inputs(inputs: ExampleInputs) -> None:
    model = TwoInputs()
    assert check(model, inputs).widths == {"image": 8}
    assert autoprune.prune(model, inputs).table.out_features == 4


def test_buffers_follow_their_channels() -> None:
    model = Buffers()
    pruned = apply(model, half_plan(structure := check(model, IMAGE), structure.groups), structure)
    assert pruned.shift.shape == (4, 1, 1)
    assert pruned.scale.shape == (1, 4, 1, 1)
    assert set(pruned.state_dict()) == set(model.state_dict())


def test_what_needs_no_gradient_still_needs_none() -> None:
    model = Chain()
    model.first.requires_grad_(False)
    pruned = autoprune.prune(model, IMAGE)
    assert not pruned.first.weight.requires_grad
    assert not pruned.first.bias.requires_grad
    assert pruned.second.weight.requires_grad
    pruned(IMAGE).sum().backward()
    assert pruned.first.weight.grad is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floating_point_types(dtype: torch.dtype) -> None:
    model, image = Chain().to(dtype), IMAGE.to(dtype)
    assert check(model, image).widths == {"first": 8, "second": 6}
    pruned = autoprune.prune(model, image)
    assert {tensor.dtype for tensor in pruned.parameters()} == {dtype}
    assert pruned(image).dtype == dtype


def test_casts_inside_the_model_do_not_blur_the_proof() -> None:
    class Casting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = Chain()

        def forward(self, x: Tensor) -> Tensor:
            return self.inner(x.half().float())

    assert check(Casting(), IMAGE).widths == {"inner.first": 8, "inner.second": 6}


def test_the_meta_device_holds_no_values() -> None:
    with pytest.raises(ModelError, match=r"meta device.*to_empty"):
        discover(Chain().to("meta"), IMAGE.to("meta"))


def test_an_untraceable_line_is_named_with_its_module_and_a_way_out(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Gate(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            if x.sum() > 0:
                return x
            return -x

    class Gated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = Chain()
            self.gates = nn.Sequential(nn.ReLU(), Gate())

        def forward(self, x: Tensor) -> Tensor:
            return self.gates(self.backbone(x))

    model = Gated().eval()
    with pytest.raises(ModelError) as caught:
        discover(model, IMAGE)
    text = str(caught.value)
    line = inspect.getsourcelines(Gate.forward)[1] + 1
    assert f"torch.export cannot follow Gated in gates.1 ({__file__}:{line})" in text
    assert "such as model.backbone" in text
    assert "\n" not in text
    assert capfd.readouterr().err == ""
    model.backbone = autoprune.prune(model.backbone, IMAGE)
    assert model(IMAGE).shape == (2, 5)
    assert model.backbone.first.out_channels == 4


def test_inputs_that_do_not_fit_are_traced_to_the_module() -> None:
    with pytest.raises(ModelError, match=r"shape image=\(2, 3, 8, 8\), table=\(2, 3\) in table \(.*py:\d+\)"):
        discover(TwoInputs(), {"image": IMAGE, "table": torch.ones(2, 3)})


def test_parameters_that_nothing_reads_are_named() -> None:
    class Unused(Chain):
        def __init__(self) -> None:
            super().__init__()
            self.spare = nn.Linear(6, 6)

    assert discover(Unused(), IMAGE).frozen["spare"] == "forward never reads it"


class Auxiliary(Chain):
    """A second head that runs in training mode only."""

    def __init__(self) -> None:
        super().__init__()
        self.side = nn.Conv2d(8, 4, 1)
        self.side_bn = nn.BatchNorm2d(4)
        self.side_head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        hidden = functional.relu(self.bn(self.first(x)))
        logits = self.head(self.second(hidden).mean((2, 3)))
        if not self.training:
            return logits
        side = functional.dropout(self.side_bn(self.side(hidden)), 0.3, self.training)
        return logits, self.side_head(side.mean((2, 3)))


def test_a_head_that_runs_in_training_mode_only_is_cut_as_well() -> None:
    model = Auxiliary()
    structure = check(model, IMAGE)
    assert structure.widths == {"first": 8, "second": 6, "side": 4}
    assert set(structure.frozen) == {"head", "side_head"}
    assert {operation.kind for operation in structure.operations} >= {"conv2d", "linear"}
    assert sum(operation.kind == "conv2d" for operation in structure.operations) == 2
    pruned = apply(model, half_plan(structure, structure.groups), structure).train()
    sum(output.sum() for output in pruned(IMAGE)).backward()
    assert pruned.side.weight.grad.shape == (2, 4, 1, 1)


def test_a_training_mode_that_cannot_be_traced_is_said() -> None:
    class Demanding(Auxiliary):
        def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
            if self.training and x.shape[-1] < 16:
                raise ValueError("too small to train on")
            return super().forward(x)

    structure = discover(Demanding(), IMAGE)
    assert structure.widths == {"first": 8, "second": 6}
    assert structure.frozen["side"].startswith("read in training mode only, if at all, and may not fit")
    assert "too small to train on" in structure.frozen["side"]


class Symmetric(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 0.5 * (weight + weight.flip(-1))


class Standardised(nn.Conv2d):
    """Weight standardisation with a gain, after Brock et al. (2021)."""

    def __init__(self, *args: int) -> None:
        super().__init__(*args)
        self.gain = nn.Parameter(torch.rand(self.out_channels, 1, 1, 1) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        mean = self.weight.mean((1, 2, 3), keepdim=True)
        spread = self.weight.std((1, 2, 3), keepdim=True)
        return functional.conv2d(x, self.gain * (self.weight - mean) / (spread + 1e-5), self.bias)


@pytest.mark.parametrize("kind", ["weight_norm", "standardised", "transposed"])
@pytest.mark.parametrize("bias", [True, False])
def test_weights_that_are_normalised_row_by_row_are_cut(kind: str, bias: bool) -> None:
    torch.manual_seed(0)
    if kind == "standardised":
        middle: nn.Module = Standardised(8, 6, 3)
        own = "weight"
    else:
        convolution = nn.ConvTranspose2d if kind == "transposed" else nn.Conv2d
        middle = parametrizations.weight_norm(convolution(8, 6, 3, bias=bias))
        own = "parametrizations.weight.original1"
    flat = parametrizations.weight_norm(nn.Linear(6, 10, bias=bias))
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3),
        nn.ReLU(),
        middle,
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        flat,
        nn.ReLU(),
        nn.Linear(10, 2),
    ).eval()
    structure = discover(model, IMAGE)
    assert list(structure.widths.values()) == [8, 6, 10]
    assert structure.frozen == {"7": "reaches the model's output"}
    last = structure.groups[2]
    assert last.exact
    assert difference(model, structure, half_plan(structure, [last]), IMAGE, noise=True) < 1e-9
    pruned = autoprune.prune(model, IMAGE, structure=structure).train()
    pruned(IMAGE).sum().backward()
    assert pruned[2].get_parameter(own).shape[:2] == ((4, 3) if kind == "transposed" else (3, 4))
    assert (pruned[2].in_channels, pruned[2].out_channels) == (4, 3)
    assert (pruned[5].in_features, pruned[5].out_features) == (3, 5)


@pytest.mark.parametrize("kind", ["spectral_norm", "own"])
def test_other_parametrised_weights_are_frozen_with_the_reason(kind: str) -> None:
    first = Chain()
    if kind == "own":
        parametrize.register_parametrization(first.second, "weight", Symmetric())
    else:
        parametrizations.spectral_norm(first.second)
    model = nn.Sequential(first, nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))
    structure = check(model, IMAGE)
    assert structure.widths["1"] == 8
    reason = "the weight of this layer is computed or its input has no batch axis"
    assert structure.frozen["0.first"] == reason
    remedy = "torch.nn.utils.parametrize.remove_parametrizations(model.get_submodule('0.second'), 'weight')"
    assert (
        structure.frozen["0.second.parametrizations.weight"] == f"{reason}; {remedy} makes its weight plain"
    )
    pruned = autoprune.prune(model, IMAGE, structure=structure).train()
    pruned(IMAGE).sum().backward()
    assert pruned[1].out_features == 4
