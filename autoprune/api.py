"""What ``import autoprune`` hands out for searching: search, the study it gives, export."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage
from optuna.trial import FrozenTrial
from sqlalchemy.exc import SQLAlchemyError
from torch import nn

from autoprune import review
from autoprune.config.settings import Config
from autoprune.cost import Setting
from autoprune.criteria.learned import LearnedCriterion
from autoprune.engines.choice import engine_ready
from autoprune.errors import ConfigError, StudyError
from autoprune.export import ExportCandidate, Exported, default_formats, export_candidate
from autoprune.export.card import finetuned_card
from autoprune.pruning_search import (
    Problem,
    check_continues,
    classes_of,
    continue_on_device,
    create_study,
    describe_other_weights,
    prepare,
    rank_finalists,
    run,
    test_front,
    trial_model,
)
from autoprune.pruning_search.coordination.budget_usage import usage_of
from autoprune.pruning_search.finish.finetune_longer import LongerRecovery, recover_longer
from autoprune.pruning_search.finish.gradual import recover_gradually
from autoprune.pruning_search.finish.rebuild import recover_rebuilt
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.problem.latency_profile import ensure_profile
from autoprune.pruning_search.proposals.learned_criterion import learn
from autoprune.pruning_search.worker_pool import check_sharable, run_workers
from autoprune.review.text import trials_text
from autoprune.storages import open_storage, read_address, unusable
from autoprune.structure import Structure
from autoprune.structure.plans import AnyPlan
from autoprune.study.trust import config_of_study
from autoprune.tasks import Data, evaluate
from autoprune.utils.arguments import as_text, check_type, listed_texts, whole_number
from autoprune.utils.atomic_files import full_disk_told
from autoprune.workflows.search_arguments import number_or_word, objects_of, settings_of, told

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Study:
    """A search that ran, or is under way in another process.

    Attributes:
        optuna: the underlying study.
        problem: model, data and structure; see :class:`autoprune.pruning_search.Problem`.
    """

    optuna: optuna.Study
    problem: Problem

    def front(self) -> pd.DataFrame:
        """One row a Pareto-optimal trial within the budget, the most expensive one first."""
        return review.front(self.optuna)

    def best(self) -> FrozenTrial:
        """The trial of best quality within the budget. Raises StudyError when there is none."""
        return review.best(self.optuna)

    def model(self, trial: int | str | FrozenTrial = "best") -> nn.Module:
        """The pruned and recovered network of a trial, in evaluation mode."""
        return trial_model(self.problem, self._trial(trial), self._store)[0]

    def criterion(self, trial: int | str | FrozenTrial = "best") -> LearnedCriterion:
        """What a trial says of each group, to be applied to other budgets and checkpoints.

        Its ``to_json()`` is the content of a ``criterion.json``. Raises StudyError for a trial that was not
        evaluated, and for masks.
        """
        return learn(self.problem, self.optuna, self._trial(trial))

    def export(
        self,
        trial: int | str | FrozenTrial = "best",
        formats: str | Sequence[str] | None = None,
        to: str | Path = "out",
        *,
        finetune: str | None = None,
        gradual: int | None = None,
        rebuild: bool = False,
        listener: review.Listener | None = None,
    ) -> tuple[Exported, ...]:
        """Write a trial's model in the given formats, load each back and compare it.

        Args:
            trial: ``"best"``, a number, or one of the study's trials.
            formats: names of formats; the default is all that are installed.
            to: the folder.
            finetune: fine-tune it before for so long: ``"5epochs"`` or ``"500steps"``. A run that was
                stopped goes on where it was.
            gradual: cut the plan anew in so many rounds, which share that length, instead of training the
                trial's model on.
            rebuild: cut the plan anew and fit its layers one by one to what the cut network feeds them,
                instead of taking the trial's weights; with `finetune`, that is trained.
            listener: is told how that goes.

        Raises:
            ArgumentError: for an argument of another type.
            StudyError: when there is no such trial.
            ConfigError: for a length that cannot be read, or rounds without one.
            ExportError: when a file differs from the model.
        """
        if formats is not None:
            formats = listed_texts("formats", formats, "a list of names of formats")
        folder = Path(as_text("to", to, "the folder to write to"))
        check_type("finetune", finetune, (str, type(None)), "a length such as '5epochs' or '500steps'")
        if gradual is not None:
            gradual = whole_number("gradual", gradual)
        listener, chosen = told(listener, ()), self._trial(trial)
        model, plan, longer = self._recovered(chosen, finetune, gradual, rebuild, listener)
        problem, config = self.problem, self.problem.config
        card = review.card_of(self.optuna, chosen, data=problem.data.name)
        if longer is not None:
            card = finetuned_card(card, longer.how, longer.before, longer.quality, longer.test, longer.others)
        candidate = ExportCandidate(
            model=model,
            plan=plan or problem.pruning.plan(problem.structure.widths),
            base=problem.model,
            spec=problem.subject.name if ":" in problem.subject.name else None,
            classes=classes_of(problem.data),
            example=problem.data.example(4),
            calibration=[inputs for inputs, _ in problem.subject.calibration],
            quality=self._quality,
            metric=problem.data.task.metric,
            criterion="" if plan is None else self._learned(chosen),
        )
        listener.phase("export", str(folder))
        return export_candidate(
            candidate,
            card,
            config.to_toml(),
            folder,
            default_formats() if formats is None else formats,
            timing=Setting(threads=config.threads, max_seconds=config.latency_seconds)
            if config.latency
            else None,
        )

    def _recovered(
        self,
        trial: FrozenTrial,
        finetune: str | None,
        gradual: int | None,
        rebuild: bool,
        listener: review.Listener,
    ) -> tuple[nn.Module, AnyPlan | None, LongerRecovery | None]:
        """A trial's model as it is to be exported, its plan, and what was done with it after the search."""
        if gradual is not None and finetune is None:
            raise ConfigError("to cut in rounds takes training between them: give --finetune 5epochs too")
        if gradual is not None and rebuild:
            raise ConfigError("a plan is cut anew either in rounds or at once: give --gradual or --rebuild")
        problem, folder = self.problem, self._store.folder
        model, plan = trial_model(problem, trial, self._store)
        for line in describe_other_weights(problem, trial, model):
            listener.note(line)
        if finetune is None and not rebuild:
            return model, plan, None
        if plan is None:
            raise StudyError(f"trial {trial.number} is the original model: there is nothing to recover")
        if rebuild:
            model, longer = recover_rebuilt(problem, model, plan, finetune, folder, listener)
        elif gradual is not None and finetune is not None:
            model, longer = recover_gradually(
                problem, model, plan, trial, finetune, gradual, folder, listener
            )
        else:
            assert finetune is not None
            longer = recover_longer(problem, model, plan, finetune, folder, listener)
        return model.eval(), plan, longer

    def folders(self, which: int | str, to: str | Path) -> dict[int, Path]:
        """Trial number -> the folder to export it to: `to` itself for one trial, else folders in it.

        Args:
            which: a number, ``"best"``, ``"picked"`` (marked for export) or ``"front"``.
            to: a folder.

        Raises:
            StudyError: when there is no such trial.
        """
        folder = Path(as_text("to", to, "the folder to write to"))
        which = number_or_word(which)
        trials = review.chosen_trials(self.optuna, which)
        if which not in review.SEVERAL:
            return {trials[0].number: folder}
        return {trial.number: folder / f"trial-{trial.number}" for trial in trials}

    def plot(self) -> dict[str, go.Figure]:
        """Name -> Plotly figure: the front against each cost, its growth, widths, importances and times.

        A figure is there where the study has what it shows; the names are those of the report's pictures.
        """
        # Imported here: Plotly takes a while, and a search draws nothing.
        from autoprune.review.figures import pictures, with_title

        return {picture.name: with_title(picture) for picture in pictures(self.optuna)}

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return review.study_html(self.optuna)

    def report(self, to: str | Path = "report.html") -> None:
        """Write what was found into one HTML file, with pictures."""
        file = Path(as_text("to", to, "the file to write"))
        review.write_report(self.optuna, self.problem.config.storage, file)

    def _learned(self, trial: FrozenTrial) -> str:
        """The criterion of a trial as JSON; empty where the study masks weights."""
        masks = not isinstance(self.problem.structure, Structure)
        return "" if masks else learn(self.problem, self.optuna, trial).to_json()

    def _quality(self, model: nn.Module) -> float:
        return evaluate(model, self.problem.data.validation, self.problem.data.task).value

    @property
    def _store(self) -> WeightStore:
        return WeightStore.beside(self.problem.config.storage, self.optuna.study_name)

    def _trial(self, trial: int | str | FrozenTrial) -> FrozenTrial:
        return review.chosen_trial(self.optuna, number_or_word(trial))


