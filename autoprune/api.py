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
from autoprune.cost import DeviceFingerprint
from autoprune.errors import StudyError
from autoprune.export import Candidate, Card, Exported, Numbers, default_formats, export_candidate
from autoprune.search import (
    ATTRIBUTE,
    Problem,
    classes_of,
    create_study,
    prepare,
    run,
    settled_problem,
    test_front,
    trial_model,
)
from autoprune.search.keep import WeightStore
from autoprune.tasks import Data


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
        self, trial: int | str = "best", formats: Sequence[str] | None = None, to: str | Path = "out"
    ) -> tuple[Exported, ...]:
        """Write a trial's model in the given formats, load each back and compare it.

        Raises:
            StudyError: when there is no such trial.
            ExportError: when a file differs from the model.
        """
        chosen = self._trial(trial)
        model, plan = trial_model(self.problem, chosen, self._store)
        problem = self.problem
        candidate = Candidate(
            model=model,
            plan=plan or problem.plan(problem.structure.widths),
            base=problem.model,
            spec=problem.name if ":" in problem.name else None,
            classes=classes_of(problem.data),
            example=problem.data.example(4),
        )
        return export_candidate(
            candidate,
            _card(problem, self.optuna, chosen),
            problem.config.to_toml(),
            Path(to),
            default_formats() if formats is None else formats,
        )

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
    listener.phase("search", str(problem.budget))
    run(problem, study, store, listener)
    listener.phase("final test", "the front, on the test split")
    test_front(problem, study, store, listener)
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


def _card(problem: Problem, study: optuna.Study, trial: FrozenTrial) -> Card:
    attributes, test = trial.user_attrs, study.user_attrs.get("test", {})
    full = problem.baseline
    return Card(
        title=problem.name,
        metric=problem.data.task.metric,
        data=problem.data.name,
        study=study.study_name,
        trial=trial.number,
        weights=problem.weights,
        before=Numbers(
            quality=full.score.value,
            test=test.get("baseline"),
            flops=full.costs.flops,
            parameters=full.costs.parameters,
            size=full.costs.size,
            latency_ms=None if full.latency is None else full.latency * 1e3,
            nonzero=getattr(full.costs, "nonzero", None),
        ),
        after=Numbers(
            quality=attributes["quality"],
            test=test.get(str(trial.number)),
            flops=attributes["flops"],
            parameters=attributes["parameters"],
            size=attributes["size"],
            latency_ms=attributes.get("latency_ms"),
            latency_ratio=attributes.get("latency_ratio"),
            latency_low=attributes.get("latency_low"),
            latency_high=attributes.get("latency_high"),
            nonzero=attributes.get("nonzero"),
            effective_multiply_adds=attributes.get("effective_multiply_adds"),
        ),
        device=""
        if full.latency is None
        else str(DeviceFingerprint(**study.user_attrs[ATTRIBUTE]["device"])),
        widths={
            name: (width, attributes["widths"][name]) for name, width in problem.structure.widths.items()
        },
    )
