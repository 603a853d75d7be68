from __future__ import annotations

import re
from dataclasses import replace
from importlib.metadata import version
from typing import Any

from autoprune.export import Numbers
from autoprune.export.card import CardContext, card_text
from autoprune.tasks import weights_hash


def test_the_card_tells_what_changed(export):
    text = (export.folder / "README.md").read_text()
    assert text.startswith("# small_net, pruned\n")
    for row in (
        "| accuracy (validation) | 0.9500 | 0.9300 | -0.0200 |",
        "| accuracy (test) | 0.9400 | 0.9200 | -0.0200 |",
        "| FLOPs of one sample | 2.00M | 500k | 25.0% |",
        "| parameters | 1.00k | 400 | 40.0% |",
        "| size of the weights | 4.00 kB | 1.60 kB | 40.0% |",
        "| latency | 2.00 ms | 1.00 ms | 50.0% (95 % interval 45.0% to 56.0%) |",
        "| `stem.0` | 8 | 5 |",
    ):
        assert row in text.splitlines()
    assert "Latency was measured on a small computer." in text


def test_the_card_says_where_the_model_comes_from(export, candidate):
    text = (export.folder / "README.md").read_text()
    for part in (
        "study-1, trial 7",
        "ab" * 32,
        candidate.plan.hash,
        weights_hash(candidate.model),
        f"torch {version('torch')}",
        "onnxruntime ",
    ):
        assert part in text
    assert re.search(r"\| date \| 20\d\d-\d\d-\d\d \|", text)


def test_what_was_not_measured_is_left_out(candidate, card):
    bare = replace(
        card,
        before=Numbers(quality=0.9, flops=10, parameters=10, size=10),
        after=Numbers(quality=0.9, flops=10, parameters=10, size=10),
        device="",
        study="",
        weights="",
    )
    text = card_text(bare, candidate, CardContext(candidate.example, (), (), "2024-01-01"))
    assert "latency" not in text.lower() and "(test)" not in text and "study" not in text
    assert "None" not in text and "before pruning" not in text


def test_the_code_on_the_card_runs(export, monkeypatch):
    monkeypatch.chdir(export.folder)
    text = (export.folder / "README.md").read_text()
    state, pt2, onnx = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    names: dict[str, Any] = {}
    for block in (state, pt2, onnx):
        exec(block, names)
    assert names["base"].head.weight.shape == (3, 8)
    assert names["output"].shape == (1, 3)
    assert abs(names["outputs"][0] - names["output"].detach().numpy()).max() < 1e-5
