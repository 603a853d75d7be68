"""Whole transformers: PyTorch's own layers and torchvision's families, small."""

import copy
import warnings
from collections.abc import Callable

import pytest
import torch
import torchvision.models.swin_transformer as swin
from fvcore.nn import FlopCountAnalysis
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.maxvit import MaxVit

from autoprune.cost import CostModel, operation_terms
from autoprune.structure import Structure, apply, discover
from autoprune.structure.surgery.slim import SlimMultiheadAttention
from autoprune.structure.verification.verify import difference, half_plan

IMAGE = torch.randn(1, 3, 32, 32, generator=torch.Generator().manual_seed(0))
# Sides that no window divides: the tokens are padded, and shifted windows are masked.
UNEVEN = torch.randn(1, 3, 44, 36, generator=torch.Generator().manual_seed(0))
VISION: dict[str, tuple[Callable[[], nn.Module], Tensor]] = {
    "vit": (lambda: VisionTransformer(32, 8, 2, 4, 32, 64, num_classes=10), IMAGE),
    "swin": (lambda: swin.SwinTransformer([4, 4], 32, [2, 2], [2, 4], [4, 4], num_classes=10), UNEVEN),
    "swin_v2": (
        lambda: swin.SwinTransformer(
            [4, 4],
            32,
            [2, 2],
            [2, 4],
            [4, 4],
            num_classes=10,
            block=swin.SwinTransformerBlockV2,
            downsample_layer=swin.PatchMergingV2,
        ),
        UNEVEN,
    ),
    "maxvit": (
        lambda: MaxVit((32, 32), 16, 4, [32, 64], [1, 1], 16, 0.1, num_classes=10),
        IMAGE[..., :32, :32],
    ),
}
ATTENTION = ("self_attention", "attn", "attn_layer.1")


@pytest.fixture(scope="module", params=VISION)
def case(request: pytest.FixtureRequest) -> tuple[nn.Module, Tensor, Structure]:
    torch.manual_seed(0)
    build, image = VISION[request.param]
    model = build().eval()
    return model, image, discover(model, image)


def test_every_block_has_heads_and_hidden_units(case: tuple[nn.Module, Tensor, Structure]) -> None:
    model, _, structure = case
    attentions = [name for name, _ in model.named_modules() if name.endswith(ATTENTION)]
    heads = [group for group in structure.groups if group.kind == "heads"]
    for name in attentions:
        assert sum(any(part.parameter.startswith(f"{name}.") for part in g.slices) for g in heads) == 1
    assert len(attentions) == len(heads)
    assert len(structure.frozen) == 1
    cut = {part.parameter for group in structure.groups for part in group.slices}
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    assert sum(sizes[name] for name in sizes if name in cut) >= 0.9 * sum(sizes.values())


def test_each_group_equals_the_zeroed_model(case: tuple[nn.Module, Tensor, Structure]) -> None:
    model, image, structure = case
    for group in structure.groups:
        plan = half_plan(structure, [group], 1)
        assert difference(model, structure, plan, image, noise=True) < 1e-9, group.name


def test_half_of_everything_runs_forward_and_backward(case: tuple[nn.Module, Tensor, Structure]) -> None:
    model, image, structure = case
    plan = half_plan(structure, structure.groups)
    pruned = apply(model, plan, structure)
    output = pruned.train()(image.expand(2, -1, -1, -1))
    assert output.shape == (2, 10)
    output.sum().backward()
    parameters = dict(pruned.named_parameters())
    assert all(p.grad is not None and p.grad.shape == p.shape for p in parameters.values())
    assert sum(p.numel() for p in parameters.values()) < 0.6 * sum(p.numel() for p in model.parameters())
    again = apply(copy.deepcopy(model), plan, structure).eval()
    again.load_state_dict(pruned.state_dict())
    torch.testing.assert_close(again(image), pruned.eval()(image))


def test_closed_forms_equal_what_is_counted(case: tuple[nn.Module, Tensor, Structure]) -> None:
    model, image, structure = case
    costs = CostModel.of(structure, model)
    for seed in (2, 3):
        plan = half_plan(structure, structure.groups, seed)
        widths = plan.widths(structure)
        sliced = apply(model, plan, structure)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            counter = FlopCountAnalysis(sliced, image)
            counter.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
            # fvcore does not count this operator, and reads counts of einsum to four digits.
            fused = sum(
                term.coefficient * torch.Size(extent.at(widths) for extent in term.extents).numel()
                for operation in structure.operations
                if operation.kind == "scaled_dot_product_attention"
                for term in operation_terms(operation)
            )
            assert costs.flops(widths) - fused == pytest.approx(
                counter.total(),
                rel=1e-3 if "einsum" in {operation.kind for operation in structure.operations} else 0,
            )
        assert costs.parameters(widths) == sum(p.numel() for p in sliced.parameters())


