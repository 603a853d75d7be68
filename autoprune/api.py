"""What ``import autoprune`` hands out for searching: search, the study it gives, export."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.trial import FrozenTrial
from torch import nn

from autoprune import review
from autoprune.config import Config, load_config
from autoprune.errors import StudyError
from autoprune.export import Candidate, Exported, default_formats, export_candidate
from autoprune.export.card import finetuned_card
from autoprune.search import (
    ATTRIBUTE,
    Problem,
    classes_of,
    create_study,
    prepare,
    rank_finalists,
    run,
    settled_problem,
    test_front,
    trial_model,
)
from autoprune.search.keep import WeightStore
from autoprune.search.longer import recover_longer
from autoprune.tasks import Data, evaluate


@dataclass(frozen=True, eq=False)
class Study:
    """A search that ran, or is under way in another process.

    Attributes:
        optuna: the underlying study.
        problem: model, data and structure; see :class:`autoprune.search.Problem`.
    """

    optuna: optuna.Study
    problem: Problem

    def front(self) -> pd.DataFrame:
        """One row a Pareto-optimal trial within the budget, the most expensive one first."""
        return review.front(self.optuna)

    def best(self) -> FrozenTrial:
        """The trial of best quality within the budget. Raises StudyError when there is none."""
        return review.best(self.optuna)

    def model(self, trial: int | str = "best") -> nn.Module:
        """The pruned and healed network of a trial, in evaluation mode."""
        return trial_model(self.problem, self._trial(trial), self._store)[0]

    def export(
        self,
        trial: int | str = "best",
        formats: Sequence[str] | None = None,
        to: str | Path = "out",
        *,
        finetune: str | None = None,
        listener: review.Listener | None = None,
    ) -> tuple[Exported, ...]:
        """Write a trial's model in the given formats, load each back and compare it.

        Args:
            trial: ``"best"`` or a number.
            formats: names of formats; the default is all that are installed.
            to: the folder.
            finetune: fine-tune it before for so long: ``"5epochs"`` or ``"500steps"``. A run that was
                stopped goes on where it was.
            listener: is told how that goes.

        Raises:
            StudyError: when there is no such trial.
            ConfigError: for a length that cannot be read.
            ExportError: when a file differs from the model.
        """
        chosen = self._trial(trial)
        model, plan = trial_model(self.problem, chosen, self._store)
        problem = self.problem
        card = review.card_of(self.optuna, chosen, data=problem.data.name)
        if finetune is not None:
            if plan is None:
                raise StudyError(f"trial {chosen.number} is the uncut model: there is nothing to heal")
            folder, listener = self._store.folder, listener or review.Listener()
            longer = recover_longer(problem, model, plan, finetune, folder, listener)
            card = finetuned_card(card, longer.steps, longer.before, longer.quality, longer.test)
            model.eval()
        candidate = Candidate(
            model=model,
            plan=plan or problem.plan(problem.structure.widths),
            base=problem.model,
            spec=problem.name if ":" in problem.name else None,
            classes=classes_of(problem.data),
            example=problem.data.example(4),
            calibration=[inputs for inputs, _ in problem.calibration],
            quality=self._quality,
            metric=problem.data.task.metric,
        )
        return export_candidate(
            candidate,
            card,
            problem.config.to_toml(),
            Path(to),
            default_formats() if formats is None else formats,
            seconds=problem.config.latency_seconds if problem.config.latency else 0.0,
        )

    def folders(self, which: int | str, to: str | Path) -> dict[int, Path]:
        """Trial number -> the folder to export it to: `to` itself for one trial, else folders in it.

        Args:
            which: a number, ``"best"``, ``"picked"`` (marked for export) or ``"front"``.
            to: a folder.

        Raises:
            StudyError: when there is no such trial.
        """
        if which not in ("picked", "front"):
            return {self._trial(which).number: Path(to)}
        numbers = (
            review.picked(self.optuna)
            if which == "picked"
            else [int(number) for number in self.front()["trial"]]
        )
        if not numbers:
            raise StudyError(
                "no trial is picked: run autoprune pick N, or write #export into a note in the dashboard"
                if which == "picked"
                else "the front is empty: search with more trials, or with a larger budget"
            )
        return {number: Path(to) / f"trial-{number}" for number in numbers}

    def report(self, to: str | Path = "report.html") -> None:
        """Write what was found into one HTML file, with pictures."""
        review.write_report(self.optuna, self.problem.config.storage, Path(to))

    def _quality(self, model: nn.Module) -> float:
        return evaluate(model, self.problem.data.validation, self.problem.data.task).value

    @property
    def _store(self) -> WeightStore:
        return WeightStore.beside(self.problem.config.storage, self.optuna.study_name)

    def _trial(self, trial: int | str) -> FrozenTrial:
        if trial == "best":
            return self.best()
        trials = self.optuna.get_trials(deepcopy=False)
        if not isinstance(trial, int) or not 0 <= trial < len(trials):
            raise StudyError(
                f"there is no trial {trial!r}: give 'best' or a number from 0 to {len(trials) - 1}"
            )
        return trials[trial]


def search(
    model: nn.Module | str | None = None,
    data: Data | str = "digits",
    *,
    budget: str | Sequence[str] = (),
    trials: int | None = None,
    storage: str | None = None,
    name: str | None = None,
    listener: review.Listener | None = None,
    **settings: Any,
) -> Study:
    """Search the best trade-offs between quality and cost.

    Args:
        model: a trained module, or a text such as ``"torchvision:resnet18"`` (with ``weights=``).
        data: loaded data, or a text such as ``"fashion-mnist"``.
        budget: texts such as ``"flops=50%"``, ``"latency=2ms"``, ``"time=30m"``.
        trials: shorthand for ``"trials=N"``.
        storage: an Optuna storage URL; the default is the file ``autoprune.db``.
        name: name of the study; a study of that name is continued.
        listener: is told what happens.
        settings: any other field of :class:`autoprune.config.Config`.

    Raises:
        UserError: when something given cannot work; a failing trial alone never ends a search.
    """
    texts = [budget] if isinstance(budget, str) else list(budget)
    given = {
        "model": model if isinstance(model, str) else None,
        "data": data if isinstance(data, str) else None,
        "budget": tuple(texts + ([f"trials={trials}"] if trials is not None else [])),
        "storage": storage,
        "study": name,
        **settings,
    }
    config = load_config(None, given)
    return run_search(
        config,
        listener or review.Listener(),
        model=model if isinstance(model, nn.Module) else None,
        data=data if isinstance(data, Data) else None,
    )


def run_search(
    config: Config,
    listener: review.Listener,
    *,
    model: nn.Module | None = None,
    data: Data | None = None,
) -> Study:
    """Search with these settings, or continue the study that they name."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    problem = prepare(config, listener, model=model, data=data)
    study = create_study(problem)
    problem = settled_problem(problem, study, listener)
    ended = len(study.get_trials(deepcopy=False))
    if ended:
        listener.note(f"continues study {study.study_name!r}: {ended} trials are already there")
    store = WeightStore.beside(config.storage, study.study_name)
    if problem.parts.note:
        listener.note(problem.parts.note)
    listener.phase("search", str(problem.budget))
    run(problem, study, store, listener)
    if problem.parts.ranking is not None:
        listener.phase("finalists", "ranked on samples that guided nothing")
        rank_finalists(problem, study, store, listener)
    listener.phase("final test", "the front, on the test split")
    test_front(problem, study, store, listener)
    listener.phase("review", "notes and pictures for the dashboard")
    review.publish(study, config.storage)
    return Study(study, problem)


