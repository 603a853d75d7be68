"""Which criteria order the units: a choice or weights that a trial may try."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from autoprune.config.granularity import UNITS
from autoprune.config.settings import Config
from autoprune.criteria.mixture import Mixture
from autoprune.errors import ConfigError
from autoprune.pruning_search.problem.pruning import Prunable
from autoprune.study.attributes import MIXTURE

MOST_CLASSES = 6
"""Classes of groups that choose a criterion of their own; of more, the smallest choose together."""
CHOICE, WEIGHT = "ranked by", "weight of"


@dataclass(frozen=True, eq=False)
class CriterionChoice:
    """What a trial says of the order of units, beside its widths.

    Attributes:
        criteria: names of rankings, the one first that counts where nothing is chosen.
        classes: name of a class -> its groups, which share a choice.
        weighted: whether a trial weighs all criteria rather than choosing one.
    """

    criteria: tuple[str, ...]
    classes: Mapping[str, tuple[str, ...]]
    weighted: bool

    def suggest(self, trial: optuna.Trial) -> Mixture:
        """Ask the trial which criteria count."""
        if self.weighted:
            weights = {name: trial.suggest_float(f"{WEIGHT} {name}", 0.0, 1.0) for name in self.criteria}
            return self._everywhere(weights if any(weights.values()) else dict.fromkeys(self.criteria, 1.0))
        chosen = {
            groups: trial.suggest_categorical(parameter, self.criteria)
            for parameter, groups in self._choices().items()
        }
        return Mixture({group: {name: 1.0} for groups, name in chosen.items() for group in groups})

    def parameters(self, criterion: str) -> dict[str, str | float]:
        """Parameters with which one criterion alone counts, for a trial that is enqueued."""
        if self.weighted:
            return {f"{WEIGHT} {name}": float(name == criterion) for name in self.criteria}
        return dict.fromkeys(self._choices(), criterion)

    def _choices(self) -> dict[str, tuple[str, ...]]:
        """Parameter -> the groups that it decides for."""
        if len(self.classes) == 1:
            return {CHOICE: next(iter(self.classes.values()))}
        return {f"{CHOICE}: {name}": groups for name, groups in self.classes.items()}

    def _everywhere(self, weights: Mapping[str, float]) -> Mixture:
        return Mixture({group: weights for groups in self.classes.values() for group in groups})


def mixing_of(config: Config, structure: Prunable, first: str) -> CriterionChoice | None:
    """What the settings let trials choose; None where there is one criterion, or nothing to rank.

    Args:
        config: the settings.
        structure: what is ranked.
        first: name of the ranking that counts where nothing is chosen.

    Raises:
        ConfigError: for masks.
    """
    criteria = tuple(dict.fromkeys([first, *config.mix]))
    if len(criteria) == 1:
        return None
    if config.granularity != UNITS:
        raise ConfigError("criteria are mixed for units, not for masks: leave --mix or --granularity out")
    classes = classes_of_groups(structure) if config.mix_by == "class" else {"*": ranked_groups(structure)}
    return CriterionChoice(criteria, classes, config.mix_by == "weights") if any(classes.values()) else None


def mixture_of(attributes: Mapping[str, Any]) -> Mixture | None:
    """The mixture that a trial with these attributes has; None where the configured criterion ranks alone."""
    weights = attributes.get(MIXTURE)
    return None if weights is None else Mixture(weights)


def ranked_groups(structure: Prunable) -> tuple[str, ...]:
    """The groups that a criterion ranks the units of: blocks are units themselves."""
    return tuple(group.name for group in structure.groups if group.name not in structure.blocks)


def classes_of_groups(structure: Prunable) -> dict[str, tuple[str, ...]]:
    """Groups with the same kind and the same place in their blocks: the same name but for numbers.

    Of more than :data:`MOST_CLASSES`, the smallest become one class.
    """
    kinds = {group.name: group.kind for group in structure.groups}
    classes: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name in ranked_groups(structure):
        classes[re.sub(r"\d+", "*", name), kinds[name]].append(name)
    patterns = Counter(pattern for pattern, _ in classes)
    largest = sorted(classes, key=lambda key: -len(classes[key]))
    kept = largest if len(classes) <= MOST_CLASSES else largest[: MOST_CLASSES - 1]
    named = {key[0] if patterns[key[0]] == 1 else " ".join(key): tuple(classes[key]) for key in kept}
    others = tuple(name for key in classes if key not in kept for name in classes[key])
    return named | {"others": others} if others else named
