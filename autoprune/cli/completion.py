"""Shell completion for the values of flags; it must be fast, so nothing here imports PyTorch."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer

from autoprune.config.commands import is_plain
from autoprune.config.settings import Config
from autoprune.errors import StudyError
from autoprune.utils.sqlite_files import check_beside, check_tables

Completer = Callable[[str], list[str]]

BUDGETS = ("flops=", "latency=", "nonzero=", "params=", "size=", "time=", "trials=")
CRITERIA = (
    *("activation", "apoz", "bn-scale", "entropy", "fisher", "fpgm", "gradient", "group-norm", "hessian"),
    *("hrank", "l1", "l2", "linf", "random", "redundancy", "robustness", "snip", "taylor"),
)
DATA = ("cifar10", "digits", "fashion-mnist", "imagefolder:", "language-id", "mnist")
FORMATS = ("executorch", "int8", "onnx", "openvino", "pt2", "python", "state", "torchscript")
METRICS = ("accuracy", "auroc", "f1", "mae", "mse", "perplexity", "r2", "rmse", "top5")
RUNTIMES = ("command:", "compile", "cuda", "eager", "onnxruntime", "openvino")
DEVICES = ("auto", "cpu", "cuda")
_LIBRARIES = ("timm", "torchvision")
_REGISTERED = re.compile(r"^@register_model(?:\(\))?\n(?:@.*\n)*def (\w+)\(", re.MULTILINE)


def one_of(choices: Iterable[str]) -> Completer:
    """Completes to one of these."""
    fixed = tuple(choices)

    def complete(incomplete: str) -> list[str]:
        return [choice for choice in fixed if choice.startswith(incomplete)]

    return complete


def model(incomplete: str) -> list[str]:
    """``torchvision:NAME``, ``timm:NAME``, and before a colon also the Python files of the folder."""
    library, colon, name = incomplete.partition(":")
    if colon and library in _LIBRARIES:
        return [f"{library}:{model}" for model in model_names(library) if model.startswith(name)]
    return [f"{source}:" for source in (*_LIBRARIES, *_python_files()) if source.startswith(incomplete)]


def model_names(library: str) -> list[str]:
    """Names that a library registers, read from its source because importing it would take seconds."""
    spec = find_spec(library)
    if spec is None or not spec.submodule_search_locations:
        return []
    folder = Path(spec.submodule_search_locations[0]) / "models"
    sources = (file.read_text(encoding="utf-8", errors="replace") for file in sorted(folder.glob("*.py")))
    return sorted(name for source in sources for name in _REGISTERED.findall(source))


def data(incomplete: str) -> list[str]:
    """Data by name, and the Python files of the folder."""
    return one_of((*DATA, *(f"{file}:" for file in _python_files())))(incomplete)


def study(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of the studies in an SQLite storage; other storages are not queried.

    The shell inserts completions unquoted, so names that need quoting are left out.
    """
    storage = ctx.params.get("storage") or str(Config.model_fields["storage"].default)
    scheme, _, name = storage.partition(":///")
    if scheme != "sqlite" or not Path(name).is_file():
        return []
    try:
        check_beside(Path(name))
        with closing(sqlite3.connect(f"{Path(name).absolute().as_uri()}?mode=ro", uri=True)) as database:
            check_tables(database, Path(name))
            rows = database.execute("SELECT study_name FROM studies ORDER BY study_name").fetchall()
    except (sqlite3.Error, StudyError):
        return []
    return one_of(name for row in rows if is_plain(name := str(row[0])))(incomplete)


_BY_SETTING: dict[str, Callable[..., list[str]]] = {
    "model": model,
    "data": data,
    "study": study,
    "budget": one_of(BUDGETS),
    "criterion": one_of(CRITERIA),
    "metric": one_of(METRICS),
    "runtime": one_of(RUNTIMES),
    "device": one_of(DEVICES),
    "granularity": one_of(("units", "weights", "2:4", "block:4x4", "kernels", "neurons")),
}


def completer(setting: str) -> Callable[..., list[str]] | None:
    """The completer for the values of a setting; None if there is none."""
    choices = _choices(Config.model_fields[setting].annotation)
    return one_of(choices) if choices else _BY_SETTING.get(setting)


def _choices(annotation: Any) -> tuple[str, ...]:
    """The values of a setting with a fixed set of choices."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return tuple(choice for choice in inner if isinstance(choice, str))
    if origin is Annotated:
        return _choices(inner[0])
    if origin in (Union, UnionType):
        return tuple(choice for part in inner for choice in _choices(part))
    return ()


def _python_files() -> list[str]:
    return sorted(file.name for file in Path().glob("*.py") if is_plain(file.name))
