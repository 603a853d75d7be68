from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from small_export_net import cut_every_group, shifted_net

from autoprune.export import Card, ExportCandidate, Exported, Numbers, export_candidate

SPEC = f"{Path(__file__).parent / 'small_export_net.py'}:small_net"
CONFIG = 'data = "digits"\nseed = 3\n'


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def candidate() -> ExportCandidate:
    base = shifted_net()
    example = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    model, plan = cut_every_group(base, example[:1])
    return ExportCandidate(model, plan, base, SPEC, None, example)


@pytest.fixture(scope="session")
def card() -> Card:
    return Card(
        title="small_net",
        metric="accuracy",
        data="digits",
        before=Numbers(quality=0.95, flops=2e6, parameters=1000, size=4000, test=0.94, latency_ms=2.0),
        after=Numbers(
            quality=0.93,
            flops=5e5,
            parameters=400,
            size=1600,
            test=0.92,
            latency_ms=1.0,
            latency_ratio=0.5,
            latency_low=0.45,
            latency_high=0.56,
        ),
        widths={"stem.0": (8, 5), "blocks.0.conv1": (8, 5)},
        study="study-1",
        trial=7,
        weights="ab" * 32,
        device="a small computer",
    )


@dataclass(frozen=True)
class Export:
    folder: Path
    exported: tuple[Exported, ...]
    printed: str


@pytest.fixture(scope="session")
def export(candidate, card, tmp_path_factory) -> Export:
    """All formats, written once for all tests that only read."""
    folder = tmp_path_factory.mktemp("export") / "deep" / "out"
    stream = io.StringIO()
    with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
        exported = export_candidate(candidate, card, CONFIG, folder, ["state", "pt2", "onnx", "pt2"])
    return Export(folder, exported, stream.getvalue())
