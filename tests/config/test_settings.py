from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoprune.config.settings import GIVEN_IN_PYTHON, Config, load_config, located
from autoprune.errors import BudgetError, ConfigError, DataError
from autoprune.tasks import load_data

# Time limits would fail on a busy machine.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def _study(folder: Path, text: str) -> Path:
    file = folder / "study.toml"
    file.write_text(text, encoding="utf-8")
    return file


def test_defaults() -> None:
    config = load_config(None, {})
    assert config == Config()
    assert (config.data, config.sampler, config.criterion, config.distill) == ("digits", "auto", "l2", 0.5)
    assert config.model is None


def test_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        Config().seed = 3


def test_file_takes_dashes_underscores_and_a_budget_as_text_or_list(tmp_path: Path) -> None:
    config = load_config(
        _study(tmp_path, 'batch-size = 32\nfinetune_steps = 10\nlr = 1\nbudget = "latency=50%,30m"\n'), {}
    )
    assert (config.batch_size, config.finetune_steps, config.lr) == (32, 10, 1.0)
    assert config.budget == ("latency=50%,30m",)
    listed = load_config(_study(tmp_path, 'budget = ["latency=50%", "200"]\n'), {})
    assert listed.budget == ("latency=50%", "200")


def test_overrides_win_and_none_is_not_given(tmp_path: Path) -> None:
    file = _study(tmp_path, "seed = 1\nbatch-size = 32\n")
    config = load_config(file, {"seed": 2, "batch_size": None, "budget": ["50%"], "train-epochs": 3})
    assert (config.seed, config.batch_size, config.budget, config.train_epochs) == (2, 32, ("50%",), 3)


def test_paths_that_exist_beside_the_file_start_there(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").touch()
    (tmp_path / "nets.py").touch()
    (tmp_path / "photos").mkdir()
    text = 'weights = "w.safetensors"\nmodel = "nets.py:small"\n'
    text += 'data = "imagefolder:./photos"\ncriterion = "nets.py:rank"\n'
    config = load_config(_study(tmp_path, text), {})
    assert config.weights == str(tmp_path / "w.safetensors")
    assert config.model == f"{tmp_path / 'nets.py'}:small"
    assert config.data == f"imagefolder:{tmp_path / 'photos'}"
    assert config.criterion == f"{tmp_path / 'nets.py'}:rank"
    config = load_config(_study(tmp_path, 'data = "imagefolder:photos,size=64"\n'), {})
    assert config.data == f"imagefolder:{tmp_path / 'photos'},size=64"


@pytest.mark.parametrize("entry", ["", ":ema"])
def test_the_entry_of_a_checkpoint_stays_behind_its_path(tmp_path: Path, entry: str) -> None:
    (tmp_path / "w.ckpt").touch()
    config = load_config(_study(tmp_path, f'weights = "w.ckpt{entry}"\n'), {})
    assert config.weights == f"{tmp_path / 'w.ckpt'}{entry}"
    assert located(load_config(None, {"weights": f"w.ckpt{entry}"}), tmp_path) == {"weights": config.weights}
    assert load_config(_study(tmp_path, config.to_toml()), {}) == config


def test_nothing_stands_in_for_objects_when_settings_are_read_back(tmp_path: Path) -> None:
    config = load_config(None, {}).model_copy(update={"data": None})
    again = load_config(_study(tmp_path, config.to_toml()), {})
    assert again.data == GIVEN_IN_PYTHON
    with pytest.raises(DataError, match=r"unknown data 'given in Python'.* use digits, "):
        load_data(GIVEN_IN_PYTHON)


def test_other_paths_and_overrides_stay_as_they_are(tmp_path: Path) -> None:
    (tmp_path / "digits").mkdir()
    (tmp_path / "resnet18").mkdir()
    (tmp_path / "w.pt").touch()
    text = 'weights = "gone.pt"\nmodel = "torchvision:resnet18"\ndata = "nets.py:data"\n'
    file = _study(tmp_path, text)
    config = load_config(file, {})
    assert (config.weights, config.model, config.data) == ("gone.pt", "torchvision:resnet18", "nets.py:data")
    assert load_config(file, {"data": "digits"}).data == "digits"
    assert load_config(file, {"weights": "w.pt"}).weights == "w.pt"


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("samplr = 'tpe'", ["unknown setting 'samplr'", "did you mean sampler?"]),
        ("zzz = 1", ["unknown setting 'zzz'", "there are model, weights, data"]),
        ("space = 'sparsity'\ncoefficients = 'affine'", ["the space sparsity has no coefficients"]),
        ("[search]\nseed = 1", ["unknown setting 'search'"]),
        ("sampler = 'tpee'", ["sampler", "auto, gp, tpe, nsga2, nsga3, random", "did you mean tpe?"]),
        ("seed = -1", ["seed = -1", "greater than or equal to 0"]),
        ("min-density = 0.0", ["min_density = 0.0", "greater than 0"]),
        ("distill = 1.5", ["distill", "less than or equal to 1"]),
        ("label_smoothing = 1.0", ["label_smoothing", "less than 1"]),
        ("lr = nan", ["lr = nan", "finite"]),
        ("weight_decay = inf", ["weight_decay", "finite"]),
        ("batch_size = 1.5", ["batch_size = 1.5", "valid integer"]),
        ("batch_size = true", ["batch_size = True", "valid integer"]),
        ("batch_size = 0\nseed = -1", ["(and 1 more)"]),
        ("latency = 'yes'", ["latency", "valid boolean"]),
        ("model = ''", ["model", "at least 1 character"]),
        ("budget = 3", ["budget = 3", "'latency=50%'"]),
        ("budget = [1]", ["budget", "list of such strings"]),
        ("seed = 1\nseed = 2", ["not valid TOML", "overwrite a value"]),
        ("batch-size = 1\nbatch_size = 2", ["batch_size is given twice"]),
    ],
)
def test_errors_name_file_key_and_what_is_allowed(tmp_path: Path, text: str, parts: list[str]) -> None:
    file = _study(tmp_path, text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    line = str(caught.value)
    assert line.startswith(f"{file}: ")
    assert "\n" not in line
    for part in parts:
        assert part in line


def test_error_of_an_override_does_not_blame_the_file(tmp_path: Path) -> None:
    file = _study(tmp_path, "seed = 1\n")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {"sampler": "gpp"})
    assert str(caught.value).startswith("sampler = 'gpp'")


