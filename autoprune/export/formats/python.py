"""``model.py``: a plain file that builds the pruned model from the original class and its weights."""

from __future__ import annotations

import copy
import importlib.util
import inspect
from collections.abc import Mapping
from pathlib import Path
from pprint import pformat
from typing import Any

from torch import Tensor, nn

from autoprune.cost.runtimes import EagerRuntime, Runtime
from autoprune.errors import ExportError
from autoprune.export.formats import plain
from autoprune.export.formats.base import CHECKS, Format, named, zeros_code
from autoprune.export.formats.state import write_weights
from autoprune.export.parity import largest_difference, run_fresh
from autoprune.export.records import Candidate
from autoprune.export.subject import Subject, run
from autoprune.structure.removal import Removed
from autoprune.tasks.models import construction

TOLERANCE = 1e-5
_PLAIN = (bool, int, float, str, type(None))
_NO_SIZES, _NO_REMOVED = "SIZES: dict[str, dict[str, Any]] = {}", "REMOVED: dict[str, tuple[str, int]] = {}"


class PythonFormat(Format):
    """A factory file: what a cut changes besides tensors is written out as plain assignments."""

    name = "python"
    file = "model.py"
    usual = False

    def write(self, subject: Subject, candidate: Candidate, folder: Path) -> None:
        """Write the factory and the weights. Raises ExportError for a layer that the cut had to replace."""
        write_weights(subject, folder)
        (folder / self.file).write_text(factory_text(subject.model, candidate), encoding="utf-8")

    def check(self, subject: Subject, candidate: Candidate, folder: Path) -> tuple[float, str]:
        """Build in a fresh process without autoprune, unless the original's own code imports it."""
        path, expected = folder / self.file, run(subject.model, subject.batches)
        if candidate.spec is None:
            found = run(_module(path).load(copy.deepcopy(candidate.base).cpu()), subject.batches)
            note = "run in this process: the base model has no name for a fresh one to build it from"
            return largest_difference(path.name, expected, found, TOLERANCE), note
        found = run_fresh(
            path.name,
            lambda inputs, outputs: ["-P", CHECKS / "run_python.py", path, inputs, outputs],
            named(subject.batches),
        )
        alone = found.pop("imports_autoprune").item() == 0
        note = "built in a fresh process" + (
            " without autoprune" if alone else ", whose code imports autoprune"
        )
        return largest_difference(path.name, expected, found, TOLERANCE), note

    def loading(self, candidate: Candidate, sample: Tensor) -> tuple[str, str]:
        """By importing the file."""
        lines = ["import torch", "", "from model import build", "", "network = build()"]
        if candidate.spec is None:
            lines[2:] = [
                "from model import load",
                "",
                "network = load(...)  # the uncut model, with any weights",
            ]
        lines.append(f"result = network({zeros_code(sample)})")
        return "torch and the code of the original model", "\n".join(lines)

    def runtime(self, subject: Subject, candidate: Candidate, folder: Path) -> Runtime:
        """PyTorch as it is."""
        return EagerRuntime()


def _module(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("_autoprune_factory", file)
    if spec is None or spec.loader is None:
        raise ExportError(f"{file} cannot be imported: leave out the python format")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def factory_text(model: nn.Module, candidate: Candidate) -> str:
    """The factory file of a pruned model. Raises ExportError for a layer that the cut had to replace."""
    sizes, removed = _changes(candidate.base, model)
    text = inspect.getsource(plain)
    text = text.replace(_NO_SIZES, _assigned(_NO_SIZES, sizes)).replace(
        _NO_REMOVED, _assigned(_NO_REMOVED, removed)
    )
    if candidate.spec is None:
        return text
    body = "\n".join(f"    {line}" for line in construction(candidate.spec, candidate.classes))
    return f'''{text}

def original() -> nn.Module:
    """The uncut network, with random weights."""
{body}


def build() -> nn.Module:
    """The pruned network."""
    return load(original())
'''


def _assigned(empty: str, value: object) -> str:
    return empty.removesuffix("{}") + pformat(value, width=100, sort_dicts=False)


def _changes(
    base: nn.Module, model: nn.Module
) -> tuple[dict[str, dict[str, Any]], dict[str, tuple[str, int]]]:
    """Attributes that differ, by module, and the blocks that are gone."""
    if _ties(base) != _ties(model):
        raise ExportError("shared weights were cut each alone, which model.py cannot say: leave out python")
    before = dict(base.named_modules(remove_duplicate=False))
    sizes: dict[str, dict[str, Any]] = {}
    removed: dict[str, tuple[str, int]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, Removed):
            removed[path] = (module.argument, module.position)
        elif type(module) is not type(before[path]):
            raise ExportError(
                f"the cut replaced {path} by autoprune's {type(module).__name__}: leave out the python format"
            )
        elif changed := _differences(before[path], module):
            sizes[path] = changed
    return sizes, removed


def _differences(before: nn.Module, after: nn.Module) -> dict[str, Any]:
    old: Mapping[str, Any] = vars(before)
    return {
        name: value
        for name, value in vars(after).items()
        if not name.startswith("_")
        and name != "training"
        and _is_plain(value)
        and (name not in old or old[name] != value)
    }


def _is_plain(value: object) -> bool:
    return isinstance(value, _PLAIN) or (
        isinstance(value, (tuple, list)) and all(isinstance(item, _PLAIN) for item in value)
    )


def _ties(model: nn.Module) -> set[frozenset[str]]:
    """Names of parameters that are one and the same, those of whole removed blocks left out."""
    names: dict[int, set[str]] = {}
    for name, parameter in model.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), set()).add(name)
    return {frozenset(group) for group in names.values() if len(group) > 1}
