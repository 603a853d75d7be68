"""GoogLeNet and Inception: their auxiliary heads run in training mode only."""

import pytest
import torch
import torchvision

from autoprune.structure import apply, discover
from autoprune.structure.graph.trace import ready
from autoprune.structure.verification.verify import difference, half_plan


@pytest.mark.parametrize(
    ("name", "size", "heads", "groups"),
    [("googlenet", 64, ("aux1", "aux2"), 61), ("inception_v3", 299, ("AuxLogits",), 96)],
)
def test_pruned_models_train_with_their_auxiliary_heads(
    name: str, size: int, heads: tuple[str, ...], groups: int
) -> None:
    torch.manual_seed(0)
    model = torchvision.models.get_model(name, weights=None, init_weights=False).eval()
    image = torch.randn(1, 3, size, size)
    structure = discover(model, image)
    assert len(structure.groups) == groups
    assert set(structure.frozen.values()) == {"reaches the model's output"}
    cut = {part.layer.split(".")[0] for group in structure.groups for part in group.slices}
    assert cut.issuperset(heads)
    plan = half_plan(structure, structure.groups)
    for training in (False, True):
        bench = ready(model, training=training)
        assert difference(bench, structure, plan, image, noise=True) < 1e-9
    pruned = apply(model, plan, structure).train()
    outputs = pruned(image.expand(2, -1, -1, -1))
    assert [tuple(output.shape) for output in outputs] == [(2, 1000)] * (1 + len(heads))
    sum(output.sum() for output in outputs).backward()
    assert all(p.grad is not None for p in pruned.parameters())
    assert pruned.eval()(image).shape == (1, 1000)
