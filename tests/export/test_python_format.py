from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from plain_net import net
from small_export_net import cut_every_group
from torch import nn

from autoprune.errors import ExportError
from autoprune.export import Candidate, export_candidate
from autoprune.export.formats import FORMATS
from autoprune.export.formats.plain import read
from autoprune.export.formats.python import factory_text
from autoprune.export.subject import subject_of
from autoprune.structure import Plan, apply, discover
from autoprune.tasks import save_weights
from autoprune.tasks.models import construction, load_model

SPEC = f"{Path(__file__).parent / 'plain_net.py'}:net"


@pytest.fixture(scope="module")
def example() -> torch.Tensor:
    return torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def plain(example: torch.Tensor) -> Candidate:
    torch.manual_seed(0)
    base = net()
    model, plan = cut_every_group(base, example[:1])
    return Candidate(model, plan, base, SPEC, None, example)


def test_the_factory_builds_the_model_without_autoprune_or_safetensors(plain, card, tmp_path):
    (written,) = export_candidate(plain, card, "", tmp_path, ["python"])
    assert written.note == "built in a fresh process without autoprune"
    assert written.max_difference < 1e-6
    program = (
        "import sys\n"
        "for name in ('autoprune', 'safetensors', 'numpy'): sys.modules[name] = None\n"
        "import torch\n"
        "from model import build\n"
        "network = build()\n"
        "print([list(tensor.shape) for tensor in network.parameters()], network.training)\n"
        "print(network(torch.ones(5, 1, 8, 8)).flatten().tolist())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    shapes, outputs = done.stdout.splitlines()
    assert shapes == f"{[list(tensor.shape) for tensor in plain.model.parameters()]} False"
    with torch.no_grad():
        expected = subject_of(plain.model, plain.example).model(torch.ones(5, 1, 8, 8))
    assert json.loads(outputs) == pytest.approx(expected.flatten().tolist(), abs=1e-5)


def test_sizes_follow_the_cut(plain):
    text = factory_text(plain.model, plain)
    assert "'stem': {'out_channels': 5}" in text
    assert "'blocks.0.bn1': {'num_features': 5}" in text
    assert "training" not in re.findall(r"SIZES.*?\n\n", text, flags=re.DOTALL)[0]


def test_a_model_without_a_name_is_loaded_into_the_users_own(plain, card, example, tmp_path):
    nameless = Candidate(plain.model, plain.plan, plain.base, None, None, example)
    (written,) = export_candidate(nameless, card, "", tmp_path, ["python"])
    assert "run in this process" in written.note
    text = (tmp_path / "model.py").read_text()
    assert "def load(" in text and "def build(" not in text
    assert "network = load(...)" in (tmp_path / "README.md").read_text()


def test_whole_blocks_that_are_gone(card, example, tmp_path):
    torch.manual_seed(0)
    base = net()
    structure = discover(base, example[:1], depth=True)
    block = next(group.name for group in structure.groups if group.block is not None)
    plan = Plan.of(structure, {block: ()})
    candidate = Candidate(apply(base, plan, structure), plan, base, SPEC, None, example)
    (written,) = export_candidate(candidate, card, "", tmp_path, ["python"])
    assert written.max_difference < 1e-6
    assert "REMOVED: dict[str, tuple[str, int]] = {'blocks." in (tmp_path / "model.py").read_text()


def test_a_layer_that_the_cut_replaces_is_named(card, tmp_path):
    torch.manual_seed(0)
    base = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    example = torch.randn(2, 4, 8)
    model, plan = cut_every_group_of(base, example)
    with pytest.raises(
        ExportError, match=r"the cut replaced self_attn by autoprune's .*: leave out the python"
    ):
        export_candidate(Candidate(model, plan, base, None, None, example), card, "", tmp_path, ["python"])


def cut_every_group_of(base: nn.Module, example: torch.Tensor) -> tuple[nn.Module, Plan]:
    structure = discover(base, example[:1])
    plan = Plan.of(structure, {group.name: tuple(range(group.width - 1)) for group in structure.groups})
    return apply(base, plan, structure), plan


def test_changed_weights_fail_the_check(plain, card, tmp_path):
    export_candidate(plain, card, "", tmp_path, ["python"])
    other = subject_of(plain.model, plain.example)
    nn.init.constant_(other.model.head.bias, 5.0)
    save_weights(other.model, tmp_path / "model.safetensors")
    with pytest.raises(ExportError, match=r"^model\.py differs from the pruned model by "):
        FORMATS["python"].check(subject_of(plain.model, plain.example), plain, tmp_path)


def test_every_type_of_tensor_is_read(tmp_path):
    import safetensors.torch

    tensors = {
        "float64": torch.randn(2, 3, dtype=torch.float64),
        "bfloat16": torch.randn(3).bfloat16(),
        "int64": torch.tensor(7),
        "bool": torch.tensor([True, False]),
        "empty": torch.zeros(0, 4),
    }
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors", metadata={"made": "by a test"})
    found = read(tmp_path / "model.safetensors")
    assert set(found) == set(tensors)
    assert all(
        torch.equal(found[name], tensor) and found[name].dtype is tensor.dtype
        for name, tensor in tensors.items()
    )


@pytest.mark.parametrize(
    ("spec", "classes"),
    [
        ("torchvision:mobilenet_v3_small", 7),
        ("torchvision:googlenet", None),
        ("torch.nn:Identity", None),
        (SPEC, None),
    ],
)
def test_the_written_construction_builds_the_same_model(spec, classes):
    lines = ["def original():", *(f"    {line}" for line in construction(spec, classes))]
    names: dict[str, object] = {"Path": Path, "__file__": str(Path.cwd() / "model.py")}
    exec("\n".join(lines), names)
    built, expected = names["original"](), load_model(spec, classes=classes)
    assert {name: t.shape for name, t in built.state_dict().items()} == {
        name: t.shape for name, t in expected.state_dict().items()
    }
