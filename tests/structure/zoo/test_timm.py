import pytest
import torch

from autoprune.structure import apply, discover
from autoprune.structure.verification.verify import difference, half_plan

timm = pytest.importorskip("timm")
GROUPS = {
    "resnet18d": 14,
    "repvgg_a0": 5,
    "mobilenetv3_small_100": 27,
    "ghostnet_100": 31,
    "convnext_atto": 16,
    "fastvit_t8": 12,
    "res2net50_26w_4s": 45,
    "resnetv2_50x1_bit": 37,
}
"""Stems and shortcuts of their own, parallel branches, concatenated halves, splits by a fixed number."""

STANDARDISED = {"resnetv2_50x1_bit"}
"""Weights are standardised over the channels that they read: removing some changes the others."""


@pytest.mark.parametrize("name", GROUPS)
def test_convolutional_families(name: str) -> None:
    torch.manual_seed(0)
    size = 128 if name == "fastvit_t8" else 64
    model, image = timm.create_model(name, pretrained=False).eval(), torch.randn(1, 3, size, size)
    structure = discover(model, image)
    assert len(structure.groups) == GROUPS[name]
    assert set(structure.frozen.values()) == {"reaches the model's output"}
    plan = half_plan(structure, structure.groups)
    if name not in STANDARDISED:
        assert difference(model, structure, plan, image, noise=True) < 1e-9
    pruned = apply(model, plan, structure).train()
    output = pruned(image.expand(2, -1, -1, -1))
    assert output.shape == (2, 1000)
    output.sum().backward()
    assert all(p.grad is not None for p in pruned.parameters())
    assert sum(p.numel() for p in pruned.parameters()) < 0.4 * sum(p.numel() for p in model.parameters())
