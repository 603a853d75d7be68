import pytest
import torch
import torchvision
from torch import Tensor, nn
from torch.nn import functional

import autoprune
from autoprune.errors import ModelError
from autoprune.structure import apply, discover
from autoprune.structure.graph.values import tensors_in
from autoprune.structure.verification.verify import difference, half_plan

IMAGE = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU())


class UNet(nn.Module):
    """Two levels; one is raised by a transposed convolution, the other one by interpolation."""

    def __init__(self) -> None:
        super().__init__()
        self.down1, self.down2, self.bottom = block(3, 8), block(8, 16), block(16, 24)
        self.raise2 = nn.ConvTranspose2d(24, 16, 2, stride=2)
        self.up2, self.up1 = block(32, 12), block(20, 8)
        self.head = nn.Conv2d(8, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        level1 = self.down1(x)
        level2 = self.down2(functional.max_pool2d(level1, 2))
        x = self.raise2(self.bottom(functional.max_pool2d(level2, 2)))
        x = self.up2(torch.cat([x, level2], 1))
        x = functional.interpolate(x, scale_factor=2, mode="bilinear")
        return self.head(self.up1(torch.cat([x, level1], 1)))


class Generator(nn.Sequential):
    """Noise ``[N, 10, 1, 1]`` to images, after Radford et al. (2015)."""

    def __init__(self) -> None:
        layers: list[nn.Module] = []
        for inputs, outputs, stride in ((10, 16, 1), (16, 12, 2), (12, 8, 2)):
            layers.append(nn.ConvTranspose2d(inputs, outputs, 4, stride, stride - 1, bias=False))
            layers += [nn.BatchNorm2d(outputs), nn.ReLU()]
        super().__init__(*layers, nn.ConvTranspose2d(8, 3, 4, 2, 1), nn.Tanh())


class SuperResolution(nn.Module):
    """Sub-pixel convolution, after Shi et al. (2016), over a residual body."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 12, 5, padding=2)
        self.inner, self.outer = nn.Conv2d(12, 10, 3, padding=1), nn.Conv2d(10, 12, 3, padding=1)
        self.widen = nn.Conv2d(12, 4 * 6, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)
        self.refine = nn.Conv2d(6, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.tanh(self.stem(x))
        x = x + self.outer(functional.relu(self.inner(x)))
        return self.refine(self.shuffle(self.widen(x)))


USER_MODELS = {
    UNet: {"down1.0": 8, "down2.0": 16, "bottom.0": 24, "raise2": 16, "up2.0": 12, "up1.0": 8},
    Generator: {"0": 16, "3": 12, "6": 8},
    SuperResolution: {"stem": 12, "inner": 10, "widen": 6},
}


@pytest.mark.parametrize("build", USER_MODELS)
def test_models_of_ones_own(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    model = build().eval()
    inputs = torch.randn(2, 10, 1, 1) if build is Generator else IMAGE[..., :16, :16]
    structure = discover(model, inputs)
    assert structure.widths == USER_MODELS[build]
    for group in structure.groups:
        assert difference(model, structure, half_plan(structure, [group], 1), inputs, noise=True) < 1e-9
    pruned = apply(model, half_plan(structure, structure.groups), structure)
    output = pruned.train()(inputs)
    assert output.shape == model(inputs).shape
    output.sum().backward()
    assert all(p.grad is not None for p in pruned.parameters())


@pytest.mark.parametrize(
    ("name", "groups"),
    [("deeplabv3_mobilenet_v3_large", 36), ("lraspp_mobilenet_v3_large", 30), ("fcn_resnet50", 38)],
)
def test_segmentation(name: str, groups: int) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    structure = discover(model, IMAGE)
    assert len(structure.groups) == groups
    assert set(structure.frozen.values()) == {"reaches the model's output"}
    plan = half_plan(structure, structure.groups)
    assert difference(model, structure, plan, IMAGE, noise=True) < 1e-9
    pruned = apply(model, plan, structure).train()
    output = pruned(IMAGE.expand(2, -1, -1, -1))
    assert output["out"].shape == (2, 21, 64, 64)
    sum(tensor.sum() for tensor in tensors_in(output)).backward()
    assert all(p.grad is not None for p in pruned.parameters())


def test_an_auxiliary_head_of_segmentation_is_cut_as_well() -> None:
    model = torchvision.models.segmentation.fcn_resnet50(weights=None, weights_backbone=None, aux_loss=True)
    pruned = autoprune.prune(model.eval(), IMAGE)
    assert pruned.aux_classifier[0].out_channels == 128
    assert set(pruned.eval()(IMAGE)) == {"out", "aux"}


@pytest.mark.parametrize("name", ["ssdlite320_mobilenet_v3_large", "fasterrcnn_mobilenet_v3_large_320_fpn"])
def test_of_a_detector_the_backbone_is_pruned_in_place_of_the_whole(name: str) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, weights_backbone=None).eval()
    images = [torch.rand(3, 320, 320)]
    if name.startswith("faster"):
        with pytest.raises(ModelError, match=r"boxes\.py:\d+.*such as model\.backbone"):
            discover(model, (images,))
    example = IMAGE.expand(1, -1, -1, -1)
    structure = discover(model.backbone, example)
    assert len(structure.groups) >= 25
    assert (
        difference(model.backbone, structure, half_plan(structure, structure.groups), example, noise=True)
        < 1e-9
    )
    before = {key: value.shape for key, value in model.backbone(example).items()}
    model.backbone = autoprune.prune(model.backbone, example, 0.5, structure=structure)
    assert {key: value.shape for key, value in model.backbone(example).items()} == before
    assert set(model(images)[0]) == {"boxes", "scores", "labels"}
    target = {"boxes": torch.tensor([[10.0, 10.0, 80.0, 90.0]]), "labels": torch.tensor([1])}
    losses = model.train()(images * 2, [target] * 2)
    sum(losses.values()).backward()
    assert model.backbone.training
