import copy

import hypothesis.strategies as st
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor, nn
from torch.nn import functional

from autoprune.structure import discover
from autoprune.structure.verification.verify import difference, half_plan

KINDS = ("plain", "residual", "concat", "depthwise", "grouped", "excite", "pool")


class Block(nn.Module):
    def __init__(self, kind: str, inputs: int, width: int, bias: bool) -> None:
        super().__init__()
        self.kind, self.outputs = kind, inputs
        match kind:
            case "plain":
                self.conv = nn.Conv2d(inputs, width, 3, padding=1, bias=bias)
                self.outputs = width
            case "residual":
                self.conv = nn.Conv2d(inputs, width, 1, bias=bias)
                self.back = nn.Conv2d(width, inputs, 3, padding=1)
            case "concat":
                self.conv = nn.Conv2d(inputs, width, 1, bias=bias)
                self.outputs = inputs + width
            case "depthwise":
                self.conv = nn.Conv2d(inputs, 2 * inputs, 3, padding=1, groups=inputs, bias=bias)
                self.outputs = 2 * inputs
            case "grouped":
                self.open = nn.Conv2d(inputs, 2 * width, 1)
                self.conv = nn.Conv2d(2 * width, 2 * width, 3, padding=1, groups=2, bias=bias)
                self.outputs = 2 * width
            case "excite":
                self.conv = nn.Conv2d(inputs, width, 1)
                self.back = nn.Conv2d(width, inputs, 1, bias=bias)
        self.bn = nn.BatchNorm2d(self.outputs)

    def forward(self, x: Tensor) -> Tensor:
        match self.kind:
            case "residual":
                x = x + self.back(functional.relu(self.conv(x)))
            case "concat":
                x = torch.cat([self.conv(x), x], 1)
            case "grouped":
                x = self.conv(functional.relu(self.open(x)))
            case "excite":
                x = x * torch.sigmoid(self.back(functional.relu(self.conv(x.mean((2, 3), keepdim=True)))))
            case "pool":
                x = functional.max_pool2d(x, 3, 1, 1)
            case _:
                x = self.conv(x)
        return functional.silu(self.bn(x))


class Network(nn.Module):
    def __init__(self, blocks: list[tuple[str, int, bool]], flat: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1)
        layers, channels = [], 4
        for kind, width, bias in blocks:
            layers.append(Block(kind, channels, width, bias))
            channels = layers[-1].outputs
        self.blocks = nn.Sequential(*layers)
        self.flat = flat
        self.hidden = nn.Linear(channels * (4 if flat else 1), 6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.adaptive_avg_pool2d(self.blocks(self.stem(x)), 2 if self.flat else 1)
        return self.head(functional.gelu(self.hidden(x.flatten(1))))


@settings(max_examples=15, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(
    blocks=st.lists(st.tuples(st.sampled_from(KINDS), st.integers(2, 6), st.booleans()), max_size=4),
    flat=st.booleans(),
    seed=st.integers(0, 99),
)
def test_sliced_equals_zeroed(blocks: list[tuple[str, int, bool]], flat: bool, seed: int) -> None:
    torch.manual_seed(seed)
    model = Network(blocks, flat).eval()
    image = torch.randn(2, 2, 6, 6)
    structure = discover(model, image)
    assert "hidden" in structure.widths
    assert not any("baked" in reason or "something else" in reason for reason in structure.frozen.values())
    double = copy.deepcopy(model).double()
    for group in structure.groups:
        plan = half_plan(structure, [group], seed)
        assert difference(double, structure, plan, (image.double(),)) < 1e-9
    assert (
        difference(double, structure, half_plan(structure, structure.groups, seed), (image.double(),)) < 1e-9
    )