def search(
    model: nn.Module | str | None = None,
    data: Data | Mapping[str, Any] | str | None = None,
    *,
    budget: str | Sequence[str] | Mapping[str, str | float] = (),
    trials: int | None = None,
    storage: str | Path | None = None,
    name: str | None = None,
    listener: review.Listener | None = None,
    callbacks: Sequence[review.Callback] = (),
    **settings: Any,
) -> Study:
    """Search the best trade-offs between quality and cost.

    Args:
        model: a trained module, or a text such as ``"torchvision:resnet18"`` (with ``weights=``).
        data: a mapping with ``train``, ``validation`` and ``test``, each a data loader, a data set or a pair
            of tensors, and perhaps a ``task`` (see :mod:`autoprune.tasks.datasets.contract`);
            :class:`autoprune.Data`; or a text such as ``"fashion-mnist"``. A model needs data; the embedded
            digits are searched where neither is given.
        budget: texts such as ``"flops=50%"``, ``"latency=2ms"``, ``"time=30m"``, or a mapping such as
            ``{"latency": 0.5, "time": "30m"}``, where a fraction is a share.
        trials: shorthand for ``"trials=N"``.
        storage: a file or an Optuna storage URL; the default is the file ``autoprune.db``.
        name: name of the study; a study of that name is continued: with the same limits on the model, and the
            time and trials given now, where earlier trials count.
        listener: is told what happens.
        callbacks: are called with the Optuna study and each trial when it has ended, as in Optuna; see
            :mod:`autoprune.loggers`. What one of them raises ends the search.
        settings: any other field of :class:`autoprune.config.settings.Config`.

    Raises:
        ArgumentError: for an argument of another type; it is a TypeError as well.
        UserError: when something given cannot work; a failing trial alone never ends a search.
    """
    config = settings_of(model, data, budget, trials, storage, name, settings)
    module, splits = objects_of(model, data)
    return run_search(config, told(listener, callbacks), model=module, data=splits)


