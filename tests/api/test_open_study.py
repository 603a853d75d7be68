"""Recorded studies are opened to be read, and with model and data for everything else."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import autoprune
from autoprune.errors import ArgumentError, ConfigError, StudyError, TrustError

QUICK: dict[str, Any] = {"trials": 2, "latency": False, "finetune_steps": 1, "calibration_batches": 1}
SPLIT = (torch.randn(64, 20, generator=torch.Generator().manual_seed(0)), torch.arange(64) % 2)
DATA = {"train": SPLIT, "validation": SPLIT, "test": SPLIT}


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file with the study ``python`` of objects."""
    file = tmp_path_factory.mktemp("open") / "a.db"
    autoprune.search(network(), DATA, budget="flops=80%", storage=file, name="python", **QUICK)
    return file


def test_a_study_of_objects_is_read_without_them(storage: Path, tmp_path: Path) -> None:
    study = autoprune.open_study(storage)
    assert study.optuna.study_name == "python"
    assert list(study.front()["trial"]) and study.best().values
    assert [learned.group for learned in study.explain().groups] == ["0"]
    assert "front-flops" in study.plot()
    study.report(tmp_path / "report.html")
    assert "python" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize("method", ["model", "criterion", "export"])
def test_what_needs_the_objects_says_so(storage: Path, method: str) -> None:
    study = autoprune.open_study(storage, "python")
    expected = "was made in Python from a Sequential: give its model and data to autoprune.open_study"
    with pytest.raises(StudyError, match=expected):
        getattr(study, method)()
    with pytest.raises(StudyError, match="a Sequential: give its data to"):
        getattr(autoprune.open_study(storage, model=network()), method)()
    with pytest.raises(StudyError, match="a Sequential: give its model to"):
        getattr(autoprune.open_study(storage, data=DATA), method)()


def test_with_its_objects_a_study_gives_its_models(storage: Path, tmp_path: Path) -> None:
    study = autoprune.open_study(storage, "python", model=network(), data=DATA)
    assert study.model("best")[0].out_features < 8
    assert [item.format for item in study.export("best", "state", to=tmp_path)] == ["state"]
    other = autoprune.open_study(storage, "python", model=network(1), data=DATA)
    with pytest.raises(StudyError, match="are not those that study 'python' pruned"):
        other.model()
    assert list(other.front()["trial"])


def test_wrong_arguments_are_named(storage: Path) -> None:
    with pytest.raises(StudyError, match=r"there is no study 'pyhton' in .*, did you mean python"):
        autoprune.open_study(storage, "pyhton")
    with pytest.raises(ArgumentError, match=r"^model is a dict"):
        autoprune.open_study(storage, model={})  # type: ignore[arg-type]
    with pytest.raises(ArgumentError, match=r"^storage is an int"):
        autoprune.open_study(3)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="unknown setting 'lrr'"):
        autoprune.open_study(storage, model=network(), data=DATA, lrr=1).model()  # type: ignore[call-arg]


def test_user_code_runs_only_when_it_is_named_or_trusted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text(
        "import torch\nfrom pathlib import Path\n"
        "def score(context):\n"
        "    Path('ran').touch()\n"
        "    return {g.name: torch.arange(float(g.width)) for g in context.structure.groups}\n"
    )
    autoprune.search(network(), DATA, budget="flops=80%", storage="b.db", criterion="own.py:score", **QUICK)
    (tmp_path / "ran").unlink()
    study = autoprune.open_study("b.db", model=network(), data=DATA)
    assert list(study.front()["trial"]) and repr(study)
    with pytest.raises(TrustError, match=r"names user code \(criterion 'own\.py:score'\)"):
        study.model()
    assert not (tmp_path / "ran").exists()
    for given in ({"trust": True}, {"criterion": "own.py:score"}):
        opened = autoprune.open_study("b.db", model=network(), data=DATA, **given)  # type: ignore[arg-type]
        assert opened.model()[0].out_features < 8


def test_a_study_shows_itself_in_a_few_lines(storage: Path) -> None:
    study = autoprune.open_study(storage)
    text = repr(study)
    assert len(text) < 1000
    assert text.startswith("Study python\n")
    for part in ("model     Sequential", "budget    flops", "2 trials", "best      trial "):
        assert part in text
    assert f"front     {len(study.front())} trial" in text
    assert study._repr_html_().count("<table>") == 1


def test_a_study_that_cannot_be_shown_says_why(tmp_path: Path) -> None:
    import optuna

    from autoprune.api.study import Recorded, Study

    def build() -> Any:
        raise AssertionError

    strange = Study(optuna.create_study(study_name="<b>"), Recorded("a.db", build))
    assert repr(strange).startswith("Study: study '<b>' was not made by autoprune")
