"""A search that ran, or is under way: what it found, and the models of its trials."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import optuna
import pandas as pd
from optuna.trial import FrozenTrial
from torch import nn

from autoprune import review
from autoprune.api.export_trial import FurtherRecovery, export_trial
from autoprune.criteria.learned import LearnedCriterion
from autoprune.errors import StudyError, UserError
from autoprune.export import Exported
from autoprune.pruning_search import Problem, trial_model
from autoprune.pruning_search.persistence.weight_store import WeightStore
from autoprune.pruning_search.proposals.learned_criterion import learn
from autoprune.utils.arguments import as_text, check_type, listed_texts, whole_number
from autoprune.utils.overview import overview_text
from autoprune.utils.printable import printable
from autoprune.workflows.search_arguments import listener_of, number_or_word

if TYPE_CHECKING:
    import plotly.graph_objects as go


@dataclass(frozen=True, eq=False)
class Recorded:
    """A study that was opened to be read: its problem is built once something needs it.

    Attributes:
        storage: where the study lies.
        build: builds the problem, or raises StudyError.
    """

    storage: str
    build: Callable[[], Problem]


class Study:
    """A search that ran, or is under way in another process.

    :func:`autoprune.search` returns one, and :func:`autoprune.open_study` opens a recorded one.

    Attributes:
        optuna: the underlying study.

    Examples:
        >>> import autoprune, torch
        >>> from torch import nn
        >>> split = (torch.randn(64, 20), torch.arange(64) % 2)
        >>> study = autoprune.search(
        ...     nn.Sequential(nn.Linear(20, 8), nn.ReLU(), nn.Linear(8, 2)),
        ...     {"train": split, "validation": split, "test": split},
        ...     budget={"flops": 0.8},
        ...     trials=2,
        ...     storage="study.db",
        ...     latency=False,
        ...     finetune_steps=1,
        ... )
        >>> bool((study.front()["flops_ratio"] <= 0.8).all())
        True
        >>> [exported.format for exported in study.export("best", ["state"], to="out")]
        ['state']
    """

    def __init__(self, study: optuna.Study, problem: Problem | Recorded) -> None:
        self.optuna = study
        self._source = problem

    @cached_property
    def problem(self) -> Problem:
        """Model, data and structure; see :class:`autoprune.pruning_search.Problem`.

        Raises StudyError when the study was opened without what it needs, see :func:`autoprune.open_study`.
        """
        return self._source.build() if isinstance(self._source, Recorded) else self._source

    def front(self) -> pd.DataFrame:
        """One row a Pareto-optimal trial within the budget, the most expensive one first."""
        return review.front(self.optuna)

    def best(self) -> FrozenTrial:
        """The trial of best quality within the budget. Raises StudyError when there is none."""
        return review.best(self.optuna)

    def explain(self, trial: int | str | FrozenTrial = "best") -> review.Explanation:
        """What a trial says of each group: its sensitivity, coefficients, criteria and importance.

        Raises StudyError when there is no such trial, or it was not evaluated.
        """
        return review.explain(self.optuna, self._trial(trial).number)

    def model(self, trial: int | str | FrozenTrial = "best") -> nn.Module:
        """The pruned and recovered network of a trial, in evaluation mode."""
        chosen, problem = self._trial(trial), self.problem
        store = WeightStore.beside(problem.config.storage, self.optuna.study_name)
        return trial_model(problem, chosen, store)[0]

    def criterion(self, trial: int | str | FrozenTrial = "best") -> LearnedCriterion:
        """What a trial says of each group, to be applied to other budgets and checkpoints.

        Its ``to_json()`` is the content of a ``criterion.json``. Raises StudyError for a trial that was not
        evaluated, and for masks.
        """
        chosen = self._trial(trial)
        return learn(self.problem, self.optuna, chosen)

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
            gradual: cut the plan again in this many rounds, which share that length, instead of training the
                trial's model on.
            rebuild: cut the plan again and fit its layers one by one to what the cut network feeds them,
                instead of taking the trial's weights; with `finetune`, that is trained.
            listener: is notified of how that goes.

        Returns:
            One record a format: its files, and how far they differ from the model.

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
        listener, chosen = listener_of(listener, ()), self._trial(trial)
        further = FurtherRecovery(finetune, gradual, rebuild)
        return export_trial(self.problem, self.optuna, chosen, further, formats, folder, listener)

    def folders(self, which: int | str, to: str | Path) -> dict[int, Path]:
        """Trial number -> the folder to export it to: `to` itself for one trial, else folders in it.

        Args:
            which: a number, ``"best"``, ``"picked"`` (marked for export) or ``"front"``.
            to: a folder.

        Raises:
            StudyError: when there is no such trial.
            UserError: when one of the folders in `to` is a link, which could lead anywhere.
        """
        folder = Path(as_text("to", to, "the folder to write to"))
        which = number_or_word(which)
        trials = review.chosen_trials(self.optuna, which)
        if which not in review.SEVERAL:
            return {trials[0].number: folder}
        folders = {trial.number: folder / f"trial-{trial.number}" for trial in trials}
        link = next((path for path in folders.values() if path.is_symlink()), None)
        if link is not None:
            raise UserError(f"{link} is a link: remove it, or choose another folder")
        return folders

    def plot(self) -> dict[str, go.Figure]:
        """Name -> Plotly figure: the front against each cost, its growth, widths, importances and times.

        A figure is there where the study has what it shows; the names are those of the report's pictures.
        """
        # Imported here: Plotly takes a while, and a search draws nothing.
        from autoprune.review.figures import pictures, with_title

        return {picture.name: with_title(picture) for picture in pictures(self.optuna)}

    def report(self, to: str | Path = "report.html") -> None:
        """Write what was found into one HTML file, with pictures."""
        file = Path(as_text("to", to, "the file to write"))
        storage = self._source.storage if isinstance(self._source, Recorded) else self.problem.config.storage
        review.write_report(self.optuna, storage, file)

    def __repr__(self) -> str:
        try:
            return overview_text(f"Study {printable(self.optuna.study_name)}", review.overview(self.optuna))
        except StudyError as error:
            return f"Study: {error}"

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        return review.study_html(self.optuna)

    def _trial(self, trial: int | str | FrozenTrial) -> FrozenTrial:
        return review.chosen_trial(self.optuna, number_or_word(trial))