def run_search(
    config: Config,
    listener: review.Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> Study:
    """Search with these settings, or continue the study that they name.

    Raises:
        UserError: when something given cannot work, or the storage fails.
        DiskError: when the disk is full; what has finished stays.
        TrialError: when candidates fail one after another.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if _has_workers(config):
        check_sharable(config, is_object={"model": model is not None, "data": data is not None})
    with full_disk_told(), engine_ready(config):
        # A server that does not answer is told before a model is trained for an hour. A file needs no such
        # question, and would be left behind by a search that never begins.
        server = _opened(config, listener) if read_address(config.storage).is_remote else None
        problem = prepare(config, listener, model=model, data=data)
        try:
            return _searched(problem, server or _opened(config, listener), listener)
        except (StorageInternalError, SQLAlchemyError) as error:
            raise unusable(read_address(config.storage), error) from None


def _has_workers(config: Config) -> bool:
    """Whether others search in the place of this process."""
    return config.workers > 1 or config.engine != "processes"


def _opened(config: Config, listener: review.Listener) -> BaseStorage:
    return open_storage(config.storage, must_exist=False, note=listener.note)


def _searched(problem: Problem, storage: BaseStorage, listener: review.Listener) -> Study:
    config = problem.config
    check_continues(problem, storage)
    problem = ensure_profile(problem, listener)
    study = create_study(problem, storage)
    problem = continue_on_device(problem, study, listener)
    if study.get_trials(deepcopy=False):
        ended = usage_of(problem.budget, study).trials
        there = f"{trials_text(ended)} {'is' if ended == 1 else 'are'} already there"
        listener.note(f"continues study {study.study_name!r}: {there if ended else 'no trial has ended yet'}")
    store = WeightStore.beside(config.storage, study.study_name)
    if problem.splits.note:
        listener.note(problem.splits.note)
    if _has_workers(config):
        run_workers(problem, study, store, listener)
    else:
        run(problem, study, store, listener)
    if problem.splits.holdout is not None:
        listener.phase("finalists", "ranked on samples that guided nothing")
        rank_finalists(problem, study, store, listener)
    listener.phase("final test", "the front, on the test split")
    test_front(problem, study, store, listener)
    listener.phase("review", "notes and pictures for the dashboard")
    review.publish(study, config.storage)
    return Study(study, problem)


def open_search(
    storage: str,
    name: str | None,
    listener: review.Listener,
    *,
    given: Mapping[str, Any] | None = None,
    trust: bool = False,
) -> Study:
    """A recorded study with its problem made anew from its settings.

    Args:
        storage: an Optuna storage URL.
        name: name of the study; None for the latest.
        listener: is told what happens.
        given: settings that the user names in place of the study's.
        trust: whether user code that the study names may run though the user does not name it.

    Raises:
        TrustError: when the study names user code that is neither given nor trusted.
        StudyError: when the study is missing, or its model was a Python object rather than a text.
    """
    study = review.open_study(storage, name)
    record = review.study_record(study)
    if ":" not in record["model"]:
        raise StudyError(
            f"study {study.study_name!r} was made in Python from a {record['model']}: "
            "export it there with study.export()"
        )
    named = {key: value for key, value in (given or {}).items() if value is not None}
    config = config_of_study(
        record["config"],
        named,
        {"storage": storage, "study": study.study_name},
        trust=trust,
        source=f"study {study.study_name!r}",
    )
    original = record["baseline"].get("latency_ms")
    seconds = None if original is None else original * 1e-3
    problem = prepare(config, listener, original_seconds=seconds)
    if problem.subject.weights != record["weights"]:
        raise StudyError(
            f"the weights of {record['model']} are not those that study {study.study_name!r} pruned: "
            "put the earlier weights back"
        )
    return Study(study, problem)


def export(
    study: Study,
    trial: int | str | FrozenTrial = "best",
    formats: str | Sequence[str] | None = None,
    to: str | Path = "out",
) -> tuple[Exported, ...]:
    """Same as :meth:`Study.export`. Raises ArgumentError when the study is none."""
    check_type("study", study, Study, "what autoprune.search returned")
    return study.export(trial, formats, to)
