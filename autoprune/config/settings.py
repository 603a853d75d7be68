"""The settings of a search: defaults, bounds, and study files in TOML."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal

import tomli_w
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from autoprune.config.bounds import parse_bounds
from autoprune.config.budget import merged_budgets, parse_budget
from autoprune.config.folder_paths import from_folder
from autoprune.config.granularity import MASKS, UNITS, check_granularity
from autoprune.config.references import (
    PARSERS,
    Reference,
    References,
    parse_criterion,
    parse_data,
    parse_model,
    parse_quality,
    parse_runtime,
    references_in,
)
from autoprune.config.study_file import read_study_file
from autoprune.config.user_code import Permit
from autoprune.config.wrong_settings import explain
from autoprune.errors import BudgetError, ConfigError
from autoprune.utils.redact import without_passwords
from autoprune.utils.untrusted import MOST_TEXT

Count = Annotated[int, Field(ge=0, le=10**9)]
Positive = Annotated[int, Field(ge=1, le=10**9)]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Text = Annotated[str, Field(min_length=1, max_length=MOST_TEXT)]
Sparsify = Literal["l1", "group-lasso", "slimming", "growing", "hard-concrete", "shared"]
Texts = Annotated[tuple[Annotated[str, Field(max_length=MOST_TEXT)], ...], Field(max_length=1000)]

NAMES_CODE = tuple(PARSERS)
"""The settings that may name user code or a program."""
DEFAULT_DATA = "digits"
GIVEN_IN_PYTHON = "given in Python"
"""Recorded instead of data that was given as an object."""
LISTS = ("skip", "only", "bounds", "mix", "objective")
"""The settings that are lists, apart from the budget."""


def _setting(default: Any, description: str, panel: str, **bounds: Any) -> Any:
    """A field with its ``--help`` text and the panel that shows it."""
    return Field(default, description=description, json_schema_extra={"panel": panel}, **bounds)


MODEL, CUT, SEARCH = "Model and data", "What may be pruned", "Search"
SPARSIFY = "Sparse training before the search"
RECOVERY, MEASURE = "Recovery", "Measurement"


class Config(BaseModel):
    """Settings of a search; each has the name of its command-line flag, with ``_`` for ``-``.

    Creating a Config permits the code that its settings name. Settings from elsewhere become a Config only in
    :func:`autoprune.study.trust.config_of_study`.

    Any field is a keyword argument; ``autoprune search --help-all`` says what each of them is.

    Raises:
        pydantic.ValidationError: for an unknown field, or a value out of bounds; it is a ValueError.
        BudgetError: for a budget that cannot be read.

    Examples:
        >>> from autoprune import Config
        >>> config = Config(data="digits", budget=("flops=50%", "trials=20"), finetune_steps=50)
        >>> config.latency
        True
        >>> print(config.model_copy(update={"latency": False}).to_toml().splitlines()[0])
        data = "digits"
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)
    _named: Mapping[str, tuple[Reference, ...]] = PrivateAttr(default_factory=dict)
    _permit: Permit = PrivateAttr(default=Permit())

    model: Text | None = _setting(
        None,
        "torchvision:NAME, timm:NAME, package.module:factory or path/file.py:factory; "
        "default: the data set's model.",
        MODEL,
    )
    weights: Text | None = _setting(
        None, "State dict or checkpoint: FILE, or FILE:ENTRY such as w.pt:ema.", MODEL
    )
    data: Text | None = _setting(
        None,
        "digits, fashion-mnist[:ROOT], mnist[:ROOT], cifar10[:ROOT], language-id[:ROOT], "
        "imagefolder:ROOT[,size=N] or a factory; default: digits, if no model is given.",
        MODEL,
    )
    metric: Text | None = _setting(
        None,
        "accuracy, top5, auroc, f1, mse, rmse, mae, r2, perplexity or your own, package.module:Metric or "
        "path/file.py:Metric; on noisy inputs: accuracy@gaussian:0.1; default: the task's.",
        MODEL,
    )
    device: Text = _setting("auto", "Device for training and scoring: cpu, cuda, cuda:N or auto.", MODEL)
    train_epochs: Count = _setting(0, "Epochs to train a model without weights before the search.", MODEL)
    train_lr: Rate = _setting(0.2, "Peak learning rate of this training.", MODEL)
    train_batch_size: Positive = _setting(128, "Batch size of this training.", MODEL)

    skip: Texts = _setting((), "Glob of modules to leave unpruned; repeatable.", CUT)
    only: Texts = _setting((), "Glob of the only modules to prune; repeatable.", CUT)
    first_last: Literal["prune", "keep"] = _setting(
        "prune", "prune, or keep the first layer's outputs and the last layer's inputs unpruned.", CUT
    )
    granularity: Text = _setting(
        UNITS,
        f"{UNITS} are removed; {MASKS} are set to zero, which does not change dense FLOPs or latency.",
        CUT,
    )
    min_density: float = _setting(0.1, "Minimum share of units kept in a group.", CUT, gt=0, le=1)
    min_width: Positive = _setting(1, "Minimum number of units kept in a group.", CUT)
    shared: Literal["joint", "frozen", "untie"] = _setting(
        "joint", "Prune a shared weight jointly for all uses, not at all (frozen), or per use (untie).", CUT
    )
    attention: Literal["heads", "width"] = _setting(
        "heads", "Remove whole attention heads, or reduce the width of all heads.", CUT
    )
    depth: bool = _setting(False, "Also remove whole residual blocks.", CUT)
    bounds: Texts = _setting((), "GROUP-GLOB=LOW..HIGH in units or %; repeatable.", CUT)
    round_to: Literal["auto"] | Positive = _setting(
        "auto",
        "Only widths that are multiples of this; auto: the best widths according to `autoprune measure` on "
        "this device, or else at most 16 widths a group.",
        CUT,
    )

    sparsify: Sparsify | None = _setting(
        None,
        "Sparse training: l1, group-lasso, slimming (BatchNorm), growing (decay), hard-concrete (gates) "
        "or shared (conflicting uses). It ranks units unless --criterion is given.",
        SPARSIFY,
    )
    sparsify_epochs: Positive = _setting(5, "Epochs of this training.", SPARSIFY)
    sparsify_strength: Rate | None = _setting(
        None,
        "Strength of the penalty: the share that an average weight would lose if the loss did not depend on "
        "it; for gates, the penalty on all of them; default: 0.5, 1 or 10, depending on the method.",
        SPARSIFY,
    )

    budget: Texts = _setting(
        (), "WHAT=HOW-MUCH, repeatable: flops=50%, latency=2ms, time=30m, trials=200.", SEARCH
    )
    objective: Texts = _setting(
        (),
        "An additional quality objective, repeatable: accuracy@gaussian:0.1, f1@salt-pepper:0.05, auroc.",
        SEARCH,
    )
    storage: Text = _setting("sqlite:///autoprune.db", "Optuna storage URL.", SEARCH)
    study: Text | None = _setting(None, "Name of the study; an existing one is continued.", SEARCH)
    workers: Positive = _setting(
        1, "Number of parallel search processes; they share the CPU threads.", SEARCH
    )
    engine: Literal["processes", "ray"] = _setting(
        "processes", "processes on this machine, or ray: actors on the nodes of a Ray cluster.", SEARCH
    )
    address: Text | None = _setting(
        None,
        "HOST:PORT of the Ray cluster; default: RAY_ADDRESS, a cluster on this machine, or a new one.",
        SEARCH,
    )
    space: Literal["auto", "criterion", "sparsity"] = _setting(
        "auto",
        "sparsity: a width for each group; criterion: a share of the budget, and a coefficient for each "
        "group's sensitivity; auto: sparsity, or criterion with affine coefficients.",
        SEARCH,
    )
    sampler: Literal["auto", "gp", "tpe", "nsga2", "nsga3", "random"] = _setting(
        "auto", "auto, gp, tpe, nsga2, nsga3 or random; auto chooses by the number of groups.", SEARCH
    )
    preview: Literal["auto", "always", "never"] = _setting(
        "auto",
        "Show a first front without training before its plans are trained; auto: if training takes long.",
        SEARCH,
    )
    gaps: bool = _setting(
        True, "Use every second suggestion to interpolate in the front's widest gap.", SEARCH
    )
    criterion: Text = _setting(
        "l2",
        "What ranks units: l2, taylor, fisher, hrank, taylor/flops, path/file.py:score, criterion.json...",
        SEARCH,
    )
    mix: Texts = _setting(
        (), "A further criterion that trials may choose or mix with the first; repeatable.", SEARCH
    )
    mix_by: Literal["trial", "class", "weights"] = _setting(
        "trial",
        "trial: each trial chooses one criterion; class: one for each class of similar groups; "
        "weights: a weighted combination of all.",
        SEARCH,
    )
    coefficients: Literal["scale", "affine"] = _setting(
        "scale",
        "In the space criterion, scale each group's sensitivity by a factor, or also shift it (affine).",
        SEARCH,
    )
    seed: int = _setting(0, "Random seed.", SEARCH, ge=0, lt=2**32)
    early_stopping: bool = _setting(
        True, "Stop candidates early that look poor before or during fine-tuning.", SEARCH
    )
    holdout_share: float | None = _setting(
        None,
        "Share of the validation samples in the holdout split, which only ranks finalists; default: 0.3 with "
        "at least 1000 samples, otherwise 0.",
        SEARCH,
        ge=0,
        le=0.9,
    )

    compensate: bool = _setting(
        True, "Refit layers that read removed units to the remaining units by least squares.", RECOVERY
    )
    rebuild: bool = _setting(
        False,
        "Also refit them one by one to their inputs in the pruned model: better without training.",
        RECOVERY,
    )
    finetune_steps: Count | None = _setting(
        None, "Fine-tuning steps per candidate; default: 150, or five epochs on small data.", RECOVERY
    )
    optimizer: Literal["sgd", "adamw"] = _setting("sgd", "sgd or adamw.", RECOVERY)
    lr: Rate = _setting(0.02, "Peak learning rate.", RECOVERY)
    weight_decay: float = _setting(5e-4, "Weight decay.", RECOVERY, ge=0, allow_inf_nan=False)
    batch_size: Positive = _setting(128, "Batch size.", RECOVERY)
    distill: float = _setting(0.5, "Weight of the distillation loss, 0 to 1.", RECOVERY, ge=0, le=1)
    distill_features: float = _setting(
        0.0,
        "Weight of feature distillation, where feature shapes are unchanged, 0 or more.",
        RECOVERY,
        ge=0,
        allow_inf_nan=False,
    )
    label_smoothing: float = _setting(0.0, "Label smoothing, 0 to 1.", RECOVERY, ge=0, lt=1)
    clip: float = _setting(0.0, "Maximum gradient norm; 0: no clipping.", RECOVERY, ge=0, allow_inf_nan=False)
    precision: Literal["auto", "float32", "bf16"] = _setting(
        "auto", "auto, float32 or bf16 (mixed); auto: mixed on CUDA devices and on CPUs with AMX.", RECOVERY
    )
    augment: Literal["data", "none", "shift", "shift-flip"] = _setting(
        "data",
        "data: the data set's own; none, shift or shift-flip: override it for images in memory.",
        RECOVERY,
    )

    calibration_batches: Positive = _setting(8, "Batches for criteria and BatchNorm statistics.", MEASURE)
    latency: bool = _setting(True, "Measure latency.", MEASURE)
    profile: bool = _setting(
        True, "With a latency budget, first measure the cost of each group on this device.", MEASURE
    )
    latency_batch: Positive = _setting(1, "Batch size for timing.", MEASURE)
    latency_seconds: Rate = _setting(0.5, "Maximum seconds per timing.", MEASURE)
    runtime: Text = _setting(
        "eager",
        "What runs the timed models: eager, compile, onnxruntime, openvino, cuda, or "
        "'command:PROGRAM ARGS {file}', which prints milliseconds.",
        MEASURE,
    )
    latency_dtype: Literal["float32", "bfloat16", "float16"] | None = _setting(
        None, "dtype of timed models: float32, bfloat16 or float16; default: unchanged.", MEASURE
    )
    channels_last: bool = _setting(False, "Time images in channels-last layout.", MEASURE)
    threads: Positive | None = _setting(None, "CPU threads; default: PyTorch's choice.", MEASURE)

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _read_texts(cls, value: object) -> object:
        return _texts(value, "use a string or a list of strings")

    @field_validator("granularity")
    @classmethod
    def _read_granularity(cls, value: str) -> str:
        check_granularity(value)
        return value

    @field_validator("bounds")
    @classmethod
    def _read_bounds(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        parse_bounds(value)
        return value

    @field_validator("coefficients")
    @classmethod
    def _read_coefficients(cls, value: str, info: ValidationInfo) -> str:
        if value == "affine" and info.data.get("space") == "sparsity":
            raise ValueError("the space sparsity has no coefficients: use the space criterion")
        return value

    @field_validator("round_to", mode="before")
    @classmethod
    def _read_multiple(cls, value: object) -> object:
        if isinstance(value, str) and value.isdecimal():
            value = int(value)
        if value != "auto" and (type(value) is not int or value < 1):
            raise ValueError("use auto or a whole number of at least 1")
        return value

    @field_validator("budget", mode="before")
    @classmethod
    def _read_budget(cls, value: object) -> object:
        texts = _texts(value, "use a string such as 'latency=50%' or a list of such strings")
        parse_budget(texts)
        return texts

    def model_post_init(self, _: Any) -> None:
        """Let the embedded data stand in where nothing is given, and permit the code named now.

        A copy with other settings permits nothing more. What stands in is not among the fields that are set.
        """
        if self.model is None and self.data is None:
            self.__dict__["data"] = DEFAULT_DATA
        self._named = references_in(self.__dict__)
        self._permit = Permit.naming(*(reference for some in self._named.values() for reference in some))

    @property
    def named(self) -> Mapping[str, tuple[Reference, ...]]:
        """Setting -> the references it held when the permit was created."""
        return self._named

    @property
    def permit(self) -> Permit:
        """The code and programs that may run."""
        return self._permit

    @property
    def references(self) -> References:
        """The references in the settings of :data:`NAMES_CODE`."""
        return References(
            model=None if self.model is None else parse_model(self.model),
            data=None if self.data is None else parse_data(self.data),
            metric=None if self.metric is None else parse_quality(self.metric),
            objective=tuple(map(parse_quality, self.objective)),
            criterion=parse_criterion(self.criterion),
            mix=tuple(map(parse_criterion, self.mix)),
            runtime=parse_runtime(self.runtime),
        )

    def to_toml(self) -> str:
        """A study file that :func:`load_config` reads back as an equal config, except for passwords."""
        settings = {**self.model_dump(exclude_none=True), "storage": without_passwords(self.storage)}
        if self.model is None and self.data is None:
            # When this is read back, no default may replace what was an object.
            settings["data"] = GIVEN_IN_PYTHON
        return tomli_w.dumps({**settings, "budget": list(self.budget)})


def located(config: Config, folder: Path) -> dict[str, str]:
    """The settings that name a file or folder relative to `folder`, with their full paths."""
    settings = config.model_dump(exclude_none=True)
    return {key: place for key, text in settings.items() if (place := from_folder(key, text, folder)) != text}


def load_config(
    path: Path | None, overrides: Mapping[str, Any], note: Callable[[str], None] = lambda text: None
) -> Config:
    """Settings of a study file, if any, with ``overrides`` on top; an override of None means not given.

    A limit of the budget replaces the file's on the same cost and leaves its others; any other override
    replaces the file's setting, a list as a whole. Relative paths in the file are taken from the file's
    folder when they exist there, otherwise they stay as they are.

    Args:
        path: the study file.
        overrides: setting -> value.
        note: called with a message for each limit and list of the file that is replaced.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value out of bounds.
        BudgetError: an invalid budget.
    """
    in_file = {} if path is None else read_study_file(path)
    given = {key.replace("-", "_"): _plain(value) for key, value in overrides.items() if value is not None}
    if not in_file:
        return _validated(given, None)
    filed, flagged = _validated(in_file, path), _validated(given, None)
    for key in LISTS:
        before, after = getattr(filed, key), getattr(flagged, key)
        if key in given and before and before != after:
            note(f"{key} = {list(after)} replaces {list(before)} of {path}")
    if filed.budget and flagged.budget:
        given["budget"], replaced = merged_budgets(filed.budget, flagged.budget)
        for earlier, later in replaced:
            note(f"the budget {later} replaces {earlier} of {path}")
    return _validated({**in_file, **given}, None)


def _validated(settings: Mapping[str, Any], path: Path | None) -> Config:
    """Validate settings. Raises BudgetError or ConfigError, which names the file if there is one."""
    try:
        return Config.model_validate(settings)
    except BudgetError as error:
        raise BudgetError(_place(path, str(error))) from None
    except ValidationError as error:
        (first, *others) = error.errors(include_url=False)
        key = str(first["loc"][0])
        more = f" (and {len(others)} more)" if others else ""
        raise ConfigError(_place(path, explain(key, first, Config.model_fields) + more)) from None


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, PurePath) else value


def _texts(value: object, usage: str) -> tuple[str, ...]:
    """One string or several as a tuple. Raises ValueError with `usage` for anything else."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(usage)
    return tuple(value)


def _place(path: Path | None, message: str) -> str:
    return message if path is None else f"{path}: {message}"
