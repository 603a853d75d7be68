"""Parsed references in settings: user code, programs, files, and names that this package provides.

Strings are parsed only here. The permission check and the loader both take the parsed object, so they cannot
interpret a string in two ways.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

PRICES = ("flops", "params", "size", "latency")
"""Costs that a criterion may be divided by."""
LIBRARIES = ("torchvision", "timm")
"""Prefixes of model names, before the colon."""
DATA_SETS = ("digits", "fashion-mnist", "mnist", "cifar10", "language-id", "imagefolder")
"""Data by name; a folder may follow after a colon."""
PROGRAM = "command:"
LEARNED = ".json"
OWN_MODULE = "autoprune.tasks.zoo"
"""The module of this package whose functions studies may name."""

_PRICED = re.compile(rf"(?P<base>.+)/(?P<cost>{'|'.join(PRICES)})(?:\^(?P<exponent>[^/^]+))?")
_OPTIONS = re.compile(r"(?P<name>[\w-]+):(?P<options>[\w-]+=.*)")


@dataclass(frozen=True)
class FileCode:
    """``path/file.py:attribute``: an object in a Python file."""

    file: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.file}:{self.attribute}"


@dataclass(frozen=True)
class ModuleCode:
    """``package.module:attribute``: an object in a module that Python finds."""

    module: str
    attribute: str

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


@dataclass(frozen=True)
class Program:
    """``command:PROGRAM ARGUMENTS``: a program to be started."""

    command: str

    def __str__(self) -> str:
        return f"{PROGRAM}{self.command}"


Code = FileCode | ModuleCode
Runnable = FileCode | ModuleCode | Program
"""References to code outside this package, which runs with the user's rights."""


@dataclass(frozen=True)
class OwnObject:
    """A function of :data:`OWN_MODULE`, which comes with this package."""

    attribute: str

    @property
    def module(self) -> str:
        """Where it is."""
        return OWN_MODULE

    def __str__(self) -> str:
        return f"{self.module}:{self.attribute}"


@dataclass(frozen=True)
class Named:
    """A name to be looked up in this package; it may be unknown.

    Attributes:
        name: the name.
        argument: the part after its colon; None without a colon.
    """

    name: str
    argument: str | None = None

    def __str__(self) -> str:
        return self.name if self.argument is None else f"{self.name}:{self.argument}"


@dataclass(frozen=True)
class LearnedFile:
    """``path/criterion.json``: what a search learned."""

    file: str

    def __str__(self) -> str:
        return self.file


Model = Named | OwnObject | FileCode | ModuleCode
DataSet = Named | OwnObject | FileCode | ModuleCode
Runtime = Named | Program


@dataclass(frozen=True)
class Price:
    """The cost that a criterion is divided by.

    Attributes:
        cost: one of :data:`PRICES`.
        exponent: as written; empty for 1.
    """

    cost: str
    exponent: str = ""

    def __str__(self) -> str:
        return f"/{self.cost}" + (f"^{self.exponent}" if self.exponent else "")


@dataclass(frozen=True)
class CriterionName:
    """A criterion, with the costs that it is divided by, innermost first."""

    base: Named | OwnObject | FileCode | ModuleCode | LearnedFile
    prices: tuple[Price, ...] = ()

    def __str__(self) -> str:
        return f"{self.base}{''.join(map(str, self.prices))}"


@dataclass(frozen=True)
class Quality:
    """A metric, and the input noise under which it is measured.

    Attributes:
        metric: None for the task's own.
        noise: as written; None for none.
    """

    metric: Named | OwnObject | FileCode | ModuleCode | None
    noise: str | None = None

    def __str__(self) -> str:
        metric = "" if self.metric is None else str(self.metric)
        return metric if self.noise is None else f"{metric}@{self.noise}"


Reference = Model | Runtime | LearnedFile | CriterionName | Quality


