import re
from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch

from autoprune.api import Study
from autoprune.config.settings import load_config
from autoprune.errors import ConfigError
from autoprune.pruning_search.finish.finetune_longer import recover_longer
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.review import Listener
from autoprune.tasks import Data, evaluate
from autoprune.tasks.datasets.augment import augmented
from autoprune.tasks.devices import device_named, on_device

Make = Callable[..., Study]


class Stopping(Listener):
    """Stops what it listens to once it is half done."""

    def progress(self, fraction: float, detail: str = "") -> None:
        if fraction >= 0.5:
            raise KeyboardInterrupt


def test_a_chosen_model_is_recovered_for_longer_and_its_card_says_so(
    make_study: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("autoprune.recovery.training.checkpoint.EVERY_SECONDS", 0.0)
    monkeypatch.setattr("autoprune.recovery.training.checkpoint.MOST_SHARE", 1e9)
    study = make_study(budget=("flops=30%", "trials=2"), finetune_steps=2)
    problem = study.problem
    plan = problem.pruning.plan(study.best().user_attrs["widths"])

    whole = study.model()
    longer = recover_longer(problem, whole, plan, "60steps", tmp_path / "whole", Listener())
    assert longer.steps == 60
    assert longer.quality > longer.before
    assert longer.quality == evaluate(whole, problem.splits.selection, problem.data.task).value

    with pytest.raises(KeyboardInterrupt):
        study.export(to=tmp_path / "out", formats=["state"], finetune="60steps", listener=Stopping())
    study.export(to=tmp_path / "out", formats=["state"], finetune="60steps")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "fine-tuned for 60 steps more" in card
    assert f"from {longer.before:.4f} to {longer.quality:.4f}" in card
    resumed = study.model()
    again = recover_longer(
        problem,
        resumed,
        plan,
        "60steps",
        WeightStore.beside(problem.config.storage, study.optuna.study_name).folder,
        Listener(),
    )
    assert again == longer or (again.quality, again.test) == (longer.quality, longer.test)
    pairs = zip(whole.state_dict().values(), resumed.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


@pytest.fixture
def untrained(make_study: Make) -> Study:
    """A study of small models that nothing was done for but compensation."""
    return make_study(budget=("flops=30%", "trials=1"), finetune_steps=0)


def test_a_chosen_model_is_rebuilt_and_trained_on_from_that(untrained: Study, tmp_path: Path) -> None:
    def exported(**settings: str) -> tuple[dict[str, torch.Tensor], str]:
        (state,) = untrained.export(to=tmp_path, formats=["state"], rebuild=True, **settings)
        return safetensors.torch.load_file(state.path), (tmp_path / "README.md").read_text()

    weights, card = exported()
    assert re.search(r"was rebuilt layer by layer: accuracy on validation data went from 0\.\d+ to 0\.", card)
    assert any(
        not torch.equal(value, weights[name]) for name, value in untrained.model().state_dict().items()
    )
    trained, card = exported(finetune="5steps")
    assert "rebuilt layer by layer, then fine-tuned for 5 steps" in card
    assert any(not torch.equal(value, weights[name]) for name, value in trained.items())


def test_rounds_and_rebuilding_exclude_each_other(untrained: Study, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--gradual or --rebuild"):
        untrained.export(to=tmp_path, formats=["state"], finetune="9steps", gradual=3, rebuild=True)


def test_augmentation_takes_the_place_of_the_data_sets_own(digits: Data) -> None:
    assert augmented(digits, "data") is digits
    assert augmented(digits, "none").train.augment is None  # type: ignore[attr-defined]
    shifted = augmented(digits, "shift-flip").train.augment  # type: ignore[attr-defined]
    assert (shifted.padding, shifted.flip) == (1, True)


def test_devices() -> None:
    cpu = torch.device("cpu")
    assert device_named("cpu") == cpu
    model = torch.nn.Linear(2, 2)
    assert on_device(model, cpu) is model
    with pytest.raises(ConfigError, match="use auto, cpu, cuda or cuda:N"):
        device_named("tpu")
    if not torch.cuda.is_available():
        assert device_named("auto") == cpu
        with pytest.raises(ConfigError, match="use --device cpu"):
            device_named("cuda:3")


def test_the_new_settings_are_read() -> None:
    config = load_config(
        None, {"precision": "bf16", "augment": "shift", "clip": 1.0, "early_stopping": False}
    )
    assert (config.precision, config.augment, config.clip, config.early_stopping) == (
        "bf16",
        "shift",
        1.0,
        False,
    )
    with pytest.raises(ConfigError, match="use one of auto, float32, bf16"):
        load_config(None, {"precision": "int8"})
