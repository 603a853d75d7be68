"""Plain files that rebuild a pruned model from the original, with all changes besides tensors."""

from __future__ import annotations

import ast
import copy
import importlib
import importlib.util
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from torch import Tensor, nn

from autoprune.errors import ExportError
from autoprune.export.formats import plain
from autoprune.export.records import ExportCandidate
from autoprune.export.subject import Subject, first_line, run
from autoprune.structure.surgery import slim
from autoprune.structure.surgery.bypass import Removed
from autoprune.tasks.models import construction

_PLAIN = (bool, int, float, str, type(None))
_EMPTY = {
    "SIZES": "SIZES: dict[str, dict[str, Any]] = {}",
    "REMOVED": "REMOVED: dict[str, tuple[str, int]] = {}",
    "REPLACED": "REPLACED: dict[str, str] = {}",
}


def loader_text(model: nn.Module, candidate: ExportCandidate) -> str:
    """A file whose ``load`` turns an original model into the pruned one, with torch alone.

    Raises ExportError for changes that it cannot express.
    """
    changes = _changes(candidate.base, model)
    text = inspect.getsource(plain)
    for name, empty in _EMPTY.items():
        text = text.replace(empty, empty.removesuffix("{}") + _formatted(changes[name]))
    return text + "".join(_sources(model, changes["REPLACED"]))


def factory_text(model: nn.Module, candidate: ExportCandidate) -> str:
    """The loader with a ``build`` function without arguments, if the original model has a name."""
    text = loader_text(model, candidate)
    if candidate.spec is None:
        return text
    return f'''{text}

{original_text(candidate)}


def build() -> nn.Module:
    """The pruned network."""
    return load(original())
'''


def original_text(candidate: ExportCandidate) -> str:
    """A function that builds the original network of a candidate whose base model has a name."""
    assert candidate.spec is not None
    body = "\n".join(f"    {line}" for line in construction(candidate.spec, candidate.classes))
    return f'def original() -> nn.Module:\n    """The original network, with random weights."""\n{body}'


def loaded_here(file: Path, subject: Subject, candidate: ExportCandidate) -> dict[str, Tensor]:
    """Outputs of the model that such a file builds from the base model, in this process.

    Raises ExportError if it fails.
    """
    spec = importlib.util.spec_from_file_location("_autoprune_factory", file)
    if spec is None or spec.loader is None:
        raise ExportError(f"{file} cannot be imported: leave out this format")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return run(module.load(copy.deepcopy(candidate.base).cpu()), subject.batches)
    except Exception as error:  # the original's own code may raise anything
        raise ExportError(f"{file.name} does not load: {first_line(error)}") from error


def _formatted(value: object) -> str:
    return pformat(value, width=100, sort_dicts=False)


def _changes(base: nn.Module, model: nn.Module) -> dict[str, dict[str, Any]]:
    """By the names of ``_EMPTY``: changed attributes, removed blocks, replaced classes."""
    if _ties(base) != _ties(model):
        raise ExportError(
            "shared weights were pruned per use, which model.py cannot express: leave out python"
        )
    before = dict(base.named_modules(remove_duplicate=False))
    sizes: dict[str, dict[str, Any]] = {}
    removed: dict[str, tuple[str, int]] = {}
    replaced: dict[str, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Removed):
            removed[path] = (module.argument, module.position)
            continue
        kind = type(module)
        if kind is not type(before[path]):
            if not kind.__module__.startswith(f"{slim.__name__}."):
                raise ExportError(
                    f"pruning replaced {path} with autoprune's {kind.__name__}: leave out the python format"
                )
            replaced[path] = kind.__name__
        if changed := _differences(before[path], module):
            sizes[path] = changed
    return {"SIZES": sizes, "REMOVED": removed, "REPLACED": replaced}


def _differences(before: nn.Module, after: nn.Module) -> dict[str, Any]:
    """Plain attributes that pruning changed, including private ones of torch's layers."""
    old: Mapping[str, Any] = vars(before)
    return {
        name: value
        for name, value in vars(after).items()
        if name != "training" and _is_plain(value) and (name not in old or old[name] != value)
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, (tuple, list)) and all(isinstance(item, _PLAIN) for item in value)
    )


def _ties(model: nn.Module) -> set[frozenset[str]]:
    """Groups of names of shared parameters, without those of removed blocks."""
    names: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return {frozenset(group) for group in names.values() if len(group) > 1}


def _sources(model: nn.Module, replaced: Iterable[str]) -> list[str]:
    """The source of the replacement classes, each file once; they need only torch."""
    files = dict.fromkeys(type(model.get_submodule(path)).__module__ for path in replaced)
    return [f"\n\n{_without_head(inspect.getsource(importlib.import_module(name)))}" for name in files]


def _without_head(source: str) -> str:
    """A file's text after its ``__future__`` import, which must be at the top of a file."""
    future = next(
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    )
    return "\n".join(source.splitlines()[future.end_lineno :]).strip() + "\n"
