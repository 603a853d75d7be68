"""A cut LSTM in every format: with equal layers torch's own module, with unequal ones layer by layer."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from autoprune.errors import ExportError
from autoprune.export import Card, ExportCandidate, export_candidate
from autoprune.export.formats.onnx import write_onnx
from autoprune.export.subject import run, subject_of
from autoprune.structure import Plan, apply, discover
from autoprune.tasks import letter_lstm

SPEC = "autoprune.tasks.zoo:letter_lstm"
WORDS = torch.randint(2, 28, (3, 20), generator=torch.Generator().manual_seed(0))
WORDS[0, 5:] = 0
WORDS[1, 12:] = 0


def cut(second: int) -> tuple[nn.Module, nn.Module, Plan]:
    torch.manual_seed(0)
    base = letter_lstm().eval()
    plan = Plan({"embedding": (1, 2, 5), "lstm": tuple(range(8)), "lstm#2": tuple(range(second))})
    return base, apply(base, plan, discover(base, WORDS[:1])), plan


def test_state_pt2_and_onnx_compute_what_layers_of_unequal_sizes_compute(card: Card, tmp_path: Path) -> None:
    base, pruned, plan = cut(20)
    candidate = ExportCandidate(pruned, plan, base, SPEC, 5, WORDS)
    exported = export_candidate(candidate, card, "", tmp_path, ["state", "pt2", "onnx"])
    assert [entry.format for entry in exported] == ["state", "pt2", "onnx"]
    assert all(entry.max_difference < 1e-5 for entry in exported)
    assert [entry.note for entry in exported[1:]] == ["any batch size"] * 2


def test_layers_of_equal_sizes_take_any_batch_size() -> None:
    pruned = cut(8)[1]
    subject = subject_of(pruned, WORDS)
    assert subject.traced.dynamic
    outputs = subject.traced.program.module()(WORDS[:1])
    assert torch.allclose(outputs, run(pruned, [WORDS[:1]])["0.0"], atol=1e-6)


def test_onnx_without_projections_says_so(tmp_path: Path) -> None:
    class Projected(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm = nn.LSTM(4, 6, proj_size=3, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            return self.lstm(x)[0]

    with pytest.raises(ExportError, match="ONNX has no LSTM with a projection: leave out the onnx format"):
        write_onnx(subject_of(Projected(), torch.randn(2, 5, 4)), tmp_path / "model.onnx")
