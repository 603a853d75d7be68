from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import optuna
import pytest
import torchvision

from autoprune import criteria
from autoprune.cli import completion
from autoprune.config.references import PROGRAM
from autoprune.config.settings import Config
from autoprune.cost.latency.runtimes import RUNTIMES
from autoprune.export import FORMATS
from autoprune.tasks.datasets.sources import NAMED
from autoprune.tasks.metrics import _KNOWN


def complete(*words: str) -> list[str]:
    """What a shell would be offered after these words, the last of which is incomplete."""
    environment = {
        **os.environ,
        "_AUTOPRUNE_COMPLETE": "complete_bash",
        "COMP_WORDS": "\n".join(("autoprune", *words)),
        "COMP_CWORD": str(len(words)),
    }
    code = "import sys; from autoprune.cli import main; sys.argv[0] = 'autoprune'; main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    return done.stdout.split()


def test_commands_flags_and_values_are_completed() -> None:
    assert "search" in complete("se")
    assert "--criterion" in complete("search", "--crit")
    assert complete("search", "--criterion", "tay") == ["taylor"]
    assert complete("search", "--runtime", "onnx") == ["onnxruntime"]
    assert complete("search", "--sampler", "nsga") == ["nsga2", "nsga3"]


def test_a_flag_that_the_short_help_leaves_out_is_completed() -> None:
    assert complete("search", "--distill-f") == ["--distill-features"]


def test_models_of_torchvision_are_those_that_it_registers() -> None:
    registered = torchvision.models.list_models(module=torchvision.models)
    assert completion.model_names("torchvision") == sorted(registered)


def test_models_of_timm_are_those_that_it_registers() -> None:
    timm = pytest.importorskip("timm")
    assert set(completion.model_names("timm")) <= set(timm.list_models()) | {"vit_small"}
    assert len(completion.model_names("timm")) > 0.95 * len(timm.list_models())


def test_models_are_completed_by_library_and_from_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("toy.py").touch()
    assert completion.model("t") == ["timm:", "torchvision:", "toy.py:"]
    assert completion.model("torchvision:resnet18") == ["torchvision:resnet18"]
    assert completion.model("unknown:res") == []


def test_studies_are_those_of_the_storage(tmp_path: Path) -> None:
    storage = f"sqlite:///{tmp_path}/some.db"
    for name in ("first", "second"):
        optuna.create_study(study_name=name, storage=storage)
    # The shell would run it, or read two words.
    for name in ("$(touch X)", "a b", "`id`"):
        optuna.create_study(study_name=name, storage=storage)
    assert complete("front", "--storage", storage, "--study", "") == ["first", "second"]
    assert complete("front", "--storage", f"sqlite:///{tmp_path}/none.db", "--study", "") == []
    assert not (tmp_path / "none.db").exists()


def test_the_words_are_those_that_the_package_knows() -> None:
    assert set(completion.CRITERIA) == set(criteria.names())
    assert set(completion.RUNTIMES) == {*RUNTIMES, PROGRAM}
    assert set(completion.FORMATS) == set(FORMATS)
    assert set(completion.DATA) == {"digits", "imagefolder:", *NAMED}
    assert set(completion.METRICS) == {"top5", *(metric for known in _KNOWN.values() for metric in known)}


def test_each_choice_of_a_setting_is_completed() -> None:
    for name in Config.model_fields:
        assert completion.completer(name) or name not in (
            "model",
            "shared",
            "space",
            "augment",
            "latency_dtype",
        )
