"""What a study records for workers on other machines, and how they tell whether they fit it."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from autoprune.config.settings import Config, located
from autoprune.pruning_search.problem.problem import Problem
from autoprune.structure import Structure
from autoprune.tasks.datasets.fingerprint import data_hash

ORIGINAL_FILE = "original.safetensors"
"""The original model in a study's folder, where the settings name no weights."""
PACKAGES = ("autoprune", "torch", "torchvision", "optuna")
"""Of other versions of these, results may be others."""
_MUST_MATCH = {
    "weights": "weights",
    "data": "data",
    "base": "weights after sparse training",
    "structure": "groups of the model",
}
"""Field of the record -> what it is for people; the base is the model itself without sparse training."""
_SHARES = (0.75, 0.5, 0.25)
"""Of the widths, at which two rankings are compared by the units that they keep."""


def places(config: Config, folder: Path) -> dict[str, str]:
    """Where the files are that the settings name, from any working folder; `folder` is the study's."""
    paths = located(config, Path.cwd())
    if config.weights is None:
        paths["weights"] = str((folder / ORIGINAL_FILE).absolute())
    return paths


def versions() -> dict[str, str]:
    """Package -> version, without the part that names the build for a processor."""
    packages = {name: version(name).partition("+")[0] for name in PACKAGES}
    return {"python": ".".join(platform.python_version_tuple()[:2]), **packages}


def fingerprints(problem: Problem) -> dict[str, Any]:
    """What has to be the same wherever a trial of the study is evaluated, apart from the weights."""
    return {
        "versions": versions(),
        "data": data_hash(problem.data),
        "base": problem.pruning.origin.weights,
        "structure": _structure(problem),
        "ranking": _ranking(problem),
    }


def differences(record: Mapping[str, Any], problem: Problem) -> list[str]:
    """What keeps this machine from working on the study with that record; empty where nothing does."""
    here = {**fingerprints(problem), "weights": problem.subject.weights}
    reasons = version_differences(record)
    differ = [name for name in _MUST_MATCH if record.get(name) != here[name]]
    if "weights" in differ and "base" in differ:
        # Sparse training began with them.
        differ.remove("base")
    reasons += [f"the {_MUST_MATCH[name]} differ" for name in differ]
    if not reasons and record.get("ranking") != here["ranking"]:
        reasons.append(f"{problem.config.criterion} ranks the units otherwise here")
    return reasons


def version_differences(record: Mapping[str, Any]) -> list[str]:
    """Packages whose versions are others than those of the study."""
    recorded: Mapping[str, str] = record.get("versions", {})
    return [
        f"{name} is {here} and was {recorded.get(name, 'not recorded')}"
        for name, here in versions().items()
        if recorded.get(name) != here
    ]


def _structure(problem: Problem) -> str:
    groups = [(group.name, group.kind, group.width, group.least) for group in problem.structure.groups]
    return _digest([groups, dict(problem.structure.frozen)])


def _ranking(problem: Problem) -> str:
    """A few plans in the place of all: two rankings that agree on these differ at most in near ties.

    Empty for masks, whose order follows from the weights.
    """
    structure = problem.structure
    if not isinstance(structure, Structure):
        return ""
    ranked = [group for group in structure.groups if group.name not in structure.blocks]
    tried = [
        {**structure.widths, **{g.name: max(g.least, 1, round(g.width * share)) for g in ranked}}
        for share in _SHARES
    ]
    return _digest([problem.pruning.plan(widths).hash for widths in tried if widths != structure.widths])


def _digest(content: object) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:24]