def test_the_width_of_heads_is_cut_exactly(case: tuple[nn.Module, Tensor, Structure]) -> None:
    model, image, _ = case
    structure = discover(model, image, attention="width")
    widths = [group for group in structure.groups if group.kind == "head width"]
    for group in widths:
        assert difference(model, structure, half_plan(structure, [group]), image, noise=True) < 1e-9
    # The cosines of the second Swin normalise over the width, which ties it.
    version_2 = any(name.endswith("logit_scale") for name in structure.tensors)
    assert bool(widths) != version_2


class Encoder(nn.Module):
    def __init__(self, **settings: object) -> None:
        super().__init__()
        self.stem = nn.Linear(6, 16)
        layer = nn.TransformerEncoderLayer(16, 4, 24, batch_first=True, **settings)  # type: ignore[arg-type]
        self.encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor="norm_first" not in settings)
        self.head = nn.Linear(16, 3)

    def forward(self, x: Tensor, padding: Tensor | None = None) -> Tensor:
        return self.head(self.encoder(self.stem(x), src_key_padding_mask=padding).mean(1))


X = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("settings", [{}, {"norm_first": True}, {"activation": "gelu", "bias": False}])
def test_encoder(settings: dict[str, object]) -> None:
    torch.manual_seed(0)
    model = Encoder(**settings).eval()
    structure = discover(model, X)
    assert sorted(group.kind for group in structure.groups) == ["channels"] * 3 + ["heads"] * 2
    for group in structure.groups:
        assert difference(model, structure, half_plan(structure, [group]), X, noise=True) < 1e-9
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    with_grad = pruned(X)
    with torch.no_grad():
        torch.testing.assert_close(pruned(X), with_grad)
    pruned.train()(X).sum().backward()


@pytest.mark.parametrize("cut", ["heads", "channels"])
def test_a_padded_batch_takes_no_fused_path_that_a_cut_layer_lacks(cut: str) -> None:
    torch.manual_seed(0)
    model = Encoder().eval()
    structure = discover(model, X)
    plan = half_plan(structure, [g for g in structure.groups if g.kind == cut and "encoder" in g.name])
    pruned = apply(model, plan, structure)
    padding = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])
    features = pruned.stem(X)
    expected = pruned.encoder(features, src_key_padding_mask=padding)
    with torch.no_grad():
        fused = pruned.encoder(features, src_key_padding_mask=padding)
    # What comes out at padded positions differs between the paths in the original model, too.
    torch.testing.assert_close(fused[~padding], expected[~padding])
    slim = [module for module in pruned.modules() if isinstance(module, SlimMultiheadAttention)]
    assert len(slim) == (2 if cut == "heads" else 0)


@pytest.mark.parametrize("batch_first", [True, False])
def test_encoder_and_decoder(batch_first: bool) -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.source, self.target = nn.Linear(6, 16), nn.Linear(6, 16)
            self.transformer = nn.Transformer(16, 4, 2, 1, 24, batch_first=batch_first)
            self.head = nn.Linear(16, 3)

        def forward(self, source: Tensor, target: Tensor) -> Tensor:
            return self.head(self.transformer(self.source(source), self.target(target)))

    torch.manual_seed(0)
    model, inputs = Both().eval(), (X, X.flip(1))
    structure = discover(model, inputs)
    kinds = [group.kind for group in structure.groups]
    # The decoder's attention to the encoder reads both streams with one weight, so they are one group.
    assert (kinds.count("heads"), kinds.count("channels")) == (4, 4)
    for group in structure.groups:
        assert difference(model, structure, half_plan(structure, [group]), inputs, noise=True) < 1e-9
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    assert pruned.transformer.d_model == 8
    pruned.train()(*inputs).sum().backward()
    assert pruned.eval()(*inputs).shape == (2, 5, 3)


def test_fused_paths_are_not_traced() -> None:
    torch.manual_seed(0)
    model = Encoder().eval()
    with torch.no_grad():
        without_grad = discover(model, X)
    assert without_grad.widths == discover(model, X).widths
    kinds = {operation.kind for operation in without_grad.operations}
    assert "scaled_dot_product_attention" in kinds
    assert not any("encoder_layer" in kind or "native" in kind for kind in kinds)
