from __future__ import annotations

import math
import os
import sys
from pathlib import Path

import pytest
import torch

from autoprune.errors import ExportError
from autoprune.export.checks.run_pt2 import tensors_of
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.subject import batch_of, run, subject_of


def test_the_tolerance_is_relative_to_the_largest_output():
    expected = {"0.0": torch.tensor([100.0, 1.0]), "1.0": torch.tensor([0.0])}
    found = {"0.0": torch.tensor([100.0, 1.5]), "1.0": torch.tensor([0.25])}
    assert largest_difference("file", expected, found, 0.01) == 0.5
    with pytest.raises(
        ExportError, match=r"^file differs from the pruned model by 0\.5, where 0\.1 is allowed"
    ):
        largest_difference("file", expected, found, 0.001)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_outputs_that_are_not_finite_fail(bad):
    for name in ("0.0", "1.0"):
        found = {"0.0": torch.ones(2), "1.0": torch.ones(2)}
        found[name] = torch.tensor([1.0, bad])
        with pytest.raises(ExportError, match="differs"):
            largest_difference("file", {"0.0": torch.ones(2), "1.0": torch.ones(2)}, found, 1e-3)
    with pytest.raises(ExportError, match="differs"):
        largest_difference("file", {"0.0": torch.tensor(bad)}, {"0.0": torch.tensor(bad)}, 1e-3)


@pytest.mark.parametrize(
    "found", [{}, {"0.0": torch.ones(1, 2)}, {"0.0": torch.ones(2), "0.1": torch.ones(2)}]
)
def test_other_tensors_fail(found):
    with pytest.raises(ExportError, match="file returns different tensors"):
        largest_difference("file", {"0.0": torch.ones(2)}, found, 1.0)


def test_a_model_without_outputs_cannot_be_compared():
    with pytest.raises(ExportError, match="returns different tensors"):
        largest_difference("file", {}, {}, 1.0)


def test_samples_repeat_without_being_equal():
    batch = batch_of(torch.tensor([[1.0], [2.0]]), 3)
    assert torch.allclose(batch, torch.tensor([[1.0], [2.0], [0.9]]))
    assert batch_of(torch.tensor([[4], [5]]), 3).tolist() == [[4], [5], [4]]
    assert batch_of(torch.tensor([[4], [5]]), 1).tolist() == [[4]]


def test_outputs_of_any_nesting_are_numbered_in_order():
    a, b, c = torch.tensor(1), torch.tensor(2), torch.tensor(3)
    assert tensors_of({"x": a, "y": (b, [c, None])}) == [a, b, c]
    outputs = run(lambda x: {"same": x, "pair": (x + 1, x * 2)}, [torch.ones(1), torch.zeros(2)])
    assert list(outputs) == ["0.0", "0.1", "0.2", "1.0", "1.1", "1.2"]
    assert outputs["1.1"].tolist() == [1, 1]


def test_a_batch_that_can_vary_is_checked_on_sizes_that_were_not_traced():
    subject = subject_of(torch.nn.Linear(3, 2), torch.randn(2, 3))
    assert [len(batch) for batch in subject.batches] == [1, 3] and subject.fixed == ""
    assert len(subject.smallest) == 1


@pytest.mark.parametrize("how", ["file", "module"])
def test_a_check_finds_modules_and_runs_nothing_else_of_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    Path("sitecustomize.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    Path("found_there.py").write_text("import sys, shutil\nshutil.copy(*sys.argv[1:])\n")
    command = ["found_there.py"] if how == "file" else ["-m", "found_there"]
    found = run_fresh("it", lambda given, wanted: [*command, given, wanted], {"0": torch.ones(2)})
    assert found["0"].tolist() == [1, 1]
    assert not Path("ran").exists()
    assert "AUTOPRUNE_MODULE_PATHS" not in os.environ
