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
from autoprune.export import ExportCandidate, export_candidate
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
def plain(example: torch.Tensor) -> ExportCandidate:
    torch.manual_seed(0)
    base = net()
    model, plan = cut_every_group(base, example[:1])
    return ExportCandidate(model, plan, base, SPEC, None, example)


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
    nameless = ExportCandidate(plain.model, plain.plan, plain.base, None, None, example)
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
    candidate = ExportCandidate(apply(base, plan, structure), plan, base, SPEC, None, example)
    (written,) = export_candidate(candidate, card, "", tmp_path, ["python"])
    assert written.max_difference < 1e-6
    assert "REMOVED: dict[str, tuple[str, int]] = {'blocks." in (tmp_path / "model.py").read_text()


class Tagger(nn.Module):
    """Attention and recurrence, whose own classes insist on equal sizes."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        self.encoder = nn.TransformerEncoder(layer, 2)
        self.lstm = nn.LSTM(8, 6, num_layers=2, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.head(self.lstm(self.encoder(x))[0])
        return scores


def tagger() -> nn.Module:
    return Tagger()


TAGGER = f"{Path(__file__)}:tagger"


def test_layers_that_the_cut_replaces_come_along(card, tmp_path):
    torch.manual_seed(0)
    base, example = tagger(), torch.randn(2, 4, 8)
    structure = discover(base, example[:1])
    sizes = {group.name: group.width - 1 - (place % 2) for place, group in enumerate(structure.groups)}
    plan = Plan.of(structure, {name: tuple(range(max(1, size))) for name, size in sizes.items()})
    candidate = ExportCandidate(apply(base, plan, structure), plan, base, TAGGER, None, example)
    written, state = export_candidate(candidate, card, "", tmp_path, ["python", "state"])
    assert max(written.max_difference, state.max_difference) < 1e-6
    text = (tmp_path / "model.py").read_text()
    assert "'lstm': 'LayeredLSTM'" in text and "class SlimMultiheadAttention(" in text
    assert "autoprune" not in text


def test_the_loader_needs_torch_alone(plain, card, tmp_path):
    (state,) = export_candidate(plain, card, "", tmp_path, ["state"])
    assert state.note.endswith(", by the plan and by `loader.py`")
    assert "`load(base)` of `loader.py`" in (tmp_path / "README.md").read_text()
    program = (
        "import sys\n"
        "for name in ('autoprune', 'safetensors', 'numpy'): sys.modules[name] = None\n"
        f"sys.path.append({str(Path(__file__).parent)!r})\n"
        "from loader import load\n"
        "from plain_net import net\n"
        "print([list(tensor.shape) for tensor in load(net()).parameters()])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str([list(tensor.shape) for tensor in plain.model.parameters()])


def test_a_cut_that_no_loader_can_say_has_none(card, tmp_path):
    torch.manual_seed(0)
    base, example = Twice(), torch.randn(2, 8)
    structure = discover(base, example[:1], shared="untie")
    plan = Plan.of(structure, {structure.groups[0].name: (0, 1, 2)})
    candidate = ExportCandidate(apply(base, plan, structure), plan, base, None, None, example)
    (state,) = export_candidate(candidate, card, "", tmp_path, ["state"])
    assert state.max_difference < 1e-6 and "loader" not in state.note
    assert "loader.py" not in {path.name for path in tmp_path.iterdir()}
    with pytest.raises(ExportError, match=r"pruning replaced layer with autoprune's InTurn: leave out"):
        export_candidate(candidate, card, "", tmp_path, ["python"])


class Twice(nn.Module):
    """Runs one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.layer(x).relu())


def test_a_loader_that_fails_is_taken_away(plain, card, tmp_path, monkeypatch):
    module = sys.modules["autoprune.export.formats.state"]
    monkeypatch.setattr(module, "loader_text", lambda *_: "raise SystemError('no')")
    (state,) = export_candidate(plain, card, "", tmp_path, ["state"])
    assert "it has no `loader.py`: loader.py does not load in a fresh process: SystemError" in state.note
    assert not (tmp_path / "loader.py").exists()


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
