"""The settings of a search: defaults, bounds, and study files in TOML."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from autoprune.budget import parse_budget
from autoprune.errors import BudgetError, ConfigError

Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1)]

_FOLDER_DATA = ("imagefolder", "fashion-mnist", "mnist", "cifar10")
_SHOWN = 60


class Config(BaseModel):
    """Settings of a search; each has the name of its command-line flag, with ``_`` for ``-``.

    Attributes:
        model: ``torchvision:NAME``, ``timm:NAME``, ``package.module:factory`` or ``path/file.py:factory``;
            None means the data set's own default.
        weights: a ``.safetensors`` or ``.pt`` state dict.
        data: name of a data set, ``imagefolder:ROOT`` or a factory like ``model``.
        budget: texts for :func:`autoprune.budget.parse_budget`.
        storage: an Optuna storage.
        study: name of the study; None derives it from the model and the data.
        space: how a trial is parametrised.
        sampler: which Optuna sampler suggests; ``auto`` chooses by the number of groups and trials.
        criterion: what ranks the units of a group.
        seed: seed of everything random.
        finetune_steps: optimizer steps of recovery for each candidate; None means 150, on small data
            what five epochs take.
        optimizer: optimizer of recovery.
        lr: its peak learning rate.
        weight_decay: its weight decay.
        batch_size: samples a step of recovery.
        distill: weight of the uncut model's outputs in the recovery loss, 0 to 1.
        label_smoothing: share of label mass spread over all classes.
        train_epochs: epochs of training a model that comes without weights; 0 means none.
        train_lr: peak learning rate of that training.
        train_batch_size: samples a step of that training.
        calibration_batches: batches for criteria and BatchNorm statistics.
        min_density: smallest share of units kept in a group.
        latency: whether to measure latency.
        latency_batch: samples in the batch whose latency is measured.
        latency_seconds: most seconds that one measurement may take.
        threads: CPU threads; None leaves PyTorch's choice.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: Text | None = None
    weights: Text | None = None
    data: Text = "digits"
    budget: tuple[str, ...] = ()
    storage: Text = "sqlite:///autoprune.db"
    study: Text | None = None
    space: Literal["sparsity"] = "sparsity"
    sampler: Literal["auto", "gp", "tpe", "nsga2", "nsga3", "random"] = "auto"
    criterion: Text = "l2"
    seed: int = Field(0, ge=0, lt=2**32)
    finetune_steps: Count | None = None
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Rate = 0.02
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False)
    batch_size: Positive = 128
    distill: float = Field(0.5, ge=0, le=1)
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    train_epochs: Count = 0
    train_lr: Rate = 0.2
    train_batch_size: Positive = 128
    calibration_batches: Positive = 8
    min_density: float = Field(0.1, gt=0, le=1)
    latency: bool = True
    latency_batch: Positive = 1
    latency_seconds: Rate = 0.5
    threads: Positive | None = None

    @field_validator("budget", mode="before")
    @classmethod
    def _read_budget(cls, value: object) -> object:
        if isinstance(value, str):
            value = (value,)
        if isinstance(value, list):
            value = tuple(value)
        if not isinstance(value, tuple) or not all(isinstance(text, str) for text in value):
            raise ValueError("use a text such as 'latency=50%' or a list of such texts")
        parse_budget(value)
        return value

    def to_toml(self) -> str:
        """A study file that :func:`load_config` reads back as an equal config."""
        settings = self.model_dump(exclude_none=True)
        return tomli_w.dumps({**settings, "budget": list(self.budget)})


def load_config(path: Path | None, overrides: Mapping[str, Any]) -> Config:
    """Settings of a study file, if any, with ``overrides`` on top; an override of None means not given.

    Relative paths in the file are taken from the file's folder when they exist there, otherwise
    they stay as they are.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value out of bounds.
        BudgetError: a budget that cannot be read.
    """
    in_file = {} if path is None else _read(path)
    given = {key.replace("-", "_"): value for key, value in overrides.items() if value is not None}
    try:
        return Config.model_validate({**in_file, **given})
    except BudgetError as error:
        raise BudgetError(_place(path, "budget" in given, str(error))) from None
    except ValidationError as error:
        (first, *others) = error.errors(include_url=False)
        key = str(first["loc"][0])
        more = f" (and {len(others)} more)" if others else ""
        raise ConfigError(_place(path, key in given, _explain(key, first) + more)) from None


def _read(path: Path) -> dict[str, Any]:
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"study file {path} does not exist: give the path of a TOML file") from None
    except OSError as error:
        raise ConfigError(f"study file {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: not a text file in UTF-8: give a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from None
    settings: dict[str, Any] = {}
    for key, value in content.items():
        name = key.replace("-", "_")
        if name in settings:
            raise ConfigError(f"{path}: {name} is given twice, with - and with _: keep one of them")
        settings[name] = _from_folder(name, value, path.parent)
    return settings


def _from_folder(key: str, value: Any, folder: Path) -> Any:
    """The setting with its path, if it holds one that exists under ``folder``, made to start there."""
    if not isinstance(value, str):
        return value
    if key == "weights":
        return _existing(value, folder)
    file, colon, name = value.rpartition(":")
    if key in ("model", "data", "criterion") and file.endswith(".py"):
        return _existing(file, folder) + colon + name
    kind, colon, root = value.partition(":")
    if key == "data" and kind in _FOLDER_DATA and root:
        return kind + colon + _existing(root, folder)
    return value


def _existing(text: str, folder: Path) -> str:
    beside = folder / text
    return str(beside) if beside.exists() else text


def _place(path: Path | None, overridden: bool, message: str) -> str:
    return message if path is None or overridden else f"{path}: {message}"


def _explain(key: str, error: Mapping[str, Any]) -> str:
    """What is wrong with one setting, in one line with what is allowed."""
    if error["type"] == "extra_forbidden":
        names = tuple(Config.model_fields)
        return f"unknown setting {_short(key)}" + _closest(key, names, f": there are {', '.join(names)}")
    given = f"{key} = {_short(error['input'])}"
    if error["type"] == "literal_error":
        annotation = Config.model_fields[key].annotation
        choices = tuple(annotation.__args__)  # type: ignore[union-attr]
        return f"{given}: use one of {', '.join(choices)}" + _closest(str(error["input"]), choices, "")
    reason = str(error["msg"]).removeprefix("Value error, ").splitlines()[0]
    return f"{given}: {reason[0].lower()}{reason[1:]}"


def _closest(word: str, choices: tuple[str, ...], otherwise: str) -> str:
    near = get_close_matches(word.lower(), choices, n=1)
    return f", did you mean {near[0]}?" if near else otherwise


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."
