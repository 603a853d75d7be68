"""How reliable a search is: how well its estimates predicted, in numbers and in words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import optuna
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from scipy.stats import kendalltau

from autoprune.study.attributes import UNCHOSEN, attributes_of, left_out, trials_of
from autoprune.study.estimates import ORIGINAL, ranked
from autoprune.study.front import feasible_trials, undefined_original
from autoprune.study.record import study_record
from autoprune.study.states import state_of

COST, PROXY, CHECKPOINT = "cost", "proxy", "checkpoint"
"""The stages before the final quality, in order."""
ENOUGH_TRIALS, LEAST_TAU = 12, 0.2
"""Number of trials after which a stage with a lower Kendall's tau does not count as a predictor."""
FEW_CANDIDATES = 5
"""Minimum number of trained candidates for a meaningful front; fewer do not even cover the warm starts."""


@dataclass(frozen=True)
class Gap:
    """How much better the finalists score on the selection split than on the holdout split.

    Attributes:
        mean: mean difference over the finalists, positive if the selection split overestimates them.
        error: its standard error; None for a single finalist.
        original: the same difference for the original model, which shows how the splits themselves differ.
        finalists: number of finalists.
    """

    mean: float
    error: float | None
    original: float
    finalists: int


@dataclass(frozen=True)
class StagePredictor:
    """A stage of the evaluation as a predictor of the final quality.

    Attributes:
        stage: ``"cost"``, ``"proxy"`` or ``"checkpoint"``.
        tau: Kendall's rank correlation (1938) of its estimate with the final quality; None when unknown.
        trials: candidates that have both.
        stopped: candidates that it stopped early.
    """

    stage: str
    tau: float | None
    trials: int
    stopped: int

    @property
    def predicts(self) -> bool:
        """Whether there is no evidence against it."""
        return self.tau is None or self.trials < ENOUGH_TRIALS or self.tau >= LEAST_TAU


def gap(study: optuna.Study) -> Gap | None:
    """The gap between selection and holdout split; None if no finalist was ranked."""
    ranking = ranked(study, UNCHOSEN)
    sign = 1.0 if study.directions[0] is StudyDirection.MAXIMIZE else -1.0
    cut = [
        t for t in feasible_trials(study) if str(t.number) in ranking and attributes_of(t).plan != "original"
    ]
    if not cut or ORIGINAL not in ranking:
        return None
    differences = [sign * (trial.values[0] - ranking[str(trial.number)].quality) for trial in cut]
    error = stdev(differences) / math.sqrt(len(cut)) if len(cut) > 1 else None
    original = sign * (study_record(study)["baseline"]["quality"] - ranking[ORIGINAL].quality)
    return Gap(fmean(differences), error, original, len(cut))


def predictors(study: optuna.Study) -> list[StagePredictor]:
    """Every stage that was used, as a predictor."""
    trials = [
        trial
        for trial in trials_of(study, (optuna.trial.TrialState.COMPLETE,))
        if attributes_of(trial).stages and state_of(trial) not in ("REPEAT", "PREVIEW")
    ]
    found = [predictor(study, trials, stage) for stage in (COST, PROXY, CHECKPOINT)]
    return [item for item in found if item.trials or item.stopped]


def predictor(study: optuna.Study, trials: Sequence[FrozenTrial], stage: str) -> StagePredictor:
    """How well one stage predicted over these trials."""
    sign = 1.0 if study.directions[0] is StudyDirection.MAXIMIZE else -1.0
    # A more expensive candidate should be better; the other stages estimate the quality itself.
    orientation = 1.0 if stage == COST else sign
    pairs = [
        (orientation * found.estimate, sign * trial.values[0])
        for trial in trials
        if (found := attributes_of(trial).stages.get(stage)) is not None
        and found.estimate is not None
        and attributes_of(trial).stopped_at is None
    ]
    stopped = sum(attributes_of(trial).stopped_at == stage for trial in trials)
    return StagePredictor(stage, kendall(pairs), len(pairs), stopped)


def kendall(pairs: Sequence[tuple[float, float]]) -> float | None:
    """Kendall's tau-b of two orders; None if one of them is constant."""
    if len(pairs) < 2:
        return None
    tau = float(kendalltau(*zip(*pairs, strict=True)).statistic)
    return None if math.isnan(tau) else tau


def health_lines(study: optuna.Study) -> list[str]:
    """Remarks on the reliability of a search, shown below its front; empty if there are none."""
    lines = list(filter(None, [undefined_original(study)]))
    found = gap(study)
    if found is not None:
        lines.append(_gap_text(study, found))
    stages = [item for item in predictors(study) if item.tau is not None]
    if stages:
        lines.append("Kendall tau with the final quality: " + ", ".join(map(_predictor_text, stages)))
    lines += [
        f"the {item.stage} stage does not predict the final quality: it is switched off"
        for item in stages
        if not item.predicts and item.stage != COST
    ]
    trained = trained_candidates(study)
    if 0 < trained < FEW_CANDIDATES:
        lines.append(
            f"the front is based on only {trained} trained candidate{'' if trained == 1 else 's'}: "
            "give the search more time or trials"
        )
    return [*lines, *filter(None, [left_out(study)])]


def trained_candidates(study: optuna.Study) -> int:
    """Number of plans that were recovered and scored in full, without the original."""
    trials = trials_of(study, (TrialState.COMPLETE,))
    return sum(state_of(trial) == "COMPLETE" and attributes_of(trial).plan != "original" for trial in trials)


def _gap_text(study: optuna.Study, found: Gap) -> str:
    scale, unit = (100, " points") if study_record(study)["metric"].endswith("accuracy") else (1, "")
    error = "" if found.error is None else f" ±{found.error * scale:.2g}"
    text = (
        f"the selection split overestimates the {found.finalists} finalists by "
        f"{found.mean * scale:.2g}{error}{unit} "
        f"(the original model by {found.original * scale:.2g})"
    )
    excess = found.mean - found.original
    if found.error is not None and found.finalists > 2 and excess > 2 * found.error:
        return f"{text}: part of the search's gain is overfitting to this split"
    return text


def _predictor_text(item: StagePredictor) -> str:
    stopped = f", {item.stopped} stopped" if item.stopped else ""
    return f"{item.stage} {item.tau:.2f} ({item.trials} trials{stopped})"
