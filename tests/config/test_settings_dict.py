"""The settings as keyword arguments are those of Config, and a type checker knows them."""

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath
from typing import Any, Unpack, get_type_hints

import pytest
from torch import nn

import autoprune
from autoprune import Config
from autoprune.config.override import overridden
from autoprune.config.settings_dict import SettingsDict
from autoprune.errors import BudgetError, ConfigError
from autoprune.workflows.search_arguments import settings_of

ARGUMENTS = {"model", "data", "budget", "storage"}
"""Fields that functions take as arguments of their own."""
PATHS = {"weights", "criterion"}
ROOT = Path(autoprune.__file__).parent


def as_argument(name: str, kind: Any) -> Any:
    """The type that an argument for a field of this type may have."""
    if kind == tuple[str, ...]:
        return str | Sequence[str]
    return kind | PurePath if name in PATHS else kind


def test_every_field_is_a_keyword_argument_of_its_type() -> None:
    fields = {name: kind for name, kind in get_type_hints(Config).items() if name in Config.model_fields}
    assert set(fields) == set(Config.model_fields)
    expected = {name: as_argument(name, kind) for name, kind in fields.items() if name not in ARGUMENTS}
    assert get_type_hints(SettingsDict) == expected
    assert not SettingsDict.__required_keys__
    assert set(inspect.signature(autoprune.search).parameters) >= ARGUMENTS


@pytest.mark.parametrize(
    "function", [autoprune.search, autoprune.inspect, autoprune.measure, autoprune.open_study]
)
def test_functions_take_these_settings(function: Callable[..., object]) -> None:
    taken = [p for p in inspect.signature(function).parameters.values() if p.kind is p.VAR_KEYWORD]
    assert [p.annotation for p in taken] == ["Unpack[SettingsDict]"]
    assert function.__globals__["SettingsDict"] is SettingsDict
    assert function.__globals__["Unpack"] is Unpack


MISTAKES = """
import autoprune
from torch import nn

def tried(m: nn.Module, d: autoprune.Data) -> None:
    autoprune.search(m, d, trials=3, lr=0.1, skip=["a"], config=autoprune.Config())
    autoprune.search(m, d, trails=3)
    autoprune.search(m, d, lr="0.1")
    autoprune.search(m, d, sampler="tbe")
    autoprune.inspect(m, depht=True)
    autoprune.open_study("a.db").fornt()
"""
SHALLOW = """
[mypy]
strict = true
follow_imports = skip
ignore_missing_imports = true
[mypy-autoprune,autoprune.api.*,autoprune.config.settings_dict]
follow_imports = normal
ignore_errors = true
"""
"""Nothing but the public functions is read: a second in place of minutes."""


def test_a_type_checker_finds_wrong_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    api = pytest.importorskip("mypy.api")
    monkeypatch.setenv("MYPYPATH", str(ROOT.parent))
    (tmp_path / "mypy.ini").write_text(SHALLOW)
    (tmp_path / "tried.py").write_text(MISTAKES)
    monkeypatch.chdir(tmp_path)
    options = ["--config-file=mypy.ini", "--no-incremental", "--no-site-packages", "tried.py"]
    out, trouble, code = api.run(options)
    found = [line for line in out.splitlines() if ": error:" in line]
    assert code == 1 and not trouble, out + trouble
    assert [int(line.split(":")[1]) for line in found] == [7, 8, 9, 10, 11], out
    assert '"trails"' in found[0] and '"depht"' in found[3] and '"fornt"' in found[4]


def test_arguments_replace_the_settings_of_a_config() -> None:
    base = Config(model="a.py:net", data="digits", lr=0.5, budget=("flops=50%", "time=1h"), skip=("a", "b"))
    config = overridden(base, {"lr": 0.1, "budget": ["flops=30%"], "skip": (), "seed": None})
    assert (config.lr, config.budget, config.skip) == (0.1, ("flops=30%", "time=1h"), ())
    assert (config.model, config.data, config.seed) == ("a.py:net", "digits", 0)
    assert overridden(base, {}) == base
    with pytest.raises(ConfigError, match="unknown setting 'lrr', did you mean lr"):
        overridden(base, {"lrr": 0.1})
    with pytest.raises(BudgetError, match="flops"):
        overridden(base, {"budget": ["flops=fifty"]})


def test_a_search_takes_a_config_and_arguments_over_it(tmp_path: Path) -> None:
    base = Config(lr=0.5, storage="sqlite:///a.db", budget=("flops=50%", "trials=9"))
    assert "data" not in base.model_fields_set
    network = nn.Linear(2, 2)
    config = settings_of(network, {"train": 1}, "trials=3", None, None, "b", {"seed": 1}, base)
    assert (config.lr, config.seed, config.study, config.storage) == (0.5, 1, "b", "sqlite:///a.db")
    assert config.budget == ("flops=50%", "trials=3")
    # Objects take the place of texts, and no data stand in for a model's that were not given.
    assert (config.model, config.data) == (None, None)
    named = Config(model="a.py:net", data="imagefolder:photos")
    config = settings_of(network, None, (), None, None, None, {}, named)
    assert (config.model, config.data) == (None, "imagefolder:photos")
    assert settings_of(network, None, (), None, None, None, {}, Config()).data is None
    assert settings_of(None, None, (), None, None, None, {}, Config()).data == "digits"
