"""What all candidates of a search are recovered with, computed once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from autoprune.config.settings import Config
from autoprune.pruning_search.problem.pruning import Pruning
from autoprune.pruning_search.problem.recipe import recipe_of
from autoprune.pruning_search.problem.subject.subject import SearchSubject
from autoprune.recovery import CachedBatch, Recipe, Repair, cache_batches
from autoprune.structure import Structure
from autoprune.tasks import device_of

T = TypeVar("T")


@dataclass(eq=False)
class CachedResult(Generic[T]):
    """The latest result of a computation, and what it was computed from."""

    _entry: tuple[tuple[object, ...], tuple[object, ...], T] | None = None

    def get(
        self, compute: Callable[[], T], *, objects: tuple[object, ...], values: tuple[object, ...] = ()
    ) -> T:
        """The result for these inputs; computed where the latest was for other ones.

        Args:
            compute: gives the result.
            objects: inputs that have to be the same objects.
            values: inputs that have to be equal.
        """
        if self._entry is not None:
            known_objects, known_values, result = self._entry
            same = all(one is other for one, other in zip(known_objects, objects, strict=True))
            if same and known_values == values:
                return result
        result = compute()
        self._entry = (objects, values, result)
        return result


@dataclass(frozen=True, eq=False)
class RecoveryCache:
    """Results that candidates share; a problem made by ``dataclasses.replace`` has the same cache."""

    # Each result stays valid while its own inputs do: the recipe while settings and training split stay, the
    # batches while recipe, seed, training split and teacher stay, the repair (with its moments) while the
    # pruned model, its structure and the calibration batches stay.
    recipe: CachedResult[Recipe | None] = field(default_factory=CachedResult)
    batches: CachedResult[Sequence[CachedBatch] | None] = field(default_factory=CachedResult)
    repair: CachedResult[Repair] = field(default_factory=CachedResult)


@dataclass(frozen=True, eq=False)
class SharedRecovery:
    """How the candidates of a problem are recovered.

    Attributes:
        config: the settings.
        subject: the original model and its data.
        pruning: how it is pruned.
        cache: of what is computed here.
    """

    config: Config
    subject: SearchSubject
    pruning: Pruning
    cache: RecoveryCache

    @property
    def recipe(self) -> Recipe | None:
        """How every candidate is fine-tuned; None where none is."""
        data = self.subject.data
        return self.cache.recipe.get(
            lambda: recipe_of(self.config, data), objects=(data.train,), values=(self.config,)
        )

    @property
    def cached_batches(self) -> Sequence[CachedBatch] | None:
        """The batches that every candidate is fine-tuned on; None where each draws its own."""
        recipe, model, train, seed = (
            self.recipe,
            self.subject.model,
            self.subject.data.train,
            self.config.seed,
        )
        if recipe is None:
            return None
        teacher = model if recipe.distill > 0 and recipe.distill_features == 0 else None
        return self.cache.batches.get(
            lambda: cache_batches(train, recipe, seed, teacher, device_of(model)),
            objects=(train, model),
            values=(recipe, seed),
        )

    @property
    def repair(self) -> Repair:
        """What is done for every candidate without training it."""
        base, prunable, calibration = (
            self.pruning.origin.model,
            self.pruning.structure,
            self.subject.calibration,
        )
        structure = prunable if isinstance(prunable, Structure) else None
        return self.cache.repair.get(
            lambda: Repair(base, structure, [inputs for inputs, _ in calibration], self.config.compensate),
            objects=(base, structure, calibration),
            values=(self.config.compensate,),
        )