def parse_code(text: str) -> FileCode | ModuleCode | OwnObject | None:
    """The object that a string names by module or file, which need not exist; None for other forms."""
    source, _, attribute = text.rpartition(":")
    if not attribute.isidentifier():
        return None
    if source.endswith(".py"):
        return FileCode(source, attribute)
    if not all(part.isidentifier() for part in source.split(".")):
        return None
    return OwnObject(attribute) if source == OWN_MODULE else ModuleCode(source, attribute)


def parse_model(text: str) -> Model:
    """``torchvision:resnet18``, ``package.module:factory`` or ``path/file.py:factory``."""
    return _named_first(text, LIBRARIES)


def parse_data(text: str) -> DataSet:
    """``digits``, ``imagefolder:photos``, ``package.module:factory`` or ``path/file.py:factory``."""
    return _named_first(text, DATA_SETS)


def parse_quality(text: str) -> Quality:
    """``f1``, ``accuracy@gaussian:0.1`` or ``path/file.py:Metric@salt-and-pepper:0.05``."""
    if code := parse_code(text):
        return Quality(code)
    metric, at, noise = text.rpartition("@")
    name = metric if at else text
    return Quality((parse_code(name) or Named(name)) if name else None, noise if at else None)


def parse_criterion(text: str) -> CriterionName:
    """``l2``, ``group-norm:p=1``, ``l2/flops^0.5``, ``path/file.py:score/params`` or ``criterion.json``."""
    prices: list[Price] = []
    while match := _PRICED.fullmatch(text):
        prices.insert(0, Price(match["cost"], match["exponent"] or ""))
        text = match["base"]
    if text.endswith(LEARNED):
        return CriterionName(LearnedFile(text), tuple(prices))
    if options := _OPTIONS.fullmatch(text):
        return CriterionName(Named(options["name"], options["options"]), tuple(prices))
    return CriterionName(parse_code(text) or Named(text), tuple(prices))


def parse_runtime(text: str) -> Runtime:
    """``eager``, ``onnxruntime``... or ``command:PROGRAM ARGUMENTS``."""
    return Program(text.removeprefix(PROGRAM)) if text.startswith(PROGRAM) else Named(text)


PARSERS: Mapping[str, Callable[[str], Reference]] = {
    "model": parse_model,
    "data": parse_data,
    "metric": parse_quality,
    "objective": parse_quality,
    "criterion": parse_criterion,
    "mix": parse_criterion,
    "runtime": parse_runtime,
}
"""Setting that may name code -> the parser of each of its values."""


@dataclass(frozen=True)
class References:
    """The references in the settings of a search."""

    model: Model | None
    data: DataSet | None
    metric: Quality | None
    objective: tuple[Quality, ...]
    criterion: CriterionName
    mix: tuple[CriterionName, ...]
    runtime: Runtime


def references_in(settings: Mapping[str, object]) -> dict[str, tuple[Reference, ...]]:
    """Setting of :data:`PARSERS` -> its references; values that are not strings have none."""
    return {name: tuple(map(parse, texts_of(settings.get(name)))) for name, parse in PARSERS.items()}


def runnable_of(reference: Reference) -> Runnable | None:
    """The code or program outside this package that a reference refers to; None if there is none."""
    if isinstance(reference, CriterionName):
        return runnable_of(reference.base)
    if isinstance(reference, Quality):
        return None if reference.metric is None else runnable_of(reference.metric)
    return reference if isinstance(reference, FileCode | ModuleCode | Program) else None


def texts_of(value: object) -> list[str]:
    """The strings of a setting with one or several values; other values are left out."""
    if isinstance(value, str):
        return [value]
    return [text for text in value if isinstance(text, str)] if isinstance(value, list | tuple) else []


def _named_first(text: str, names: tuple[str, ...]) -> Named | OwnObject | FileCode | ModuleCode:
    name, colon, argument = text.partition(":")
    known = Named(name, argument if colon else None)
    return known if name in names else parse_code(text) or known
