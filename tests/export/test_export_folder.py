from __future__ import annotations

import copy
import resource
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from small_export_net import FixedBatch, cut_every_group
from torch import nn

from autoprune.errors import ExportError, PlanError, UserError
from autoprune.export import ExportCandidate, export_candidate
from autoprune.export.formats import CHECKS
from autoprune.structure import Plan


@pytest.fixture
def unnamed(candidate):
    """Checked in this process, which is quick."""
    return replace(candidate, spec=None)


def test_other_files_stay_and_own_files_are_replaced(unnamed, card, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "model.onnx").write_text("of an earlier export")
    (tmp_path / "config.toml").write_text("old")
    export_candidate(unnamed, card, "new = 1\n", tmp_path, ["state"])
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert (tmp_path / "config.toml").read_text() == "new = 1\n"
    assert (tmp_path / "model.onnx").read_text() == "of an earlier export"
    assert (
        "`model.onnx` is from an earlier export and not part of this one"
        in (tmp_path / "README.md").read_text()
    )


def test_a_failed_export_leaves_the_earlier_one_as_it_was(unnamed, card, tmp_path):
    export_candidate(unnamed, card, "", tmp_path, ["state"])
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    wrong = replace(unnamed, plan=Plan({"nowhere": (0, 1)}))
    with pytest.raises(PlanError, match="'nowhere'"):
        export_candidate(wrong, card, "other", tmp_path, ["state"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_failed_first_export_leaves_no_folder(unnamed, card, tmp_path):
    wrong = replace(unnamed, base=FixedBatch())
    with pytest.raises(UserError):
        export_candidate(wrong, card, "", tmp_path / "out", ["state"])
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("below", ["", "deeper"])
def test_a_file_in_the_way(unnamed, card, tmp_path, below):
    (tmp_path / "out").write_text("a file")
    with pytest.raises(UserError, match="not a folder but a file: choose another folder"):
        export_candidate(unnamed, card, "", tmp_path / "out" / below, ["state"])
    assert (tmp_path / "out").read_text() == "a file"


@pytest.mark.parametrize("name", ["state", "pt2"])
def test_a_disk_that_takes_no_more_is_one_line(unnamed, card, tmp_path, name):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2048, hard))
    try:
        with pytest.raises(
            ExportError, match=r"^cannot write .*out \(File too large\): free some space or choose"
        ):
            export_candidate(unnamed, card, "", tmp_path / "out", [name])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (tmp_path / "out").exists()


def test_a_check_says_on_its_last_line_what_failed(export):
    done = subprocess.run(
        [sys.executable, "-B", "-P", CHECKS / "run_onnx.py", export.folder / "model.onnx", "none", "none"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0 and "No such file" in done.stderr.splitlines()[-1]


def test_double_precision(unnamed, card, tmp_path):
    model, base = copy.deepcopy(unnamed.model).double(), copy.deepcopy(unnamed.base).double()
    double = replace(unnamed, model=model, base=base, example=unnamed.example.double())
    (state,) = export_candidate(double, card, "", tmp_path, ["state"])
    assert state.max_difference == 0
    assert "dtype=torch.float64" in (tmp_path / "README.md").read_text()


def test_integer_inputs(card, tmp_path):
    torch.manual_seed(0)
    base = nn.Sequential(nn.Embedding(10, 8), nn.Flatten(), nn.Linear(24, 6), nn.ReLU(), nn.Linear(6, 2))
    example = torch.randint(0, 10, (2, 3))
    model, plan = cut_every_group(base, example)
    export_candidate(ExportCandidate(model, plan, base, None, None, example), card, "", tmp_path, ["state"])
    assert "torch.zeros(1, 3, dtype=torch.int64)" in (tmp_path / "README.md").read_text()
