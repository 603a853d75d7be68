"""The phase of sparse training: run once, kept in the user's cache, and gone on with where it was stopped."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Literal, get_args

import safetensors.torch
import torch
from filelock import FileLock
from torch import Tensor, nn

from autoprune.criteria import Context, criterion, score_units
from autoprune.errors import ConfigError, DamagedError
from autoprune.recovery.batchnorm import recalibrate
from autoprune.recovery.sparse_training.gates import HardConcrete
from autoprune.recovery.sparse_training.lasso import GroupLasso, Growing, L1Penalty, Slimming, scale_scores
from autoprune.recovery.sparse_training.penalty import Penalty
from autoprune.recovery.sparse_training.shared import OpposedUses
from autoprune.recovery.training.checkpoint import Checkpoint
from autoprune.recovery.training.finetune import OnStep, finetune
from autoprune.recovery.training.recipe import Recipe
from autoprune.structure.groups import Structure
from autoprune.tasks.cache import cache_folder
from autoprune.tasks.checkpoints.weights import load_weights, save_weights, weights_hash
from autoprune.tasks.data import Data
from autoprune.tasks.datasets.fingerprint import data_hash
from autoprune.utils.atomic_files import replace_file

Method = Literal["l1", "group-lasso", "slimming", "growing", "hard-concrete", "shared"]
METHODS: tuple[Method, ...] = get_args(Method)
DEFAULT_STRENGTH: Mapping[Method, float] = {
    "l1": 0.5,
    "group-lasso": 0.5,
    "slimming": 0.5,
    "growing": 1.0,
    "hard-concrete": 10.0,
    "shared": 1.0,
}
BATCHES = 16
"""Training batches from which BatchNorm statistics are estimated in the end."""
_SIMPLE: Mapping[str, type[Penalty]] = {
    "l1": L1Penalty,
    "group-lasso": GroupLasso,
    "slimming": Slimming,
    "growing": Growing,
    "hard-concrete": HardConcrete,
}


@dataclass(frozen=True, eq=False)
class Sparsified:
    """What sparse training gave.

    Attributes:
        model: a copy of the model with the trained weights, in eval mode.
        scores: group -> what its units are worth, ``[width]``, larger stays longer; blocks have none.
        criterion: name of the criterion that ranks other weights in the same way.
        relative: whether scores of different groups compare only after division by their group's mean.
        method: how it was trained.
        without: groups that the method says nothing of, which are ranked by their norms.
    """

    model: nn.Module
    scores: Mapping[str, Tensor]
    criterion: str
    relative: bool
    method: Method
    without: tuple[str, ...] = ()


def sparsify(
    model: nn.Module,
    structure: Structure,
    data: Data,
    recipe: Recipe,
    method: Method,
    *,
    seed: int,
    strength: float | None = None,
    on_step: OnStep | None = None,
) -> Sparsified:
    """Train a copy of the model sparsely, or read it where that was done before.

    Args:
        model: is not changed; it teaches where the recipe distils.
        structure: what can be cut in it.
        data: for the training.
        recipe: how; its schedule is a cosine, and it computes in single precision.
        method: one of :data:`METHODS`.
        seed: of everything random.
        strength: above 0, of the penalty; by default what goes with the method.
        on_step: is called after every step.

    Raises:
        ConfigError: for a method that does not fit the model, or copies of shared weights.
        TrialError: when the loss stops being finite.
    """
    if structure.untying is not None:
        raise ConfigError("sparse training shares weights as the model does: leave --shared untie out")
    recipe = replace(recipe, schedule="cosine", precision="float32")
    strength = DEFAULT_STRENGTH[method] if strength is None else strength
    trained = copy.deepcopy(model)
    known = (weights_hash(model), data_hash(data), recipe.choices, method, strength, seed, structure.widths)
    name = hashlib.sha256(repr(known).encode()).hexdigest()[:32]
    file = cache_folder() / "sparsified" / f"{name}.safetensors"
    scores_file = file.with_name(f"{name}.scores.safetensors")
    file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(file.with_suffix(".lock")):
        try:
            if file.is_file() and scores_file.is_file():
                load_weights(trained, file)
                return _made(trained, structure, method, _read_scores(scores_file.read_bytes()))
        except DamagedError:
            trained = copy.deepcopy(model)
        penalty = _penalty(trained, structure, method, strength, recipe.steps, data, seed)
        checkpoint = Checkpoint(file.with_suffix(".pt"), repr(known))
        finetune(
            trained,
            data,
            recipe,
            seed=seed,
            teacher=model,
            on_step=on_step,
            checkpoint=checkpoint,
            penalty=penalty,
        )
        penalty.finished()
        # Weights moved faster than the running statistics, and gates were put into them.
        drawn = data.train.batches(recipe.batch_size, shuffle=torch.Generator().manual_seed(seed))
        recalibrate(trained, (inputs for inputs, _ in islice(drawn, BATCHES)))
        scores = _scores(penalty)
        save_weights(trained, file)
        replace_file(scores_file, safetensors.torch.save(scores))
        checkpoint.remove()
    return _made(trained, structure, method, scores)


def _penalty(
    model: nn.Module,
    structure: Structure,
    method: Method,
    strength: float,
    steps: int,
    data: Data,
    seed: int,
) -> Penalty:
    if method == "shared":
        return OpposedUses(model, structure, strength, steps, data, seed)
    return _SIMPLE[method](model, structure, strength, steps)


def _scores(penalty: Penalty) -> dict[str, Tensor]:
    """What the training itself says: gates, or scales of BatchNorm; nothing for the other methods."""
    return scale_scores(penalty) if isinstance(penalty, Slimming) else dict(penalty.scores() or {})


def _made(model: nn.Module, structure: Structure, method: Method, scores: Mapping[str, Tensor]) -> Sparsified:
    """With the norms of the trained weights for every group that the method itself does not score."""
    model = model.eval()
    name = _SIMPLE[method].criterion if method in _SIMPLE else Penalty.criterion
    norms = "l1" if name == "l1" else "l2"
    found = dict(score_units(criterion(norms), Context(model, structure)))
    known = {group: values for group, values in scores.items() if group in found}
    without = tuple(group for group in found if group not in known) if known else ()
    alike = bool(known) and not without
    return Sparsified(
        model, found | known, norms if without else name, relative=not alike, method=method, without=without
    )


def _read_scores(content: bytes) -> dict[str, Tensor]:
    try:
        return {name: values.double() for name, values in safetensors.torch.load(content).items()}
    except Exception as error:  # a damaged file fails anywhere in the reader
        raise DamagedError("the scores of a sparse training are damaged") from error
