"""A search of the LSTM that goes with ``language-id``, on five short lists of words."""

from pathlib import Path

import pytest

from autoprune.config.settings import load_config
from autoprune.pruning_search import create_study, prepare, run, trial_model
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review import Listener
from autoprune.structure.surgery.slim.recurrent import LayeredLSTM

ENDINGS = {
    "american-english": "ing",
    "french": "eaux",
    "ngerman": "ung",
    "italian": "zione",
    "spanish": "ción",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, ending in ENDINGS.items():
        words = [a + b + c + ending for a in "abcd" for b in "efgh" for c in "ijk"]
        (tmp_path / name).write_text("\n".join(words), encoding="utf-8")
    return tmp_path


def test_the_embedded_model_is_trained_searched_and_cut_layer_by_layer(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTOPRUNE_CACHE", str(tmp_path / "cache"))
    settings = {
        "data": f"language-id:{folder}",
        "storage": f"sqlite:///{tmp_path}/study.db",
        "budget": ("flops=50%", "trials=6"),
        "sampler": "random",
        "finetune_steps": 3,
        "calibration_batches": 1,
        "latency": False,
    }
    problem = prepare(load_config(None, settings), Listener())
    assert problem.subject.name == "autoprune.tasks.zoo:letter_lstm"
    assert {group.name: group.kind for group in problem.structure.groups} == {
        "embedding": "channels",
        "lstm": "hidden",
        "lstm#2": "hidden",
    }
    study = create_study(problem)
    run(problem, study, WeightStore(tmp_path / "weights"), Listener())
    finished = [trial for trial in study.trials if trial.values]
    assert len(finished) >= 6
    cut = [trial for trial in finished if trial.user_attrs["flops_ratio"] <= 0.5]
    assert len(cut) >= 5
    unequal = [t for t in cut if t.user_attrs["widths"]["lstm"] != t.user_attrs["widths"]["lstm#2"]]
    model, _ = trial_model(problem, unequal[0], WeightStore(tmp_path / "weights"))
    assert isinstance(model.lstm, LayeredLSTM)
