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
"""The settings that may name code of the user's own, or a program."""
DEFAULT_DATA = "digits"
GIVEN_IN_PYTHON = "given in Python"
"""Stands for data that were an object, where settings are written down."""
LISTS = ("skip", "only", "bounds", "mix", "objective")
"""The settings that are lists, beside the budget."""


def _setting(default: Any, description: str, panel: str, **bounds: Any) -> Any:
    """A field with what ``--help`` says about it, and the panel in which it says so."""
    return Field(default, description=description, json_schema_extra={"panel": panel}, **bounds)


MODEL, CUT, SEARCH = "Model and data", "What may be cut", "Search"
SPARSIFY = "Sparse training before the search"
RECOVERY, MEASURE = "Recovery", "Measurement"


class Config(BaseModel):
    """Settings of a search; each has the name of its command-line flag, with ``_`` for ``-``.

    Whoever makes one names the code in it, which may run then. Settings from elsewhere become one in
    :func:`autoprune.study.trust.config_of_study` alone.

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
        "default: the data set's own.",
        MODEL,
    )
    weights: Text | None = _setting(None, "State dict or checkpoint: FILE, or FILE:ENTRY as w.pt:ema.", MODEL)
    data: Text | None = _setting(
        None,
        "digits, fashion-mnist[:ROOT], mnist[:ROOT], cifar10[:ROOT], language-id[:ROOT], "
        "imagefolder:ROOT[,size=N] or a factory; default: digits, where no model is given.",
        MODEL,
    )
    metric: Text | None = _setting(
        None,
        "accuracy, top5, auroc, f1, mse, rmse, mae, r2, perplexity or your own, package.module:Metric or "
        "path/file.py:Metric; on noisy inputs: accuracy@gaussian:0.1; default: the task's.",
        MODEL,
    )
    device: Text = _setting("auto", "cpu, cuda, cuda:N or auto: where to train and score.", MODEL)
    train_epochs: Count = _setting(0, "Train a model that comes without weights for so long.", MODEL)
    train_lr: Rate = _setting(0.2, "Peak learning rate of that training.", MODEL)
    train_batch_size: Positive = _setting(128, "Samples a step of that training.", MODEL)

    skip: Texts = _setting((), "Glob of modules whose units stay, repeated.", CUT)
    only: Texts = _setting((), "Glob of modules that alone may lose units, repeated.", CUT)
    first_last: Literal["prune", "keep"] = _setting(
        "prune", "prune or keep what the first layer gives out and the last one reads.", CUT
    )
    granularity: Text = _setting(
        UNITS,
        f"{UNITS} are removed; {MASKS} are set to zero, which leaves dense FLOPs and latency as they are.",
        CUT,
    )
    min_density: float = _setting(0.1, "Smallest share of units kept in a group.", CUT, gt=0, le=1)
    min_width: Positive = _setting(1, "Fewest units kept in a group.", CUT)
    shared: Literal["joint", "frozen", "untie"] = _setting(
        "joint", "joint, frozen or untie: cut all uses of a shared weight together, none, or each alone.", CUT
    )
    attention: Literal["heads", "width"] = _setting(
        "heads", "heads or width: cut whole heads of an attention, or the width of all of them.", CUT
    )
    depth: bool = _setting(False, "Also take whole residual blocks out.", CUT)
    bounds: Texts = _setting((), "GROUP-GLOB=LOW..HIGH in units or %, repeated.", CUT)
    round_to: Literal["auto"] | Positive = _setting(
        "auto",
        "Try widths that are multiples of this; auto: what `autoprune measure` found best on this device, "
        "else at most 16 widths a group.",
        CUT,
    )

    sparsify: Sparsify | None = _setting(
        None,
        "l1, group-lasso, slimming (of BatchNorm), growing (decay), hard-concrete (gates), shared (uses that "
        "disagree): train sparsely, once; that ranks units unless --criterion names another.",
        SPARSIFY,
    )
    sparsify_epochs: Positive = _setting(5, "Length of that training.", SPARSIFY)
    sparsify_strength: Rate | None = _setting(
        None,
        "Of its penalty: the share of itself that an average weight would lose if nothing defended it; of "
        "gates the price of all of them; default: 0.5, 1 or 10, by the method.",
        SPARSIFY,
    )

    budget: Texts = _setting(
        (), "WHAT=HOW-MUCH, repeated: flops=50%, latency=2ms, time=30m, trials=200.", SEARCH
    )
    objective: Texts = _setting(
        (),
        "Another quality to search the trade-off with, repeated: accuracy@gaussian:0.1, f1@salt-pepper:0.05, "
        "auroc.",
        SEARCH,
    )
    storage: Text = _setting("sqlite:///autoprune.db", "Optuna storage URL.", SEARCH)
    study: Text | None = _setting(None, "Name of the study; one of that name is continued.", SEARCH)
    workers: Positive = _setting(1, "Processes that search at once and share the CPU's threads.", SEARCH)
    engine: Literal["processes", "ray"] = _setting(
        "processes", "processes, of this machine, or ray: actors on the nodes of a Ray cluster.", SEARCH
    )
    address: Text | None = _setting(
        None,
        "HOST:PORT of the Ray cluster; default: that of RAY_ADDRESS or of this machine, else a new one.",
        SEARCH,
    )
    space: Literal["auto", "criterion", "sparsity"] = _setting(
        "auto",
        "sparsity: a width for each group; criterion: a share of the budget, and how much each group's "
        "sensitivity counts; auto: sparsity, but with affine coefficients criterion.",
        SEARCH,
    )
    sampler: Literal["auto", "gp", "tpe", "nsga2", "nsga3", "random"] = _setting(
        "auto", "auto, gp, tpe, nsga2, nsga3 or random; auto chooses by the number of groups.", SEARCH
    )
    preview: Literal["auto", "always", "never"] = _setting(
        "auto",
        "Whether a first front is shown without training, before its plans are trained; auto: where training "
        "one takes long.",
        SEARCH,
    )
    gaps: bool = _setting(
        True, "Let every second suggestion go between two neighbours where the front is coarsest.", SEARCH
    )
    criterion: Text = _setting(
        "l2",
        "What ranks units: l2, taylor, fisher, hrank, taylor/flops, path/file.py:score, criterion.json...",
        SEARCH,
    )
    mix: Texts = _setting(
        (), "Another criterion that trials may rank units by, or mix with the first one, repeated.", SEARCH
    )
    mix_by: Literal["trial", "class", "weights"] = _setting(
        "trial",
        "trial: each trial chooses one criterion; class: one for each class of like groups; "
        "weights: it weighs all of them.",
        SEARCH,
    )
    coefficients: Literal["scale", "affine"] = _setting(
        "scale",
        "Of the space criterion, for each group's sensitivity: scale, a factor, or affine, also a shift.",
        SEARCH,
    )
    seed: int = _setting(0, "Seed of everything random.", SEARCH, ge=0, lt=2**32)
    ladder: bool = _setting(
        True, "Fine-tune only candidates that look good without it, and stop those that fall behind.", SEARCH
    )
    ranking_share: float | None = _setting(
        None,
        "Share of the validation samples that rank finalists and guide nothing; default: 0.3 of 1000 samples "
        "or more, none of fewer.",
        SEARCH,
        ge=0,
        le=0.9,
    )

    compensate: bool = _setting(
        True, "Fit the weights of layers that read removed units to the units that stay.", RECOVERY
    )
    rebuild: bool = _setting(
        False, "Also fit them one by one to what the cut model feeds them: better without training.", RECOVERY
    )
    finetune_steps: Count | None = _setting(
        None, "Recovery steps of each candidate; default: 150, on small data what five epochs take.", RECOVERY
    )
    optimizer: Literal["sgd", "adamw"] = _setting("sgd", "sgd or adamw.", RECOVERY)
    lr: Rate = _setting(0.02, "Peak learning rate.", RECOVERY)
    weight_decay: float = _setting(5e-4, "Weight decay.", RECOVERY, ge=0, allow_inf_nan=False)
    batch_size: Positive = _setting(128, "Samples a step.", RECOVERY)
    distill: float = _setting(
        0.5, "Weight of the original model's outputs in the loss, 0 to 1.", RECOVERY, ge=0, le=1
    )
    distill_features: float = _setting(
        0.0,
        "Weight of the original model's outputs inside, where their shapes stayed, 0 or more.",
        RECOVERY,
        ge=0,
        allow_inf_nan=False,
    )
    label_smoothing: float = _setting(
        0.0, "Share of label mass spread over all classes.", RECOVERY, ge=0, lt=1
    )
    clip: float = _setting(0.0, "Largest gradient norm; 0: any.", RECOVERY, ge=0, allow_inf_nan=False)
    precision: Literal["auto", "float32", "bf16"] = _setting(
        "auto", "auto, float32 or bf16 (mixed); auto: mixed on CUDA devices and on CPUs with AMX.", RECOVERY
    )
    augment: Literal["data", "none", "shift", "shift-flip"] = _setting(
        "data",
        "data: what the data set brings; none, shift or shift-flip: of images in memory, instead of that.",
        RECOVERY,
    )

    calibration_batches: Positive = _setting(8, "Batches for criteria and BatchNorm statistics.", MEASURE)
    latency: bool = _setting(True, "Measure latency.", MEASURE)
    profile: bool = _setting(
        True, "With a budget of latency, measure what each group costs on this device first.", MEASURE
    )
    latency_batch: Positive = _setting(1, "Samples in the timed batch.", MEASURE)
    latency_seconds: Rate = _setting(0.5, "Most seconds that a timing takes.", MEASURE)
    runtime: Text = _setting(
        "eager",
        "What runs the timed models: eager, compile, onnxruntime, openvino, cuda, or "
        "'command:PROGRAM ARGS {file}', which prints milliseconds.",
        MEASURE,
    )
    latency_dtype: Literal["float32", "bfloat16", "float16"] | None = _setting(
        None, "float32, bfloat16 or float16, of timed models; default: their own.", MEASURE
    )
    channels_last: bool = _setting(False, "Time images with their channels innermost.", MEASURE)
    threads: Positive | None = _setting(None, "CPU threads; default: what PyTorch chooses.", MEASURE)

    @field_validator(*LISTS, mode="before")
    @classmethod
    def _read_texts(cls, value: object) -> object:
        return _texts(value, "use a text or a list of texts")

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
        written = _texts(value, "use a text such as 'latency=50%' or a list of such texts")
        parse_budget(written)
        return written

    def model_post_init(self, _: Any) -> None:
        """Let the embedded data stand in where nothing is given, and permit the code that is named now.

        A copy with another setting permits no more. What stands in is not among the fields that are set.
        """
        if self.model is None and self.data is None:
            self.__dict__["data"] = DEFAULT_DATA
        self._named = references_in(self.__dict__)
        self._permit = Permit.naming(*(reference for some in self._named.values() for reference in some))

    @property
    def named(self) -> Mapping[str, tuple[Reference, ...]]:
        """Setting -> what it named when the permit was given."""
        return self._named

    @property
    def permit(self) -> Permit:
        """The code and programs that may run."""
        return self._permit

    @property
    def references(self) -> References:
        """What the settings of :data:`NAMES_CODE` name."""
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
        """A study file that :func:`load_config` reads back as an equal config, but for passwords."""
        settings = {**self.model_dump(exclude_none=True), "storage": without_passwords(self.storage)}
        if self.model is None and self.data is None:
            # Read back alone, nothing may stand in for what was an object.
            settings["data"] = GIVEN_IN_PYTHON
        return tomli_w.dumps({**settings, "budget": list(self.budget)})


def located(config: Config, folder: Path) -> dict[str, str]:
    """The settings that name a file or folder which is found from `folder`, with the whole path."""
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
        note: is told which limits and lists of the file are replaced.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, or a value out of bounds.
        BudgetError: a budget that cannot be read.
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
    """The settings, which may be those of a file. Raises BudgetError or ConfigError, naming the file."""
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


def _texts(value: object, wanted: str) -> tuple[str, ...]:
    """One text or several as a tuple. Raises ValueError, which says what is wanted, for anything else."""
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list | tuple) or not all(isinstance(text, str) for text in value):
        raise ValueError(wanted)
    return tuple(value)


def _place(path: Path | None, message: str) -> str:
    return message if path is None else f"{path}: {message}"
