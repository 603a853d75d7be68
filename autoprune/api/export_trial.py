"""Exporting a trial of a study: its model, perhaps recovered further, in files that are checked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.trial import FrozenTrial
from torch import nn

from autoprune import review
from autoprune.cost import Setting
from autoprune.errors import ConfigError, StudyError
from autoprune.export import ExportCandidate, Exported, default_formats, export_candidate
from autoprune.export.card import finetuned_card
from autoprune.pruning_search import Problem, classes_of, describe_other_weights, trial_model
from autoprune.pruning_search.finish.finetune_longer import LongerRecovery, recover_longer
from autoprune.pruning_search.finish.gradual import recover_gradually
from autoprune.pruning_search.finish.rebuild import recover_rebuilt
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.learned_criterion import learn
from autoprune.structure import Structure
from autoprune.structure.plans import AnyPlan
from autoprune.tasks import evaluate


@dataclass(frozen=True)
class FurtherRecovery:
    """What is done with a trial's model before it is exported.

    Attributes:
        finetune: for how long to fine-tune it: ``"5epochs"`` or ``"500steps"``; None for not at all.
        gradual: in how many rounds to cut the plan again, which share that length; None for none.
        rebuild: whether to cut the plan again and fit its layers one by one.
    """

    finetune: str | None = None
    gradual: int | None = None
    rebuild: bool = False

    def __post_init__(self) -> None:
        if self.gradual is not None and self.finetune is None:
            raise ConfigError("to cut in rounds takes training between them: give --finetune 5epochs too")
        if self.gradual is not None and self.rebuild:
            raise ConfigError("a plan is cut again either in rounds or at once: give --gradual or --rebuild")


def export_trial(
    problem: Problem,
    study: optuna.Study,
    trial: FrozenTrial,
    further: FurtherRecovery,
    formats: Sequence[str] | None,
    folder: Path,
    listener: review.Listener,
) -> tuple[Exported, ...]:
    """Write the model of a trial in the given formats, or in all that are installed, and check each.

    Raises StudyError, ConfigError and ExportError as :meth:`autoprune.Study.export`.
    """
    model, plan, longer = _recovered(problem, study, trial, further, listener)
    card = review.card_of(study, trial, data=problem.data.name)
    if longer is not None:
        card = finetuned_card(card, longer.how, longer.before, longer.quality, longer.test, longer.others)
    masks = not isinstance(problem.structure, Structure)
    candidate = ExportCandidate(
        model=model,
        plan=plan or problem.pruning.plan(problem.structure.widths),
        base=problem.model,
        spec=problem.subject.name if ":" in problem.subject.name else None,
        classes=classes_of(problem.data),
        example=problem.data.example(4),
        calibration=[inputs for inputs, _ in problem.subject.calibration],
        quality=lambda exported: evaluate(exported, problem.data.validation, problem.data.task).value,
        metric=problem.data.task.metric,
        criterion="" if plan is None or masks else learn(problem, study, trial).to_json(),
    )
    listener.phase("export", str(folder))
    return export_candidate(
        candidate,
        card,
        problem.config.to_toml(),
        folder,
        default_formats() if formats is None else formats,
        timing=Setting(threads=problem.config.threads, max_seconds=problem.config.latency_seconds)
        if problem.config.latency
        else None,
    )


def _recovered(
    problem: Problem,
    study: optuna.Study,
    trial: FrozenTrial,
    further: FurtherRecovery,
    listener: review.Listener,
) -> tuple[nn.Module, AnyPlan | None, LongerRecovery | None]:
    """A trial's model as it is to be exported, its plan, and what was done with it after the search."""
    store = WeightStore.beside(problem.config.storage, study.study_name)
    model, plan = trial_model(problem, trial, store)
    for line in describe_other_weights(problem, trial, model):
        listener.note(line)
    finetune, folder = further.finetune, store.folder
    if finetune is None and not further.rebuild:
        return model, plan, None
    if plan is None:
        raise StudyError(f"trial {trial.number} is the original model: there is nothing to recover")
    if further.rebuild:
        model, longer = recover_rebuilt(problem, model, plan, finetune, folder, listener)
    else:
        assert finetune is not None
        if further.gradual is not None:
            model, longer = recover_gradually(
                problem, model, plan, trial, finetune, further.gradual, folder, listener
            )
        else:
            longer = recover_longer(problem, model, plan, finetune, folder, listener)
    return model.eval(), plan, longer