def test_budget_in_a_file_is_checked(tmp_path: Path) -> None:
    file = _study(tmp_path, 'budget = "latncy=2ms"\n')
    with pytest.raises(BudgetError, match="did you mean latency") as caught:
        load_config(file, {})
    assert str(caught.value).startswith(f"{file}: ")


def test_missing_unreadable_and_binary_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        load_config(tmp_path / "gone.toml", {})
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path, {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="UTF-8"):
        load_config(tmp_path / "binary.toml", {})


_settings = st.fixed_dictionaries(
    {},
    optional={
        "model": st.text(st.characters(exclude_categories=["Cs"]), min_size=1),
        "budget": st.sampled_from([(), ("50%",), ("latency=2ms", "30m")]),
        "sampler": st.sampled_from(["gp", "nsga2"]),
        "seed": st.integers(0, 2**32 - 1),
        "lr": st.floats(min_value=0, exclude_min=True, allow_infinity=False),
        "distill": st.floats(0, 1),
        "latency": st.booleans(),
        "threads": st.none() | st.integers(1, 64),
    },
)


@patient
@given(_settings)
def test_toml_round_trip(tmp_path_factory: pytest.TempPathFactory, given_settings: dict[str, Any]) -> None:
    config = Config(**given_settings)
    file = _study(tmp_path_factory.mktemp("study"), config.to_toml())
    assert load_config(file, {}) == config


def test_a_budget_given_replaces_the_limits_of_the_file_that_it_names(tmp_path: Path) -> None:
    notes: list[str] = []
    file = _study(tmp_path, 'budget = ["flops=50%,params=1M", "time=30m"]\n')
    merged = load_config(file, {"budget": ["4", "latency=2ms"]}, notes.append)
    assert merged.budget == ("flops=50%", "params=1M", "time=30m", "4", "latency=2ms")
    assert notes == []
    replaced = load_config(file, {"budget": ["40%", "1800s,trials=4"]}, notes.append)
    assert replaced.budget == ("40%", "params=1M", "1800s", "trials=4")
    assert notes == [f"the budget 40% replaces flops=50% of {file}"]
    assert load_config(file, {"lr": 0.1}, notes.append).budget == ("flops=50%,params=1M", "time=30m")


def test_a_bad_budget_of_the_file_is_told_though_another_is_given(tmp_path: Path) -> None:
    with pytest.raises(BudgetError, match=r"^.*study\.toml: budget 'flops=half'"):
        load_config(_study(tmp_path, 'budget = "flops=half"\n'), {"budget": ["trials=4"]})
    with pytest.raises(BudgetError, match=r"^budget 'flops=half'"):
        load_config(_study(tmp_path, 'budget = "flops=50%"\n'), {"budget": ["flops=half"]})


@pytest.mark.parametrize("key", ["skip", "only", "mix", "objective"])
def test_a_list_given_replaces_that_of_the_file_and_says_so(tmp_path: Path, key: str) -> None:
    notes: list[str] = []
    file = _study(tmp_path, f'{key} = ["l1", "f1"]\n')
    assert getattr(load_config(file, {key: ["l2"]}, notes.append), key) == ("l2",)
    assert notes == [f"{key} = ['l2'] replaces ['l1', 'f1'] of {file}"]
    assert getattr(load_config(file, {}, notes.append), key) == ("l1", "f1")
    assert getattr(load_config(_study(tmp_path, f'{key} = "l1"\n'), {}), key) == ("l1",)
    assert len(notes) == 1


def test_no_data_stand_in_where_a_model_is_given(tmp_path: Path) -> None:
    assert load_config(_study(tmp_path, 'model = "torchvision:resnet18"\n'), {}).data is None
    assert load_config(_study(tmp_path, "lr = 0.1\n"), {"model": "torchvision:resnet18"}).data is None
    assert load_config(_study(tmp_path, "lr = 0.1\n"), {}).data == "digits"