def open_search(storage: str, name: str | None, listener: review.Listener) -> Study:
    """A recorded study with its problem made anew from its settings.

    Raises:
        StudyError: when the study is missing, or its model was a Python object rather than a text.
    """
    study = review.open_study(storage, name)
    record = study.user_attrs.get(ATTRIBUTE)
    if record is None:
        raise StudyError(f"study {study.study_name!r} was not made by autoprune")
    if ":" not in record["model"]:
        raise StudyError(
            f"study {study.study_name!r} was made in Python from a {record['model']}: "
            "export it there with study.export()"
        )
    settings = record["config"] | {"storage": storage, "study": study.study_name}
    settings["budget"] = tuple(settings["budget"])
    uncut = record["baseline"].get("latency_ms")
    seconds = None if uncut is None else uncut * 1e-3
    problem = prepare(Config.model_validate(settings), listener, uncut_seconds=seconds)
    if problem.weights != record["weights"]:
        raise StudyError(
            f"the weights of {record['model']} are not those that study {study.study_name!r} pruned: "
            "put the earlier weights back"
        )
    return Study(study, problem)


def export(
    study: Study, trial: int | str = "best", formats: Sequence[str] | None = None, to: str | Path = "out"
) -> tuple[Exported, ...]:
    """Same as :meth:`Study.export`."""
    return study.export(trial, formats, to)
