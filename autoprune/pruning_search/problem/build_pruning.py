"""From a model to how it is pruned: its structure or masks, and the rankings of its units."""

from __future__ import annotations

import warnings

from autoprune.config.granularity import UNITS
from autoprune.config.settings import Config
from autoprune.errors import CriterionWarning
from autoprune.pruning_search.problem.mask_pruning import build_mask_pruning
from autoprune.pruning_search.problem.pruning import Origin, Pruning
from autoprune.pruning_search.problem.subject.subject import SearchSubject
from autoprune.pruning_search.problem.unit_pruning import build_unit_pruning
from autoprune.study.listener import Listener
from autoprune.tasks import weights_hash


def build_pruning(subject: SearchSubject, config: Config, listener: Listener) -> Pruning:
    """How the model, or what sparse training made of it, is pruned.

    Raises UserError when the settings do not fit the model.
    """
    base = subject.model if subject.sparse is None else subject.sparse.model
    origin = Origin(
        base,
        subject.name,
        subject.weights if subject.sparse is None else weights_hash(base),
        subject.example,
        subject.calibration,
        subject.data.task.loss,
        config,
        subject.sparse,
    )
    return pruning_of(origin, listener)


def pruning_of(origin: Origin, listener: Listener) -> Pruning:
    """The configured way to prune a model; the listener is notified where a criterion gives no order.

    Raises UserError when it does not fit the model.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", CriterionWarning)
        pruning = (
            build_unit_pruning(origin) if origin.config.granularity == UNITS else build_mask_pruning(origin)
        )
    for warning in caught:
        if issubclass(warning.category, CriterionWarning):
            listener.note(str(warning.message))
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)
    return pruning
